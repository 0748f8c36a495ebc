//! The refusal code of an answer.

use serde_json::Value;

/// The stable code of a refused call.
pub fn code(answer: &Value) -> &str {
    answer.pointer("/error/code").and_then(Value::as_str).unwrap_or_else(|| panic!("not refused: {answer}"))
}

/// The rows of an answered query.
pub fn rows(answer: &Value) -> &Vec<Value> {
    answer.get("rows").and_then(Value::as_array).unwrap_or_else(|| panic!("no rows: {answer}"))
}
