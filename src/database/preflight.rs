//! Preflight: what PUBLIC, the view owner or the server allow, a task may do or learn, whatever its role lacks.
//!
//! Takes the gateway's connection, gives graded [`Finding`]s, each with what mends it. Never mends anything itself.
//! PostgreSQL has no DENY: these are looked for before a profile is built, and serious ones stop the database unless acknowledged by id.

mod application;
mod door;
mod public;
mod roles;
mod script;
mod server;

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_postgres::Client;

pub use door::try_the_door;
pub use script::script;
pub use server::flaws;

use super::{DatabaseError, quote};
use crate::model::grants::{ColumnGrant, GrantSet};
use crate::model::names::InstallationId;
use crate::model::snapshot::Snapshot;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// A task could read, write or reach what its grants do not say: stops the database unless acknowledged.
    Serious,
    /// Not a way around by itself, but close to one, or answers may differ from what somebody expects.
    Warning,
    /// Good to know.
    Notice,
}

impl Grade {
    /// All, the worst first.
    pub const ALL: [Self; 3] = [Self::Serious, Self::Warning, Self::Notice];
}

impl std::fmt::Display for Grade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Serious => "serious",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// Statements for a superuser, on one line.
    Sql(String),
    /// What somebody has to decide or to do outside of SQL.
    ByHand(String),
}

impl std::fmt::Display for Fix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Sql(text) | Self::ByHand(text)) = self;
        f.write_str(text)
    }
}

/// Something that would let a task do or learn what its grants do not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Whether it stops the database.
    pub grade: Grade,
    /// Stable: the same id always means the same. What configuration acknowledges.
    pub id: String,
    /// What is wrong, one line.
    pub message: String,
    /// What mends it.
    pub fix: Fix,
}

impl Finding {
    fn serious(id: impl Into<String>, message: impl Into<String>, fix: Fix) -> Self {
        Self { grade: Grade::Serious, id: id.into(), message: message.into(), fix }
    }

    /// Whether it stops a database that acknowledges these ids.
    pub fn stops(&self, acknowledged: &[String]) -> bool {
        self.grade == Grade::Serious && !acknowledged.contains(&self.id)
    }
}

/// Whose database it is: the roles that the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// The installation, whose id begins the names of its roles.
    pub installation: &'a InstallationId,
    /// The role that owns the views.
    pub view_owner: &'a str,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    All,
    /// Only what stops a database: before each profile build.
    Serious,
}

/// One check: a query that gives one array of texts per finding, and what to say about each.
struct Check {
    grade: Grade,
    sql: &'static str,
    tell: fn(&Parts) -> Told,
}

/// What a query of a check gave: names, signatures and SQL, by position.
struct Parts(Vec<String>);

impl Parts {
    fn at(&self, position: usize) -> &str {
        self.0.get(position).map_or("", String::as_str)
    }

    /// SQL that the query itself put together from quoted names; without any, what to do by hand.
    fn sql_or(&self, position: usize, by_hand: &str) -> Fix {
        match self.at(position) {
            "" => Fix::ByHand(by_hand.to_owned()),
            sql => Fix::Sql(sql.to_owned()),
        }
    }
}

/// Id, message and fix.
struct Told(String, String, Fix);

const CHECKS: [&[Check]; 4] = [public::CHECKS, roles::CHECKS, application::CHECKS, server::CHECKS];

/// What several checks look at. `us`: our roles. `reach`: what the view owner may select. `asker`: how an expression tree reads who asks.
const COMMON: &str = "
WITH us AS MATERIALIZED (
  SELECT $1::text AS prefix, '^' || $1::text || '([a-z]|[0-9a-f]{8})_[0-9a-f]{32}$' AS made,
    (SELECT oid FROM pg_roles WHERE rolname = $2::text) AS owner,
    (SELECT oid FROM pg_roles WHERE rolname = $1::text || 'definer') AS definer,
    (SELECT oid FROM pg_roles WHERE rolname = $1::text || 'login') AS login,
    (SELECT oid FROM pg_roles WHERE rolname = $1::text || 'policies') AS policies,
    (SELECT oid FROM pg_database WHERE datname = current_database()) AS db, quote_ident(current_database()) AS dbname
), reach AS MATERIALIZED (
  SELECT c.oid, n.nspname::text AS s, c.relname::text AS r, c.relkind, c.relrowsecurity, c.reloptions
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, us
  WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname !~ '^pgteller_'
    AND has_schema_privilege(us.owner, n.oid, 'USAGE') AND has_any_column_privilege(us.owner, c.oid, 'SELECT')
), asker AS MATERIALIZED (
  SELECT '[{]SQLVALUEFUNCTION :op (9|10|11|12) |:funcid (' || string_agg(oid::text, '|') || ') ' AS reads FROM pg_proc
  WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ('current_setting', 'pg_has_role', 'getpgusername', 'current_user', 'session_user', 'system_user')
)
";

/// Looks for everything that does not depend on a grant set, in one query.
pub async fn inspect(client: &Client, ours: Ours<'_>, depth: Depth) -> Result<Vec<Finding>, DatabaseError> {
    let looking = || DatabaseError::admin("looking for what would open a way around");
    let checks: Vec<&Check> =
        CHECKS.iter().copied().flatten().filter(|check| depth == Depth::All || check.grade == Grade::Serious).collect();
    let queries: Vec<String> = checks
        .iter()
        .enumerate()
        .map(|(number, check)| format!("SELECT {number}::int, found.parts FROM ({}) AS found(parts)", check.sql))
        .collect();
    let sql = format!("{COMMON}{}", queries.join("\nUNION ALL\n"));
    let prefix = format!("pgteller_{}_", ours.installation);
    let mut findings = Vec::new();
    for row in client.query(&sql, &[&prefix, &ours.view_owner]).await.map_err(looking())? {
        let number = usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX);
        let Some(check) = checks.get(number) else { continue };
        let parts: Vec<Option<String>> = row.try_get(1).map_err(looking())?;
        let Told(id, message, fix) = (check.tell)(&Parts(parts.into_iter().map(Option::unwrap_or_default).collect()));
        findings.push(Finding { grade: check.grade, id, message, fix });
    }
    let version: i32 = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.map_err(looking())?.get(0);
    findings.extend(flaws(version).into_iter().filter(|finding| depth == Depth::All || finding.grade == Grade::Serious));
    findings.sort();
    Ok(findings)
}

/// Indexes that mix visible with hidden or masked columns of a grant set: with them, row order tells hidden values (`redteam.md` 2).
pub fn mixed_indexes(grants: &GrantSet, snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    for (name, grant) in &grants.relations {
        let Some(relation) = snapshot.relations.get(name) else { continue };
        for index in &relation.indexes {
            let clear = index.columns.iter().filter(|column| grant.columns.get(*column) == Some(&ColumnGrant::Clear)).count();
            if clear > 0 && clear < index.columns.len() {
                findings.insert(Finding::serious(
                    format!("mixed-index:{}.{}", name.schema, index.name),
                    format!("the index `{}` on `{name}` mixes visible with hidden or masked columns: row order would tell about the hidden ones", index.name),
                    Fix::ByHand(format!(
                        "acknowledge it, or index the columns apart: DROP INDEX {};",
                        quote::qualified(&name.schema, &index.name)
                    )),
                ));
            }
        }
    }
    findings.into_iter().collect()
}

/// A name of the policy document that this database does not have: its label or row filter would hold for nothing.
pub fn unknown_name(name: &str) -> Finding {
    Finding::serious(
        format!("policy-name:{name}"),
        format!("the policy document names `{name}`, which is not in this database, or not readable by the view owner"),
        Fix::ByHand("correct the name in the policy document, or GRANT SELECT on it to the view owner".to_owned()),
    )
}
