//! One walk over the parse tree.
//!
//! Takes a query, gives every name in it, sorted by what it can mean. Never resolves columns (that is `columns`) and never lets a node
//! pass that it does not know: each identifier is counted once by the node that explains it, and the sum must equal what the tree holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    Statement, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::Names;
use super::idents;
use super::proof::Unproved;
use super::read::not_understood;
use super::words;
use crate::model::names::RelationName;
use crate::model::refusal::{Code, Refusal};

/// A granted relation where it stands in FROM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The relation.
    pub relation: RelationName,
    /// The name under which columns refer to it.
    pub alias: String,
    /// Whether its columns are renamed, so that names say nothing.
    pub renamed: bool,
}

/// A function name in the statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Called {
    /// The schema, if written.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// Every name of one query.
#[derive(Debug, Default)]
pub struct Walk {
    /// Granted relations in FROM.
    pub sources: BTreeSet<Source>,
    /// Aliases of sub-selects, CTEs and functions: names that are no relation.
    pub others: BTreeSet<String>,
    /// Functions.
    pub functions: BTreeSet<Called>,
    /// Bare names, which may be columns of anything.
    pub bare: BTreeSet<String>,
    /// Last parts of qualified references by their qualifier.
    pub qualified: BTreeMap<String, BTreeSet<String>>,
    /// Aliases whose every column is taken (`a.*`, or `*` over a FROM that holds them).
    pub starred: BTreeSet<String>,
    /// Whether a NATURAL join makes every column count.
    pub natural: bool,
    /// Whether an `ARRAY[…]` may hold arrays, which can raise below a row filter.
    pub arrays_of_arrays: bool,
    /// Whether some SELECT has a WHERE.
    pub has_where: bool,
    /// Schema tokens to redirect: line and column of each, with the schema's name.
    pub schema_tokens: BTreeMap<(u64, u64), String>,
}

/// Walks a query.
pub fn walk(query: &Query, names: &Names<'_>) -> Result<Walk, Refusal> {
    let mut walker = Walker { names, walk: Walk::default(), scopes: Vec::new(), visible: HashMap::new(), seen: 0, explained: 0 };
    if let ControlFlow::Break(refusal) = query.visit(&mut walker) {
        return Err(*refusal);
    }
    if walker.seen != walker.explained {
        return Err(not_understood(Unproved("it holds a name in a place that we do not know")));
    }
    let walk = walker.walk;
    let filtered =
        walk.sources.iter().any(|source| names.grants.relations.get(&source.relation).is_some_and(|grant| grant.rows.is_some()));
    if walk.arrays_of_arrays && filtered {
        return Err(Refusal::new(
            Code::FunctionNotAllowed,
            "an `ARRAY[…]` over a row-limited relation may hold arrays, which is not allowed",
        )
        .hint("cast each element, for instance `ARRAY[a::text, b::text]`, or use `array_agg`"));
    }
    Ok(walk)
}

struct Scope {
    ctes: Vec<String>,
    /// A CTE's own query sees the CTEs before it instead of all of its parent's.
    replaces_parent: bool,
}

struct Walker<'a, 'n> {
    names: &'a Names<'n>,
    walk: Walk,
    scopes: Vec<Scope>,
    visible: HashMap<*const Query, Vec<String>>,
    seen: usize,
    explained: usize,
}

type Step = ControlFlow<Box<Refusal>>;

fn refuse(refusal: Refusal) -> Step {
    ControlFlow::Break(Box::new(refusal))
}

fn odd(why: &'static str) -> Step {
    refuse(not_understood(Unproved(why)))
}

/// The folded parts of a name, or nothing if a part is computed.
fn parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(fold(ident)),
            ObjectNamePart::Function(_) => None,
        })
        .collect()
}

fn fold(ident: &Ident) -> String {
    words::fold(&ident.value, ident.quote_style.is_some())
}

impl Visitor for Walker<'_, '_> {
    type Break = Box<Refusal>;

    fn pre_visit_ident(&mut self, ident: &Ident) -> Step {
        self.seen = self.seen.saturating_add(1);
        match ident.quote_style {
            Some('"') => Step::Continue(()),
            Some(_) => odd("it has a name written as a string"),
            None if words::is_misread_identifier(&ident.value.to_ascii_lowercase()) => {
                odd("a reserved word stands where we read a name; quote it if it is one")
            }
            None => Step::Continue(()),
        }
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> Step {
        refuse(
            Refusal::new(Code::NotAQuery, "a part of the statement writes")
                .hint("nothing can be written through this tool, in a WITH clause neither"),
        )
    }

    fn pre_visit_query(&mut self, query: &Query) -> Step {
        self.explained = self.explained.saturating_add(idents::of_query(query));
        let inherited = self.visible.remove(&std::ptr::from_ref(query));
        let replaces_parent = inherited.is_some();
        let mut ctes = inherited.unwrap_or_default();
        if let Some(with) = &query.with {
            let own: Vec<String> = with.cte_tables.iter().map(|cte| fold(&cte.alias.name)).collect();
            for (index, cte) in with.cte_tables.iter().enumerate() {
                let seen = if with.recursive { own.len() } else { index };
                let visible = ctes.iter().chain(own.iter().take(seen)).cloned().collect();
                self.visible.insert(std::ptr::from_ref(&*cte.query), visible);
            }
            self.walk.others.extend(own.iter().cloned());
            ctes.extend(own);
        }
        self.scopes.push(Scope { ctes, replaces_parent });
        if !query.locks.is_empty() {
            return refuse(Refusal::new(Code::NotAQuery, "rows cannot be locked here").hint("drop FOR UPDATE / FOR SHARE"));
        }
        if query.for_clause.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
            || query.settings.is_some()
        {
            return odd("it has a clause that PostgreSQL does not know");
        }
        self.check_body(&query.body)
    }

    fn post_visit_query(&mut self, _: &Query) -> Step {
        self.scopes.pop();
        Step::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Step {
        self.explained = self.explained.saturating_add(idents::of_select(select));
        self.walk.has_where |= select.selection.is_some();
        if select.into.is_some() {
            return refuse(
                Refusal::new(Code::NotAQuery, "SELECT INTO writes a table").hint("drop INTO; use `export` to keep rows"),
            );
        }
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => self.star_over(&select.from),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    self.star_of(name)?;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
                | SelectItem::UnnamedExpr(_)
                | SelectItem::ExprWithAlias { .. }
                | SelectItem::ExprWithAliases { .. } => {}
            }
        }
        for table in &select.from {
            self.joins(table);
        }
        Step::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Step {
        self.explained = self.explained.saturating_add(name.0.len());
        Step::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Step {
        self.explained = self.explained.saturating_add(idents::of_table_factor(factor));
        if let Some(alias) = idents::aliases(factor) {
            self.walk.others.insert(fold(alias));
        }
        match factor {
            TableFactor::Table { name, alias, args: None, sample, .. } => {
                if sample.is_some() {
                    return refuse(
                        Refusal::new(Code::NotAQuery, "TABLESAMPLE does not work on what you see of a relation")
                            .hint("use `order by` with a hash of a key and a limit, or `where random() < 0.01`"),
                    );
                }
                self.source(name, alias.as_ref())
            }
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => self.called(name),
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.joins(table_with_joins);
                Step::Continue(())
            }
            TableFactor::UNNEST { .. } => self.grammar_function("unnest"),
            TableFactor::JsonTable { .. } => self.grammar_function("json_table"),
            TableFactor::XmlTable { .. } => self.grammar_function("xmltable"),
            TableFactor::Derived { .. } => Step::Continue(()),
            _ => odd("it has a kind of FROM item that PostgreSQL does not know"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Step {
        self.explained = self.explained.saturating_add(idents::of_expr(expr));
        match expr {
            Expr::Identifier(ident) => {
                self.walk.bare.insert(fold(ident));
            }
            Expr::CompoundIdentifier(idents) => return self.reference(idents),
            Expr::Array(array) => self.walk.arrays_of_arrays |= array.elem.iter().any(|element| !is_scalar(element)),
            Expr::Function(function) => {
                for name in idents::whole_rows(function) {
                    self.star_of(name)?;
                }
                return self.called(&function.name);
            }
            _ => {}
        }
        for name in idents::hidden_functions(expr)? {
            self.grammar_function(name)?;
        }
        Step::Continue(())
    }
}

impl Walker<'_, '_> {
    fn check_body(&mut self, body: &SetExpr) -> Step {
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
            if scope.replaces_parent {
                scopes.next();
            }
        }
        false
    }

    fn source(&mut self, name: &ObjectName, alias: Option<&sqlparser::ast::TableAlias>) -> Step {
        let Some(parts) = parts(name) else { return odd("a relation's name is computed") };
        let relation = match parts.as_slice() {
            [relation] if self.is_cte(relation) => {
                let alias = alias.map_or_else(|| relation.clone(), |alias| fold(&alias.name));
                self.walk.others.insert(alias);
                return Step::Continue(());
            }
            [relation] => match self.unqualified(relation) {
                Ok(relation) => relation,
                Err(refusal) => return refuse(refusal),
            },
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
        self.walk.others.remove(&alias);
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

    fn redirect(&mut self, part: Option<&ObjectNamePart>, schema: &str) {
        if let Some(ObjectNamePart::Identifier(ident)) = part {
            self.redirect_ident(ident, schema);
        }
    }

    fn redirect_ident(&mut self, ident: &Ident, schema: &str) {
        let start = ident.span.start;
        self.walk.schema_tokens.insert((start.line, start.column), schema.to_owned());
    }

    fn reference(&mut self, idents: &[Ident]) -> Step {
        let folded: Vec<String> = idents.iter().map(fold).collect();
        match folded.as_slice() {
            [first, last] => {
                // `schema.relation` may stand for the whole row.
                if self.names.grants.relations.contains_key(&RelationName::new(first, last)) {
                    self.walk.starred.insert(last.clone());
                }
                self.walk.qualified.entry(first.clone()).or_default().insert(last.clone());
                Step::Continue(())
            }
            [schema, relation, column] => {
                if let Some(ident) = idents.first().filter(|_| self.names.schemas.contains_key(schema)) {
                    self.redirect_ident(ident, schema);
                }
                self.walk.qualified.entry(relation.clone()).or_default().insert(column.clone());
                Step::Continue(())
            }
            _ => odd("a column reference has more than three parts"),
        }
    }

    fn star_of(&mut self, name: &ObjectName) -> Step {
        let Some(parts) = parts(name) else { return odd("a name is computed") };
        self.explained = self.explained.saturating_add(parts.len());
        match parts.as_slice() {
            [alias] => {
                self.walk.starred.insert(alias.clone());
            }
            [schema, relation] => {
                if self.names.schemas.contains_key(schema) {
                    self.redirect(name.0.first(), schema);
                }
                self.walk.starred.insert(relation.clone());
            }
            _ => return odd("a `*` has more than two qualifiers"),
        }
        Step::Continue(())
    }

    fn star_over(&mut self, from: &[TableWithJoins]) {
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

    fn joins(&mut self, table: &TableWithJoins) {
        for join in &table.joins {
            let (using, natural) = idents::of_join(join);
            self.explained = self.explained.saturating_add(using.len());
            self.walk.bare.extend(using.into_iter().map(fold));
            self.walk.natural |= natural;
        }
    }

    fn called(&mut self, name: &ObjectName) -> Step {
        let Some(mut parts) = parts(name) else { return odd("a function's name is computed") };
        let called = match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => Called { schema, name },
            _ => return odd("a function's name has more than two parts"),
        };
        self.walk.functions.insert(called);
        Step::Continue(())
    }

    fn grammar_function(&mut self, name: &'static str) -> Step {
        self.walk.functions.insert(Called { schema: Some("pg_catalog".to_owned()), name: name.to_owned() });
        Step::Continue(())
    }
}

/// Whether an element of `ARRAY[…]` is certainly no array: PostgreSQL takes the constructor for leakproof, and it raises when sizes differ.
fn is_scalar(element: &Expr) -> bool {
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
