//! Task roles: made, closed, swept.
//!
//! Takes an admin connection and a profile's name, gives a LOGIN role that exists for one task. Never reuses a role, never lets a password
//! leave memory, and touches no role that this installation's functions did not make.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::DatabaseError;
use crate::clock::{Clock, Instant};
use crate::model::names::{InstallationId, InstanceId, RoleName, TaskId};
use crate::secret::Secret;

/// Iterations in the verifier, fixed in its computation below: one is sound for a random 256-bit password and makes creation and login several times cheaper (`reference/crates.md` §5).
const ITERATIONS: u32 = 1;

/// Longest life that PostgreSQL is told; the set-up's function refuses more.
const MAX_LIFE_SECONDS: u64 = 24 * 60 * 60 - 60;

/// How long closing waits for the task's sessions to end.
const CLOSE_WAIT_MS: i32 = 5_000;

/// The task roles that this process uses, or is just making. What it made and does not use, its sweep closes: a closing that failed, a
/// call that was dropped after its role was made.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeSet<String>>>);

/// Keeps one role from the sweep until dropped.
#[derive(Debug)]
struct Keep {
    name: String,
    kept: Kept,
}

impl Kept {
    fn keep(&self, name: &str) -> Keep {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Keep { name: name.to_owned(), kept: self.clone() }
    }

    fn has(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// A role that exists for one task, with its password.
#[derive(Debug)]
pub struct TaskRole {
    /// Its name; PostgreSQL's own log shows it.
    pub name: RoleName,
    /// Random, 256 bits, nowhere but here.
    pub password: Secret,
    _keep: Keep,
}

/// Whose roles are swept, and by whom.
#[derive(Debug)]
pub struct Swept<'a> {
    /// The installation.
    pub installation: &'a InstallationId,
    /// This process.
    pub instance: &'a InstanceId,
    /// What it uses.
    pub kept: &'a Kept,
}

/// What a task's role is made from.
#[derive(Debug)]
pub struct TaskRoleAsk<'a> {
    /// The installation.
    pub installation: &'a InstallationId,
    /// This process.
    pub instance: &'a InstanceId,
    /// The roles that it uses.
    pub kept: &'a Kept,
    /// The task: its id is in the role's name, so that an ending finds it whatever process made it.
    pub task: TaskId,
    /// The profile's role.
    pub profile: &'a str,
    /// Parameters and constants of row filters.
    pub params: &'a serde_json::Value,
    /// When the task ends.
    pub until: Instant,
}

/// Makes a task role inside the caller's transaction.
pub async fn create(
    client: &tokio_postgres::Transaction<'_>,
    ask: &TaskRoleAsk<'_>,
    clock: &Clock,
) -> Result<TaskRole, DatabaseError> {
    let name = format!("pgteller_{}_{}_{}", ask.installation, ask.instance, ask.task.0.simple());
    let keep = ask.kept.keep(&name);
    let password = clock.random_hex::<32>();
    let verifier = scram_verifier(&password, &clock.random::<16>());
    let until = ask.until.min(clock.now().plus_seconds(MAX_LIFE_SECONDS));
    let until = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(until.0).unwrap_or(0));
    client
        .execute(
            "SELECT pgteller_api.create_task($1::text::name, $2::text::name, $3, $4)",
            &[&name, &ask.profile, &verifier, &until],
        )
        .await
        .map_err(DatabaseError::admin("making a task role"))?;
    let key = clock.random::<32>().to_vec();
    client
        .execute(
            "INSERT INTO pgteller_private.task(role_name, profile, key, params) VALUES ($1::text::name, $2::text::name, $3, $4)",
            &[&name, &ask.profile, &key, ask.params],
        )
        .await
        .map_err(DatabaseError::admin("keeping a task's parameters"))?;
    Ok(TaskRole { name: RoleName(name), password: Secret::from(password), _keep: keep })
}

/// Takes a task's rights and ends its sessions, without waiting for them.
pub async fn cut_off(client: &Client, role: &str) -> Result<(), DatabaseError> {
    let revoked = client.execute("SELECT pgteller_api.revoke_task($1::text::name)", &[&role]).await;
    let ended = match unless_gone(revoked) {
        Ok(true) => client.execute("SELECT pgteller_api.end_sessions($1::text::name, 0)", &[&role]).await,
        Ok(false) => return Ok(()),
        Err(error) => return Err(DatabaseError::admin("revoking a task")(error)),
    };
    unless_gone(ended).map(|_| ()).map_err(DatabaseError::admin("ending a task's sessions"))
}

/// Whether a step found its role; not if another process closed it meanwhile, because we looked dead or an operator ended the task.
fn unless_gone(step: Result<u64, tokio_postgres::Error>) -> Result<bool, tokio_postgres::Error> {
    match step {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes a task: no login, no profile, no parameters, no sessions, no role. Each step bites at once and stands alone.
pub async fn close(client: &Client, role: &str) -> Result<(), DatabaseError> {
    let revoked = client.execute("SELECT pgteller_api.revoke_task($1::text::name)", &[&role]).await;
    if !unless_gone(revoked).map_err(DatabaseError::admin("revoking a task"))? {
        return Ok(());
    }
    client
        .execute("DELETE FROM pgteller_private.task WHERE role_name = $1::text::name", &[&role])
        .await
        .map_err(DatabaseError::admin("deleting a task's parameters"))?;
    let open = match client.query_one("SELECT pgteller_api.end_sessions($1::text::name, $2)", &[&role, &CLOSE_WAIT_MS]).await {
        Ok(row) => row.get::<_, i32>(0),
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(()),
        Err(error) => return Err(DatabaseError::admin("ending a task's sessions")(error)),
    };
    if open > 0 {
        return Err(DatabaseError::Unexpected(format!("{open} sessions of a closed task are still open")));
    }
    let dropped = client.execute("SELECT pgteller_api.drop_role($1::text::name)", &[&role]).await;
    unless_gone(dropped).map(|_| ()).map_err(DatabaseError::admin("dropping a task role"))
}

/// The roles of one task of this installation, whatever process made them.
pub async fn of_task(client: &Client, installation: &InstallationId, task: TaskId) -> Result<Vec<String>, DatabaseError> {
    let named = "SELECT m.role_name::text FROM pgteller_api.made m \
         WHERE m.kind = 't' AND starts_with(m.role_name::text, $1) AND split_part(m.role_name::text, '_', 4) = $2";
    let rows = client
        .query(named, &[&format!("pgteller_{installation}_"), &task.0.simple().to_string()])
        .await
        .map_err(DatabaseError::admin("looking for the roles of a task"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Terminates one backend of a task, which ignored its cancel.
pub async fn end_session(client: &Client, role: &str, pid: i32) -> Result<(), DatabaseError> {
    client
        .execute("SELECT pgteller_api.end_session($1::text::name, $2)", &[&role, &pid])
        .await
        .map_err(DatabaseError::admin("terminating a session of a task"))?;
    Ok(())
}

/// Closes what dead instances left: tasks of this installation whose instance has no living backend. And what this process itself made and
/// does not use any more. Gives how many were closed.
pub async fn sweep(client: &Client, ours: &Swept<'_>) -> Result<usize, DatabaseError> {
    let prefix = format!("pgteller_{}_", ours.installation);
    let dead = "SELECT m.role_name::text FROM pgteller_api.made m \
         WHERE m.kind = 't' AND starts_with(m.role_name::text, $1) AND (split_part(m.role_name::text, '_', 3) = $2 OR NOT EXISTS ( \
           SELECT FROM pgteller_private.instance i JOIN pg_stat_activity a ON a.pid = i.backend_pid AND a.backend_start = i.backend_start \
           WHERE i.id = split_part(m.role_name::text, '_', 3)))";
    let rows = client
        .query(dead, &[&prefix, &ours.instance.as_str()])
        .await
        .map_err(DatabaseError::admin("looking for tasks of dead processes"))?;
    let mut closed = 0_usize;
    for row in &rows {
        let role: String = row.get(0);
        if ours.kept.has(&role) {
            continue;
        }
        match close(client, &role).await {
            Ok(()) => closed = closed.saturating_add(1),
            // Another process may sweep the same one: the next sweep sees what is left.
            Err(error) => tracing::warn!(%role, error = %error, "a task that nobody uses could not be closed yet"),
        }
    }
    let forget = "DELETE FROM pgteller_private.instance i WHERE NOT EXISTS ( \
           SELECT FROM pg_stat_activity a WHERE a.pid = i.backend_pid AND a.backend_start = i.backend_start) \
         AND NOT EXISTS (SELECT FROM pgteller_api.made m WHERE m.kind = 't' AND split_part(m.role_name::text, '_', 3) = i.id)";
    client.execute(forget, &[]).await.map_err(DatabaseError::admin("forgetting dead processes"))?;
    Ok(closed)
}

/// Registers this process under its admin backend, so that others know it lives.
pub async fn register(client: &Client, instance: &InstanceId) -> Result<(), DatabaseError> {
    let register = "INSERT INTO pgteller_private.instance(id, backend_pid, backend_start) \
         SELECT $1, pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid() \
         ON CONFLICT (id) DO UPDATE SET backend_pid = excluded.backend_pid, backend_start = excluded.backend_start";
    client.execute(register, &[&instance.as_str()]).await.map_err(DatabaseError::admin("registering this process"))?;
    Ok(())
}

/// Forgets this process.
pub async fn unregister(client: &Client, instance: &InstanceId) -> Result<(), DatabaseError> {
    client
        .execute("DELETE FROM pgteller_private.instance WHERE id = $1", &[&instance.as_str()])
        .await
        .map_err(DatabaseError::admin("unregistering this process"))?;
    Ok(())
}

/// A SCRAM-SHA-256 verifier as `pg_authid` keeps it (RFC 5802 §3, RFC 7677): the password itself never reaches the server.
pub fn scram_verifier(password: &str, salt: &[u8; 16]) -> String {
    // PBKDF2 with one iteration is one HMAC.
    let salted = mac(password.as_bytes(), &[salt.as_slice(), &1_u32.to_be_bytes()].concat());
    let stored = Sha256::digest(mac(&salted, b"Client Key"));
    let server = mac(&salted, b"Server Key");
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", STANDARD.encode(salt), STANDARD.encode(stored), STANDARD.encode(server))
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length; an empty result could only be a verifier that nothing matches.
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mut mac| {
        mac.update(message);
        mac.finalize().into_bytes().into()
    })
}
