//! From a grant set to the names and views of its profile.
//!
//! Takes a grant set and the snapshot that it was checked against, gives a [`Compiled`]: pure, so that SQL can be pointed at a profile
//! before it exists. No literal and no per-task value stands in a view: row filters read both from the task's own row.
//!
//! The identity covers everything that the views depend on: relation OIDs, column numbers and types, masks, the shape of row filters,
//! definitions of application views, the order of schemas, and the version of this compiler (`redteam.md` 5).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::masks;
use super::policies::Limited;
use super::predicates::{Filter, Predicates};
use crate::database::preflight::{Finding, mixed_indexes};
use crate::database::quote;
use crate::model::grants::{ColumnGrant, GrantSet, RelationGrant, extension_schemas};
use crate::model::mask::{Mask, ValueDomain};
use crate::model::names::{InstallationId, RelationName};
use crate::model::snapshot::{CATALOG, Relation, Snapshot};

/// Changes whenever compiled views would.
const COMPILER_VERSION: u32 = 2;

/// The views of a built profile, by their OIDs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfileViews {
    /// By view and column number: the relation, its column, and how it is shown.
    pub columns: HashMap<(u32, i16), (RelationName, String, ColumnGrant)>,
    /// The relation that each view presents.
    pub relations: HashMap<u32, RelationName>,
    /// What lies below these views, and is locked with them.
    pub below: BTreeSet<u32>,
}

/// A compiled grant set.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The profile's NOLOGIN role.
    pub role: String,
    /// Everything that the views depend on, compared in full before the profile is used.
    pub identity: String,
    /// The advisory lock of this profile.
    pub lock: i64,
    /// Real schema to profile schema.
    pub schemas: BTreeMap<String, String>,
    /// The search path of the task's statements.
    pub search_path: String,
    /// What the task's row in the private table holds: params and constants of row filters.
    pub params: Value,
    /// What the view owner runs to build it.
    pub ddl: String,
    /// Relations whose row filters are policies; built after `ddl`.
    pub limited: Vec<Limited>,
    /// Indexes that would make row order a channel under these grants.
    pub findings: Vec<Finding>,
    /// The value domains whose keys the views read.
    pub value_domains: BTreeSet<ValueDomain>,
    inner_schema: String,
    columns: BTreeMap<RelationName, Vec<(String, ColumnGrant)>>,
    /// The granted relations, and everything that they derive from.
    lineage: BTreeSet<u32>,
}

/// Compiles a grant set. Relations that left the snapshot meanwhile are left out: their names are then not granted.
pub fn compile(grants: &GrantSet, snapshot: &Snapshot, installation: &InstallationId) -> Compiled {
    let mut predicates = Predicates::default();
    let parts: Vec<Part<'_>> = grants
        .relations
        .iter()
        .filter_map(|(name, grant)| {
            let relation = snapshot.relations.get(name)?;
            let filter = grant.rows.as_ref().map(|rows| predicates.filter(rows, relation));
            Some(Part { name, grant, relation, filter })
        })
        .collect();
    let extensions = extension_schemas(grants, snapshot);
    let identity = identity(&parts, snapshot, &extensions.iter().cloned().collect::<Vec<_>>());
    let digest = Sha256::digest(identity.as_bytes());
    let hash = crate::clock::hex(digest.get(..16).unwrap_or_default());
    let base = format!("pgteller_{installation}_{hash}");
    let role = format!("pgteller_{installation}_p_{hash}");
    let inner_schema = format!("{base}_0");
    let mut schemas = BTreeMap::new();
    for part in &parts {
        let next = schemas.len().saturating_add(1);
        schemas.entry(part.name.schema.clone()).or_insert_with(|| format!("{base}_{next}"));
    }
    let search_path = search_path(&schemas, &snapshot.search_path, &extensions);
    let (ddl, limited) = ddl(&parts, &schemas, &inner_schema, &role);
    let columns = parts.iter().map(|part| (part.name.clone(), part.columns())).collect();
    let lineage = parts.iter().flat_map(|part| part.relation.lineage.iter().copied()).collect();
    Compiled {
        lock: lock_of(&role),
        role,
        identity,
        schemas,
        search_path,
        params: json!({"p": grants.params, "c": predicates.constants}),
        ddl,
        limited,
        findings: mixed_indexes(grants, snapshot),
        value_domains: parts.iter().flat_map(Part::value_domains).collect(),
        inner_schema,
        columns,
        lineage,
    }
}

/// The advisory lock that guards a profile's life, from its role's name.
pub fn lock_of(role: &str) -> i64 {
    let digest = Sha256::digest(role.as_bytes());
    digest.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

struct Part<'a> {
    name: &'a RelationName,
    grant: &'a RelationGrant,
    relation: &'a Relation,
    filter: Option<Filter<'a>>,
}

impl Part<'_> {
    /// The visible columns in the relation's own order.
    fn columns(&self) -> Vec<(String, ColumnGrant)> {
        self.relation
            .columns
            .iter()
            .filter_map(|column| Some((column.name.clone(), self.grant.columns.get(&column.name)?.clone())))
            .collect()
    }

    fn value_domains(&self) -> impl Iterator<Item = ValueDomain> {
        self.grant.columns.values().filter_map(|grant| match grant {
            ColumnGrant::Masked(Mask::Pseudonym { domain }) => Some(domain.clone()),
            ColumnGrant::Masked(_) | ColumnGrant::Clear => None,
        })
    }
}

fn identity(parts: &[Part<'_>], snapshot: &Snapshot, extensions: &[String]) -> String {
    let relations: Vec<Value> = parts
        .iter()
        .map(|part| {
            let columns: Vec<Value> = part
                .relation
                .columns
                .iter()
                .filter_map(|column| {
                    let grant = part.grant.columns.get(&column.name)?;
                    let kind = &column.kind;
                    Some(json!([column.name, column.attnum, kind.oid, kind.typmod, kind.base(), kind.element, grant]))
                })
                .collect();
            // Which back end holds the rows back: policies, under this owner of the table, or layers.
            let policy_owner = part.filter.as_ref().and(part.relation.policy_owner);
            let filter = part.filter.as_ref().map(Filter::sql);
            json!([part.name, part.relation.oid, part.relation.definitions, columns, filter, policy_owner])
        })
        .collect();
    json!({"compiler": COMPILER_VERSION, "search_path": snapshot.search_path, "extensions": extensions, "relations": relations})
        .to_string()
}

/// The governed catalog and `pg_catalog` first, so that a table called `date` does not hide the type (`redteam.md` 7).
fn search_path(schemas: &BTreeMap<String, String>, order: &[String], extensions: &BTreeSet<String>) -> String {
    let mut path = vec![CATALOG.to_owned(), "pg_catalog".to_owned()];
    path.extend(order.iter().filter_map(|schema| schemas.get(schema)).map(|schema| quote::identifier(schema)));
    path.extend(extensions.iter().map(|schema| quote::identifier(schema)));
    path.push("pg_temp".to_owned());
    path.join(", ")
}

fn ddl(parts: &[Part<'_>], schemas: &BTreeMap<String, String>, inner_schema: &str, role: &str) -> (String, Vec<Limited>) {
    let role = quote::identifier(role);
    let mut ddl = String::new();
    let mut limited = Vec::new();
    let _ = writeln!(ddl, "CREATE SCHEMA {};", quote::identifier(inner_schema));
    for schema in schemas.values() {
        let schema = quote::identifier(schema);
        let _ = writeln!(ddl, "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {role};");
    }
    for (number, part) in parts.iter().enumerate() {
        let Some(schema) = schemas.get(&part.name.schema) else { continue };
        let view = quote::qualified(schema, &part.name.name);
        let table = quote::qualified(&part.name.schema, &part.name.name);
        let select = |from: &str| format!("SELECT {} FROM {from} s", masked_columns(part));
        let outer = |from: &str| format!("CREATE VIEW {view} AS {}; GRANT SELECT ON {view} TO {role};\n", select(from));
        let Some(filter) = &part.filter else {
            ddl.push_str(&outer(&table));
            continue;
        };
        let inner = quote::qualified(inner_schema, &format!("r{number}"));
        let layers = inner_view(part, filter, &inner, &table) + &outer(&inner);
        match part.relation.policy_owner {
            None => ddl.push_str(&layers),
            Some(table_owner) => limited.push(Limited {
                relation: part.relation.oid,
                table_owner,
                filter: filter.shape(),
                select: select(&table),
                view,
                layers,
            }),
        }
    }
    (ddl, limited)
}

/// The barrier under a filtered relation's masks.
fn inner_view(part: &Part<'_>, filter: &Filter<'_>, view: &str, table: &str) -> String {
    let columns: Vec<String> = part.columns().iter().map(|(name, _)| format!("s.{}", quote::identifier(name))).collect();
    format!(
        "CREATE VIEW {view} WITH (security_barrier = true) AS SELECT {} FROM {table} s WHERE {};\n",
        columns.join(", "),
        filter.barrier()
    )
}

fn masked_columns(part: &Part<'_>) -> String {
    let columns: Vec<String> = part
        .relation
        .columns
        .iter()
        .filter_map(|column| {
            let name = quote::identifier(&column.name);
            Some(match part.grant.columns.get(&column.name)? {
                ColumnGrant::Clear => format!("s.{name}"),
                ColumnGrant::Masked(mask) => {
                    format!("{} AS {name}", masks::expression(mask, &format!("s.{name}"), &column.kind))
                }
            })
        })
        .collect();
    columns.join(", ")
}

impl Compiled {
    /// Every schema of the profile, the inner one first.
    pub fn all_schemas(&self) -> Vec<String> {
        std::iter::once(&self.inner_schema).chain(self.schemas.values()).cloned().collect()
    }

    /// Resolves the views' OIDs, given as (oid, schema, name), to what they present.
    pub fn views(&self, views: impl Iterator<Item = (u32, String, String)>) -> ProfileViews {
        let real: BTreeMap<&str, &str> = self.schemas.iter().map(|(real, ours)| (ours.as_str(), real.as_str())).collect();
        let mut found = ProfileViews { below: self.lineage.clone(), ..ProfileViews::default() };
        for (oid, schema, name) in views {
            let Some(relation) = real.get(schema.as_str()).map(|schema| RelationName::new(*schema, name)) else {
                // Inner views, and the tables that filters and keys are read from.
                found.below.insert(oid);
                continue;
            };
            for (index, (column, grant)) in self.columns.get(&relation).into_iter().flatten().enumerate() {
                let number = i16::try_from(index.saturating_add(1)).unwrap_or(i16::MAX);
                found.columns.insert((oid, number), (relation.clone(), column.clone(), grant.clone()));
            }
            found.relations.insert(oid, relation);
        }
        found
    }
}
