//! What we know of a database's schema.
//!
//! Takes what `database::snapshot` read, gives look-ups. Knows only what the view owner can select, and never a row.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::RelationName;

/// One reading of a database's schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Changes whenever anything below changes.
    pub generation: String,
    /// Every relation that could be granted.
    pub relations: BTreeMap<RelationName, Relation>,
    /// The schemas in which unqualified names are looked up, in order.
    pub search_path: Vec<String>,
    /// Names of the relations of `pg_catalog`, which an unqualified name reaches first.
    pub catalog_relations: BTreeSet<String>,
    /// Every function by name.
    pub functions: BTreeMap<String, Vec<Function>>,
    /// Names of types outside `pg_catalog`, by OID, as `format_type` prints them.
    pub type_names: BTreeMap<u32, String>,
    /// What the governed catalog answers for.
    pub governed: GovernedCatalog,
}

/// The schema that stands before `pg_catalog` for a task: what is shown of it, under real names.
pub const CATALOG: &str = "pgteller_catalog";
/// The schema that `information_schema` is redirected to.
pub const INFORMATION: &str = "pgteller_information_schema";

/// The part of PostgreSQL's catalogs that two schemas of ours present as a task may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GovernedCatalog {
    /// Relations by their real schema, `information_schema` or `pg_catalog`.
    pub relations: BTreeSet<RelationName>,
    /// Functions of `pg_catalog` that have a governed namesake.
    pub functions: BTreeSet<String>,
    /// OIDs of the governed views, with the relation that each stands for.
    pub views: BTreeMap<u32, RelationName>,
    /// OIDs of the relations that the governed views read.
    pub below: BTreeSet<u32>,
}

/// One relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The primary key's columns, empty if none.
    pub primary_key: Vec<String>,
    /// Unique keys beside the primary one.
    pub unique_keys: Vec<Vec<String>>,
    /// Foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its comment, labels taken out.
    pub comment: Option<String>,
    /// Partition and inheritance parents and what a view reads, transitively.
    pub derived_from: Vec<RelationName>,
    /// The same as OIDs, itself included.
    pub lineage: BTreeSet<u32>,
    /// MD5 of the rewrite rules of every view in the lineage, by OID; empty for tables.
    pub definitions: BTreeMap<u32, String>,
    /// Indexes over more than one column, or with expressions or a predicate.
    pub indexes: Vec<Index>,
    /// The role that owns the table, if the DBA lets row filters on it be policies and row security is on.
    pub policy_owner: Option<u32>,
}

impl Relation {
    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Kinds of relations that can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// The parent of partitions.
    PartitionedTable,
    /// A partition of a partitioned table.
    Partition,
    /// A foreign table.
    ForeignTable,
}

impl RelationKind {
    /// As people say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::PartitionedTable => "partitioned table",
            Self::Partition => "partition",
            Self::ForeignTable => "foreign table",
        }
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its number in `pg_attribute`.
    pub attnum: i16,
    /// Its type.
    pub kind: ColumnType,
    /// NOT NULL?
    pub not_null: bool,
    /// Its labels, sorted.
    pub labels: Vec<String>,
    /// Its comment, labels taken out.
    pub comment: Option<String>,
}

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// `pg_type.oid` of the declared type.
    pub oid: u32,
    /// `atttypmod`.
    pub typmod: i32,
    /// As `format_type` prints it.
    pub name: String,
    /// The type without domains, qualified: for a domain the type under it, for an array of a domain an array of that.
    pub base_name: String,
    /// What masks can do with it; of the base type for a domain.
    pub family: TypeFamily,
    /// Labels, for an enum.
    pub enum_labels: Vec<String>,
    /// What it holds, for an array.
    pub element: Option<BaseType>,
    /// The schema of the type if an extension brought it.
    pub extension_schema: Option<String>,
}

impl ColumnType {
    /// What masks see of it.
    pub fn base(&self) -> BaseType {
        BaseType { name: self.base_name.clone(), family: self.family, enum_labels: self.enum_labels.clone() }
    }
}

/// A type without domains, as masks see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseType {
    /// As `format_type` prints it, qualified.
    pub name: String,
    /// What masks can do with it.
    pub family: TypeFamily,
    /// Labels, for an enum.
    pub enum_labels: Vec<String>,
}

/// Families of types that masks tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TypeFamily {
    /// text, varchar, char, name.
    Text,
    /// citext of the extension of this name: text whose case does not count.
    Citext,
    /// smallint.
    Int2,
    /// integer.
    Int4,
    /// bigint.
    Int8,
    /// numeric.
    Numeric,
    /// real.
    Float4,
    /// double precision.
    Float8,
    /// boolean.
    Bool,
    /// date.
    Date,
    /// time without time zone.
    Time,
    /// time with time zone.
    TimeTz,
    /// timestamp without time zone.
    Timestamp,
    /// timestamp with time zone.
    TimestampTz,
    /// interval.
    Interval,
    /// uuid.
    Uuid,
    /// An enum.
    Enum,
    /// json.
    Json,
    /// jsonb.
    Jsonb,
    /// bytea.
    Bytea,
    /// Anything else, arrays among it.
    Other,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The referring columns.
    pub columns: Vec<String>,
    /// The relation referred to.
    pub target: RelationName,
    /// Its columns.
    pub target_columns: Vec<String>,
}

/// An index that could make row order a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The columns in its keys, INCLUDE list, expressions and predicate.
    pub columns: Vec<String>,
}

/// One overload of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The schema it lives in.
    pub schema: String,
    /// How much it may do.
    pub volatility: Volatility,
    /// The extension that brought it.
    pub extension: Option<String>,
}

/// `pg_proc.provolatile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    /// The same result for the same arguments, always.
    Immutable,
    /// The same result within one statement.
    Stable,
    /// Anything.
    Volatile,
}

impl GovernedCatalog {
    /// The schema of ours that answers for a relation of this real schema.
    pub fn schema_of(&self, schema: &str, name: &str) -> Option<&'static str> {
        let known = self.relations.contains(&RelationName::new(schema, name));
        known.then_some(if schema == "information_schema" { INFORMATION } else { CATALOG })
    }
}

/// What the policy question `access` sees of a relation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RelationView {
    /// What it is.
    pub kind: RelationKind,
    /// Its columns.
    pub columns: BTreeMap<String, ColumnView>,
    /// The primary key.
    pub key: Vec<String>,
    /// What it derives from, transitively.
    pub derived_from: Vec<RelationName>,
}

/// What the policy question `access` sees of a column.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ColumnView {
    /// As `format_type` prints it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its labels.
    pub labels: Vec<String>,
}

impl Snapshot {
    /// What the policy question `access` sees of this snapshot.
    pub fn view(&self) -> BTreeMap<RelationName, RelationView> {
        self.relations
            .iter()
            .map(|(name, relation)| {
                let columns = relation
                    .columns
                    .iter()
                    .map(|column| {
                        (column.name.clone(), ColumnView { kind: column.kind.name.clone(), labels: column.labels.clone() })
                    })
                    .collect();
                let view = RelationView {
                    kind: relation.kind,
                    columns,
                    key: relation.primary_key.clone(),
                    derived_from: relation.derived_from.clone(),
                };
                (name.clone(), view)
            })
            .collect()
    }

    /// Whether a name of the policy document is there: `schema.relation`, or `schema.relation.column`.
    pub fn knows(&self, name: &str) -> bool {
        if RelationName::parse(name).is_some_and(|relation| self.relations.contains_key(&relation)) {
            return true;
        }
        let Some((relation, column)) = name.rsplit_once('.') else { return false };
        RelationName::parse(relation)
            .and_then(|name| self.relations.get(&name))
            .is_some_and(|relation| relation.column(column).is_some())
    }

    /// The same snapshot with labels added that configuration gives to columns it knows.
    #[must_use]
    pub fn labelled(mut self, labels: &BTreeMap<String, Vec<String>>) -> Self {
        for (key, added) in labels {
            let Some((relation, column)) = key.rsplit_once('.') else { continue };
            let Some(relation) = RelationName::parse(relation).and_then(|name| self.relations.get_mut(&name)) else {
                continue;
            };
            if let Some(column) = relation.columns.iter_mut().find(|known| known.name == column) {
                column.labels.extend(added.iter().cloned());
                column.labels.sort();
                column.labels.dedup();
            }
        }
        self
    }
}
