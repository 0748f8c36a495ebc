//! A world for the analysis alone: relations and functions that exist and are granted, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use pgteller::model::grants::{AccessAnswer, ColumnGrant, FunctionGrants, GrantSet, RelationGrant};
use pgteller::model::names::RelationName;
use pgteller::model::refusal::Refusal;
use pgteller::model::snapshot::{Column, ColumnType, Function, Relation, RelationKind, Snapshot, TypeFamily, Volatility};
use pgteller::sql::{self, Names};

/// Where the functions live that a task reaches without a schema and that are not built in.
pub const EXTENSION_SCHEMA: &str = "zz_extension";

/// Such a world.
pub struct Scene {
    snapshot: Snapshot,
    grants: GrantSet,
    schemas: BTreeMap<String, String>,
}

impl Scene {
    /// Relations with their columns, all granted, and functions: those outside `pg_catalog` belong to a granted extension,
    /// so that they are allowed unless they are volatile. Names without a schema lead to `public`.
    pub fn new<'a>(
        relations: impl IntoIterator<Item = (RelationName, Vec<&'a str>)>,
        functions: impl IntoIterator<Item = (&'a str, &'a str, Volatility)>,
    ) -> Self {
        let mut snapshot = Snapshot { search_path: vec!["public".into()], ..Snapshot::default() };
        let mut granted = BTreeMap::new();
        let mut schemas = BTreeMap::new();
        for (name, columns) in relations {
            let next = format!("pgteller_profile_{}", schemas.len() + 1);
            schemas.entry(name.schema.clone()).or_insert(next);
            let clear = columns.iter().map(|&column| (column.to_owned(), ColumnGrant::Clear)).collect();
            granted.insert(name.clone(), RelationGrant { columns: clear, rows: None });
            snapshot.relations.insert(name, relation(&columns));
        }
        for (schema, name, volatility) in functions {
            let extension = (schema != "pg_catalog").then(|| "zz_extension".to_owned());
            snapshot.functions.entry(name.to_owned()).or_default().push(Function {
                schema: schema.to_owned(),
                volatility,
                extension,
            });
        }
        let answer = AccessAnswer {
            budget: pgteller::model::grants::Budget::default(),
            allow: true,
            ttl_seconds: 60,
            violations: Vec::new(),
            relations: granted,
            params: BTreeMap::new(),
            functions: FunctionGrants { allow: Vec::new(), extensions: vec!["zz_extension".into()], deny: Vec::new() },
            carry: serde_json::Value::Null,
        };
        let grants = GrantSet::validated(answer, &snapshot).unwrap();
        Self { snapshot, grants, schemas }
    }

    /// What the analysis says.
    pub fn read(&self, sql: &str) -> Result<sql::Reading, Refusal> {
        sql::read(sql, &Names { snapshot: &self.snapshot, grants: &self.grants, schemas: &self.schemas })
    }

    /// The statement as it would be sent if it was read as a tree, else the refusal if it is one.
    pub fn tree(&self, sql: &str) -> Result<sql::Analysed, Option<Refusal>> {
        match self.read(sql) {
            Ok(sql::Reading::Tree(read)) => Ok(read),
            other => Err(other.err()),
        }
    }

    /// Real schema to profile schema.
    pub fn schemas(&self) -> &BTreeMap<String, String> {
        &self.schemas
    }
}

fn relation(columns: &[&str]) -> Relation {
    let kind = ColumnType {
        oid: 25,
        typmod: -1,
        name: "text".into(),
        base_name: "text".into(),
        family: TypeFamily::Text,
        enum_labels: Vec::new(),
        element: None,
        extension_schema: None,
    };
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        attnum: 1,
        kind: kind.clone(),
        not_null: false,
        labels: Vec::new(),
        comment: None,
    };
    Relation {
        oid: 1,
        kind: RelationKind::Table,
        columns: columns.iter().map(column).collect(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        derived_from: Vec::new(),
        lineage: BTreeSet::new(),
        definitions: BTreeMap::new(),
        indexes: Vec::new(),
        policy_owner: None,
    }
}
