//! One integration binary: real PostgreSQL, real tokens, real MCP clients.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that is surprised must fail"
)]

mod first;
mod support;
mod worlds;
