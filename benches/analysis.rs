//! The analysis as a filter: what the differential fuzzer (`scripts/oracle/fuzz.py`) asks. Never a benchmark that measures anything.
//!
//! Takes rows of the oracle on stdin, one JSON object a line; after an empty line it answers all of them, one line each: `sent` with the
//! text if it was read as a tree, `refused` with the code, or `finding` with what the analysis does not see.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool for tests: it stops when it is surprised, and prints"
)]

#[path = "../tests/it/support/oracle.rs"]
mod oracle;
#[path = "../tests/it/support/renamed.rs"]
mod renamed;
#[path = "../tests/it/support/scene.rs"]
mod scene;

use oracle::{Outcome, Row};
use serde_json::{Value, json};

fn answer(line: &str) -> Value {
    let row: Row = serde_json::from_str(line).unwrap();
    match row.check() {
        Ok(Outcome::Tree(sent)) => json!({"sent": sent, "schemas": row.scene().schemas()}),
        Ok(Outcome::Not(code, why)) => json!({"refused": code, "why": why}),
        Err(finding) => json!({"finding": finding}),
    }
}

fn main() {
    let mut batch = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        if !line.is_empty() {
            batch.push(line);
            continue;
        }
        let answers: String = batch.drain(..).map(|line| format!("{}\n", answer(&line))).collect();
        print!("{answers}");
        std::io::Write::flush(&mut std::io::stdout()).unwrap();
    }
}
