//! Row filters as policies: the relations of a profile whose tables the DBA named for it (`pgteller setup --rls`).
//!
//! Takes a compiled relation, gives its policy and the flat view over it, both bound to the profile's owner role. A flat view keeps every
//! index, where the barrier of two layers makes the planner compute and sort all visible rows. Never makes a policy for any other role.
//!
//! The view alone shows nothing: it asks that row security binds its owner, and that the very policy is still there. A migration that
//! turns row security off, or drops a filter's column with CASCADE and so the policy, makes rows vanish instead of appear.

use serde_json::Value;
use tokio_postgres::Transaction;

use crate::database::{DatabaseError, quote};

/// What PostgreSQL says when the table's lock could not be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A relation whose row filter is a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Limited {
    /// The table.
    pub relation: u32,
    /// The role that owns the table.
    pub table_owner: u32,
    /// The filter's shape.
    pub filter: Value,
    /// The view, quoted.
    pub view: String,
    /// `SELECT` and `FROM` of the flat view.
    pub select: String,
    /// What is built instead if no policy can be made: two layers, which give the same answers.
    pub layers: String,
}

/// The owner role of a profile's flat views over policies.
pub fn owner_of(profile: &str) -> String {
    profile.replacen("_p_", "_o_", 1)
}

impl Limited {
    /// The flat view. The policy's OID stands in it because a catalog function, unlike a query, never looks at an old snapshot.
    fn view(&self, policy: u32, owner: &str, profile: &str) -> String {
        format!(
            "CREATE VIEW {view} AS {select} WHERE (SELECT pg_catalog.row_security_active({relation}::oid) \
               AND pg_catalog.pg_describe_object('pg_catalog.pg_policy'::regclass, {policy}::oid, 0) IS NOT NULL \
               AND NOT pg_catalog.pg_has_role({owner}, {table_owner}::oid, 'USAGE')); \
             GRANT SELECT ON {view} TO {profile};",
            view = self.view,
            select = self.select,
            relation = self.relation,
            owner = quote::literal(owner),
            table_owner = self.table_owner,
            profile = quote::identifier(profile),
        )
    }
}

/// Builds these relations of a profile: last in its transaction, because a policy is made under ACCESS EXCLUSIVE.
pub async fn build(
    transaction: &mut Transaction<'_>,
    profile: &str,
    view_owner: &str,
    limited: &[Limited],
) -> Result<(), DatabaseError> {
    if limited.is_empty() {
        return Ok(());
    }
    let building = || DatabaseError::admin("building policies");
    let owner = owner_of(profile);
    transaction.execute("SELECT pgteller_api.create_profile_owner($1::text::name)", &[&owner]).await.map_err(building())?;
    let mut busy = false;
    for one in limited {
        let policy = if busy { Err(LOCK_NOT_AVAILABLE.to_owned()) } else { policy(transaction, &owner, one).await? };
        let (role, ddl) = match policy {
            Ok(policy) => (owner.as_str(), one.view(policy, &owner, profile)),
            Err(sqlstate) => {
                busy = sqlstate == LOCK_NOT_AVAILABLE;
                tracing::warn!(%profile, view = one.view, %sqlstate, "no policy could be made: its rows are limited by two layers");
                (view_owner, one.layers.clone())
            }
        };
        transaction.batch_execute(&format!("SET LOCAL ROLE {}", quote::identifier(role))).await.map_err(building())?;
        transaction.batch_execute(&ddl).await.map_err(building())?;
        transaction.batch_execute("RESET ROLE").await.map_err(building())?;
    }
    Ok(())
}

/// The policy's OID, or the SQLSTATE of why there is none: somebody holds the table, or it changed since the snapshot.
async fn policy(transaction: &mut Transaction<'_>, owner: &str, one: &Limited) -> Result<Result<u32, String>, DatabaseError> {
    let making = || DatabaseError::admin("making a policy");
    let attempt = transaction.transaction().await.map_err(making())?;
    let made =
        attempt.query_one("SELECT pgteller_api.limit_rows($1::text::name, $2, $3)", &[&owner, &one.relation, &one.filter]).await;
    match made {
        Ok(row) => {
            attempt.commit().await.map_err(making())?;
            Ok(Ok(row.get(0)))
        }
        Err(error) => {
            let Some(code) = error.code().cloned() else { return Err(making()(error)) };
            attempt.rollback().await.map_err(making())?;
            Ok(Err(code.code().to_owned()))
        }
    }
}
