//! What the resource server says about itself (RFC 9728), and how it asks for a token (RFC 6750 §3).
//!
//! Takes settings, gives the metadata document and challenges. Anybody may read them; nothing of a request goes into them.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use serde_json::json;

use crate::model::refusal::Code;
use crate::settings::{Proof, Scopes, Settings};

/// Where metadata stands, before the resource's own path (RFC 9728 §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The protected resource that this server is.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The document and its address, if there is an issuer to be found through it.
    published: Option<Published>,
    scopes: Scopes,
}

#[derive(Debug, Clone)]
struct Published {
    document: String,
    url: String,
    path: String,
}

impl Resource {
    /// From settings. The resource is `server.public_url`, else the first audience that is a URL.
    pub fn new(settings: &Settings) -> Self {
        let scopes = settings.server.scopes.clone();
        let audiences = settings.issuers.iter().flat_map(|issuer| &issuer.audiences);
        let is_url = |text: &&String| text.starts_with("https://") || text.starts_with("http://");
        let resource = settings.server.public_url.as_ref().or_else(|| audiences.into_iter().find(is_url));
        // A trust domain has no authorization server that a client could be sent to.
        let issuers = settings.issuers.iter().filter(|issuer| !matches!(issuer.proof, Proof::Svid(_)));
        let servers: Vec<&String> = issuers.map(|issuer| &issuer.issuer).filter(is_url).collect();
        let published = resource.filter(|_| !servers.is_empty()).and_then(|resource| {
            let (scheme, rest) = resource.split_once("://")?;
            let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
            let path = path.trim_end_matches('/').to_owned();
            let mut document = json!({"resource": resource, "authorization_servers": servers,
                "bearer_methods_supported": ["header"], "resource_name": "pgteller"});
            let smallest = scopes.smallest();
            if let (false, Some(members)) = (smallest.is_empty(), document.as_object_mut()) {
                members.insert("scopes_supported".to_owned(), json!(smallest));
            }
            Some(Published { document: document.to_string(), url: format!("{scheme}://{host}{WELL_KNOWN}{path}"), path })
        });
        Self { published, scopes }
    }

    /// The document at its two addresses: with the resource's path, and without for clients that look there.
    pub fn routes(&self) -> Router {
        let Some(published) = &self.published else { return Router::new() };
        let document = published.document.clone();
        let answer = get(async move || {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                (header::CACHE_CONTROL, "max-age=3600"),
            ];
            (headers, document)
        });
        let mut paths = vec![WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}/mcp"), format!("{WELL_KNOWN}{}", published.path)];
        paths.sort_unstable();
        paths.dedup();
        paths.iter().fold(Router::new(), |router, path| router.route(path, answer.clone()))
    }

    /// The scopes that tools need.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The challenge of a 401. Without a token there is no error to name (RFC 6750 §3.1).
    pub fn unauthenticated(&self, code: Code) -> HeaderValue {
        let error = (code != Code::TokenMissing).then_some("invalid_token");
        self.challenge(error, self.scopes.first())
    }

    /// The challenge of a 403: every scope that this operation needs, and no other.
    pub fn insufficient(&self, scope: &str) -> HeaderValue {
        self.challenge(Some("insufficient_scope"), Some(scope))
    }

    fn challenge(&self, error: Option<&str>, scope: Option<&str>) -> HeaderValue {
        let mut text = "Bearer realm=\"pgteller\"".to_owned();
        let url = self.published.as_ref().map(|published| published.url.as_str());
        for (name, value) in [("error", error), ("scope", scope), ("resource_metadata", url)] {
            if let Some(value) = value {
                text.push_str(&format!(", {name}=\"{value}\""));
            }
        }
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}
