//! One analysed SQL command, as policies and entries see it.
//!
//! Takes what `sql::read` found, gives a value that serialises into the policy input. Never holds the text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::RelationName;

/// One analysed statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// What kind of command it is; for now always `select`.
    pub verb: Verb,
    /// Who read it: our parser, or PostgreSQL.
    pub analysis: Analysis,
    /// Every relation it names, sorted.
    pub relations: Vec<RelationUse>,
    /// Relations of `information_schema` and `pg_catalog` that it names, as the governed catalog presents them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalog: Vec<RelationName>,
    /// Every function it may call, `schema.name`, sorted.
    pub functions: Vec<String>,
    /// Whether any SELECT of it has a WHERE.
    pub has_where: bool,
    /// Whether its outermost query has LIMIT or FETCH.
    pub has_limit: bool,
    /// SHA-256 of the token stream with literals as `?`.
    pub fingerprint: String,
}

/// Kinds of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// A query without side effects on tables.
    Select,
}

/// How a statement was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Analysis {
    /// From our own parse tree, with every proof held.
    Tree,
    /// By PostgreSQL under the task role, from the locks it took.
    Plan,
}

/// One relation in a statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelationUse {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What is done with it.
    pub access: Access,
    /// The granted columns that may be read; perhaps too many, never too few.
    pub columns: Vec<String>,
    /// Whether these columns were named or stand for all.
    pub columns_from: ColumnsFrom,
    /// The labels of these columns, sorted.
    pub labels: Vec<String>,
}

impl RelationUse {
    /// The relation's full name.
    pub fn relation(&self) -> RelationName {
        RelationName::new(&self.schema, &self.name)
    }
}

/// What a statement does with a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reads it.
    Read,
}

/// Where the column list of a [`RelationUse`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnsFrom {
    /// From names in the statement.
    Names,
    /// The statement takes, or may take, the whole row.
    All,
}
