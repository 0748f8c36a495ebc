//! Who calls: bearer tokens against the keys of configured issuers.
//!
//! Takes a token, gives an [`Authenticated`] principal. An OAuth 2.1 resource server's part (RFC 6750, RFC 9068, RFC 8707): signature, `iss`,
//! `aud`, `exp` and `sub` are always checked, `nbf` honoured. Never lets the token travel further than this module, and never issues one.

mod jwks;
mod jwt;

use serde_json::{Map, Value};

use crate::clock::{Clock, Instant};
use crate::model::principal::{Principal, TaskClaim};
use crate::model::refusal::{Code, Refusal};
use crate::secret::{ExposeSecret, Secret};
use crate::settings::{IssuerSettings, TokenSource};

/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a token is not accepted. The texts name no claim's value.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not three parts of base64url, or no JSON in them.
    #[error("the token is malformed")]
    Malformed,
    /// No configured issuer has this `iss`.
    #[error("the token's issuer is not one of ours")]
    Issuer,
    /// Unsigned, symmetric, or an algorithm that the issuer may not use.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key of the issuer has this `kid`.
    #[error("the token's key is not known")]
    Key,
    /// Wrong signature, audience, or time.
    #[error("the token does not verify: {0}")]
    Claims(&'static str),
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys cannot be had just now")]
    Keys,
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        Self::new(Code::TokenInvalid, error.to_string())
            .hint("get a new token for this server and send it as `Authorization: Bearer …`")
    }
}

/// A principal, what its token says about its task, and when the token ends.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who.
    pub principal: Principal,
    /// For what, if the token says so.
    pub task: Option<TaskClaim>,
    /// When the token ends; nothing for `[dev]`.
    pub expires_at: Option<Instant>,
}

/// The configured issuers with their keys.
#[derive(Debug)]
pub struct Identity {
    issuers: Vec<Issuer>,
    clock: Clock,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    keys: jwks::Keys,
}

impl Identity {
    /// Prepares the issuers; keys are fetched when first needed.
    pub fn from_settings(issuers: &[IssuerSettings], clock: Clock) -> Self {
        let issuers = issuers
            .iter()
            .map(|settings| Issuer { settings: settings.clone(), keys: jwks::Keys::new(settings.jwks.clone()) })
            .collect();
        Self { issuers, clock }
    }

    /// Verifies a token.
    pub async fn authenticate(&self, token: &Secret) -> Result<Authenticated, IdentityError> {
        let token = token.expose_secret();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IdentityError::Malformed);
        }
        let unverified = jwt::unverified(token)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.settings.issuer == unverified.issuer).ok_or(IdentityError::Issuer)?;
        let algorithm = jwt::accepted(&unverified, &issuer.settings.algorithms)?;
        let key = issuer.keys.find(unverified.key_id.as_deref(), algorithm).await?;
        let claims = jwt::verify(token, &key, algorithm, &issuer.settings, self.clock.now())?;
        issuer.read(&claims)
    }

    /// The token of a stdio server, if configuration says where it is.
    pub async fn ambient_token(&self) -> Option<Secret> {
        for issuer in &self.issuers {
            match &issuer.settings.token {
                Some(TokenSource::Env(token)) => return Some(token.clone()),
                Some(TokenSource::File(path)) => {
                    let text = tokio::fs::read_to_string(path).await.unwrap_or_default();
                    return Some(Secret::from(text.trim().to_owned()));
                }
                None => {}
            }
        }
        None
    }
}

impl Issuer {
    fn read(&self, claims: &Map<String, Value>) -> Result<Authenticated, IdentityError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(IdentityError::Claims("no `sub`"))?;
        let actor = claims.get("act").and_then(|actor| actor.get("sub")).and_then(Value::as_str).map(str::to_owned);
        let agent = actor.or_else(|| text("client_id")).or_else(|| text("azp")).unwrap_or_else(|| subject.clone());
        let task = match claims.get(&self.settings.task_claim) {
            None => None,
            Some(claim) => {
                let part = |name: &str| claim.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
                let odd = IdentityError::Claims("the task claim is not `{id, purpose}`");
                let (Some(external_id), Some(purpose)) = (part("id"), part("purpose")) else { return Err(odd) };
                Some(TaskClaim { external_id, purpose })
            }
        };
        let expires = claims.get("exp").and_then(Value::as_i64).ok_or(IdentityError::Claims("no `exp`"))?;
        Ok(Authenticated {
            principal: Principal {
                issuer: self.settings.issuer.clone(),
                subject,
                agent,
                scopes: words(claims.get("scope").or_else(|| claims.get("scp"))),
                groups: words_of_list(claims.get(&self.settings.groups_claim)),
                claims: self.settings.claims.iter().filter_map(|name| Some((name.clone(), claims.get(name)?.clone()))).collect(),
                dev: false,
            },
            task,
            expires_at: Some(Instant(expires.saturating_mul(1_000_000_000))),
        })
    }
}

/// A space-separated string (RFC 8693 §4.2), or a list.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        other => words_of_list(other),
    }
}

fn words_of_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    }
}
