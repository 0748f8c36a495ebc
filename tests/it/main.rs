//! One integration binary: real PostgreSQL, real tokens, real MCP clients.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a test that is surprised must fail, and may say what it saw"
)]

mod analysis;
mod benign;
mod chaos;
mod containment;
mod decisions;
mod differential;
mod encryption;
mod exchange;
mod first;
mod hygiene;
mod identity;
mod introspection;
mod life;
mod masks;
mod policies;
mod preflight;
mod protocol;
mod redteam;
mod refusals;
mod resource;
mod snapshots;
mod support;
mod tasks;
mod tidy;
mod trouble;
mod twin;
mod worlds;
