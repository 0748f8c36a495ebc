//! The HTTP window: streamable HTTP at `/mcp`, without MCP sessions; `/healthz` and `/readyz` beside it.
//!
//! Takes HTTP requests; each gets an entry, also those answered 401, 403, 405, 413 or 415. The token is checked before the message is read,
//! and never travels further. Hosts and origins are checked against lists; there is no way to switch that off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Ticket;
use super::mcp::{Mcp, VERSIONS};
use crate::audit::Draft;
use crate::model::names::RequestId;
use crate::model::refusal::{Code, Refusal};
use crate::secret::Secret;
use crate::settings::ServerSettings;

/// JSON-RPC's code for a message that is no request.
const INVALID_REQUEST: i32 = -32600;
/// MCP's code for a revision that is not spoken.
const UNSUPPORTED_VERSION: i32 = -32022;

/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies that are read at the same time; each holds at most `server.max_request_bytes`.
const BODIES_AT_ONCE: usize = 64;

/// Origins of pages served on this machine.
const LOCAL_ORIGINS: &[&str] = &["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

#[derive(Clone)]
struct Door {
    mcp: Mcp,
    max_request_bytes: usize,
    challenge: HeaderValue,
    bodies: Arc<Semaphore>,
}

/// The router of the HTTP door.
pub fn router(mcp: Mcp, settings: &ServerSettings, stop: CancellationToken) -> Router {
    let hosts = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(settings.allowed_hosts.iter().cloned());
    let origins = LOCAL_ORIGINS.iter().map(|&origin| origin.to_owned()).chain(settings.allowed_origins.iter().cloned());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(settings.max_request_bytes)
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_cancellation_token(stop);
    let handler = mcp.clone();
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), config);
    let door = Door {
        mcp: mcp.clone(),
        max_request_bytes: settings.max_request_bytes,
        challenge: HeaderValue::from_static("Bearer realm=\"pgteller\""),
        bodies: Arc::new(Semaphore::new(BODIES_AT_ONCE)),
    };
    Router::new()
        .nest_service("/mcp", service)
        .layer(middleware::from_fn_with_state(door, knock))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(mcp))
}

/// Whether every configured database can be used.
async fn ready(State(mcp): State<Mcp>) -> (StatusCode, String) {
    let mut down = Vec::new();
    for (name, database) in &mcp.enforcement().databases {
        if database.ready().await.is_err() {
            down.push(name.as_str());
        }
    }
    if down.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", down.join(", ")))
    }
}

/// Opens the entry, checks the token, bounds the body; closes the entry if no tool call did.
async fn knock(State(door): State<Door>, request: Request, next: Next) -> Response {
    let audit = &door.mcp.enforcement().audit;
    let mut draft = audit.draft("http");
    let request_id = draft.request_id();
    let (mut parts, body) = request.into_parts();
    let who = match bearer(&mut parts.headers) {
        Ok(token) => door.mcp.gate().http(token).await,
        Err(refusal) => Err(refusal),
    };
    let who = match who {
        Ok(who) => who,
        Err(refusal) => return door.refuse(draft, StatusCode::UNAUTHORIZED, refusal).await,
    };
    draft.admitted(&who.principal);
    let collected = {
        let _reading = door.bodies.acquire().await;
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, door.max_request_bytes).collect()).await
    };
    let bytes = match collected.unwrap_or_else(|_| Err("the body did not come in time".into())) {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let refusal =
                Refusal::new(Code::ProtocolInvalid, format!("the request is larger than {} bytes", door.max_request_bytes));
            return door.refuse(draft, StatusCode::PAYLOAD_TOO_LARGE, refusal).await;
        }
        Err(_) => {
            return door
                .refuse(draft, StatusCode::BAD_REQUEST, Refusal::new(Code::ProtocolInvalid, "the request's body broke off"))
                .await;
        }
    };
    let message = Message::of(&bytes);
    draft.update(|entry| entry.method.clone_from(&message.method));
    if let Some(version) = foreign_version(&parts.headers) {
        return door.refuse_version(draft, &version, &message.id).await;
    }
    let ticket = Ticket::new(draft, Some(who));
    parts.extensions.insert(ticket.clone());
    let mut response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if let Some(draft) = ticket.take() {
        let status = response.status();
        let refusal = (status.is_client_error()).then(|| Refusal::new(Code::ProtocolInvalid, "the request is not of the protocol"));
        if audit.close_protocol(draft, Some(status.as_u16()), refusal.as_ref()).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    stamp(&mut response, request_id);
    response
}

impl Door {
    /// MCP's own answer to a revision that is not spoken (SEP-2575).
    async fn refuse_version(&self, draft: Draft, version: &str, id: &Value) -> Response {
        let refusal = Refusal::new(Code::ProtocolInvalid, format!("the protocol version `{version}` is not spoken here"));
        let spoken: Vec<&str> = VERSIONS.iter().map(|known| known.as_str()).collect();
        let data = serde_json::json!({"supported": spoken, "requested": version, "request_id": draft.request_id()});
        let body = json_rpc_error(UNSUPPORTED_VERSION, &refusal.message, id, data);
        self.answer(draft, StatusCode::BAD_REQUEST, &refusal, body).await
    }

    async fn refuse(&self, draft: Draft, status: StatusCode, refusal: Refusal) -> Response {
        let request_id = draft.request_id();
        if status != StatusCode::UNAUTHORIZED {
            let data = serde_json::json!({"code": refusal.code, "request_id": request_id});
            let body = json_rpc_error(INVALID_REQUEST, &refusal.message, &Value::Null, data);
            return self.answer(draft, status, &refusal, body).await;
        }
        let body = serde_json::json!({"error": refusal, "request_id": request_id}).to_string();
        let mut response = self.answer(draft, status, &refusal, body).await;
        // RFC 6750 §3.1: no error code when no token came at all.
        let challenge = if refusal.code == Code::TokenMissing {
            self.challenge.clone()
        } else {
            HeaderValue::from_static("Bearer realm=\"pgteller\", error=\"invalid_token\"")
        };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }

    /// The entry first, then the answer.
    async fn answer(&self, draft: Draft, status: StatusCode, refusal: &Refusal, body: String) -> Response {
        let request_id = draft.request_id();
        if self.mcp.enforcement().audit.close_protocol(draft, Some(status.as_u16()), Some(refusal)).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        stamp(&mut response, request_id);
        response
    }
}

/// An error in the protocol's own shape.
fn json_rpc_error(code: i32, message: &str, id: &Value, data: Value) -> String {
    serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}}).to_string()
}

fn stamp(response: &mut Response, request_id: RequestId) {
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
}

/// Takes the bearer token out of the headers. Two of them are no token (RFC 6750 §3.1).
fn bearer(headers: &mut HeaderMap) -> Result<Option<Secret>, Refusal> {
    let several = headers.get_all(header::AUTHORIZATION).iter().count() > 1;
    let value = headers.remove(header::AUTHORIZATION);
    if several {
        return Err(Refusal::new(Code::TokenInvalid, "the request carries more than one Authorization header"));
    }
    let token = value.as_ref().and_then(|value| value.to_str().ok()).and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty());
    Ok(token.map(|(_, token)| Secret::from(token.trim().to_owned())))
}

/// The revision that the request claims, if we do not speak it. rmcp lets revisions pass that it knows and we do not.
fn foreign_version(headers: &HeaderMap) -> Option<String> {
    let version = headers.get("mcp-protocol-version")?.to_str().unwrap_or("?");
    (!VERSIONS.iter().any(|known| known.as_str() == version)).then(|| version.chars().take(32).collect())
}

/// What the window reads of a message before rmcp does: its method for the entry, its id for an early answer.
#[derive(Debug, Default, serde::Deserialize)]
struct Message {
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    id: Value,
}

impl Message {
    fn of(body: &Bytes) -> Self {
        let mut message: Self = serde_json::from_slice(body).unwrap_or_default();
        message.method = message.method.filter(|method| method.len() <= 64);
        message
    }
}
