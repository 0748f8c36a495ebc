//! Asking the issuer about a token (RFC 7662).
//!
//! Takes a token, gives the claims that its issuer vouches for. An answer is kept for a few seconds, under the token's hash. Never believes an
//! answer that does not name us as its audience, or that has no end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::IdentityError;
use super::fetch::{Fetcher, percent_encoded};
use crate::clock::Clock;
use crate::settings::{IntrospectionSettings, IssuerSettings};

/// Answers that are kept at once; at more, all are forgotten.
const KEPT: usize = 4096;

/// What the issuer said, and when.
#[derive(Debug)]
struct Answer {
    at: Instant,
    claims: Map<String, Value>,
}

/// An issuer's introspection endpoint.
#[derive(Debug)]
pub struct Introspection {
    settings: IntrospectionSettings,
    issuer: String,
    audiences: Vec<String>,
    fetcher: Fetcher,
    kept: Mutex<HashMap<[u8; 32], Answer>>,
}

impl Introspection {
    /// Asks nothing yet.
    pub fn new(settings: &IntrospectionSettings, issuer: &IssuerSettings) -> Self {
        Self {
            settings: settings.clone(),
            issuer: issuer.issuer.clone(),
            audiences: issuer.audiences.clone(),
            fetcher: Fetcher::new(issuer, Some(&settings.url)),
            kept: Mutex::default(),
        }
    }

    /// The claims of a token that its issuer calls active.
    pub async fn ask(&self, token: &str, clock: &Clock) -> Result<Map<String, Value>, IdentityError> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let claims = match self.remembered(&hash) {
            Some(claims) => claims,
            None => {
                let claims = self.fetch(token).await?;
                self.remember(hash, &claims);
                claims
            }
        };
        self.check(&claims, clock)?;
        Ok(claims)
    }

    async fn fetch(&self, token: &str) -> Result<Map<String, Value>, IdentityError> {
        let form = format!("token={}&token_type_hint=access_token", percent_encoded(token));
        let client = (self.settings.client_id.as_str(), &self.settings.client_secret);
        let answer = match self.fetcher.post(&self.settings.url, client, &form).await {
            Ok(bytes) => serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        answer.map_err(|why| {
            tracing::warn!(issuer = self.issuer, why, "an issuer cannot be asked about a token");
            IdentityError::Keys
        })
    }

    /// The same checks that a signed token passes (RFC 7662 §4).
    fn check(&self, claims: &Map<String, Value>, clock: &Clock) -> Result<(), IdentityError> {
        let now = clock.now().seconds();
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Err(IdentityError::Claims("its issuer does not call it active"));
        }
        if claims.get("iss").is_some_and(|issuer| issuer.as_str() != Some(&self.issuer)) {
            return Err(IdentityError::Issuer);
        }
        let ours = |audience: &Value| self.audiences.iter().any(|own| audience == own);
        let for_us = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !for_us {
            return Err(IdentityError::Claims("it is meant for somebody else"));
        }
        if claims.get("exp").and_then(Value::as_i64).is_none_or(|end| end <= now) {
            return Err(IdentityError::Claims("it has expired"));
        }
        if claims.get("nbf").and_then(Value::as_i64).is_some_and(|begin| begin > now) {
            return Err(IdentityError::Claims("it is not valid yet"));
        }
        Ok(())
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Map<String, Value>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(hash).filter(|answer| answer.at.elapsed() < self.settings.keep).map(|answer| answer.claims.clone())
    }

    fn remember(&self, hash: [u8; 32], claims: &Map<String, Value>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(hash, Answer { at: Instant::now(), claims: claims.clone() });
    }
}
