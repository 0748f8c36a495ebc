//! Getting profiles out of a migration's way.
//!
//! Takes the gateway's connection, takes every profile's views down and, if wanted, holds back new ones for a while. Tasks stay open: their
//! next statement builds their views again over what the tables are then. (PostgreSQL refuses to drop or retype a column that a view reads.)

use std::time::Duration;

use tokio_postgres::Client;

use super::{compile, drop_policies, drop_views};
use crate::database::DatabaseError;

/// Whether a migration holds profiles back.
pub(super) async fn is_held(client: &Client) -> Result<bool, DatabaseError> {
    let held = client.query_one("SELECT EXISTS (SELECT FROM pgteller_private.hold WHERE until > clock_timestamp())", &[]).await;
    Ok(held.map_err(DatabaseError::admin("looking whether a migration holds profiles"))?.get(0))
}

/// Holds back new profiles; without a time, no longer.
pub async fn hold(client: &Client, time: Option<Duration>) -> Result<(), DatabaseError> {
    let holding = DatabaseError::admin("holding profiles back");
    let done = match time {
        Some(time) => {
            let hold = "INSERT INTO pgteller_private.hold(until) VALUES (clock_timestamp() + make_interval(secs => $1)) \
                 ON CONFLICT (one) DO UPDATE SET until = excluded.until";
            client.execute(hold, &[&time.as_secs_f64()]).await
        }
        None => client.execute("DELETE FROM pgteller_private.hold", &[]).await,
    };
    done.map(|_| ()).map_err(holding)
}

/// Takes every profile's views down, in use or not; the roles and their tasks stay. Gives how many.
/// A statement that reads a view finishes first, or `lock_timeout` ends the wait and the profile is left for another try.
pub async fn take_down(client: &mut Client, view_owner: &str) -> Result<usize, DatabaseError> {
    let taking = || DatabaseError::admin("taking profiles down");
    let names = client.query("SELECT name::text FROM pgteller_private.profile ORDER BY 1", &[]).await.map_err(taking())?;
    let mut down = 0_usize;
    for row in names {
        let name: String = row.get(0);
        let transaction = client.transaction().await.map_err(taking())?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&compile::lock_of(&name)]).await.map_err(taking())?;
        let gone = "DELETE FROM pgteller_private.profile WHERE name = $1::text::name RETURNING schemas";
        if let Some(row) = transaction.query_opt(gone, &[&name]).await.map_err(taking())? {
            drop_views(&transaction, view_owner, &name, &row.get::<_, Vec<String>>(0)).await?;
            drop_policies(&transaction, &name).await?;
            down = down.saturating_add(1);
        }
        transaction.commit().await.map_err(taking())?;
    }
    Ok(down)
}
