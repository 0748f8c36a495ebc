//! Reading and verifying one JWT (RFC 7519, RFC 8725).
//!
//! Takes a token and a key, gives verified claims. Never trusts a header beyond choosing among configured algorithms and known keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::IdentityError;
use crate::clock::Instant;

/// Clock skew that is forgiven, in seconds.
const LEEWAY_SECONDS: u64 = 5;

/// Claims that only tokens have which tell a client who signed in (OpenID Connect Core §2, §3.1.3.6): those open nothing.
const OF_ID_TOKENS: &[&str] = &["nonce", "at_hash", "c_hash"];

/// What an unverified token says of itself: only good for choosing a key.
#[derive(Debug)]
pub struct Unverified {
    /// `iss`.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `kid`.
    pub key_id: Option<String>,
    /// `typ`, in lower case, without `application/`; empty if there is none.
    pub kind: String,
    algorithm: String,
}

/// Reads header and issuer without believing them.
pub fn unverified(token: &str) -> Result<Unverified, IdentityError> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(IdentityError::Malformed);
    };
    let header = json(header)?;
    let payload = json(payload)?;
    let text = |object: &Map<String, Value>, name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    if signature.is_empty() {
        return Err(IdentityError::Algorithm);
    }
    if header.contains_key("crit") {
        // RFC 7515 §4.1.11: extensions that we do not know must be refused, and we know none.
        return Err(IdentityError::Malformed);
    }
    let kind = text(&header, "typ").unwrap_or_default().to_ascii_lowercase();
    Ok(Unverified {
        issuer: text(&payload, "iss"),
        subject: text(&payload, "sub"),
        kind: kind.trim_start_matches("application/").to_owned(),
        key_id: text(&header, "kid"),
        algorithm: text(&header, "alg").ok_or(IdentityError::Malformed)?,
    })
}

fn json(part: &str) -> Result<Map<String, Value>, IdentityError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| IdentityError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| IdentityError::Malformed)
}

/// The token's algorithm, if the issuer may use it.
pub fn accepted(unverified: &Unverified, algorithms: &[String]) -> Result<Algorithm, IdentityError> {
    if !algorithms.contains(&unverified.algorithm) {
        return Err(IdentityError::Algorithm);
    }
    match unverified.algorithm.parse() {
        Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => Err(IdentityError::Algorithm),
        Ok(algorithm) => Ok(algorithm),
    }
}

/// Verifies signature, audience and times, and the issuer if `issuer` names one: a JWT-SVID has none (SPIFFE JWT-SVID §3).
pub fn verify(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
    (issuer, audiences): (Option<&str>, &[String]),
    now: Instant,
) -> Result<Map<String, Value>, IdentityError> {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    validation.set_audience(audiences);
    // Without being required, `aud` and `iss` would be compared only if present (`reference/crates.md` §6).
    validation.set_required_spec_claims(&["exp", "aud", "sub"]);
    if let Some(issuer) = issuer {
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    }
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).map_err(|error| explain(error.kind()))?.claims;
    let expires = claims.get("exp").and_then(Value::as_i64).unwrap_or(0);
    if expires.saturating_add(i64::try_from(LEEWAY_SECONDS).unwrap_or(0)) < now.seconds() {
        return Err(IdentityError::Claims("it has expired"));
    }
    if OF_ID_TOKENS.iter().any(|name| claims.contains_key(*name)) {
        return Err(IdentityError::Claims("it is an ID token, not an access token"));
    }
    Ok(claims)
}

fn explain(kind: &ErrorKind) -> IdentityError {
    match kind {
        ErrorKind::ExpiredSignature => IdentityError::Claims("it has expired"),
        ErrorKind::ImmatureSignature => IdentityError::Claims("it is not valid yet"),
        ErrorKind::InvalidAudience => IdentityError::Claims("it is meant for somebody else"),
        ErrorKind::InvalidIssuer => IdentityError::Issuer,
        ErrorKind::InvalidSignature => IdentityError::Claims("its signature is wrong"),
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => IdentityError::Algorithm,
        ErrorKind::MissingRequiredClaim(_) => IdentityError::Claims("a required claim is missing"),
        _ => IdentityError::Malformed,
    }
}
