//! Who calls: bearer tokens of configured issuers.
//!
//! Takes a token, gives an [`Authenticated`] principal. An OAuth 2.1 resource server's part (RFC 6750, RFC 9068, RFC 8707): signature, `iss`,
//! `aud`, `exp` and `sub` are always checked, `nbf` honoured; a JWT-SVID (SPIFFE) has a trust domain in place of `iss`, and an opaque token its
//! issuer's word (RFC 7662). Never lets the token travel further than this module.

pub mod claims;
mod fetch;
mod introspection;
mod jwks;
mod jwt;
pub mod own;

use std::sync::Arc;

pub use own::TaskTokens;

use crate::clock::{Clock, Instant};
use crate::model::principal::{Principal, TaskClaim};
use crate::model::refusal::{Code, Refusal};
use crate::secret::{ExposeSecret, Secret};
use crate::settings::{IssuerSettings, Proof, SignatureSettings, TokenSource};

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
    /// The issuer's keys cannot be had, or it cannot be asked.
    #[error("tokens of this issuer cannot be checked just now")]
    Keys,
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        match error {
            // The token may be good: a new one would not help.
            IdentityError::Keys => Self::new(Code::IdentityUnavailable, error.to_string()).hint("try again in a moment"),
            IdentityError::Claims("it is not valid yet" | "it has expired") => Self::new(Code::TokenInvalid, error.to_string())
                .hint("get a new token; if it is new, the clocks of its issuer and of this server differ"),
            IdentityError::Malformed
            | IdentityError::Issuer
            | IdentityError::Algorithm
            | IdentityError::Key
            | IdentityError::Claims(_) => Self::new(Code::TokenInvalid, error.to_string())
                .hint("get a new token for this server and send it as `Authorization: Bearer …`"),
        }
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
    own: Option<Arc<TaskTokens>>,
    clock: Clock,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    prover: Prover,
}

/// What proves a token, ready to be used.
#[derive(Debug)]
enum Prover {
    Signature(jwks::Keys, SignatureSettings),
    Svid(jwks::Keys, SignatureSettings),
    Introspection(Box<introspection::Introspection>),
}

impl Identity {
    /// Prepares the issuers; keys are fetched when first needed. `own` are the task tokens that we issue ourselves.
    pub fn from_settings(issuers: &[IssuerSettings], own: Option<Arc<TaskTokens>>, clock: Clock) -> Self {
        let keys = |issuer: &IssuerSettings, signature: &SignatureSettings, purpose| {
            jwks::Keys::new(signature.keys.clone(), purpose, issuer)
        };
        let prover = |issuer: &IssuerSettings| match &issuer.proof {
            Proof::Signature(signature) => Prover::Signature(keys(issuer, signature, jwks::Purpose::Signature), signature.clone()),
            Proof::Svid(signature) => Prover::Svid(keys(issuer, signature, jwks::Purpose::Svid), signature.clone()),
            Proof::Introspection(asked) => Prover::Introspection(Box::new(introspection::Introspection::new(asked, issuer))),
        };
        let issuers = issuers.iter().map(|issuer| Issuer { settings: issuer.clone(), prover: prover(issuer) }).collect();
        Self { issuers, own, clock }
    }

    /// Verifies a token.
    pub async fn authenticate(&self, token: &Secret) -> Result<Authenticated, IdentityError> {
        let token = token.expose_secret();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IdentityError::Malformed);
        }
        let unverified = match jwt::unverified(token) {
            Ok(unverified) => unverified,
            Err(malformed) => return self.opaque(token).await.unwrap_or(Err(malformed)),
        };
        if let Some(own) = &self.own
            && let Some(verified) = own.verify(token, &unverified).await
        {
            return verified;
        }
        let issuer = self.issuer_of(&unverified).ok_or(IdentityError::Issuer)?;
        let claims = issuer.claims(token, &unverified, &self.clock).await?;
        claims::read(&claims, &issuer.settings)
    }

    /// What is no JWT is asked about, if there is somebody to ask; a text that can be no bearer token (RFC 6750 §2.1) is not sent anywhere.
    async fn opaque(&self, token: &str) -> Option<Result<Authenticated, IdentityError>> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        // What has the shape of a JWS or a JWE may be another issuer's: it is shown to nobody.
        let dots = token.bytes().filter(|byte| *byte == b'.').count();
        if dots == 2 || dots == 4 || !token.bytes().all(is_token) {
            return None;
        }
        let (issuer, introspection) = self.issuers.iter().find_map(|issuer| match &issuer.prover {
            Prover::Introspection(introspection) => Some((issuer, introspection)),
            Prover::Signature(..) | Prover::Svid(..) => None,
        })?;
        let claims = introspection.ask(token, &self.clock).await;
        Some(claims.and_then(|claims| claims::read(&claims, &issuer.settings)))
    }

    /// Whose a token says it is: the issuer's that it names, else the trust domain's that its subject is of.
    fn issuer_of(&self, token: &jwt::Unverified) -> Option<&Issuer> {
        let named =
            |issuer: &&Issuer| !matches!(issuer.prover, Prover::Svid(..)) && token.issuer.as_ref() == Some(&issuer.settings.issuer);
        let of_domain = |issuer: &&Issuer| {
            let path = token.subject.as_deref().and_then(|subject| subject.strip_prefix(issuer.settings.issuer.as_str()));
            matches!(issuer.prover, Prover::Svid(..)) && path.is_some_and(|path| path.starts_with('/') && path.len() > 1)
        };
        self.issuers.iter().find(named).or_else(|| self.issuers.iter().find(of_domain))
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
    async fn claims(
        &self,
        token: &str,
        unverified: &jwt::Unverified,
        clock: &Clock,
    ) -> Result<serde_json::Map<String, serde_json::Value>, IdentityError> {
        let (keys, signature, issuer) = match &self.prover {
            Prover::Signature(keys, signature) => (keys, signature, Some(self.settings.issuer.as_str())),
            Prover::Svid(keys, signature) => (keys, signature, None),
            Prover::Introspection(introspection) => return introspection.ask(token, clock).await,
        };
        // SPIFFE JWT-SVID §2.3: `typ` is `JWT`, `JOSE`, or not there.
        let of_svid = issuer.is_none() && unverified.kind == "jose";
        if !of_svid && !signature.types.contains(&unverified.kind) {
            return Err(IdentityError::Claims("it is no access token"));
        }
        let algorithm = jwt::accepted(unverified, &signature.algorithms)?;
        let key = keys.find(unverified.key_id.as_deref(), algorithm).await?;
        jwt::verify(token, &key, algorithm, (issuer, &self.settings.audiences), clock.now())
    }
}
