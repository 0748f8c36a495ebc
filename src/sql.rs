//! Reading an agent's SQL and pointing it at a profile.
//!
//! Takes the agent's text and what its task may see; gives a [`Reading`]: the analysed [`Statement`] together with the exact text
//! that will be sent. Never does I/O, never changes anything in the text but schema names, and never sends what it could not prove:
//! every token as we cut it is the token PostgreSQL would cut, the whole text is one query, and the spliced text is the same tree, renamed.
//!
//! ```text
//! select c.email from sales.customers c where c.id = 7
//!   statement: select, sales.customers {email, id} by names, no functions
//!   sent:      select c.email from pgteller_p_4f…_1.customers c where c.id = 7
//! ```
//!
//! A misread here costs an error message: the task's role, not this module, is the wall.

pub mod bounds;
pub mod catalog;
pub mod columns;
pub mod functions;
mod idents;
pub mod proof;
pub mod read;
pub mod rewrite;
pub mod tokens;
pub mod types;
pub mod walk;
pub mod words;

use std::collections::BTreeMap;

use crate::model::grants::GrantSet;
use crate::model::refusal::Refusal;
use crate::model::snapshot::Snapshot;
use crate::model::statement::{Analysis, Statement, Verb};

pub use rewrite::Edits;

use proof::Piece;
use read::Misread;

/// Longest text that is read. Beyond it, chains of operators could exhaust the stack (`reference/crates.md` §3).
pub const MAX_SQL_BYTES: usize = 64 * 1024;

/// Most operators and set operations in one text: each may deepen the tree by one.
pub const MAX_CHAIN: usize = 2_000;

/// Deepest nesting of parentheses and sub-selects that the parser follows.
pub const MAX_DEPTH: usize = 50;

/// What a task may name, and where its names lead.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The schema of the database.
    pub snapshot: &'a Snapshot,
    /// What the task may see of it.
    pub grants: &'a GrantSet,
    /// Real schema to profile schema.
    pub schemas: &'a BTreeMap<String, String>,
}

/// An agent's text, read.
#[derive(Debug)]
pub enum Reading {
    /// Every proof held: the statement is known without asking PostgreSQL.
    Tree(Analysed),
    /// Our parser or a proof gave up: PostgreSQL parses it under the task role, and its locks name the relations.
    Unread(Unread),
}

/// A statement and the text that it is.
#[derive(Debug)]
pub struct Analysed {
    /// What policy judges.
    pub statement: Statement,
    /// What is sent.
    pub text: String,
    /// How to map places in `text` back to the agent's own.
    pub edits: Edits,
}

/// A text whose tokens were checked and whose tree is not known.
#[derive(Debug)]
pub struct Unread {
    /// What is known already; its relations are still missing.
    pub statement: Statement,
    /// What is sent.
    pub text: String,
    /// How to map places in `text` back to the agent's own.
    pub edits: Edits,
    /// Whether an `ARRAY[…]` may hold arrays: then it must not meet a row filter.
    pub may_nest_arrays: bool,
    /// Why our own reading gave up.
    pub why: &'static str,
}

/// Reads one statement.
pub fn read(sql: &str, names: &Names<'_>) -> Result<Reading, Refusal> {
    let pieces = read::lex(sql)?;
    match analyse(&pieces, names) {
        Ok(analysed) => Ok(Reading::Tree(analysed)),
        Err(Misread::Refused(refusal)) => Err(refusal),
        Err(Misread::Unproved(why)) => tokens::check(&pieces, names, &why).map(Reading::Unread),
    }
}

fn analyse(pieces: &[Piece], names: &Names<'_>) -> Result<Analysed, Misread> {
    let tree = read::parse(pieces)?;
    let walk = walk::walk(&tree, names)?;
    let functions = functions::judge(&walk, names)?;
    let relations = columns::attribute(&walk, names);
    let (text, edits) = rewrite::splice(pieces, &tree, &walk)?;
    let statement = Statement {
        verb: Verb::Select,
        analysis: Analysis::Tree,
        relations,
        catalog: walk.catalog.into_iter().collect(),
        functions,
        has_where: walk.has_where,
        has_limit: read::has_limit(&tree),
        fingerprint: proof::fingerprint(pieces),
    };
    Ok(Analysed { statement, text, edits })
}
