//! The token endpoint of task tokens: exchange (RFC 8693), revocation (RFC 7009) and our public keys.
//!
//! Takes forms, gives JSON in the shapes of those documents; every request but one for the keys has an entry. A token is never in a URL, and
//! no answer is kept by a cache.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{BODY_TIMEOUT, stamp};
use crate::audit::Draft;
use crate::enforcement::Admitted;
use crate::identity::claims::DETAILS_TYPE;
use crate::identity::own::{TaskTokens, details};
use crate::identity::{Authenticated, IdentityError};
use crate::model::call::{Answer, Call, ExchangeAsk, OpenAsk, Outcome};
use crate::model::names::DatabaseName;
use crate::model::refusal::{Code, Refusal};
use crate::model::task::Narrow;
use crate::secret::Secret;
use crate::transport::mcp::Mcp;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Largest form.
const MAX_FORM: usize = 64 * 1024;

#[derive(Clone)]
struct Endpoint {
    mcp: Mcp,
    tokens: Arc<TaskTokens>,
}

/// An error of RFC 6749 §5.2, and what our entry says of it.
struct Problem {
    error: &'static str,
    refusal: Refusal,
}

impl Problem {
    fn invalid(text: &str) -> Self {
        Self { error: "invalid_request", refusal: Refusal::new(Code::ArgumentInvalid, text) }
    }
}

/// The routes, where task tokens are wanted.
pub fn routes(mcp: &Mcp) -> Router {
    let Some(tokens) = mcp.enforcement().task_tokens.clone() else { return Router::new() };
    Router::new()
        .route("/token", post(exchange).fallback(another_method))
        .route("/revoke", post(revoke).fallback(another_method))
        .route("/jwks", get(jwks).fallback(another_method))
        .with_state(Endpoint { mcp: mcp.clone(), tokens })
}

async fn another_method(State(endpoint): State<Endpoint>) -> Response {
    let draft = endpoint.mcp.enforcement().audit.draft("http");
    let refusal = Refusal::new(Code::ProtocolInvalid, "the request is not of the protocol");
    let body = problem("invalid_request", &refusal);
    endpoint.answer(draft, StatusCode::METHOD_NOT_ALLOWED, Some(&refusal), body).await
}

async fn jwks(State(endpoint): State<Endpoint>) -> Response {
    match endpoint.tokens.jwks().await {
        Ok(keys) => ([(header::CACHE_CONTROL, "max-age=300")], axum::Json(keys)).into_response(),
        Err(error) => {
            tracing::error!(%error, "our public keys cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn exchange(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let mut draft = endpoint.mcp.enforcement().audit.draft("http");
    draft.update(|entry| entry.method = Some("oauth/token".to_owned()));
    let asked = form(request).await.and_then(|form| asked(&form, endpoint.tokens.issuer()));
    let (ask, token) = match asked {
        Ok(asked) => asked,
        Err(problem) => return endpoint.refuse(draft, problem).await,
    };
    let who = match endpoint.mcp.gate().token(&token).await {
        Ok(who) if !who.principal.dev => who,
        Ok(_) => return endpoint.refuse(draft, Problem::invalid("`subject_token` is the token of `[dev]`")).await,
        Err(error) => return endpoint.refuse(draft, unverified(error)).await,
    };
    draft.admitted(&who.principal);
    endpoint.serve(draft, who, Call::Exchange(ask)).await
}

/// RFC 7009 §2.2: a token that is none, or has ended, is as good as revoked.
async fn revoke(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let mut draft = endpoint.mcp.enforcement().audit.draft("http");
    draft.update(|entry| entry.method = Some("oauth/revoke".to_owned()));
    let form = match form(request).await {
        Ok(form) => form,
        Err(problem) => return endpoint.refuse(draft, problem).await,
    };
    let Some(token) = form.get("token").and_then(Value::as_str) else {
        return endpoint.refuse(draft, Problem::invalid("`token` is missing")).await;
    };
    match endpoint.mcp.gate().token(&Secret::from(token.to_owned())).await {
        Ok(who) if who.task.as_ref().is_some_and(|task| task.asserted) => {
            draft.admitted(&who.principal);
            endpoint.serve(draft, who, Call::RevokeTask).await
        }
        // Another issuer's token is that issuer's to revoke (RFC 7009 §2.2.1).
        Ok(who) => {
            draft.admitted(&who.principal);
            let refusal = Refusal::new(Code::ArgumentInvalid, "the token is not one of ours");
            endpoint.refuse(draft, Problem { error: "unsupported_token_type", refusal }).await
        }
        Err(IdentityError::Keys) => endpoint.refuse(draft, unverified(IdentityError::Keys)).await,
        Err(_) => endpoint.answer(draft, StatusCode::OK, None, json!({})).await,
    }
}

impl Endpoint {
    async fn serve(&self, draft: Draft, who: Authenticated, call: Call) -> Response {
        let admitted = Admitted { who, draft, narrow: Narrow::default(), cancelled: CancellationToken::new() };
        // What was begun is ended, also if the caller does not wait for it.
        let mcp = self.mcp.clone();
        let handled = tokio::spawn(async move { mcp.enforcement().handle(admitted, call).await });
        let Ok(reply) = handled.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        let (status, body) = match reply.outcome {
            Outcome::Answered(Answer::TaskToken(issued)) => {
                use crate::secret::ExposeSecret;
                let body = json!({"access_token": issued.token.expose_secret(), "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer",
                    "expires_in": issued.expires_in.as_secs(), "scope": issued.scopes.join(" "),
                    "authorization_details": details(&issued.task, self.tokens.issuer())});
                (StatusCode::OK, body)
            }
            Outcome::Answered(_) => (StatusCode::OK, json!({})),
            Outcome::Refused(refusal) => (status(&refusal), problem(&error_of(&refusal), &refusal)),
            Outcome::Failed => (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "server_error"})),
        };
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response();
        stamp(&mut response, reply.request_id);
        response
    }

    async fn refuse(&self, draft: Draft, found: Problem) -> Response {
        let body = problem(found.error, &found.refusal);
        self.answer(draft, status(&found.refusal), Some(&found.refusal), body).await
    }

    async fn answer(&self, draft: Draft, status: StatusCode, refusal: Option<&Refusal>, body: Value) -> Response {
        let request_id = draft.request_id();
        let audit = &self.mcp.enforcement().audit;
        if audit.close_protocol(draft, Some(status.as_u16()), refusal).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response();
        stamp(&mut response, request_id);
        response
    }
}

fn unverified(error: IdentityError) -> Problem {
    Problem { error: "invalid_grant", refusal: error.into() }
}

fn problem(error: &str, refusal: &Refusal) -> Value {
    json!({"error": error, "error_description": refusal.message, "code": refusal.code})
}

fn status(refusal: &Refusal) -> StatusCode {
    if matches!(refusal.code, Code::IdentityUnavailable | Code::DatabaseUnavailable) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if refusal.code == Code::RateLimited {
        StatusCode::TOO_MANY_REQUESTS
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// The word of RFC 6749 §5.2, RFC 8693 §2.2.2 or RFC 9396 §5 for a refusal of ours.
fn error_of(refusal: &Refusal) -> String {
    match refusal.code.as_str() {
        "argument-invalid" | "relation-not-granted" => "invalid_authorization_details",
        "scope-insufficient" => "invalid_scope",
        "identity-unavailable" | "database-unavailable" => "temporarily_unavailable",
        _ => "access_denied",
    }
    .to_owned()
}

/// A form, each parameter once (RFC 6749 §3.2); `resource` and `audience` may come several times (RFC 8693 §2.1).
async fn form(request: Request) -> Result<Map<String, Value>, Problem> {
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_FORM)).await;
    let Ok(Ok(body)) = collected else { return Err(Problem::invalid("the form is too large, or did not come in time")) };
    read_form(&parts.headers, &body)
}

fn read_form(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::invalid("the body is not a form"));
    }
    let mut form: Map<String, Value> = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        if matches!(&*name, "resource" | "audience") {
            let list = form.entry(name.into_owned()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!(value));
            }
        } else if form.insert(name.into_owned(), json!(value)).is_some() {
            return Err(Problem::invalid("a parameter comes twice"));
        }
    }
    Ok(form)
}

/// What an exchange asks for, and the token that it is asked with.
fn asked(form: &Map<String, Value>, own: &str) -> Result<(ExchangeAsk, Secret), Problem> {
    let text = |name: &str| form.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("grant_type") != Some(GRANT) {
        let refusal = Refusal::new(Code::ArgumentInvalid, format!("`grant_type` must be `{GRANT}`"));
        return Err(Problem { error: "unsupported_grant_type", refusal });
    }
    let token = text("subject_token").ok_or_else(|| Problem::invalid("`subject_token` is missing"))?;
    if !text("subject_token_type").is_some_and(|kind| kind == ACCESS_TOKEN || kind == JWT) {
        return Err(Problem::invalid("`subject_token_type` must be that of an access token or a JWT"));
    }
    if text("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN && kind != JWT) {
        return Err(Problem::invalid("`requested_token_type` must be that of an access token or a JWT"));
    }
    if text("actor_token").is_some() {
        return Err(Problem::invalid("`actor_token` is not supported: the actor stands in the subject token's `act`"));
    }
    if text("scope").is_some() {
        let refusal = Refusal::new(Code::ArgumentInvalid, "`scope` is not supported: the scopes stay those of the subject token");
        return Err(Problem { error: "invalid_scope", refusal });
    }
    let targets = ["resource", "audience"].into_iter().filter_map(|name| form.get(name)?.as_array()).flatten();
    if targets.into_iter().any(|target| target != own) {
        return Err(Problem {
            error: "invalid_target",
            refusal: Refusal::new(Code::ArgumentInvalid, "the token would be for us only"),
        });
    }
    let ask = detail(text("authorization_details"))?;
    Ok((ask, Secret::from(token.to_owned())))
}

/// The one element of `authorization_details` that says what the task is.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    purpose: String,
    #[serde(default, rename = "locations")]
    _locations: Option<Vec<String>>,
    #[serde(default)]
    datatypes: Option<Vec<String>>,
    #[serde(default)]
    actions: Option<Vec<String>>,
    #[serde(default)]
    max_rows: Option<u64>,
    #[serde(default)]
    ttl_seconds: Option<u64>,
    #[serde(default)]
    database: Option<DatabaseName>,
}

fn detail(text: Option<&str>) -> Result<ExchangeAsk, Problem> {
    let odd = || Problem {
        error: "invalid_authorization_details",
        refusal: Refusal::new(
            Code::ArgumentInvalid,
            format!("`authorization_details` must be a list of one object of the type `{DETAILS_TYPE}` with a `purpose`"),
        ),
    };
    let mut details: Vec<Detail> = serde_json::from_str(text.ok_or_else(odd)?).map_err(|_| odd())?;
    let (Some(detail), true) = (details.pop(), details.is_empty()) else { return Err(odd()) };
    if detail.kind != DETAILS_TYPE || detail.ttl_seconds == Some(0) {
        return Err(odd());
    }
    let task =
        OpenAsk { purpose: detail.purpose, needs: detail.datatypes, ttl_seconds: detail.ttl_seconds, database: detail.database };
    Ok(ExchangeAsk { task, tools: detail.actions, max_rows: detail.max_rows })
}
