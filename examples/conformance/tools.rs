//! The other tools: every kind of content, progress and log messages on the way, list changes, and schemas that must arrive as they are.
//!
//! Takes a name and arguments, gives a result. Never asks its client anything (`asking` and `input_required` do), and never changes
//! a list (`server` does).
#![expect(deprecated, reason = "SEP-2577 deprecates logging and sampling; the suite tests them")]

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    AudioContent, CallToolResult, ClientCapabilities, ContentBlock, JsonObject, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ResourceContents, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde_json::{Value, json};

use crate::input_required;

/// A PNG of one pixel.
pub const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";
/// A WAV of no length.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Between two messages: clients must see them arrive one by one.
const PAUSE: Duration = Duration::from_millis(50);

/// Name and description of every tool without arguments.
const PLAIN: &[(&str, &str)] = &[
    ("test_simple_text", "Returns a text"),
    ("test_image_content", "Returns a picture"),
    ("test_audio_content", "Returns a sound"),
    ("test_embedded_resource", "Returns a resource"),
    ("test_multiple_content_types", "Returns a text, a picture and a resource"),
    ("test_error_handling", "Always fails"),
    ("test_tool_with_logging", "Logs three messages"),
    ("test_tool_with_progress", "Reports progress three times"),
    ("test_reconnection", "Takes a moment"),
    ("test_logging_tool", "Logs if the request names a level"),
    ("test_missing_capability", "Needs a client that can sample"),
    ("test_trigger_tool_change", "Says that the tools changed"),
    ("test_trigger_prompt_change", "Says that the prompts changed"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults"),
    ("test_elicitation_sep1330_enums", "Asks the user, with enumerations"),
];

/// `tools/list`
pub fn list() -> Vec<Tool> {
    let empty = json!({"type": "object", "properties": {}});
    let plain = PLAIN.iter().chain(input_required::TOOLS).map(|(name, description)| tool(name, description, &empty));
    let text = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let header =
        json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}, "required": ["value"]});
    plain
        .chain([
            tool("test_sampling", "Asks the client's model", &text("prompt")),
            tool("test_elicitation", "Asks the user", &text("message")),
            tool("test_custom_header", "Wants its argument in a header too (SEP-2243)", &header),
            tool("json_schema_2020_12_tool", "Has a schema with everything in it", &everything()),
        ])
        .collect()
}

fn tool(name: &'static str, description: &'static str, schema: &Value) -> Tool {
    Tool::new(name, description, schema.as_object().cloned().unwrap_or_default())
}

/// SEP-1613, SEP-2106
fn everything() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

/// Calls a tool that asks nothing and changes nothing.
pub async fn call(name: &str, arguments: &JsonObject, context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let picture = || ContentBlock::image(PICTURE, "image/png");
    let content = match name {
        "test_simple_text" => ContentBlock::text("This is a simple text response for testing."),
        "test_image_content" => picture(),
        "test_audio_content" => ContentBlock::Audio(AudioContent::new(SOUND, "audio/wav")),
        "test_embedded_resource" => {
            let text = ResourceContents::text("This is an embedded resource content.", "test://embedded-resource");
            ContentBlock::resource(text.with_mime_type("text/plain"))
        }
        "test_multiple_content_types" => {
            let data = ResourceContents::text(r#"{"test":"data","value":123}"#, "test://mixed-content-resource");
            let data = ContentBlock::resource(data.with_mime_type("application/json"));
            let content = vec![ContentBlock::text("Multiple content types test:"), picture(), data];
            return Ok(CallToolResult::success(content));
        }
        "test_error_handling" => {
            let content = ContentBlock::text("This tool intentionally returns an error for testing");
            return Ok(CallToolResult::error(vec![content]));
        }
        "test_custom_header" => {
            let value = arguments.get("value").and_then(Value::as_str);
            ContentBlock::text(value.ok_or_else(|| ErrorData::invalid_params("`value` must be a string", None))?)
        }
        "json_schema_2020_12_tool" => ContentBlock::text("The schema is what matters"),
        "test_reconnection" => {
            tokio::time::sleep(PAUSE).await;
            ContentBlock::text("Reconnection test completed")
        }
        "test_tool_with_logging" => {
            log(context, LoggingLevel::Info, &["Tool execution started", "Tool processing data", "Tool execution completed"])
                .await?;
            ContentBlock::text("Logging test completed")
        }
        "test_logging_tool" => {
            if let Some(level) = context.meta.log_level() {
                log(context, level, &["a level was named"]).await?;
            }
            ContentBlock::text("Logging test completed")
        }
        "test_tool_with_progress" => progress(context).await?,
        "test_missing_capability" => {
            if context.meta.client_capabilities().unwrap_or_default().sampling.is_none() {
                let needed = ClientCapabilities::builder().enable_sampling().build();
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            ContentBlock::text("The client can sample")
        }
        _ => return Err(ErrorData::invalid_params("unknown tool", None)),
    };
    Ok(CallToolResult::success(vec![content]))
}

async fn log(context: &RequestContext<RoleServer>, level: LoggingLevel, messages: &[&str]) -> Result<(), ErrorData> {
    for message in messages {
        let sent = context.peer.notify_logging_message(LoggingMessageNotificationParam::new(level, json!(message))).await;
        sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<ContentBlock, ErrorData> {
    if let Some(token) = context.meta.get_progress_token() {
        for done in [0.0, 50.0, 100.0] {
            let report = ProgressNotificationParam::new(token.clone(), done).with_total(100.0);
            let sent = context.peer.notify_progress(report).await;
            sent.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(ContentBlock::text("Progress test completed"))
}
