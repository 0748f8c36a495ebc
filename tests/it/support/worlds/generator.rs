//! Statements by the hundred thousand, the same for the same seed.
//!
//! Takes a seed and a corpus, gives statements: the corpus mutated and combined, and a grammar of our own over the relations and columns of
//! `tests/corpus/worlds/world.sql`, hidden ones included. Never asks the clock or the machine for anything.

mod catalog;
mod expressions;
mod mutate;
mod queries;
mod random;
mod relations;

pub use random::Random;

use expressions::Mood;
use mutate::Corpus;

/// Where a statement comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Our own grammar.
    Grammar,
    /// Forms that our parser does not read, so that PostgreSQL has to.
    Plan,
    /// Questions to `information_schema` and `pg_catalog`.
    Catalog,
    /// Statements of the corpus, changed or put together.
    Mutated,
    /// A statement of a corpus as it stands.
    Corpus,
}

/// One generated statement.
#[derive(Debug, Clone)]
pub struct Generated {
    /// Its text.
    pub sql: String,
    /// Where it comes from.
    pub kind: Kind,
    /// By construction: its order is total, nothing stops early, and no expression of it can fail on one row but not on another. Its rows do
    /// not depend on the plan, whatever the hidden volumes.
    pub exact: bool,
}

impl Generated {
    /// One that was not generated, of unknown order.
    pub fn as_it_stands(sql: String, kind: Kind) -> Self {
        Self { sql, kind, exact: false }
    }
}

/// Of a hundred statements, how many the grammar, plan mode and the catalog give; the rest are mutations.
const GRAMMAR: u64 = 48;
const PLAN: u64 = 12;
const CATALOG: u64 = 10;
/// Of a hundred of the grammar, how many are exact.
const EXACT: u64 = 50;

/// The generator.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    corpus: Corpus,
}

impl Generator {
    /// One that gives the same statements for the same seed and corpus.
    pub fn new(seed: u64, corpus: &[String]) -> Self {
        Self { random: Random::new(seed), corpus: Corpus::new(corpus) }
    }

    fn statement(&mut self) -> Generated {
        let draw = self.random.below(100);
        if draw < GRAMMAR {
            let exact = self.random.below(100) < EXACT;
            let sql = queries::query(&mut self.random, if exact { Mood::exact() } else { Mood::loose() });
            Generated { sql, kind: Kind::Grammar, exact }
        } else if draw < GRAMMAR + PLAN {
            Generated { sql: queries::plan_form(&mut self.random), kind: Kind::Plan, exact: false }
        } else if draw < GRAMMAR + PLAN + CATALOG {
            Generated { sql: catalog::question(&mut self.random), kind: Kind::Catalog, exact: false }
        } else {
            Generated { sql: self.corpus.mutation(&mut self.random), kind: Kind::Mutated, exact: false }
        }
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        Some(self.statement())
    }
}
