//! The keys of one issuer (RFC 7517).
//!
//! Takes a file, a URL or an issuer's metadata, gives keys by `kid`. A known key answers at once, also while its source is down; old ones are
//! read again in the background. An unknown `kid` reads them again, a few times at first and then every 10 seconds. Never uses a symmetric
//! key, and neither of two keys with one `kid`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::IdentityError;
use super::fetch::Fetcher;
use crate::settings::{IssuerSettings, KeySource};

/// How often an unknown `kid` may read the keys again, once the readings in hand are used up.
const FLOOR: Duration = Duration::from_secs(10);
/// Readings in hand: an issuer that rotates twice in a minute loses nobody, a flood of invented ids asks it no more than this.
const IN_HAND: u32 = 4;
/// How old keys may get before they are read again anyway, so that a withdrawn one goes.
const MAX_AGE: Duration = Duration::from_secs(600);
/// How old keys may get while their source is down.
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// What the keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signatures of an OAuth issuer.
    Signature,
    /// JWT-SVIDs of a trust domain (SPIFFE Trust Domain and Bundle §4.2.2: `use` is `jwt-svid`).
    Svid,
}

/// The keys of one issuer.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: KeySource,
    purpose: Purpose,
    fetcher: Fetcher,
    known: Mutex<Known>,
    /// Held by the one who reads the keys again.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    keys: Vec<Jwk>,
    /// Readings that were begun.
    begun: u64,
    /// Whether the last one failed.
    failing: bool,
    read: Option<Instant>,
    in_hand: u32,
    refilled: Instant,
}

/// What the keys at hand say about one id.
enum Found {
    Fresh(DecodingKey),
    Old(DecodingKey),
    Nothing,
}

impl Keys {
    /// Reads nothing yet.
    pub fn new(source: KeySource, purpose: Purpose, issuer: &IssuerSettings) -> Self {
        let configured = match &source {
            KeySource::File(_) => None,
            KeySource::Url(url) | KeySource::Discovered(url) => Some(url.as_str()),
        };
        let fetcher = Fetcher::new(issuer, configured);
        let known = Known { keys: Vec::new(), begun: 0, failing: false, read: None, in_hand: IN_HAND, refilled: Instant::now() };
        Self(Arc::new(Inner { source, purpose, fetcher, known: Mutex::new(known), reading: tokio::sync::Mutex::default() }))
    }

    /// The key with this id that may be used with this algorithm. Without an id, the only such key.
    pub async fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, IdentityError> {
        let inner = &self.0;
        let seen = inner.known().begun;
        match inner.look(key_id, algorithm) {
            Found::Fresh(key) => return Ok(key),
            Found::Old(key) => {
                self.read_in_background();
                return Ok(key);
            }
            Found::Nothing => {}
        }
        let reading = inner.reading.lock().await;
        // A reading that began after this call came is as good as one of its own, whatever became of it.
        if inner.known().begun == seen && inner.may_read() {
            inner.read().await;
        }
        drop(reading);
        match inner.look(key_id, algorithm) {
            Found::Fresh(key) | Found::Old(key) => Ok(key),
            Found::Nothing if inner.known().failing => Err(IdentityError::Keys),
            Found::Nothing => Err(IdentityError::Key),
        }
    }

    fn read_in_background(&self) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Ok(_reading) = inner.reading.try_lock()
                && inner.known().read.is_none_or(|read| read.elapsed() > MAX_AGE)
                && inner.may_read()
            {
                inner.read().await;
            }
        });
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, key_id: Option<&str>, algorithm: Algorithm) -> Found {
        let known = self.known();
        let Some(age) = known.read.map(|read| read.elapsed()).filter(|age| *age <= MAX_STALE) else { return Found::Nothing };
        match pick(&known.keys, self.purpose, key_id, algorithm) {
            Some(key) if age <= MAX_AGE => Found::Fresh(key),
            Some(key) => Found::Old(key),
            None => Found::Nothing,
        }
    }

    /// Spends a reading, if there is one in hand.
    fn may_read(&self) -> bool {
        let mut known = self.known();
        while known.refilled.elapsed() >= FLOOR && known.in_hand < IN_HAND {
            known.in_hand = known.in_hand.saturating_add(1);
            known.refilled = known.refilled.checked_add(FLOOR).unwrap_or_else(Instant::now);
        }
        if known.in_hand == IN_HAND {
            known.refilled = Instant::now();
        }
        let may = known.in_hand > 0;
        known.in_hand = known.in_hand.saturating_sub(1);
        may
    }

    async fn read(&self) {
        {
            let mut known = self.known();
            known.begun = known.begun.saturating_add(1);
        }
        let fetched = self.fetch().await;
        let mut known = self.known();
        known.failing = fetched.is_err();
        match fetched {
            Ok(keys) => {
                known.keys = keys;
                known.read = Some(Instant::now());
            }
            Err(why) => tracing::warn!(source = ?self.source, why, "an issuer's keys cannot be read; those known stay"),
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let text = |error: super::fetch::FetchError| chain(&error);
        let bytes = match &self.source {
            KeySource::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string())?,
            KeySource::Url(url) => self.fetcher.get(url).await.map_err(text)?,
            KeySource::Discovered(issuer) => {
                let url = discover(&self.fetcher, issuer).await?;
                self.fetcher.get(&url).await.map_err(text)?
            }
        };
        usable(&bytes, self.purpose)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// What we read of an issuer's metadata (OpenID Connect Discovery §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The key set that the issuer's metadata names. The metadata must be the issuer's own (RFC 8414 §3.3).
async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<String, String> {
    let trimmed = issuer.trim_end_matches('/');
    let openid = format!("{trimmed}/.well-known/openid-configuration");
    let oauth = match reqwest::Url::parse(issuer) {
        Ok(url) => {
            let path = url.path().trim_end_matches('/').to_owned();
            url.join(&format!("/.well-known/oauth-authorization-server{path}"))
                .map(String::from)
                .map_err(|error| error.to_string())?
        }
        Err(error) => return Err(error.to_string()),
    };
    let bytes = match fetcher.get(&openid).await {
        Ok(bytes) => bytes,
        Err(first) => fetcher.get(&oauth).await.map_err(|_| chain(&first))?,
    };
    let metadata: Metadata = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if metadata.issuer != issuer {
        return Err(format!("the metadata is of another issuer, `{}`", crate::model::text::visible(&metadata.issuer)));
    }
    Ok(metadata.jwks_uri)
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The keys of a set that can be used; one that cannot be understood is passed over (RFC 7517 §5).
fn usable(bytes: &[u8], purpose: Purpose) -> Result<Vec<Jwk>, String> {
    let set: KeySet = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut keys: Vec<Jwk> = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
    keys.retain(|key| {
        let symmetric = matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
        if symmetric {
            tracing::warn!(kid = ?key.common.key_id, "an issuer publishes a symmetric key: whoever can read it can forge; it is not used");
        }
        !symmetric && is_for(key, purpose)
    });
    let twice = |key: &Jwk| keys.iter().filter(|other| other.common.key_id == key.common.key_id).count() > 1;
    let ambiguous: Vec<bool> = keys.iter().map(|key| key.common.key_id.is_some() && twice(key)).collect();
    let mut of_each = ambiguous.into_iter();
    keys.retain(|key| {
        let ambiguous = of_each.next().unwrap_or(true);
        if ambiguous {
            tracing::warn!(kid = ?key.common.key_id, "an issuer publishes several keys with one id; none of them is used");
        }
        !ambiguous
    });
    Ok(keys)
}

fn is_for(key: &Jwk, purpose: Purpose) -> bool {
    match (&key.common.public_key_use, purpose) {
        (Some(PublicKeyUse::Other(kind)), Purpose::Svid) => kind == "jwt-svid",
        (Some(PublicKeyUse::Signature) | None, Purpose::Signature) => true,
        _ => false,
    }
}

fn pick(keys: &[Jwk], purpose: Purpose, key_id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| is_for(key, purpose) && fits(key, algorithm));
    let key = match key_id {
        Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id))?,
        None => fitting.next().filter(|_| fitting.next().is_none())?,
    };
    DecodingKey::from_jwk(key).ok()
}

/// The algorithm belongs to the key, not to the token (RFC 8725 §3.1).
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
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
