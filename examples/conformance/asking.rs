//! Tools that ask their client back while they run, before 2026-07-28: sampling and elicitation.
//!
//! Takes a question, gives a result with the answer. Never asks outside a session: an answer is a POST of its own, and without a session
//! there is nobody to whom it could go.
#![expect(deprecated, reason = "SEP-2577 deprecates sampling; the suite of 2025-11-25 tests it")]

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ClientResult, ContentBlock, CreateMessageRequest, CreateMessageRequestParams, ElicitRequest, JsonObject,
    SamplingMessage, ServerRequest,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use crate::input_required::form;

/// Questions by the tool that asks them; nothing for other tools.
pub fn question(tool: &str, arguments: &JsonObject) -> Option<Result<ServerRequest, ErrorData>> {
    let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    let (message, properties, required) = match tool {
        "test_sampling" => {
            let messages = vec![SamplingMessage::user_text(argument("prompt"))];
            let request = CreateMessageRequest::new(CreateMessageRequestParams::new(messages, 100));
            return Some(Ok(ServerRequest::CreateMessageRequest(request)));
        }
        "test_elicitation" => (argument("message"), user(), &["username", "email"][..]),
        "test_elicitation_sep1034_defaults" => ("Everything has a default", defaults(), &[][..]),
        "test_elicitation_sep1330_enums" => ("Every form of an enumeration", enumerations(), &[][..]),
        _ => return None,
    };
    let form = form(message, properties, required);
    Some(form.map(|form| ServerRequest::ElicitRequest(ElicitRequest::new(form))))
}

fn user() -> Value {
    json!({
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    })
}

/// SEP-1034
fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

/// SEP-1330
fn enumerations() -> Value {
    let titled = |what: &str| {
        json!([
            {"const": "value1", "title": format!("First {what}")},
            {"const": "value2", "title": format!("Second {what}")},
            {"const": "value3", "title": format!("Third {what}")},
        ])
    };
    json!({
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    })
}

/// Asks, and puts the answer into the tool's result.
pub async fn ask(question: ServerRequest, context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    if !parts.is_some_and(|parts| parts.headers.contains_key("mcp-session-id")) {
        return Ok(CallToolResult::error(vec![ContentBlock::text("asking back takes a session")]));
    }
    let said = match context.peer.send_request(question).await {
        Ok(ClientResult::CreateMessageResult(answer)) => format!("LLM response: {}", json!(answer.message.content)),
        Ok(ClientResult::ElicitResult(answer)) => {
            format!("User response: action={}, content={}", json!(answer.action), json!(answer.content))
        }
        Ok(_) => return Ok(CallToolResult::error(vec![ContentBlock::text("that is no answer to the question")])),
        Err(error) => return Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())])),
    };
    Ok(CallToolResult::success(vec![ContentBlock::text(said)]))
}
