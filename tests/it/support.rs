//! What tests share: one throwaway cluster, a database per test, a server per test.

pub mod chaos;
pub mod client;
pub mod database;
pub mod oracle;
pub mod process;
pub mod renamed;
pub mod scene;
pub mod server;
pub mod tokens;
pub mod worlds;

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
