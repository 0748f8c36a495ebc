//! # pgteller
//!
//! The governed door between AI agents and PostgreSQL: an MCP server (stdio and streamable HTTP) that publishes `query`, `describe`,
//! `export` and `explain`, and tasks that agents open themselves. Every call carries the agent's identity and task, is checked against Rego policies compiled to WASM, runs under a PostgreSQL role
//! that exists only for that task, and returns masked rows with a request id that leads to an audit entry.
//!
//! This page is the architecture document. `DESIGN` has the reasons, `CONTRIBUTING.md` says where a change goes.
//!
//! ## The path
//!
//! Every request of an agent ends in [`enforcement`], whatever the transport or tool, and that file reads as the whole product:
//!
//! ```text
//!   agent ──MCP──▶ transport        opens the entry; bytes become a `Call`
//!                      │            401, 403, 405, 413 leave here, with an entry
//!                      ▼
//!                 enforcement
//!     admit ──▶ enter ──▶ read ──▶ decide ──▶ execute ──▶ close the entry ──▶ publish ──▶ reply
//!    identity   task      sql      policy     sessions        audit           export
//!               │ access            │ call     │ profile, role, wire
//!               ▼                   ▼          ▼
//!             Rego/WASM          Rego/WASM   PostgreSQL: a role of this task's own, views with masks
//! ```
//!
//! Each step consumes the type that the step before it produced: a `Permitted<Ready>` can only be made by [`policy::permit`], and executing
//! takes nothing else; a `Reply` exists only as the return value of [`audit::Audit::close`].
//!
//! ## Layers
//!
//! A module uses layers below it, never one above. `name.rs` is a module's face, `name/` how it does it.
//!
//! | layer | modules | what happens here |
//! |---|---|---|
//! | 7 doors | `main` [`cli`] [`server`] | start and stop |
//! | 6 windows | [`transport`] | bytes become a `Call`, a `Reply` becomes bytes |
//! | 5 spine | [`enforcement`] | the path, and nothing else |
//! | 4 work | [`task`] [`sessions`] [`export`] | what lives longer than one call |
//! | 3 act | [`database`] [`profile`] | the only modules that reach a governed database |
//! | 2 judge | [`identity`] [`sql`] [`policy`] [`describe`] [`audit`] | reach no governed database; pure where they can be |
//! | 1 ground | [`model`] [`store`] [`config`] [`settings`] [`clock`] [`secret`] [`telemetry`] | the words as types |
//!
//! ## Invariants, as absences
//!
//! `tests/it/tidy.rs` checks them:
//!
//! * No import points to a higher layer. Within a layer only `profile` uses `database`, and `task` and `export` use `sessions`.
//! * Nothing but [`transport`] names rmcp; nothing but [`sql`] names the SQL parser; nothing but `policy::wasm` names the WASM engine.
//! * Layer 3 names nothing of layer 2.
//! * SQL of ours is put together nowhere but in [`database`] and [`profile`] (and by the DBA's commands in [`cli`]); identifiers pass
//!   [`database::quote`].
//! * Nothing writes to stdout but the stdio transport and the answers of commands. Logs go to stderr.
//! * Time, ids and randomness come from nowhere but [`clock`].
//! * No panic, `unwrap`, `expect` or indexing outside tests; no unsafe at all.
//!
//! ## What the database enforces, and what we only explain
//!
//! A task's role owns nothing, is a member of one profile, and can select from that profile's views and nothing else. A bug in [`sql`] costs a
//! good error message, never data. What PUBLIC may do, a task may do: [`database::preflight`] looks for that before any profile is built.

pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod database;
pub mod describe;
pub mod enforcement;
pub mod export;
pub mod identity;
pub mod model;
pub mod policy;
pub mod profile;
pub mod secret;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod sql;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod transport;
