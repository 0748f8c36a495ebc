//! The HTTP window: streamable HTTP at `/mcp`, without MCP sessions; `/healthz` and `/readyz` beside it.
//!
//! Takes HTTP requests; each gets an entry, also those answered 401, 403, 405, 413 or 415. The token is checked before the message is read,
//! and never travels further; the scope that a call needs is read from its body, never from a header. Hosts and origins are checked against
//! lists; there is no way to switch that off.

mod exchange;
mod metadata;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use rmcp::handler::server::ServerHandler;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{SessionManager, StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::metadata::Resource;
use super::mcp::{Mcp, VERSIONS};
use super::{Gate, Ticket};
use crate::audit::{Audit, Draft};
use crate::model::ending::Owner;
use crate::model::names::RequestId;
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Refusal, scope_insufficient};
use crate::secret::Secret;
use crate::settings::{ServerSettings, Settings};

/// JSON-RPC's code for a message that is no request.
const INVALID_REQUEST: i32 = -32600;
/// MCP's code for a revision that is not spoken.
const UNSUPPORTED_VERSION: i32 = -32022;

/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies that are read at the same time; each holds at most `server.max_request_bytes`.
const BODIES_AT_ONCE: usize = 64;
/// Those of them that one principal may hold: a caller whose bodies never come keeps others waiting no longer than that takes.
const BODIES_OF_ONE: usize = 16;

/// Origins of pages served on this machine.
const LOCAL_ORIGINS: &[&str] = &["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"];

/// What stands before any MCP handler: entry, token, bounds, scope.
#[derive(Debug, Clone)]
pub struct Door {
    audit: Audit,
    gate: Arc<Gate>,
    settings: ServerSettings,
    resource: Resource,
    bodies: Arc<Semaphore>,
    bodies_of: Arc<Mutex<HashMap<Owner, Weak<Semaphore>>>>,
}

impl Door {
    /// A door that opens entries in this log and asks this gate.
    pub fn new(audit: Audit, gate: Arc<Gate>, settings: &Settings) -> Self {
        Self {
            audit,
            gate,
            settings: settings.server.clone(),
            resource: Resource::new(settings),
            bodies: Arc::new(Semaphore::new(BODIES_AT_ONCE)),
            bodies_of: Arc::default(),
        }
    }

    /// The routes of a handler behind this door.
    pub fn router<H: ServerHandler + Clone>(self, handler: H, stop: CancellationToken) -> Router {
        let service =
            StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), self.bounds(stop));
        self.around(service)
    }

    /// What rmcp is held to behind this door: no sessions, hosts and origins from lists, bounded bodies.
    pub fn bounds(&self, stop: CancellationToken) -> StreamableHttpServerConfig {
        let settings = &self.settings;
        let hosts = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(settings.allowed_hosts.iter().cloned());
        let origins = LOCAL_ORIGINS.iter().map(|&origin| origin.to_owned()).chain(settings.allowed_origins.iter().cloned());
        StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(settings.max_request_bytes)
            .with_allowed_hosts(hosts)
            .with_allowed_origins(origins)
            .enforce_origin_validation()
            .with_cancellation_token(stop)
    }

    /// The routes of rmcp's service behind this door.
    pub fn around<H: ServerHandler, M: SessionManager>(self, service: StreamableHttpService<H, M>) -> Router {
        let metadata = self.resource.routes();
        Router::new()
            .nest_service("/mcp", service)
            // One of our own: that of a router without one gives way to the merged router's, which did not knock.
            .fallback(async || StatusCode::NOT_FOUND)
            .layer(middleware::from_fn_with_state(self, knock))
            .merge(metadata)
            .route("/healthz", get(|| async { "ok\n" }))
    }
}

/// The router of the HTTP door.
pub fn router(mcp: Mcp, settings: &Settings, stop: CancellationToken) -> Router {
    let door = Door::new(mcp.enforcement().audit.clone(), mcp.gate(), settings);
    let exchange = exchange::routes(&mcp);
    door.router(mcp.clone(), stop).merge(exchange).route("/readyz", get(ready).with_state(mcp))
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

/// Opens the entry, checks the token, bounds the body, asks for the scope; closes the entry if no tool call did.
async fn knock(State(door): State<Door>, request: Request, next: Next) -> Response {
    let mut draft = door.audit.draft("http");
    let request_id = draft.request_id();
    let (mut parts, body) = request.into_parts();
    let who = match bearer(&mut parts.headers) {
        Ok(token) => door.gate.http(token).await,
        Err(refusal) => Err(refusal),
    };
    let who = match who {
        Ok(who) => who,
        Err(refusal) => return door.refuse_token(draft, refusal).await,
    };
    draft.admitted(&who.principal);
    let bytes = match door.body(body, &who.principal).await {
        Ok(bytes) => bytes,
        Err((status, refusal)) => return door.refuse(draft, status, refusal).await,
    };
    let message = Message::of(&bytes);
    draft.update(|entry| entry.method.clone_from(&message.method));
    if let Some(version) = foreign_version(&parts.headers) {
        return door.refuse_version(draft, &version, &message.id).await;
    }
    if let Some(scope) = message.tool().and_then(|tool| door.resource.scopes().missing(tool, &who.principal)) {
        draft.update(|entry| entry.tool = message.tool().map(str::to_owned));
        return door.refuse_scope(draft, scope).await;
    }
    let ticket = Ticket::new(draft, Some(who));
    parts.extensions.insert(ticket.clone());
    let mut response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if let Some(draft) = ticket.take() {
        let status = response.status();
        let refusal = (status.is_client_error()).then(|| Refusal::new(Code::ProtocolInvalid, "the request is not of the protocol"));
        if door.audit.close_protocol(draft, Some(status.as_u16()), refusal.as_ref()).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    stamp(&mut response, request_id);
    response
}

impl Door {
    /// MCP's own answer to a revision that is not spoken (SEP-2575).
    async fn refuse_version(&self, draft: Draft, version: &str, id: &Option<Value>) -> Response {
        let refusal = Refusal::new(Code::ProtocolInvalid, format!("the protocol version `{version}` is not spoken here"));
        let spoken: Vec<&str> = VERSIONS.iter().map(|known| known.as_str()).collect();
        let data = serde_json::json!({"supported": spoken, "requested": version, "request_id": draft.request_id()});
        let body = json_rpc_error(UNSUPPORTED_VERSION, &refusal.message, id, data);
        self.answer(draft, StatusCode::BAD_REQUEST, &refusal, body).await
    }

    /// A request's body, if it comes in time and is not too large.
    async fn body(&self, body: Body, who: &Principal) -> Result<Bytes, (StatusCode, Refusal)> {
        let own = self.places_of(who);
        let most = self.settings.max_request_bytes;
        let refused = |status, text: String| (status, Refusal::new(Code::ProtocolInvalid, text));
        let read = async {
            let _own = own.acquire().await;
            let _reading = self.bodies.acquire().await;
            Limited::new(body, most).collect().await
        };
        match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the request is larger than {most} bytes")))
            }
            Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "the request's body broke off".to_owned())),
            Err(_) => Err(refused(StatusCode::BAD_REQUEST, "the request's body did not come in time".to_owned())),
        }
    }

    fn places_of(&self, who: &Principal) -> Arc<Semaphore> {
        let mut known = self.bodies_of.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| places.strong_count() > 0);
        let owner = Owner::from(who);
        known.get(&owner).and_then(Weak::upgrade).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(BODIES_OF_ONE));
            known.insert(owner, Arc::downgrade(&places));
            places
        })
    }

    /// 401 with a challenge; 503 if it is not the token's fault.
    async fn refuse_token(&self, draft: Draft, refusal: Refusal) -> Response {
        let body = serde_json::json!({"error": refusal, "request_id": draft.request_id()}).to_string();
        if refusal.code == Code::IdentityUnavailable {
            let mut response = self.answer(draft, StatusCode::SERVICE_UNAVAILABLE, &refusal, body).await;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            return response;
        }
        let mut response = self.answer(draft, StatusCode::UNAUTHORIZED, &refusal, body).await;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.resource.unauthenticated(refusal.code));
        response
    }

    async fn refuse_scope(&self, draft: Draft, scope: &str) -> Response {
        let refusal = scope_insufficient(scope);
        let body = serde_json::json!({"error": refusal, "request_id": draft.request_id()}).to_string();
        let mut response = self.answer(draft, StatusCode::FORBIDDEN, &refusal, body).await;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.resource.insufficient(scope));
        response
    }

    async fn refuse(&self, draft: Draft, status: StatusCode, refusal: Refusal) -> Response {
        let data = serde_json::json!({"code": refusal.code, "request_id": draft.request_id()});
        let body = json_rpc_error(INVALID_REQUEST, &refusal.message, &None, data);
        self.answer(draft, status, &refusal, body).await
    }

    /// The entry first, then the answer.
    async fn answer(&self, draft: Draft, status: StatusCode, refusal: &Refusal, body: String) -> Response {
        let request_id = draft.request_id();
        if self.audit.close_protocol(draft, Some(status.as_u16()), Some(refusal)).await.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        stamp(&mut response, request_id);
        response
    }
}

/// An error in the protocol's own shape. A message whose id is not known is answered without one.
fn json_rpc_error(code: i32, message: &str, id: &Option<Value>, data: Value) -> String {
    let mut error = serde_json::json!({"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": data}});
    if let (Some(id), Some(members)) = (id, error.as_object_mut()) {
        members.insert("id".to_owned(), id.clone());
    }
    error.to_string()
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
    id: Option<Value>,
    /// Read only for the tool's name: whatever else is in it is rmcp's to judge.
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(skip)]
    name: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Params {
    #[serde(default)]
    name: Option<String>,
}

impl Message {
    fn of(body: &Bytes) -> Self {
        let mut message: Self = serde_json::from_slice(body).unwrap_or_default();
        message.method = message.method.filter(|method| method.len() <= 64);
        let params = message.params.as_ref().and_then(|params| serde_json::from_str::<Params>(params.get()).ok());
        message.name = params.and_then(|params| params.name);
        message
    }

    /// The tool whose scope the message needs; a file belongs to the tool that made it.
    fn tool(&self) -> Option<&str> {
        match self.method.as_deref()? {
            "tools/call" => self.name.as_deref(),
            "resources/read" => Some("export"),
            _ => None,
        }
    }
}
