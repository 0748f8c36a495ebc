//! Constants that would grow beyond measure.
//!
//! Takes a call, gives a refusal if its result is a constant text (or a count) too large to make. PostgreSQL works constant calls out while
//! it plans, before any limit of ours can see a row, and one text may take a gigabyte of its memory. What only a row decides is left alone:
//! the limits on cells, bytes and time are for that.

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, UnaryOperator, Value,
};

use super::words;
use crate::model::refusal::{Code, Refusal};

/// Largest count that a repeating function may be given, and largest text that constants may grow into.
const MOST: f64 = 1_000_000.0;

/// The refusal of a call that makes too much of constants; nothing for any other.
pub fn too_large(function: &Function) -> Option<Refusal> {
    let (name, args) = call(function)?;
    let count = match name.as_str() {
        "repeat" | "lpad" | "rpad" => number(args.get(1)?),
        _ => None,
    };
    let size = size_of_call(&name, &args);
    let largest = [count, size].into_iter().flatten().fold(0.0, f64::max);
    (largest > MOST).then(|| {
        Refusal::new(Code::FunctionNotAllowed, format!("`{name}` would make a text of more than {MOST} characters"))
            .hint("ask for less: such a text does not fit an answer")
    })
}

fn call(function: &Function) -> Option<(String, Vec<&Expr>)> {
    let name = function.name.0.last().and_then(ObjectNamePart::as_ident)?;
    let FunctionArguments::List(list) = &function.args else { return None };
    let args = list
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg) => match arg {
                FunctionArgExpr::Expr(expr) => Some(expr),
                FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_) => None,
            },
        })
        .collect::<Option<Vec<&Expr>>>()?;
    Some((words::fold(&name.value, name.quote_style.is_some()), args))
}

fn size_of_call(name: &str, args: &[&Expr]) -> Option<f64> {
    match name {
        "repeat" => Some(size(args.first()?)? * number(args.get(1)?)?),
        "lpad" | "rpad" => number(args.get(1)?),
        "concat" => args.iter().map(|arg| size(arg)).sum(),
        "replace" => Some(size(args.first()?)? * size(args.get(2)?)?.max(1.0)),
        _ => None,
    }
}

/// The length of a constant text.
fn size(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => length(text),
            Value::DollarQuotedString(text) => length(&text.value),
            _ => None,
        },
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => size(inner),
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => Some(size(left)? + size(right)?),
        Expr::Function(function) => call(function).and_then(|(name, args)| size_of_call(&name, &args)),
        _ => None,
    }
}

fn length(text: &str) -> Option<f64> {
    u32::try_from(text.len()).ok().map(f64::from)
}

/// A constant number.
fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) | Value::SingleQuotedString(text) => text.parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|value| -value),
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (number(left)?, number(right)?);
            match op {
                BinaryOperator::Plus => Some(left + right),
                BinaryOperator::Minus => Some(left - right),
                BinaryOperator::Multiply => Some(left * right),
                BinaryOperator::PGExp => Some(left.powf(right)),
                _ => None,
            }
        }
        _ => None,
    }
}
