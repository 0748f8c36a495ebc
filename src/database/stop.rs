//! Stopping tasks from outside the process that serves them.
//!
//! Takes settings and ids of tasks, closes their roles over a connection of its own: neither preflight nor a snapshot stands in the way of an
//! emergency. First every role loses its rights and its sessions, and only then the roles are dropped.

use super::admin::Admin;
use super::{DatabaseError, installation, role};
use crate::model::names::TaskId;
use crate::settings::DatabaseSettings;

/// Closes every role of these tasks, whatever process made it. Gives how many there were.
pub async fn stop_tasks(settings: &DatabaseSettings, tasks: &[TaskId]) -> Result<usize, DatabaseError> {
    let admin = Admin::new(settings.target.clone(), settings.login.clone(), settings.password.clone());
    let mut guard = admin.lock().await?;
    let client = guard.client()?;
    let (installation, _) = admin.bounded(installation(client)).await?;
    let mut roles = Vec::new();
    for task in tasks {
        roles.extend(admin.bounded(role::of_task(client, &installation, *task)).await?);
    }
    for role in &roles {
        admin.bounded(role::cut_off(client, role)).await?;
    }
    for role in &roles {
        admin.bounded(role::close(client, role)).await?;
    }
    Ok(roles.len())
}
