//! What the names in FROM, in references and in calls mean.
//!
//! Takes one name at a time from the walk, gives relations, aliases, columns and schema tokens into the [`Walk`](super::Walk), or the refusal.

use sqlparser::ast::{DataType, Expr, Ident, ObjectName, ObjectNamePart, SetExpr, TableFactor, TableWithJoins};

use sqlparser::tokenizer::Location;

use super::super::catalog::{self, LookUp};
use super::super::{Names, idents, types};
use super::{Called, Source, Step, Walker, fold, odd, parts, refuse};
use crate::model::names::RelationName;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::CATALOG;

impl Walker<'_, '_> {
    pub(super) fn check_body(&mut self, body: &SetExpr) -> Step {
        match body {
            SetExpr::Table(_) => odd("TABLE stands where we cannot redirect it; write `select * from`"),
            SetExpr::SetOperation { left, right, .. } => {
                self.check_body(left)?;
                self.check_body(right)
            }
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => Step::Continue(()),
        }
    }

    fn is_cte(&self, name: &str) -> bool {
        let mut scopes = self.scopes.iter().rev();
        while let Some(scope) = scopes.next() {
            if scope.ctes.iter().any(|cte| cte == name) {
                return true;
            }
            // A replacing scope holds all that is visible of its parent; a parent that replaces in turn holds nothing more of its own.
            let mut skip = scope.replaces_parent;
            while skip {
                skip = scopes.next().is_some_and(|parent| parent.replaces_parent);
            }
        }
        false
    }

    pub(super) fn source(&mut self, name: &ObjectName, alias: Option<&sqlparser::ast::TableAlias>) -> Step {
        let Some(parts) = parts(name) else { return odd("a relation's name is computed") };
        let relation = match parts.as_slice() {
            [relation] if self.is_cte(relation) => {
                let alias = alias.map_or_else(|| relation.clone(), |alias| fold(&alias.name));
                self.walk.others.insert(alias);
                return Step::Continue(());
            }
            [relation] if self.names.snapshot.governed.schema_of("pg_catalog", relation).is_some() => {
                return self.catalog_source("pg_catalog", relation, alias);
            }
            [relation] => match self.unqualified(relation) {
                Ok(relation) => relation,
                Err(refusal) => return refuse(refusal),
            },
            [schema, relation] if self.names.snapshot.governed.schema_of(schema, relation).is_some() => {
                self.redirect_catalog(name.0.first(), schema, relation);
                return self.catalog_source(schema, relation, alias);
            }
            [schema, relation] => {
                let relation = RelationName::new(schema, relation);
                if !self.names.grants.relations.contains_key(&relation) {
                    return refuse(not_granted(&relation.to_string(), Some(schema), self.names));
                }
                self.redirect(name.0.first(), schema);
                relation
            }
            _ => return odd("a relation's name has more than two parts"),
        };
        let renamed = alias.is_some_and(|alias| !alias.columns.is_empty());
        let alias = alias.map_or_else(|| relation.name.clone(), |alias| fold(&alias.name));
        self.walk.sources.insert(Source { relation, alias, renamed });
        Step::Continue(())
    }

    /// What an unqualified name means to a task: `pg_catalog` first, then the granted relations in search-path order.
    fn unqualified(&self, name: &str) -> Result<RelationName, Refusal> {
        if self.names.snapshot.catalog_relations.contains(name) {
            return Err(not_granted(name, Some("pg_catalog"), self.names));
        }
        self.names
            .snapshot
            .search_path
            .iter()
            .map(|schema| RelationName::new(schema, name))
            .find(|relation| self.names.grants.relations.contains_key(relation))
            .ok_or_else(|| not_granted(name, None, self.names))
    }

    /// A FROM item that is no relation: its columns hold whatever the agent wants. A governed function gives what the catalog shows.
    pub(super) fn made_up(&mut self, factor: &TableFactor) {
        let named = idents::aliases(factor).map(fold);
        self.walk.others.extend(named.clone());
        let governed = match factor {
            TableFactor::Table { args: None, .. } | TableFactor::NestedJoin { .. } => true,
            TableFactor::Table { name, alias, args: Some(_), .. } | TableFactor::Function { name, alias, .. } => {
                let last = name.0.last().and_then(ObjectNamePart::as_ident).map(fold);
                let renamed = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                !renamed && last.is_some_and(|name| self.names.snapshot.governed.functions.contains(&name))
            }
            _ => false,
        };
        if !governed {
            self.walk.makes_up_rows = true;
            self.walk.made_up.extend(named);
        }
    }

    /// A relation of the governed catalog in FROM: to the name rule its alias is known, and no relation of the application's.
    fn catalog_source(&mut self, schema: &str, relation: &str, alias: Option<&sqlparser::ast::TableAlias>) -> Step {
        let alias = alias.map_or_else(|| relation.to_owned(), |alias| fold(&alias.name));
        self.walk.catalog_aliases.insert(alias.clone());
        self.walk.others.insert(alias);
        self.walk.catalog.insert(RelationName::new(schema, relation));
        Step::Continue(())
    }

    fn redirect_catalog(&mut self, part: Option<&ObjectNamePart>, schema: &str, relation: &str) {
        if let (Some(ObjectNamePart::Identifier(ident)), Some(target)) =
            (part, self.names.snapshot.governed.schema_of(schema, relation))
        {
            self.redirect_token(ident.span.start, target);
        }
    }

    fn redirect(&mut self, part: Option<&ObjectNamePart>, schema: &str) {
        if let Some(ObjectNamePart::Identifier(ident)) = part {
            self.redirect_ident(ident, schema);
        }
    }

    fn redirect_ident(&mut self, ident: &Ident, schema: &str) {
        if let Some(target) = self.names.schemas.get(schema) {
            self.redirect_token(ident.span.start, target);
        }
    }

    fn redirect_token(&mut self, start: Location, target: &str) {
        self.walk.redirects.insert((start.line, start.column), target.to_owned());
    }

    /// A cast that looks up names: of relations that FROM could name too, or of numbers that the governed catalog gave.
    pub(super) fn looked_up(&mut self, look_up: &LookUp<'_>) -> Step {
        match look_up {
            LookUp::Harmless => Step::Continue(()),
            LookUp::ByNumber(qualifier) => {
                self.walk.looked_up.insert(qualifier.clone());
                Step::Continue(())
            }
            LookUp::Forbidden => refuse(types::looks_up_names()),
            LookUp::Relation(literal, text) => {
                let Some(parts) = catalog::name_in_literal(text) else { return refuse(types::looks_up_names()) };
                let known = match parts.as_slice() {
                    // Which catalog a comment or dependency belongs to: PostgreSQL's own number, wherever the name would lead a task.
                    [relation] if self.names.snapshot.catalog_relations.contains(relation) => {
                        self.redirect_token(literal.span.start, &format!("pg_catalog.{relation}"));
                        return Step::Continue(());
                    }
                    [schema, relation] if schema == "pg_catalog" && self.names.snapshot.catalog_relations.contains(relation) => {
                        return Step::Continue(());
                    }
                    [relation] => self.unqualified(relation),
                    [schema, relation] => {
                        let named = RelationName::new(schema, relation);
                        let granted = self.names.grants.relations.contains_key(&named);
                        granted.then_some(named).ok_or_else(|| not_granted(text, Some(schema), self.names))
                    }
                    _ => return refuse(types::looks_up_names()),
                };
                let relation = match known {
                    Ok(relation) => relation,
                    Err(refusal) => return refuse(refusal),
                };
                if let (2, Some(target), Some((_, name))) =
                    (parts.len(), self.names.schemas.get(&relation.schema), text.split_once('.'))
                {
                    self.redirect_token(literal.span.start, &format!("{target}.{name}"));
                }
                Step::Continue(())
            }
        }
    }

    pub(super) fn reference(&mut self, idents: &[Ident]) -> Step {
        let folded: Vec<String> = idents.iter().map(fold).collect();
        match folded.as_slice() {
            [first, last] => {
                // `schema.relation` may stand for the whole row.
                if self.names.grants.relations.contains_key(&RelationName::new(first, last)) {
                    self.walk.starred.insert(last.clone());
                }
                self.dotted(Some(first), last);
                self.walk.qualified.entry(first.clone()).or_default().insert(last.clone());
                Step::Continue(())
            }
            [schema, relation, column] => {
                if let Some(ident) = idents.first() {
                    self.redirect_ident(ident, schema);
                    if let Some(target) = self.names.snapshot.governed.schema_of(schema, relation) {
                        self.redirect_token(ident.span.start, target);
                    }
                }
                self.dotted(Some(relation), column);
                self.walk.qualified.entry(relation.clone()).or_default().insert(column.clone());
                Step::Continue(())
            }
            _ => odd("a column reference has more than three parts"),
        }
    }

    /// `x.f` and `(x).f` may be `f(x)`: PostgreSQL looks for a column first, then for a function.
    pub(super) fn dotted(&mut self, qualifier: Option<&str>, name: &str) {
        self.walk.dotted.insert((qualifier.map(str::to_owned), name.to_owned()));
    }

    pub(super) fn star_of(&mut self, name: &ObjectName) -> Step {
        let Some(parts) = parts(name) else { return odd("a name is computed") };
        self.explained = self.explained.saturating_add(parts.len());
        match parts.as_slice() {
            [alias] => {
                self.walk.starred.insert(alias.clone());
            }
            [schema, relation] => {
                self.redirect(name.0.first(), schema);
                self.redirect_catalog(name.0.first(), schema, relation);
                self.walk.starred.insert(relation.clone());
            }
            _ => return odd("a `*` has more than two qualifiers"),
        }
        Step::Continue(())
    }

    pub(super) fn star_over(&mut self, from: &[TableWithJoins]) {
        for table in from {
            for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
                match factor {
                    TableFactor::Table { name, alias, .. } => {
                        let alias = alias.as_ref().map(|alias| fold(&alias.name));
                        self.walk.starred.extend(alias.or_else(|| parts(name).and_then(|mut parts| parts.pop())));
                    }
                    TableFactor::NestedJoin { table_with_joins, .. } => {
                        self.star_over(std::slice::from_ref(table_with_joins));
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn joins(&mut self, table: &TableWithJoins) -> Step {
        for join in &table.joins {
            if idents::is_foreign_join(join) {
                return odd("it has a join that PostgreSQL does not know");
            }
            let (using, natural) = idents::of_join(join);
            self.explained = self.explained.saturating_add(using.len());
            self.walk.bare.extend(using.into_iter().map(fold));
            self.walk.natural |= natural;
        }
        Step::Continue(())
    }

    pub(super) fn called(&mut self, name: &ObjectName) -> Step {
        let Some(mut parts) = parts(name) else { return odd("a function's name is computed") };
        let called = match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => Called { schema, name },
            _ => return odd("a function's name has more than two parts"),
        };
        let governed = self.names.snapshot.governed.functions.contains(&called.name);
        if let (true, Some("pg_catalog"), Some(ObjectNamePart::Identifier(ident))) =
            (governed, called.schema.as_deref(), name.0.first())
        {
            self.redirect_token(ident.span.start, CATALOG);
        }
        self.walk.functions.insert(called);
        Step::Continue(())
    }

    /// A function that the text need not name. PostgreSQL leaves some of them to the search path (`ceil`, `substr`, `unnest`), so all count as
    /// if they were called by name.
    pub(super) fn grammar_function(&mut self, name: &'static str) -> Step {
        self.walk.functions.insert(Called { schema: None, name: name.to_owned() });
        Step::Continue(())
    }
}

/// Whether an element of `ARRAY[…]` is certainly no array: PostgreSQL takes the constructor for leakproof, and it raises when sizes differ.
pub(super) fn is_scalar(element: &Expr) -> bool {
    match element {
        Expr::Value(_) => true,
        Expr::Cast { data_type, .. } => !matches!(data_type, DataType::Array(_) | DataType::Custom(..)),
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => is_scalar(inner),
        Expr::BinaryOp { left, right, .. } => is_scalar(left) && is_scalar(right),
        _ => false,
    }
}

/// The one answer for relations that do not exist and relations that are not granted.
fn not_granted(name: &str, schema: Option<&str>, names: &Names<'_>) -> Refusal {
    let refusal = Refusal::new(Code::RelationNotGranted, format!("relation `{name}` does not exist or is not granted"));
    if schema.is_some_and(|schema| schema == "information_schema" || schema.starts_with("pg_")) {
        return refusal.hint("the catalog is not shown; use the tool `describe`");
    }
    let wanted = name.rsplit('.').next().unwrap_or(name);
    let nearest = names
        .grants
        .relations
        .keys()
        .map(|granted| (strsim::damerau_levenshtein(wanted, &granted.name), granted))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    match nearest {
        Some((_, granted)) => refusal.hint(format!("did you mean `{granted}`?")),
        None => refusal.hint("use the tool `describe` to see what there is"),
    }
}
