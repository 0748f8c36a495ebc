//! Which columns a statement may read: the name rule.
//!
//! Takes the names of a walk, gives for each relation the granted columns that may be read; perhaps too many, never too few.
//! Never resolves scopes: a name that could mean a column of a relation counts for it (`reference/sql.md` §3).
//!
//! ```text
//! select c.id, lower(email) from sales.customers c   -- granted: id, email, name
//!   sales.customers: {email, id} by names
//! select c from sales.customers c
//!   sales.customers: {email, id, name} by all
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use super::functions::is_column_of;
use super::walk::{Source, Walk};
use crate::model::grants::RelationGrant;
use crate::model::names::RelationName;
use crate::model::snapshot::Snapshot;
use crate::model::statement::{Access, ColumnsFrom, RelationUse};

/// Attributes columns to the relations of a statement.
pub fn attribute(walk: &Walk, names: &Names<'_>) -> Vec<RelationUse> {
    let mut uses: BTreeMap<&RelationName, (BTreeSet<&str>, ColumnsFrom)> = BTreeMap::new();
    for source in &walk.sources {
        let Some(grant) = names.grants.relations.get(&source.relation) else { continue };
        let (columns, from) = columns_of(source, grant, walk, names);
        let entry = uses.entry(&source.relation).or_insert((BTreeSet::new(), ColumnsFrom::Names));
        entry.0.extend(columns);
        if from == ColumnsFrom::All {
            entry.1 = ColumnsFrom::All;
        }
    }
    uses.into_iter().map(|(relation, (columns, from))| relation_use(relation, columns, from, names.snapshot)).collect()
}

/// A relation of which every granted column may be read: what is known when only its lock is.
pub fn whole(relation: &RelationName, grant: &RelationGrant, snapshot: &Snapshot) -> RelationUse {
    relation_use(relation, grant.columns.keys().map(String::as_str).collect(), ColumnsFrom::All, snapshot)
}

fn columns_of<'a>(source: &Source, grant: &'a RelationGrant, walk: &Walk, names: &Names<'_>) -> (Vec<&'a str>, ColumnsFrom) {
    let all = source.renamed
        || walk.natural
        || is_called_whole(source, walk, names)
        || walk.starred.contains(&source.alias)
        || walk.starred.iter().any(|alias| !is_known(alias, walk))
        || walk.bare.contains(&source.alias)
        || walk.bare.contains(&source.relation.name);
    if all {
        return (grant.columns.keys().map(String::as_str).collect(), ColumnsFrom::All);
    }
    let named = |column: &str| {
        walk.bare.contains(column)
            || walk.functions.iter().any(|function| function.name == column)
            || walk
                .qualified
                .iter()
                .any(|(qualifier, columns)| columns.contains(column) && (*qualifier == source.alias || !is_known(qualifier, walk)))
    };
    (grant.columns.keys().map(String::as_str).filter(|column| named(column)).collect(), ColumnsFrom::Names)
}

/// Whether `alias.f` may be a function over the whole row.
fn is_called_whole(source: &Source, walk: &Walk, names: &Names<'_>) -> bool {
    walk.dotted.iter().any(|(qualifier, name)| {
        qualifier.as_ref().is_some_and(|qualifier| *qualifier == source.alias)
            && !is_column_of(qualifier.as_deref(), name, walk, names)
            && names.snapshot.functions.contains_key(name)
    })
}

fn is_known(alias: &str, walk: &Walk) -> bool {
    walk.others.contains(alias) || walk.sources.iter().any(|source| source.alias == alias)
}

fn relation_use(name: &RelationName, columns: BTreeSet<&str>, from: ColumnsFrom, snapshot: &Snapshot) -> RelationUse {
    let relation = snapshot.relations.get(name);
    let labels: BTreeSet<&String> =
        columns.iter().filter_map(|column| relation?.column(column)).flat_map(|column| &column.labels).collect();
    RelationUse {
        schema: name.schema.clone(),
        name: name.name.clone(),
        access: Access::Read,
        columns: columns.into_iter().map(str::to_owned).collect(),
        columns_from: from,
        labels: labels.into_iter().cloned().collect(),
    }
}
