//! Tools that ask their client back by answering `input_required` (SEP-2322), since 2026-07-28.
//!
//! Takes a call with the answers it has so far, gives the questions that are open, or the result. Never keeps anything between two calls:
//! what it must know again travels through the client, sealed.
#![expect(deprecated, reason = "SEP-2577 deprecates sampling and roots; the suite tests them")]

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateMessageRequest,
    CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, InputRequest, InputRequiredResult, InputResponses,
    ListRootsRequest, SamplingMessage,
};
use serde_json::{Map, Value, json};

use crate::seal::Seal;

/// Name and description of every tool; none takes arguments.
pub const TOOLS: &[(&str, &str)] = &[
    ("test_input_required_result_elicitation", "Asks the user for a name"),
    ("test_input_required_result_sampling", "Asks the client's model"),
    ("test_input_required_result_list_roots", "Asks for the client's roots"),
    ("test_input_required_result_request_state", "Sends state along"),
    ("test_input_required_result_tampered_state", "Sends state along, and looks at its seal"),
    ("test_input_required_result_multiple_inputs", "Asks three things at once"),
    ("test_input_required_result_multi_round", "Asks twice, one after the other"),
    ("test_input_required_result_capabilities", "Asks only what the client says it can answer"),
    ("test_streaming_elicitation", "Asks the user for a value"),
];

type Question = (&'static str, InputRequest);

/// What the client answered so far.
#[derive(Clone, Copy)]
pub struct Answers<'a>(pub Option<&'a InputResponses>);

impl<'a> Answers<'a> {
    /// An answer; one that is no object is none, and the question is asked again.
    fn get(self, key: &str) -> Option<&'a Map<String, Value>> {
        self.0?.get(key)?.as_object()
    }

    /// A field of a form that the user filled in.
    pub fn field(self, key: &str, field: &str) -> Option<&'a str> {
        self.get(key)?.get("content")?.get(field)?.as_str()
    }
}

/// A form for the user.
pub fn form(message: &str, properties: Value, required: &[&str]) -> Result<ElicitRequestParams, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    let requested_schema =
        serde_json::from_value(schema).map_err(|error| ErrorData::internal_error(format!("our own form: {error}"), None))?;
    Ok(ElicitRequestParams::FormElicitationParams { meta: None, message: message.to_owned(), requested_schema })
}

/// A form for the user in which every field must be filled in.
pub fn elicitation(message: &str, properties: Value) -> Result<InputRequest, ErrorData> {
    let names: Vec<String> = properties.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect();
    let required: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(InputRequest::Elicitation(ElicitRequest::new(form(message, properties, &required)?)))
}

fn name() -> Result<Question, ErrorData> {
    Ok(("user_name", elicitation("What is your name?", json!({"name": {"type": "string"}}))?))
}

fn sampling(key: &'static str, prompt: &str) -> Question {
    let messages = vec![SamplingMessage::user_text(prompt)];
    (key, InputRequest::CreateMessage(CreateMessageRequest::new(CreateMessageRequestParams::new(messages, 100))))
}

fn roots() -> Question {
    ("client_roots", InputRequest::ListRoots(ListRootsRequest::default()))
}

fn ask(questions: impl IntoIterator<Item = Question>, state: Option<String>) -> CallToolResponse {
    let questions = questions.into_iter().map(|(key, question)| (key.to_owned(), question)).collect();
    InputRequiredResult::new(Some(questions), state).into()
}

fn done(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

/// Calls a tool of [`TOOLS`].
pub fn call(request: &CallToolRequestParams, able: &ClientCapabilities, seal: &Seal) -> Result<CallToolResponse, ErrorData> {
    let answers = Answers(request.input_responses.as_ref());
    let state = request.request_state.as_deref().map(|sealed| seal.open(sealed)).transpose()?;
    Ok(match (request.name.as_ref(), state) {
        ("test_input_required_result_elicitation", _) => match answers.field("user_name", "name") {
            Some(name) => done(format!("Hello, {name}!")),
            None => ask([name()?], None),
        },
        ("test_input_required_result_sampling", _) => match answers.get("capital_question") {
            Some(answer) => done(format!("The model says: {}", json!(answer.get("content")))),
            None => ask([sampling("capital_question", "What is the capital of France?")], None),
        },
        ("test_input_required_result_list_roots", _) => match answers.get("client_roots") {
            Some(answer) => done(format!("The client's roots: {}", json!(answer.get("roots")))),
            None => ask([roots()], None),
        },
        ("test_input_required_result_request_state" | "test_input_required_result_tampered_state", None) => {
            let confirm = elicitation("Please confirm", json!({"ok": {"type": "boolean"}}))?;
            ask([("confirm", confirm)], Some(seal.put_on("confirm")))
        }
        ("test_input_required_result_request_state" | "test_input_required_result_tampered_state", Some(_)) => done("state-ok"),
        ("test_input_required_result_multiple_inputs", state) => {
            let all = ["user_name", "greeting", "client_roots"].iter().all(|key| answers.get(key).is_some());
            if all && state.is_some() {
                done("All three answers are here")
            } else {
                ask([name()?, sampling("greeting", "Generate a greeting"), roots()], Some(seal.put_on("gather")))
            }
        }
        ("test_input_required_result_multi_round", None) => {
            let question = elicitation("Step 1: What is your name?", json!({"name": {"type": "string"}}))?;
            ask([("step1", question)], Some(seal.put_on("first")))
        }
        ("test_input_required_result_multi_round", Some("first")) => {
            let question = elicitation("Step 2: What is your favorite color?", json!({"color": {"type": "string"}}))?;
            ask([("step2", question)], Some(seal.put_on("second")))
        }
        ("test_input_required_result_multi_round", Some(_)) => done("Both rounds are over"),
        ("test_input_required_result_capabilities", _) => what_it_can(answers, able)?,
        ("test_streaming_elicitation", _) => {
            ask([("value", elicitation("Provide a value", json!({"value": {"type": "string"}}))?)], None)
        }
        _ => return Err(ErrorData::invalid_params("unknown tool", None)),
    })
}

fn what_it_can(answers: Answers<'_>, able: &ClientCapabilities) -> Result<CallToolResponse, ErrorData> {
    let mut questions = Vec::new();
    if able.elicitation.is_some() {
        questions.push(name()?);
    }
    if able.sampling.is_some() {
        questions.push(sampling("greeting", "Generate a greeting"));
    }
    if able.roots.is_some() {
        questions.push(roots());
    }
    let open = questions.iter().any(|(key, _)| answers.get(key).is_none());
    Ok(if open { ask(questions, None) } else { done("Everything that the client can answer is answered") })
}
