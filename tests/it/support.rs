//! What tests share: one throwaway cluster, a database per test, a server per test. The paths let `benches/chaos.rs` share it, too.

#[path = "support/chaos.rs"]
pub mod chaos;
#[path = "support/client.rs"]
pub mod client;
#[path = "support/database.rs"]
pub mod database;
#[path = "support/oracle.rs"]
pub mod oracle;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/renamed.rs"]
pub mod renamed;
#[path = "support/scene.rs"]
pub mod scene;
#[path = "support/server.rs"]
pub mod server;
#[path = "support/tokens.rs"]
pub mod tokens;

use std::path::PathBuf;

pub use database::TestDatabase;
pub use server::Served;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
