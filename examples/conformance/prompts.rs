//! The prompts: plain, with arguments, with a resource, with a picture, and one that asks its client back.
//!
//! Takes a name and arguments, gives messages. Never keeps anything between two requests.

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ImageContent, InputRequiredResult,
    ListPromptsResult, Prompt, PromptArgument, PromptMessage, ResourceContents, Role,
};
use serde_json::{Value, json};

use crate::input_required::{Answers, elicitation};
use crate::server::TTL_MS;
use crate::tools::PICTURE;

/// `prompts/list`
pub fn list() -> ListPromptsResult {
    let arguments = ["arg1", "arg2"].map(|name| PromptArgument::new(name).with_description("Any text").with_required(true));
    let prompts = vec![
        Prompt::new("test_simple_prompt", Some("A text"), None),
        Prompt::new("test_prompt_with_arguments", Some("A text with both arguments"), Some(arguments.to_vec())),
        Prompt::new("test_prompt_with_embedded_resource", Some("A text and a resource"), None),
        Prompt::new("test_prompt_with_image", Some("A text and a picture"), None),
        Prompt::new("test_input_required_result_prompt", Some("Asks for the context that it puts in"), None),
    ];
    let mut result = ListPromptsResult::with_all_items(prompts);
    result.ttl_ms = Some(TTL_MS);
    result.cache_scope = Some(CacheScope::Public);
    result
}

/// `prompts/get`
pub fn get(request: GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let text = |text: String| PromptMessage::new_text(Role::User, text);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
        "test_prompt_with_arguments" => {
            let arguments = request.arguments.unwrap_or_default();
            let argument = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            vec![text(format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1"), argument("arg2")))]
        }
        "test_prompt_with_embedded_resource" => {
            let arguments = request.arguments.unwrap_or_default();
            let uri = arguments.get("resourceUri").and_then(Value::as_str).unwrap_or("test://static-text");
            let resource = ResourceContents::text("Embedded resource content for testing.", uri).with_mime_type("text/plain");
            let resource = PromptMessage::new(Role::User, ContentBlock::resource(resource));
            vec![resource, text("Please process the embedded resource above.".to_owned())]
        }
        "test_prompt_with_image" => {
            let picture = ContentBlock::Image(ImageContent::new(PICTURE, "image/png"));
            vec![PromptMessage::new(Role::User, picture), text("Please analyze the image above.".to_owned())]
        }
        "test_input_required_result_prompt" => match Answers(request.input_responses.as_ref()).field("user_context", "context") {
            Some(context) => vec![text(format!("With the context: {context}"))],
            None => {
                let question = elicitation("What context should the prompt use?", json!({"context": {"type": "string"}}))?;
                return Ok(InputRequiredResult::from_input_requests([("user_context".to_owned(), question)].into()).into());
            }
        },
        _ => return Err(ErrorData::invalid_params("unknown prompt", None)),
    };
    Ok(GetPromptResult::new(messages).into())
}
