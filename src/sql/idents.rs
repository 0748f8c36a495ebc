//! Which identifiers a node of the parse tree explains, and what it hides from the visitor's hooks.
//!
//! Takes one node, gives counts and names. A node that is not listed explains nothing, so a statement that holds it is not understood:
//! that is the point. Never looks below the node: its expressions, queries and tables have hooks of their own.

use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, JsonTableColumn, NamedWindowExpr, ObjectName, ObjectNamePart,
    Query, Select, SelectFlavor, SelectItem, TableAlias, TableFactor, TrimWhereField, UnaryOperator, Value,
    WildcardAdditionalOptions, WindowType, XmlTableColumnOption,
};

use super::read::Misread;
use super::types::{self, refuse, unproved};
use crate::model::refusal::{Code, Refusal};

/// Names that a query itself introduces: CTEs and their columns.
pub fn of_query(query: &Query) -> usize {
    query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| of_alias(&cte.alias)).sum()
}

/// Names that a SELECT introduces: output labels and windows.
pub fn of_select(select: &Select) -> usize {
    let labels: usize = select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::ExprWithAlias { .. } => 1,
            SelectItem::ExprWithAliases { aliases, .. } => aliases.len(),
            SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => of_wildcard(options),
            SelectItem::UnnamedExpr(_) => 0,
        })
        .sum();
    let windows: usize = select
        .named_window
        .iter()
        .map(|window| match &window.1 {
            NamedWindowExpr::NamedWindow(_) => 2,
            NamedWindowExpr::WindowSpec(spec) => 1_usize.saturating_add(usize::from(spec.window_name.is_some())),
        })
        .sum();
    labels.saturating_add(windows)
}

fn of_wildcard(options: &WildcardAdditionalOptions) -> usize {
    usize::from(options.opt_alias.is_some())
}

fn of_alias(alias: &TableAlias) -> usize {
    let columns: usize = alias.columns.iter().map(|column| column.data_type.as_ref().map_or(0, of_type).saturating_add(1)).sum();
    columns.saturating_add(1)
}

/// The alias of a FROM item that is no relation.
pub fn aliases(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Table { args: None, .. } => None,
        TableFactor::Table { alias, name, args: Some(_), .. } | TableFactor::Function { alias, name, .. } => match alias {
            Some(alias) => Some(&alias.name),
            None => name.0.last().and_then(ObjectNamePart::as_ident),
        },
        TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::JsonTable { alias, .. }
        | TableFactor::XmlTable { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref().map(|alias| &alias.name),
        _ => None,
    }
}

/// Names that a FROM item introduces, and the name of a function that stands in FROM.
pub fn of_table_factor(factor: &TableFactor) -> usize {
    let (alias, own) = match factor {
        TableFactor::Table { alias, args, .. } => (alias, args.as_ref().map_or(0, |args| of_args(&args.args))),
        TableFactor::Function { alias, name, args, .. } => (alias, name.0.len().saturating_add(of_args(args))),
        TableFactor::UNNEST { alias, with_offset_alias, .. } => (alias, usize::from(with_offset_alias.is_some())),
        TableFactor::JsonTable { alias, columns, .. } => (alias, of_json_columns(columns)),
        TableFactor::XmlTable { alias, columns, namespaces, passing, .. } => {
            let named = passing.arguments.iter().filter(|argument| argument.alias.is_some()).count();
            let columns: usize = columns
                .iter()
                .map(|column| match &column.option {
                    XmlTableColumnOption::NamedInfo { r#type, .. } => of_type(r#type).saturating_add(1),
                    XmlTableColumnOption::ForOrdinality => 1,
                })
                .sum();
            (alias, columns.saturating_add(namespaces.len()).saturating_add(named))
        }
        TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => (alias, 0),
        _ => return 0,
    };
    own.saturating_add(alias.as_ref().map_or(0, of_alias))
}

fn of_json_columns(columns: &[JsonTableColumn]) -> usize {
    columns
        .iter()
        .map(|column| match column {
            JsonTableColumn::Named(named) => of_type(&named.r#type).saturating_add(1),
            JsonTableColumn::ForOrdinality(_) => 1,
            JsonTableColumn::Nested(nested) => of_json_columns(&nested.columns),
        })
        .sum()
}

/// Whether a SELECT has a clause of another grammar: to PostgreSQL its first word is a name.
pub fn is_foreign(select: &Select) -> bool {
    let lists = [select.lateral_views.len(), select.connect_by.len(), select.cluster_by.len(), select.distribute_by.len()];
    select.top.is_some()
        || select.select_modifiers.is_some()
        || select.exclude.is_some()
        || select.prewhere.is_some()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || select.flavor != SelectFlavor::Standard
        || lists.iter().any(|length| *length > 0)
        || !select.sort_by.is_empty()
}

/// Whether a join is one of another grammar: to PostgreSQL its first word is an alias.
pub fn is_foreign_join(join: &Join) -> bool {
    let known = matches!(
        join.join_operator,
        JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::FullOuter(_)
            | JoinOperator::CrossJoin(_)
    );
    join.global || !known
}

/// USING columns of a join, and whether it is NATURAL.
pub fn of_join(join: &Join) -> (Vec<&Ident>, bool) {
    let constraint = match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => constraint,
        _ => return (Vec::new(), true),
    };
    match constraint {
        JoinConstraint::Using(names) => {
            (names.iter().flat_map(|name| &name.0).filter_map(ObjectNamePart::as_ident).collect(), false)
        }
        JoinConstraint::Natural => (Vec::new(), true),
        JoinConstraint::On(_) | JoinConstraint::None => (Vec::new(), false),
    }
}

/// Names that an expression node itself holds.
pub fn of_expr(expr: &Expr) -> usize {
    match expr {
        Expr::Identifier(_) => 1,
        Expr::CompoundIdentifier(parts) => parts.len(),
        Expr::Function(function) => of_function(function),
        Expr::Cast { data_type, .. } => of_type(data_type),
        Expr::TypedString(typed) => of_type(&typed.data_type),
        Expr::Collate { collation, .. } => collation.0.len(),
        Expr::Extract { field, .. } => of_field(field),
        Expr::Ceil { field: CeilFloorKind::DateTimeField(field), .. }
        | Expr::Floor { field: CeilFloorKind::DateTimeField(field), .. } => of_field(field),
        Expr::Interval(interval) => {
            interval.leading_field.iter().chain(&interval.last_field).map(of_field).fold(0, usize::saturating_add)
        }
        _ => 0,
    }
}

fn of_function(function: &Function) -> usize {
    let window = match &function.over {
        Some(WindowType::NamedWindow(_)) => 1,
        Some(WindowType::WindowSpec(spec)) => usize::from(spec.window_name.is_some()),
        None => 0,
    };
    let args = match &function.args {
        FunctionArguments::List(list) => of_args(&list.args),
        FunctionArguments::None | FunctionArguments::Subquery(_) => 0,
    };
    function.name.0.len().saturating_add(window).saturating_add(args)
}

fn of_args(args: &[FunctionArg]) -> usize {
    args.iter().filter(|arg| matches!(arg, FunctionArg::Named { .. })).count()
}

fn of_field(field: &DateTimeField) -> usize {
    match field {
        DateTimeField::Custom(_) | DateTimeField::Week(Some(_)) => 1,
        _ => 0,
    }
}

fn of_type(data_type: &DataType) -> usize {
    match data_type {
        DataType::Custom(name, _) => name.0.len(),
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::Parenthesis(inner)
            | ArrayElemTypeDef::Qualified(inner, _),
        ) => of_type(inner),
        _ => 0,
    }
}

/// The `t` of each argument `t.*`.
pub fn whole_rows(function: &Function) -> impl Iterator<Item = &ObjectName> {
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
    };
    args.iter().filter_map(|arg| match arg {
        FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg) => match arg {
            FunctionArgExpr::QualifiedWildcard(name) => Some(name),
            FunctionArgExpr::Expr(_) | FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_) => None,
        },
    })
}

pub(super) type Hidden = ControlFlow<Box<Misread>, Vec<&'static str>>;

/// Functions that an expression calls without naming them, and operators and types that must not be named.
pub fn hidden_functions(expr: &Expr) -> Hidden {
    let found = match expr {
        Expr::Extract { .. } => vec!["extract"],
        Expr::Position { .. } => vec!["position"],
        Expr::Substring { shorthand: true, .. } => vec!["substr"],
        Expr::Substring { .. } => vec!["substring"],
        Expr::Trim { trim_where, .. } => vec![match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }],
        Expr::Overlay { .. } => vec!["overlay"],
        Expr::Ceil { .. } => vec!["ceil"],
        Expr::Floor { .. } => vec!["floor"],
        Expr::AtTimeZone { .. } => vec!["timezone"],
        Expr::Like { escape_char: Some(_), .. } | Expr::ILike { escape_char: Some(_), .. } => vec!["like_escape"],
        Expr::SimilarTo { .. } => vec!["similar_to_escape"],
        Expr::IsNormalized { .. } => vec!["is_normalized"],
        Expr::BinaryOp { op: BinaryOperator::Overlaps, .. } => vec!["overlaps"],
        Expr::BinaryOp { op: BinaryOperator::PGCustomBinaryOperator(parts), .. } => {
            if parts.len() > 2 || parts.len() == 2 && parts.first().map(String::as_str) != Some("pg_catalog") {
                return refuse(Refusal::new(
                    Code::FunctionNotAllowed,
                    "operators of other schemas than `pg_catalog` cannot be named",
                ));
            }
            Vec::new()
        }
        Expr::Cast { data_type, .. } => return types::check(data_type),
        Expr::TypedString(typed) if !is_text(&typed.value.value) => {
            return unproved("the name of a type stands before something else than a text");
        }
        Expr::TypedString(typed) => return types::check(&typed.data_type),
        // `-1::a.b` is a cast to the type `a.b`: PostgreSQL takes a field of what stands in parentheses only.
        Expr::CompoundFieldAccess { root, .. } if !has_fields(root) => {
            return unproved("a `.` or `[` follows an expression; put parentheses around it");
        }
        Expr::Interval(interval) if !matches!(&*interval.value, Expr::Value(value) if is_text(&value.value)) => {
            return unproved("the name of a type stands before something else than a text");
        }
        Expr::UnaryOp { op: UnaryOperator::PGPostfixFactorial, .. }
        | Expr::MatchAgainst { .. }
        | Expr::Prefixed { .. }
        | Expr::Convert { .. }
        | Expr::JsonAccess { .. }
        | Expr::Struct { .. }
        | Expr::Named { .. }
        | Expr::Dictionary(_)
        | Expr::Map(_)
        | Expr::OuterJoin(_)
        | Expr::Prior(_)
        | Expr::Lambda(_)
        | Expr::MemberOf(_)
        | Expr::InUnnest { .. }
        | Expr::RLike { .. } => {
            return unproved("it has an expression that PostgreSQL does not know");
        }
        _ => Vec::new(),
    };
    Hidden::Continue(found)
}

/// Whether this is a literal of PostgreSQL's: before anything else the name of a type is a column's.
fn is_text(value: &Value) -> bool {
    matches!(
        value,
        Value::SingleQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::DollarQuotedString(_)
            | Value::NationalStringLiteral(_)
    )
}

/// Whether PostgreSQL's grammar lets a `.` or `[` follow.
fn has_fields(root: &Expr) -> bool {
    matches!(
        root,
        Expr::Nested(_)
            | Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Subquery(_)
            | Expr::Function(_)
            | Expr::Array(_)
            | Expr::Tuple(_)
    )
}
