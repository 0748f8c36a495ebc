//! One walk over the parse tree.
//!
//! Takes a query, gives every name in it, sorted by what it can mean. Never resolves columns (that is `columns`) and never lets a node
//! pass that it does not know: each identifier is counted once by the node that explains it, and the sum must equal what the tree holds.

mod resolve;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Statement,
    TableFactor, Visit, Visitor,
};

use super::Names;
use super::bounds;
use super::catalog;
use super::functions;
use super::idents;
use super::proof::Unproved;
use super::read::Misread;
use super::rewrite::Redirects;
use super::types;
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
    /// Names after a dot with their qualifier, none for an expression: columns, or functions in attribute notation.
    pub dotted: BTreeSet<(Option<String>, String)>,
    /// Aliases whose every column is taken (`a.*`, or `*` over a FROM that holds them).
    pub starred: BTreeSet<String>,
    /// Whether a NATURAL join makes every column count.
    pub natural: bool,
    /// Whether an `ARRAY[…]` may hold arrays, which can raise below a row filter.
    pub arrays_of_arrays: bool,
    /// Whether some SELECT has a WHERE.
    pub has_where: bool,
    /// Relations of the governed catalog.
    pub catalog: BTreeSet<RelationName>,
    /// Qualifiers of columns that are cast to `regclass` or its kin, a look-up of names by number; nothing for a bare column.
    pub looked_up: BTreeSet<Option<String>>,
    /// Aliases of the governed catalog's relations.
    pub catalog_aliases: BTreeSet<String>,
    /// Aliases of sub-selects, CTEs and functions: their columns hold what the agent makes up.
    pub made_up: BTreeSet<String>,
    /// Whether there is such a thing at all, named or not.
    pub makes_up_rows: bool,
    /// Schema tokens to redirect.
    pub redirects: Redirects,
}

impl Walk {
    /// Whether a column with this qualifier can only come from the governed catalog.
    fn is_of_catalog(&self, qualifier: Option<&str>) -> bool {
        match qualifier {
            Some(alias) => {
                let elsewhere = self.made_up.contains(alias) || self.sources.iter().any(|source| source.alias == alias);
                self.catalog_aliases.contains(alias) && !elsewhere
            }
            None => !self.makes_up_rows && self.sources.is_empty(),
        }
    }
}

/// Walks a query.
pub fn walk(query: &Query, names: &Names<'_>) -> Result<Walk, Misread> {
    let mut walker = Walker { names, walk: Walk::default(), scopes: Vec::new(), visible: HashMap::new(), seen: 0, explained: 0 };
    if let ControlFlow::Break(misread) = query.visit(&mut walker) {
        return Err(*misread);
    }
    if walker.seen != walker.explained {
        return Err(Misread::Unproved(Unproved("it holds a name in a place that we do not know")));
    }
    let walk = walker.walk;
    // What the governed catalog gave may be named; a number that the agent made up, or found in a row, may not.
    if !walk.looked_up.iter().all(|qualifier| walk.is_of_catalog(qualifier.as_deref())) {
        return Err(types::looks_up_names().into());
    }
    let filtered =
        walk.sources.iter().any(|source| names.grants.relations.get(&source.relation).is_some_and(|grant| grant.rows.is_some()));
    if walk.arrays_of_arrays && filtered {
        return Err(arrays_below_filters().into());
    }
    Ok(walk)
}

/// The refusal of an array constructor that could raise on rows that a filter hides.
pub fn arrays_below_filters() -> Refusal {
    Refusal::new(Code::FunctionNotAllowed, "an `ARRAY[…]` that may hold arrays is not allowed to a task with row limits")
        .hint("cast each element, for instance `ARRAY[a::text, b::text]`, or use `array_agg`")
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

type Step = ControlFlow<Box<Misread>>;

fn refuse(refusal: Refusal) -> Step {
    ControlFlow::Break(Box::new(Misread::Refused(refusal)))
}

/// What we do not know: PostgreSQL will judge it.
fn odd(why: &'static str) -> Step {
    ControlFlow::Break(Box::new(Misread::Unproved(Unproved(why))))
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
    type Break = Box<Misread>;

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
            self.walk.makes_up_rows = true;
            self.walk.made_up.extend(own.iter().cloned());
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
        if idents::is_foreign(select) {
            return odd("it has a clause that PostgreSQL does not know");
        }
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
            self.joins(table)?;
        }
        Step::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Step {
        self.explained = self.explained.saturating_add(name.0.len());
        Step::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Step {
        self.explained = self.explained.saturating_add(idents::of_table_factor(factor));
        types::check_column_types(factor)?;
        self.made_up(factor);
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
            TableFactor::NestedJoin { table_with_joins, alias } => {
                // Under the join's alias every column of every relation in it can be named.
                if alias.is_some() {
                    self.star_over(std::slice::from_ref(table_with_joins));
                }
                self.joins(table_with_joins)
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
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("current_schema") {
                    return refuse(functions::keyword_current_schema());
                }
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("system_user") {
                    self.grammar_function("system_user")?;
                }
                self.walk.bare.insert(fold(ident));
            }
            Expr::CompoundIdentifier(idents) => return self.reference(idents),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    match access {
                        AccessExpr::Dot(Expr::Identifier(ident)) => self.dotted(None, &fold(ident)),
                        AccessExpr::Dot(_) => return odd("something else than a name stands after a dot"),
                        AccessExpr::Subscript(_) => {}
                    }
                }
            }
            Expr::Cast { expr, data_type, .. } => {
                if let Some(look_up) = catalog::look_up(expr, data_type) {
                    self.looked_up(&look_up)?;
                }
            }
            Expr::TypedString(typed) => {
                if let Some(look_up) = catalog::look_up_typed(&typed.value, &typed.data_type) {
                    self.looked_up(&look_up)?;
                }
            }
            Expr::Array(array) => self.walk.arrays_of_arrays |= array.elem.iter().any(|element| !resolve::is_scalar(element)),
            Expr::Function(function) => {
                for name in idents::whole_rows(function) {
                    self.star_of(name)?;
                }
                if let Some(refusal) = bounds::too_large(function) {
                    return refuse(refusal);
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
