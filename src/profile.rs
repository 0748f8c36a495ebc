//! A grant set compiled into PostgreSQL.
//!
//! Takes an open database and a [`Compiled`] grant set; gives task roles that are members of its profile. Profiles are shared by all tasks
//! whose grant sets compile alike, built once, and compared in full before they are used. Never grants anything on a table itself.

pub mod compile;
mod masks;
pub mod migration;
mod policies;
mod predicates;
pub mod setup;

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, Transaction};

pub use compile::{Compiled, compile};

use crate::clock::{Clock, Instant};
use crate::database::preflight::{self, Depth};
use crate::database::role::{self, TaskRole, TaskRoleAsk};
use crate::database::{DatabaseError, Governed, quote};
use crate::model::names::TaskId;

const FILL_CATALOG: &str = include_str!("profile/catalog/fill.sql");
const FORGET_CATALOG: &str = include_str!("profile/catalog/forget.sql");

/// How often a profile is built for one task, should others drop it each time.
const MAX_BUILDS: usize = 3;

/// Building a large profile takes seconds, and profiles of one database are built one after the other: who comes second waits.
const WAIT_FOR_BUILDERS: &str = "SET LOCAL lock_timeout = '14s'";

/// A table that somebody alters is not waited for: others wait behind us.
const WAIT_FOR_TABLES: &str = "SET LOCAL lock_timeout = '2s'";

/// Makes a role for one task, and its profile if nobody has built it yet.
pub async fn open_role(
    governed: &Governed,
    compiled: &Compiled,
    (task, until): (TaskId, Instant),
    clock: &Clock,
) -> Result<TaskRole, DatabaseError> {
    governed.bounded(open_role_unbounded(governed, compiled, (task, until), clock)).await
}

async fn open_role_unbounded(
    governed: &Governed,
    compiled: &Compiled,
    task: (TaskId, Instant),
    clock: &Clock,
) -> Result<TaskRole, DatabaseError> {
    let mut guard = governed.announced().await?;
    for _ in 0..MAX_BUILDS {
        if let Some(role) = try_open_role(guard.client()?, governed, compiled, task, clock).await? {
            return Ok(role);
        }
    }
    Err(DatabaseError::Vanished)
}

async fn try_open_role(
    client: &mut Client,
    governed: &Governed,
    compiled: &Compiled,
    (task, until): (TaskId, Instant),
    clock: &Clock,
) -> Result<Option<TaskRole>, DatabaseError> {
    let Some(transaction) = with_profile(client, governed, compiled, clock).await? else { return Ok(None) };
    let ask = TaskRoleAsk {
        installation: &governed.installation,
        instance: &governed.instance,
        kept: &governed.kept,
        task,
        profile: &compiled.role,
        params: &compiled.params,
        until,
    };
    let role = role::create(&transaction, &ask, clock).await?;
    transaction.commit().await.map_err(DatabaseError::admin("opening a task"))?;
    Ok(Some(role))
}

/// Moves an open task to another profile in one transaction; its next statement sees the new one.
pub async fn move_role(governed: &Governed, compiled: &Compiled, role: &str, clock: &Clock) -> Result<(), DatabaseError> {
    governed.bounded(move_role_unbounded(governed, compiled, role, clock)).await
}

async fn move_role_unbounded(governed: &Governed, compiled: &Compiled, role: &str, clock: &Clock) -> Result<(), DatabaseError> {
    let mut guard = governed.admin().await?;
    for _ in 0..MAX_BUILDS {
        if try_move_role(guard.client()?, governed, compiled, role, clock).await? {
            return Ok(());
        }
    }
    Err(DatabaseError::Vanished)
}

async fn try_move_role(
    client: &mut Client,
    governed: &Governed,
    compiled: &Compiled,
    role: &str,
    clock: &Clock,
) -> Result<bool, DatabaseError> {
    let Some(transaction) = with_profile(client, governed, compiled, clock).await? else { return Ok(false) };
    let moving = || DatabaseError::admin("moving a task to another profile");
    transaction
        .execute("SELECT pgteller_api.move_task($1::text::name, $2::text::name)", &[&role, &compiled.role])
        .await
        .map_err(moving())?;
    let key: Vec<u8> = transaction
        .query_one("DELETE FROM pgteller_private.task WHERE role_name = $1::text::name RETURNING key", &[&role])
        .await
        .map_err(moving())?
        .get(0);
    transaction
        .execute(
            "INSERT INTO pgteller_private.task(role_name, profile, key, params) VALUES ($1::text::name, $2::text::name, $3, $4)",
            &[&role, &compiled.role, &key, &compiled.params],
        )
        .await
        .map_err(moving())?;
    transaction.commit().await.map_err(moving())?;
    Ok(true)
}

/// A transaction in which the profile exists and cannot be dropped. Nothing if another process that ended dropped it between its building and
/// our lock.
async fn with_profile<'a>(
    client: &'a mut Client,
    governed: &Governed,
    compiled: &Compiled,
    clock: &Clock,
) -> Result<Option<Transaction<'a>>, DatabaseError> {
    let using = || DatabaseError::admin("looking for the profile");
    ensure_keys(client, compiled, clock).await?;
    if !is_built(client, compiled).await? {
        if migration::is_held(client).await? {
            return Err(DatabaseError::Held);
        }
        build(client, governed, compiled).await?;
    } else if !is_whole(client, compiled).await? && drop_one(client, &governed.view_owner, &compiled.role).await? {
        // Somebody dropped policies of it: its rows vanished. It is built anew if no task is on it.
        build(client, governed, compiled).await?;
    }
    let transaction = client.transaction().await.map_err(using())?;
    transaction.batch_execute(WAIT_FOR_BUILDERS).await.map_err(using())?;
    transaction.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&compiled.lock]).await.map_err(using())?;
    if is_built(&transaction, compiled).await? {
        let used = "UPDATE pgteller_private.profile SET used_at = now() WHERE name = $1::text::name AND used_at < now() - interval '1 minute'";
        transaction.execute(used, &[&compiled.role]).await.map_err(using())?;
        Ok(Some(transaction))
    } else {
        Ok(None)
    }
}

/// Makes the keys of value domains that have none: also for a profile that is built, since the DBA changes a key by deleting it.
async fn ensure_keys(client: &Client, compiled: &Compiled, clock: &Clock) -> Result<(), DatabaseError> {
    for domain in &compiled.value_domains {
        client
            .execute(
                "INSERT INTO pgteller_private.keys(id, key) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM pgteller_private.keys WHERE id = $1) ON CONFLICT DO NOTHING",
                &[&domain.as_str(), &clock.random::<32>().as_slice()],
            )
            .await
            .map_err(DatabaseError::admin("making the key of a value domain"))?;
    }
    Ok(())
}

async fn is_built(client: &impl GenericClient, compiled: &Compiled) -> Result<bool, DatabaseError> {
    let row = client
        .query_opt("SELECT identity FROM pgteller_private.profile WHERE name = $1::text::name", &[&compiled.role])
        .await
        .map_err(DatabaseError::admin("looking for the profile"))?;
    match row {
        None => Ok(false),
        Some(row) if row.get::<_, String>(0) == compiled.identity => Ok(true),
        // A collision at 128 bits, or somebody wrote the table: never use it.
        Some(_) => Err(DatabaseError::Unexpected("a profile of this name holds another grant set".to_owned())),
    }
}

/// Whether every view that relies on a policy still has it.
async fn is_whole(client: &impl GenericClient, compiled: &Compiled) -> Result<bool, DatabaseError> {
    if compiled.limited.is_empty() {
        return Ok(true);
    }
    let count = "SELECT (SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = $1::text::name) \
         <= (SELECT count(*) FROM pg_policy p WHERE p.polname = $1::text::name AND NOT p.polpermissive)";
    let row = client.query_one(count, &[&policies::owner_of(&compiled.role)]).await;
    Ok(row.map_err(DatabaseError::admin("looking for the profile's policies"))?.get(0))
}

async fn build(client: &mut Client, governed: &Governed, compiled: &Compiled) -> Result<(), DatabaseError> {
    let building = || DatabaseError::admin("building a profile");
    // Grants to PUBLIC come with migrations: looked for again each time, and only what stops.
    let mut findings = preflight::inspect(client, governed.ours(), Depth::Serious).await?;
    findings.extend(compiled.findings.iter().cloned());
    findings.retain(|finding| finding.stops(&governed.acknowledged));
    if !findings.is_empty() {
        return Err(DatabaseError::Preflight(findings));
    }
    let mut transaction = client.transaction().await.map_err(building())?;
    transaction.batch_execute(WAIT_FOR_BUILDERS).await.map_err(building())?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&compiled.lock]).await.map_err(building())?;
    if is_built(&transaction, compiled).await? {
        return transaction.rollback().await.map_err(building());
    }
    transaction.execute("SELECT pgteller_api.create_profile($1::text::name)", &[&compiled.role]).await.map_err(building())?;
    let owner = quote::identifier(&governed.view_owner);
    transaction.batch_execute(&format!("{WAIT_FOR_TABLES}; SET LOCAL ROLE {owner}")).await.map_err(building())?;
    transaction.batch_execute(&compiled.ddl).await.map_err(building())?;
    transaction.batch_execute("RESET ROLE").await.map_err(building())?;
    policies::build(&mut transaction, &compiled.role, &governed.view_owner, &compiled.limited).await?;
    transaction
        .execute(
            "INSERT INTO pgteller_private.profile(name, identity, schemas) VALUES ($1::text::name, $2, $3)",
            &[&compiled.role, &compiled.identity, &compiled.all_schemas()],
        )
        .await
        .map_err(building())?;
    show_in_catalog(&transaction, compiled).await?;
    transaction.commit().await.map_err(building())
}

/// Tells the governed catalog what the profile shows.
async fn show_in_catalog(transaction: &Transaction<'_>, compiled: &Compiled) -> Result<(), DatabaseError> {
    let (real, ours): (Vec<&String>, Vec<&String>) = compiled.schemas.iter().unzip();
    transaction
        .execute(FILL_CATALOG, &[&compiled.role, &real, &ours])
        .await
        .map_err(DatabaseError::admin("filling the governed catalog"))?;
    Ok(())
}

/// Whether a profile's views are there.
pub async fn is_up(governed: &Governed, compiled: &Compiled) -> Result<bool, DatabaseError> {
    governed
        .bounded(async {
            let mut guard = governed.admin().await?;
            let client = guard.client()?;
            is_built(client, compiled).await
        })
        .await
}

/// Drops the profiles that no task uses and none has used for this long, whoever built them. Gives how many.
pub async fn drop_unused(governed: &Governed, idle: Duration) -> Result<usize, DatabaseError> {
    governed.bounded(drop_unused_unbounded(governed, idle)).await
}

async fn drop_unused_unbounded(governed: &Governed, idle: Duration) -> Result<usize, DatabaseError> {
    let mut guard = governed.admin().await?;
    let client = guard.client()?;
    let looking = DatabaseError::admin("looking for unused profiles");
    // A role without views is what a migration took down and nobody built again.
    let unused = "SELECT m.role_name::text FROM pgteller_api.made m LEFT JOIN pgteller_private.profile p ON p.name = m.role_name \
         WHERE m.kind = 'p' AND coalesce(p.used_at, m.made_at) <= now() - make_interval(secs => $1) AND NOT EXISTS ( \
         SELECT FROM pg_auth_members a JOIN pgteller_api.made t ON t.role_oid = a.member AND t.kind = 't' WHERE a.roleid = m.role_oid)";
    let rows = client.query(unused, &[&idle.as_secs_f64()]).await.map_err(looking)?;
    let mut dropped = 0_usize;
    for row in rows {
        let name: String = row.get(0);
        match drop_one(client, &governed.view_owner, &name).await {
            Ok(true) => dropped = dropped.saturating_add(1),
            Ok(false) => {}
            Err(error) => tracing::warn!(profile = %name, %error, "an unused profile could not be dropped"),
        }
    }
    Ok(dropped)
}

async fn drop_one(client: &mut Client, view_owner: &str, name: &str) -> Result<bool, DatabaseError> {
    let dropping = || DatabaseError::admin("dropping a profile");
    let transaction = client.transaction().await.map_err(dropping())?;
    let lock = compile::lock_of(name);
    let free: bool = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&lock]).await.map_err(dropping())?.get(0);
    let schemas = transaction
        .query_opt("DELETE FROM pgteller_private.profile WHERE name = $1::text::name RETURNING schemas", &[&name])
        .await
        .map_err(dropping())?;
    if !free {
        transaction.rollback().await.map_err(dropping())?;
        return Ok(false);
    }
    if let Some(row) = schemas {
        drop_views(&transaction, view_owner, name, &row.get::<_, Vec<String>>(0)).await?;
    }
    transaction.execute("SELECT pgteller_api.drop_role($1::text::name)", &[&name]).await.map_err(dropping())?;
    drop_policies(&transaction, name).await?;
    transaction.commit().await.map_err(dropping())?;
    Ok(true)
}

/// Drops a profile's schemas, and what the governed catalog shows of them.
async fn drop_views(transaction: &Transaction<'_>, view_owner: &str, name: &str, schemas: &[String]) -> Result<(), DatabaseError> {
    let dropping = || DatabaseError::admin("dropping a profile's views");
    transaction.batch_execute(&format!("SET LOCAL ROLE {}", quote::identifier(view_owner))).await.map_err(dropping())?;
    for schema in schemas {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", quote::identifier(schema));
        transaction.batch_execute(&drop).await.map_err(dropping())?;
    }
    transaction.batch_execute("RESET ROLE").await.map_err(dropping())?;
    transaction.execute(FORGET_CATALOG, &[&name]).await.map_err(dropping())?;
    Ok(())
}

/// Drops the owner of a profile's flat views, and with it the profile's policies.
async fn drop_policies(transaction: &Transaction<'_>, name: &str) -> Result<(), DatabaseError> {
    let dropping = || DatabaseError::admin("dropping a profile's policies");
    // They go under ACCESS EXCLUSIVE: nobody shall wait long behind it.
    transaction.batch_execute("SET LOCAL lock_timeout = '500ms'").await.map_err(dropping())?;
    let owner =
        "SELECT pgteller_api.drop_role(m.role_name) FROM pgteller_api.made m WHERE m.kind = 'o' AND m.role_name = $1::text::name";
    transaction.execute(owner, &[&policies::owner_of(name)]).await.map_err(dropping())?;
    Ok(())
}

/// The views of a built profile, and what is locked with them.
pub async fn views(governed: &Governed, compiled: &Compiled) -> Result<compile::ProfileViews, DatabaseError> {
    governed.bounded(views_unbounded(governed, compiled)).await
}

async fn views_unbounded(governed: &Governed, compiled: &Compiled) -> Result<compile::ProfileViews, DatabaseError> {
    let mut schemas = compiled.all_schemas();
    schemas.push(crate::database::PRIVATE.to_owned());
    let mut guard = governed.admin().await?;
    let rows = guard
        .client()?
        .query(
            "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname::text = ANY ($1)",
            &[&schemas],
        )
        .await
        .map_err(DatabaseError::admin("reading a profile's views"))?;
    Ok(compiled.views(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)))))
}
