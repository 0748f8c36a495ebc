//! PostgreSQL's own regression suite in two worlds.
//!
//! What the suite defines and writes is replayed, as superuser and in its order, into a schema of both worlds' databases; then some columns are
//! masked or hidden, half the rows of its best known table are filtered away, and what that hides is made to differ. Every statement of
//! the suite then goes through the server. The file stands beside the checkout, in `shared/corpus`.

use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use tokio_postgres::Client;

use crate::support::database::connect;
use crate::support::worlds::generator::{Generated, Kind};
use crate::support::worlds::{Rules, World, Worlds};
use crate::support::{TestDatabase, read, repository};

/// One statement of the suite.
#[derive(Debug, Deserialize)]
pub struct Statement {
    file: String,
    sql: String,
    /// What PostgreSQL took it for: `read` is allowed in a transaction that only reads.
    pub class: String,
}

/// The environment variable that names the directory of the file.
pub const CORPUS_ENV: &str = "PGTELLER_CORPUS";
const FILE: &str = "pg_regress.jsonl.gz";

fn path() -> PathBuf {
    match std::env::var_os(CORPUS_ENV) {
        Some(directory) => PathBuf::from(directory).join(FILE),
        None => repository("../shared/corpus").join(FILE),
    }
}

/// The suite, in its order.
pub fn statements() -> Vec<Statement> {
    let path = path();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| {
        panic!(
            "`{}`: {error}: the regression statements stand beside the checkout; {CORPUS_ENV} names another directory",
            path.display()
        )
    });
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is sent.
pub fn sent(statements: &[Statement]) -> Vec<Generated> {
    statements.iter().map(|statement| Generated::as_it_stands(statement.sql.clone(), Kind::Corpus)).collect()
}

/// The two worlds.
pub async fn open(statements: &[Statement]) -> Worlds {
    let (zero, one) = tokio::join!(world(0, statements), world(1, statements));
    Worlds { zero, one, many: None }
}

async fn world(world: u8, statements: &[Statement]) -> World {
    let database = TestDatabase::alone().await;
    database.owner.batch_execute(&read("tests/corpus/worlds/regress.sql")).await.unwrap();
    let ran = replay(&database, statements).await;
    let hide = read("tests/corpus/worlds/regress_hide.sql").replace("{{world}}", &world.to_string());
    database.owner.batch_execute(&hide).await.unwrap_or_else(|error| panic!("hiding: {error:?}"));
    database.set_up(&["regress"]).await;
    let policy = policy(&database.owner).await;
    println!(
        "world {world}: {ran} statements replayed, {} relations",
        database
            .cell("SELECT count(*) FROM pg_class WHERE relnamespace = 'regress'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')")
            .await
    );
    World::begin(database, &Rules { policy: &policy, search_path: "[\"regress\"]" }).await
}

/// Runs what is not a query, each file in a session of its own, errors ignored; gives how many ran.
///
/// Tables stay: a temporary one is made as an ordinary one, and nothing is dropped until something of its name is to be made again.
async fn replay(database: &TestDatabase, statements: &[Statement]) -> usize {
    let mut ran = 0;
    let mut open: Option<(&str, Client)> = None;
    let mut dropped: Vec<&str> = Vec::new();
    for statement in statements.iter().filter(|statement| statement.class != "read" && replays(&statement.sql)) {
        if open.as_ref().is_none_or(|(file, client)| *file != statement.file || client.is_closed()) {
            let client = connect(&database.cluster.dsn(&database.name)).await;
            let settings = "SET search_path = regress; SET statement_timeout = '5s'; SET lock_timeout = '1s'";
            client.batch_execute(settings).await.unwrap();
            open = Some((&statement.file, client));
        }
        let (_, client) = open.as_ref().unwrap();
        if begins(&statement.sql, &["drop "]) {
            dropped.push(&statement.sql);
            continue;
        }
        let sql = lasting(&statement.sql);
        let mut result = client.batch_execute(&sql).await;
        if result.as_ref().err().and_then(|error| error.code()).is_some_and(|code| EXISTS.contains(&code.code())) {
            for drop in std::mem::take(&mut dropped) {
                let _ = client.batch_execute(drop).await;
            }
            result = client.batch_execute(&sql).await;
        }
        ran += usize::from(result.is_ok());
    }
    ran
}

/// "It is there already": a relation, an object, a function, a schema.
const EXISTS: &[&str] = &["42P07", "42710", "42723", "42P06"];

fn begins(sql: &str, with: &[&str]) -> bool {
    let text = sql.trim_start().to_lowercase();
    with.iter().any(|beginning| text.starts_with(beginning))
}

/// A temporary relation as an ordinary one.
fn lasting(sql: &str) -> String {
    let start = sql.trim_start();
    for (temporary, ordinary) in [("create temp ", "create "), ("create temporary ", "create ")] {
        if begins(start, &[temporary]) {
            return format!("{ordinary}{}", &start[temporary.len()..]);
        }
    }
    sql.to_owned()
}

/// What would wait for data of a client, write files, or change more than its database.
fn replays(sql: &str) -> bool {
    let text = sql.to_lowercase();
    !(begins(sql, &["copy"]) || text.contains("alter system") || text.contains("tablespace") || text.contains("alter database"))
}

/// Grants everything: tables by pattern, what is derived by name and label, unless it reads what is masked or filtered.
async fn policy(owner: &Client) -> String {
    let derived = "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'regress'::regnamespace AND c.relname !~ '[.*\"]' AND a.attname !~ '[.\"]'
          AND (c.relkind IN ('v', 'm') AND pg_get_viewdef(c.oid) !~ '(tenk1|onek)' OR c.relispartition AND c.relkind IN ('r', 'p') OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AND c.relkind IN ('r', 'p'))
        ORDER BY 1, 2";
    let columns: Vec<(String, String)> =
        owner.query(derived, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut relations: Vec<&String> = columns.iter().map(|(relation, _)| relation).collect();
    relations.dedup();
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let labels: String = columns
        .iter()
        .map(|(relation, column)| format!("  {}: [public]\n", quoted(format!("regress.{relation}.{column}"))))
        .collect();
    let allowed: String =
        relations.iter().map(|relation| format!("        - {}\n", quoted(format!("regress.{relation}")))).collect();
    read("tests/corpus/worlds/regress_policy.yaml").replace("  # labels\n", &labels).replace("        # derived\n", &allowed)
}
