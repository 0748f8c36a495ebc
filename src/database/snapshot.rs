//! Reading a database's schema.
//!
//! Takes the gateway's connection, gives a [`Snapshot`]: relations and columns that the view owner can select, their types, keys, comments
//! and labels, what derives from what, functions, and the indexes that could make row order a channel. Never reads a row of a table.

mod queries;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Row};

use super::DatabaseError;
use crate::model::names::RelationName;
use crate::model::snapshot::{
    BaseType, CATALOG, Column, ColumnType, ForeignKey, Function, GovernedCatalog, INFORMATION, Index, Relation, RelationKind,
    Snapshot, TypeFamily, Volatility,
};

/// What marks a label inside a comment.
const LABEL_MARK: &str = "@label:";

/// A cheap value that changes whenever the schema does.
pub async fn fingerprint(client: &Client) -> Result<String, DatabaseError> {
    let row = client.query_one(queries::FINGERPRINT, &[]).await.map_err(reading("asking whether the schema changed"))?;
    Ok(row.get(0))
}

/// Reads everything.
pub async fn read(client: &Client, view_owner: &str, search_path: Option<&[String]>) -> Result<Snapshot, DatabaseError> {
    let owner = &[&view_owner as &(dyn tokio_postgres::types::ToSql + Sync)];
    let rows = Rows {
        relations: client.query(queries::RELATIONS, owner).await.map_err(reading("reading relations"))?,
        columns: client.query(queries::COLUMNS, owner).await.map_err(reading("reading columns"))?,
        keys: client.query(queries::KEYS, &[]).await.map_err(reading("reading keys"))?,
        parents: client.query(queries::DERIVED, &[]).await.map_err(reading("reading what derives from what"))?,
        definitions: client.query(queries::DEFINITIONS, &[]).await.map_err(reading("reading definitions of views"))?,
        indexes: client.query(queries::INDEXES, &[]).await.map_err(reading("reading indexes"))?,
    };
    let functions = client.query(queries::FUNCTIONS, &[]).await.map_err(reading("reading functions"))?;
    let catalog = client.query(queries::CATALOG_RELATIONS, &[]).await.map_err(reading("reading the catalog's names"))?;
    let types = client.query(queries::TYPE_NAMES, &[]).await.map_err(reading("reading type names"))?;
    let path = match search_path {
        Some(path) => path.to_vec(),
        None => default_path(client).await?,
    };
    let mut snapshot = Snapshot {
        generation: String::new(),
        relations: assemble(&rows),
        search_path: path,
        catalog_relations: catalog.iter().map(|row| row.get(0)).collect(),
        functions: group_functions(&functions),
        type_names: types.iter().map(|row| (row.get(0), row.get(1))).collect(),
        governed: governed_catalog(client).await?,
    };
    snapshot.generation = generation(&snapshot);
    Ok(snapshot)
}

fn reading(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> DatabaseError {
    DatabaseError::admin(doing)
}

/// What the two schemas of ours answer for; their script is the only list of it.
async fn governed_catalog(client: &Client) -> Result<GovernedCatalog, DatabaseError> {
    let schemas = [CATALOG, INFORMATION];
    let looking = || DatabaseError::admin("reading the governed catalog");
    let views = client.query(queries::GOVERNED_RELATIONS, &[&&schemas[..]]).await.map_err(looking())?;
    let functions = client.query(queries::GOVERNED_FUNCTIONS, &[&CATALOG]).await.map_err(looking())?;
    let below = client.query(queries::GOVERNED_BELOW, &[&&schemas[..]]).await.map_err(looking())?;
    let views: BTreeMap<u32, RelationName> = views
        .iter()
        .map(|row| {
            let real = if row.get::<_, String>(1) == INFORMATION { "information_schema" } else { "pg_catalog" };
            (row.get(0), RelationName::new(real, row.get::<_, String>(2)))
        })
        .collect();
    Ok(GovernedCatalog {
        relations: views.values().cloned().collect(),
        functions: functions.iter().map(|row| row.get(0)).collect(),
        below: below.iter().map(|row| row.get(0)).collect(),
        views,
    })
}

async fn default_path(client: &Client) -> Result<Vec<String>, DatabaseError> {
    let row = client.query_one(queries::SEARCH_PATH, &[]).await.map_err(reading("reading the search path"))?;
    Ok(row.get(0))
}

fn generation(snapshot: &Snapshot) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", (&snapshot.relations, &snapshot.search_path, &snapshot.functions)).as_bytes());
    crate::clock::hex(hash.finalize().get(..16).unwrap_or_default())
}

/// What the catalog queries gave.
struct Rows {
    relations: Vec<Row>,
    columns: Vec<Row>,
    keys: Vec<Row>,
    parents: Vec<Row>,
    definitions: Vec<Row>,
    indexes: Vec<Row>,
}

fn assemble(rows: &Rows) -> BTreeMap<RelationName, Relation> {
    let Rows { relations, columns, keys, parents, definitions, indexes } = rows;
    let definitions: BTreeMap<u32, String> = definitions.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut by_oid: BTreeMap<u32, (RelationName, Relation)> = relations.iter().filter_map(relation).collect();
    for row in columns {
        if let Some((_, relation)) = by_oid.get_mut(&row.get(0)) {
            relation.columns.push(column(row));
        }
    }
    for row in keys {
        if let Some((_, relation)) = by_oid.get_mut(&row.get(0)) {
            key(row, relation);
        }
    }
    for row in indexes {
        if let Some((_, relation)) = by_oid.get_mut(&row.get(0)) {
            relation.indexes.push(Index { name: row.get(1), columns: row.get(2) });
        }
    }
    let ancestors = Ancestors::of(parents);
    for (oid, (_, relation)) in &mut by_oid {
        relation.lineage = ancestors.lineage(*oid);
        relation.derived_from = ancestors.names(&relation.lineage, *oid);
        relation.definitions = relation.lineage.iter().filter_map(|oid| Some((*oid, definitions.get(oid)?.clone()))).collect();
    }
    by_oid.into_values().filter(|(_, relation)| !relation.columns.is_empty()).collect()
}

/// One relation; nothing if a dot in its name would make policies ambiguous.
fn relation(row: &Row) -> Option<(u32, (RelationName, Relation))> {
    let (schema, name): (String, String) = (row.get(1), row.get(2));
    if schema.contains('.') || name.contains('.') {
        return None;
    }
    let partition: bool = row.get(4);
    let kind = match (row.get::<_, i8>(3) as u8, partition) {
        (_, true) => RelationKind::Partition,
        (b'r', false) => RelationKind::Table,
        (b'v', false) => RelationKind::View,
        (b'm', false) => RelationKind::MaterializedView,
        (b'p', false) => RelationKind::PartitionedTable,
        (b'f', false) => RelationKind::ForeignTable,
        _ => return None,
    };
    let oid = row.get(0);
    let relation = Relation {
        oid,
        kind,
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        comment: row.get::<_, Option<String>>(5).and_then(|comment| split_comment(&comment).0),
        derived_from: Vec::new(),
        lineage: BTreeSet::new(),
        definitions: BTreeMap::new(),
        indexes: Vec::new(),
        policy_owner: row.get(6),
    };
    Some((oid, (RelationName::new(schema, name), relation)))
}

fn column(row: &Row) -> Column {
    let (comment, labels) = row.get::<_, Option<String>>(10).map_or((None, Vec::new()), |comment| split_comment(&comment));
    let leaf = |name: String| {
        let enum_labels: Vec<String> = row.get(11);
        let family = if row.get(13) { TypeFamily::Citext } else { family(row.get(7), !enum_labels.is_empty()) };
        BaseType { name, family, enum_labels }
    };
    let element = row.get::<_, Option<String>>(12).map(leaf);
    let base = match element {
        Some(_) => BaseType { name: row.get(8), family: TypeFamily::Other, enum_labels: Vec::new() },
        None => leaf(row.get(8)),
    };
    let kind = ColumnType {
        oid: row.get(3),
        typmod: row.get(4),
        name: row.get(6),
        base_name: base.name,
        family: base.family,
        enum_labels: base.enum_labels,
        element,
        extension_schema: row.get(9),
    };
    Column { name: row.get(1), attnum: row.get(2), kind, not_null: row.get(5), labels, comment }
}

/// Takes `@label:` marks out of a comment.
fn split_comment(comment: &str) -> (Option<String>, Vec<String>) {
    let (labels, words): (Vec<&str>, Vec<&str>) = comment.split_whitespace().partition(|word| word.starts_with(LABEL_MARK));
    let mut labels: Vec<String> = labels
        .iter()
        .filter_map(|word| word.strip_prefix(LABEL_MARK))
        .map(|label| label.trim_end_matches([',', ';', '.']).to_owned())
        .collect();
    labels.sort();
    labels.dedup();
    let text = words.join(" ");
    ((!text.is_empty()).then_some(text), labels)
}

fn family(base: u32, is_enum: bool) -> TypeFamily {
    use tokio_postgres::types::Type;
    if is_enum {
        return TypeFamily::Enum;
    }
    match Type::from_oid(base) {
        Some(Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME) => TypeFamily::Text,
        Some(Type::INT2) => TypeFamily::Int2,
        Some(Type::INT4) => TypeFamily::Int4,
        Some(Type::INT8) => TypeFamily::Int8,
        Some(Type::NUMERIC) => TypeFamily::Numeric,
        Some(Type::FLOAT4) => TypeFamily::Float4,
        Some(Type::FLOAT8) => TypeFamily::Float8,
        Some(Type::BOOL) => TypeFamily::Bool,
        Some(Type::DATE) => TypeFamily::Date,
        Some(Type::TIME) => TypeFamily::Time,
        Some(Type::TIMETZ) => TypeFamily::TimeTz,
        Some(Type::TIMESTAMP) => TypeFamily::Timestamp,
        Some(Type::TIMESTAMPTZ) => TypeFamily::TimestampTz,
        Some(Type::INTERVAL) => TypeFamily::Interval,
        Some(Type::UUID) => TypeFamily::Uuid,
        Some(Type::JSON) => TypeFamily::Json,
        Some(Type::JSONB) => TypeFamily::Jsonb,
        Some(Type::BYTEA) => TypeFamily::Bytea,
        _ => TypeFamily::Other,
    }
}

fn key(row: &Row, relation: &mut Relation) {
    let columns: Vec<String> = row.get(2);
    match row.get::<_, i8>(1) as u8 {
        b'p' => relation.primary_key = columns,
        b'u' => relation.unique_keys.push(columns),
        _ => {
            let (schema, name): (Option<String>, Option<String>) = (row.get(3), row.get(4));
            if let (Some(schema), Some(name)) = (schema, name) {
                relation.foreign_keys.push(ForeignKey {
                    columns,
                    target: RelationName::new(schema, name),
                    target_columns: row.get(5),
                });
            }
        }
    }
}

struct Ancestors {
    parents: BTreeMap<u32, BTreeSet<u32>>,
    names: BTreeMap<u32, RelationName>,
}

impl Ancestors {
    fn of(rows: &[Row]) -> Self {
        let mut ancestors = Self { parents: BTreeMap::new(), names: BTreeMap::new() };
        for row in rows {
            let parent: u32 = row.get(1);
            ancestors.parents.entry(row.get(0)).or_default().insert(parent);
            ancestors.names.insert(parent, RelationName::new(row.get::<_, String>(2), row.get::<_, String>(3)));
        }
        ancestors
    }

    /// A relation and everything that it derives from.
    fn lineage(&self, oid: u32) -> BTreeSet<u32> {
        let mut seen = BTreeSet::from([oid]);
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            for parent in self.parents.get(&oid).into_iter().flatten() {
                if seen.insert(*parent) {
                    next.push(*parent);
                }
            }
        }
        seen
    }

    fn names(&self, lineage: &BTreeSet<u32>, oid: u32) -> Vec<RelationName> {
        let parents = lineage.iter().filter(|parent| **parent != oid);
        let mut names: Vec<RelationName> = parents.filter_map(|oid| self.names.get(oid).cloned()).collect();
        names.sort();
        names
    }
}

fn group_functions(rows: &[Row]) -> BTreeMap<String, Vec<Function>> {
    let mut functions: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    for row in rows {
        let volatility = match row.get::<_, i8>(2) as u8 {
            b'i' => Volatility::Immutable,
            b's' => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        let function = Function { schema: row.get(0), volatility, extension: row.get(3) };
        let overloads = functions.entry(row.get(1)).or_default();
        if !overloads.contains(&function) {
            overloads.push(function);
        }
    }
    functions
}
