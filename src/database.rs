//! Everything that reaches a governed database. Layer 3.
//!
//! Takes a validated configuration, gives a [`Governed`] database: its snapshot, its admin connection, its task roles, its wire sessions.
//! Only this module and `profile` put SQL of ours together. Never runs an agent's statement on the admin connection, and never decides.

pub mod admin;
pub mod examination;
mod governed;
pub mod posture;
pub mod preflight;
pub mod quote;
pub mod role;
pub mod rows;
pub mod snapshot;
pub mod sqlstate;
pub mod stop;
pub mod target;
pub mod wire;

pub use governed::{Database, Governed, Unready, installation};

/// The version of the objects that `pgteller setup` installs; a database with another version is refused.
pub const SETUP_VERSION: i32 = 2;
/// The schema of task parameters, keys and instances; the definer role owns it.
pub const PRIVATE: &str = "pgteller_private";

/// Why a database could not do what we asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection.
    #[error("connecting to the database")]
    Connect(#[source] wire::WireError),
    /// No admin connection.
    #[error("connecting to the database as the gateway's login")]
    AdminConnect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The admin connection failed while doing something.
    #[error("{doing}")]
    Admin {
        /// What.
        doing: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Preflight found something serious that is not acknowledged.
    #[error("preflight stopped it: {}", .0.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>().join(", "))]
    Preflight(Vec<preflight::Finding>),
    /// The set-up is missing, or of another version.
    #[error("{0}")]
    Setup(String),
    /// A profile was dropped between being built and being used.
    #[error("a profile vanished while a task was opened on it")]
    Vanished,
    /// Somebody migrates: no profile is built for now.
    #[error("profiles are held for a migration")]
    Held,
    /// Something came back that cannot be.
    #[error("{0}")]
    Unexpected(String),
    /// The admin connection did not answer in time.
    #[error("the gateway's own connection did not answer within {0} seconds")]
    Slow(u64),
}

impl DatabaseError {
    /// Attaches what was being done to an error of the admin connection.
    pub fn admin(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Admin { doing, source }
    }
}
