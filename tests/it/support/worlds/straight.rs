//! The same statements straight on the task role's own connection, where none of our analysis stands before them.
//!
//! The test gives the role a password as superuser; the product has no switch for that. Only hidden *values* are looked for here.

use std::time::Duration;

use pgteller::database::role::scram_verifier;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{World, leaked_by_either};

/// The task's role in one world.
pub struct Straight<'a> {
    world: &'a World,
    dsn: String,
    schemas: String,
    verifier: String,
}

impl<'a> Straight<'a> {
    /// Opens the way.
    pub async fn new(world: &'a World) -> Self {
        let dsn = format!("postgres://{}:known@127.0.0.1:{}/{}", world.role, world.database.cluster.port(), world.database.name);
        let this = Self { world, dsn, schemas: world.profile_schemas().await, verifier: scram_verifier("known", &[7; 16]) };
        this.pass().await;
        this
    }

    /// Roles may change their own password: gives it again.
    async fn pass(&self) {
        let sql = format!("ALTER ROLE {} CONNECTION LIMIT -1 PASSWORD '{}'", self.world.role, self.verifier);
        self.world.database.owner.batch_execute(&sql).await.unwrap();
    }

    /// A session of the task's role, with the search path that the server gives it.
    pub async fn session(&self) -> Client {
        let client = match tokio_postgres::connect(&self.dsn, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                client
            }
            Err(_) => {
                self.pass().await;
                super::super::database::connect(&self.dsn).await
            }
        };
        let settings = format!("SET search_path = pg_catalog, {}, pg_temp; SET statement_timeout = '2s'", self.schemas);
        client.batch_execute(&settings).await.unwrap();
        client
    }

    /// All that one statement shows in a session of its own, errors included.
    async fn shown(&self, sql: &str) -> Back {
        let client = self.session().await;
        match tokio::time::timeout(Duration::from_secs(20), client.simple_query(sql)).await {
            Ok(Ok(messages)) => Back::Cells(cells(&messages)),
            Ok(Err(error)) => Back::Error(format!("{error:?}")),
            Err(_) => Back::TimeOver,
        }
    }
}

/// The statement with bare names: only these reach the profile, by the search path, so that what it tries bites.
pub fn bare(sql: &str) -> String {
    ["crm.", "billing.", "people."].iter().fold(sql.to_owned(), |text, schema| text.replace(schema, ""))
}

/// What a statement came to in both worlds.
#[derive(Debug)]
pub struct Shown {
    /// Rows, none, or an error, in the first.
    pub outcome: &'static str,
    /// Whether the two worlds showed the same.
    pub alike: bool,
    /// Markers, with what they were in.
    pub finding: Option<String>,
}

/// Runs a statement in both worlds and looks for markers in all that comes back.
pub async fn shows(zero: &Straight<'_>, one: &Straight<'_>, sql: &str) -> Shown {
    let (first, second) = tokio::join!(zero.shown(sql), one.shown(sql));
    let found = leaked_by_either(sql, first.text(), second.text());
    let finding = (!found.is_empty()).then(|| format!("shows {found:?}: {sql}\n  {:.400}\n  {:.400}", first.text(), second.text()));
    Shown { outcome: first.outcome(), alike: first.text() == second.text(), finding }
}

/// What came back.
enum Back {
    Cells(String),
    Error(String),
    TimeOver,
}

impl Back {
    fn text(&self) -> &str {
        match self {
            Self::Cells(text) | Self::Error(text) => text,
            Self::TimeOver => "",
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Cells(text) if text.is_empty() => "no rows",
            Self::Cells(_) => "rows",
            Self::Error(_) => "error",
            Self::TimeOver => "time over",
        }
    }
}

fn cells(messages: &[SimpleQueryMessage]) -> String {
    let mut text = String::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            for index in 0..row.len() {
                text.push_str(row.get(index).unwrap_or("NULL"));
                text.push('\t');
            }
            text.push('\n');
        }
    }
    text
}
