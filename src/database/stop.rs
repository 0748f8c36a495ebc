//! Stopping tasks from outside the process that serves them.
//!
//! Takes settings and ids of tasks, closes their roles over a connection of its own: neither preflight nor a snapshot stands in the way of an
//! emergency. First every role loses its rights and its sessions, and only then the roles are dropped.

use tokio_postgres::Client;

use super::admin::Admin;
use super::{DatabaseError, installation, role};
use crate::model::names::{InstallationId, TaskId};
use crate::settings::DatabaseSettings;

/// Closes every role of these tasks, whatever process made it. Gives how many there were.
pub async fn stop_tasks(settings: &DatabaseSettings, tasks: &[TaskId]) -> Result<usize, DatabaseError> {
    let admin = Admin::new(settings.target.clone(), settings.login.clone(), settings.password.clone());
    let mut guard = admin.bounded(admin.lock()).await?;
    let client = guard.client()?;
    let (installation, _) = admin.bounded(installation(client)).await?;
    let roles = roles_of(&admin, client, &installation, tasks).await?;
    // The tasks' own processes close them too, and may be in the middle of it: no failure keeps the others, and what counts is that nothing
    // is left.
    let mut failed = None;
    for role in &roles {
        if admin.bounded(role::cut_off(client, role)).await.is_err() {
            failed = admin.bounded(role::cut_off(client, role)).await.err();
        }
    }
    for role in &roles {
        if let Err(error) = admin.bounded(role::close(client, role)).await {
            failed = Some(error);
        }
    }
    match failed {
        Some(error) if !roles_of(&admin, client, &installation, tasks).await?.is_empty() => Err(error),
        Some(_) | None => Ok(roles.len()),
    }
}

async fn roles_of(
    admin: &Admin,
    client: &Client,
    installation: &InstallationId,
    tasks: &[TaskId],
) -> Result<Vec<String>, DatabaseError> {
    let mut roles = Vec::new();
    for task in tasks {
        roles.extend(admin.bounded(role::of_task(client, installation, *task)).await?);
    }
    Ok(roles)
}
