//! The keys of one issuer (RFC 7517).
//!
//! Takes a file or a URL, gives keys by `kid`. Keys are kept; an unknown `kid` reads them again, but at most every 30 seconds, and keys that
//! were good stay good while their source is down. Never follows a redirect, never reads more than 256 KiB.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::time::Instant;

use super::IdentityError;
use crate::settings::JwksSource;

/// How often an unknown `kid` may read the keys again.
const FLOOR: Duration = Duration::from_secs(30);
/// How old keys may get before they are read again anyway, so that a withdrawn one goes.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest key set.
const MAX_BYTES: usize = 256 * 1024;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys {
    source: JwksSource,
    known: Mutex<Known>,
    /// Held by the one who reads the keys again.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Option<JwkSet>,
    tried: Option<Instant>,
    read: Option<Instant>,
}

/// How recent keys must be to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Recent,
    Any,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// Reads nothing yet.
    pub fn new(source: JwksSource) -> Self {
        Self { source, known: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The key with this id that may be used with this algorithm. Without an id, the only such key.
    /// A key that is known answers at once, whoever is reading the keys again meanwhile.
    pub async fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, IdentityError> {
        if let Some(key) = self.known_key(key_id, algorithm, Freshness::Recent) {
            return Ok(key);
        }
        let reading = self.reading.lock().await;
        if let Some(key) = self.known_key(key_id, algorithm, Freshness::Recent) {
            return Ok(key);
        }
        if self.may_read_again() {
            match self.fetch().await {
                Ok(keys) => {
                    *lock(&self.known) = Known { keys: Some(keys), tried: Some(Instant::now()), read: Some(Instant::now()) }
                }
                Err(why) => tracing::warn!(source = ?self.source, why, "an issuer's keys cannot be read; those known stay"),
            }
        }
        drop(reading);
        let none = lock(&self.known).keys.is_none();
        self.known_key(key_id, algorithm, Freshness::Any).ok_or(if none { IdentityError::Keys } else { IdentityError::Key })
    }

    fn known_key(&self, key_id: Option<&str>, algorithm: Algorithm, freshness: Freshness) -> Option<DecodingKey> {
        let known = lock(&self.known);
        let recent =
            known.read.is_some_and(|read| read.elapsed() <= MAX_AGE) || known.tried.is_some_and(|tried| tried.elapsed() <= FLOOR);
        let keys = known.keys.as_ref().filter(|_| recent || freshness == Freshness::Any)?;
        pick(keys, key_id, algorithm)
    }

    fn may_read_again(&self) -> bool {
        let mut known = lock(&self.known);
        let may = known.tried.is_none_or(|tried| tried.elapsed() > FLOOR);
        if may {
            known.tried = Some(Instant::now());
        }
        may
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let bytes = match &self.source {
            JwksSource::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string())?,
            JwksSource::Url(url) => download(url).await?,
        };
        if bytes.len() > MAX_BYTES {
            return Err("the key set is too large".to_owned());
        }
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }
}

async fn download(url: &str) -> Result<Vec<u8>, String> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let mut response = client.get(url).send().await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            return Err("the key set is too large".to_owned());
        }
    }
    Ok(bytes)
}

fn pick(keys: &JwkSet, key_id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.keys.iter().filter(|key| fits(key, algorithm));
    let key = match key_id {
        Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id))?,
        None => fitting.next().filter(|_| fitting.next().is_none())?,
    };
    DecodingKey::from_jwk(key).ok()
}

/// The algorithm belongs to the key, not to the token (RFC 8725 §3.1).
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    if matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return false;
    }
    if let Some(own) = key.common.key_algorithm
        && own.to_string() != format!("{algorithm:?}")
    {
        return false;
    }
    match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512)
        | (AlgorithmParameters::RSA(_), Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES384) => curve.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDSA) => pair.curve == EllipticCurve::Ed25519,
        _ => false,
    }
}
