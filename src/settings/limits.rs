//! Bounds and the state store, validated.
//!
//! Takes `[limits]` and `[storage]` as written, gives numbers that are at least one and a place for state. Never lets a password travel in plain text
//! beyond this machine.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::{at_least_one, invalid};
use crate::config::{self, ConfigError};
use crate::secret::{ExposeSecret, Secret};

/// Of one principal, unless configured.
pub const PER_PRINCIPAL: LimitSettings = LimitSettings { requests_per_second: twenty(), statements: 8, open_tasks: 32 };
/// Of one agent, unless configured.
pub const PER_AGENT: LimitSettings = LimitSettings { requests_per_second: hundred(), statements: 32, open_tasks: 512 };

const fn twenty() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(19)
}

const fn hundred() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(99)
}

/// How much somebody may ask for.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    /// Calls per second on the long run.
    pub requests_per_second: NonZeroU32,
    /// Statements that run at once.
    pub statements: usize,
    /// Tasks that are open at once.
    pub open_tasks: usize,
}

/// Where state is kept.
#[derive(Debug, Clone)]
pub enum StateSettings {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Postgres {
        /// Where, with the password.
        url: Secret,
        /// Where, without.
        place: String,
    },
}

/// Validates one of the two limits.
pub fn limit(key: &str, written: &config::Limit, otherwise: LimitSettings) -> Result<LimitSettings, ConfigError> {
    let requests = match written.requests_per_second {
        None => otherwise.requests_per_second,
        Some(count) => NonZeroU32::new(count)
            .ok_or_else(|| invalid(format!("{key}.requests_per_second"), "must be at least 1: with 0 nobody could ever call"))?,
    };
    Ok(LimitSettings {
        requests_per_second: requests,
        statements: at_least_one(&format!("{key}.statements"), written.statements.unwrap_or(otherwise.statements))?,
        open_tasks: at_least_one(&format!("{key}.open_tasks"), written.open_tasks.unwrap_or(otherwise.open_tasks))?,
    })
}

/// The directory of everything that is kept.
pub fn directory(written: &config::Storage, base: &Path) -> PathBuf {
    base.join(written.dir.clone().unwrap_or_else(|| PathBuf::from("pgteller-data")))
}

/// Where the state store is.
pub fn state(written: &config::Storage, base: &Path) -> Result<StateSettings, ConfigError> {
    let Some(url) = &written.state_url else { return Ok(StateSettings::File(directory(written, base).join("state.sqlite"))) };
    let key = "storage.state_url";
    let rest = url.strip_prefix("postgres://").ok_or_else(|| invalid(key, "must begin with postgres://"))?;
    let (login, place) =
        rest.split_once('@').ok_or_else(|| invalid(key, "name the login: `postgres://LOGIN@HOST:PORT/DATABASE`"))?;
    if login.contains(':') {
        return Err(invalid(key, "must not hold a password: use `state_password_file` or `state_password_env`"));
    }
    if place.contains("host=") {
        return Err(invalid(key, "name the host before the database, not as a parameter"));
    }
    let password = super::secret(
        written.state_password_env.as_deref(),
        written.state_password_file.as_deref(),
        "storage.state_password",
        base,
    )?;
    let host = place.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let on_this_machine = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let tls = match (on_this_machine, place.contains('?')) {
        (true, _) => "",
        (false, false) => "?sslmode=verify-full",
        (false, true) => "&sslmode=verify-full",
    };
    let escaped: String = password.expose_secret().bytes().map(|byte| format!("%{byte:02X}")).collect();
    Ok(StateSettings::Postgres {
        url: Secret::from(format!("postgres://{login}:{escaped}@{place}{tls}")),
        place: format!("postgres://{login}@{place}"),
    })
}
