//! Task tokens: the only tokens that we issue ourselves (RFC 8693), with keys that change by themselves.
//!
//! Takes a principal and a task, gives a signed token that says no more about the principal than the token it came from, and verifies it again.
//! Keys live in the state store, so that replicas know each other's. Never signs for longer than an old key is published.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::claims::DETAILS_TYPE;
use super::{Authenticated, IdentityError, jwt};
use crate::clock::{Clock, Instant};
use crate::model::principal::{Principal, TaskClaim};
use crate::secret::{ExposeSecret, Secret};
use crate::store::{Store, StoreError, StoredKey};

/// How long a key signs.
const ROTATE_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Longest life of a task token; a key is published for this long after it signed last.
pub const LONGEST_SECONDS: u64 = 24 * 60 * 60;
/// `typ` of our tokens: nobody else's access token looks like one.
const KIND: &str = "pgteller-task+jwt";

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The keys cannot be had.
    #[error("using our signing keys")]
    Store(#[from] StoreError),
    /// A key that cannot sign.
    #[error("signing a task token: {0}")]
    Signing(String),
}

/// Issues and verifies task tokens.
#[derive(Debug)]
pub struct TaskTokens {
    issuer: String,
    store: Store,
    clock: Clock,
    known: Mutex<Vec<StoredKey>>,
}

/// The claims of a task token. `sub`, `act` and `client_id` are for people and tools to read; what counts is the principal as it was.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    client_id: String,
    exp: i64,
    iat: i64,
    jti: String,
    scope: String,
    authorization_details: Value,
    pgteller_principal: Principal,
    pgteller_task: TaskClaim,
}

impl TaskTokens {
    /// Under this issuer, which is also the audience: our own address.
    pub fn new(issuer: String, store: Store, clock: Clock) -> Self {
        Self { issuer, store, clock, known: Mutex::default() }
    }

    /// The `iss` of our tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    fn known(&self) -> MutexGuard<'_, Vec<StoredKey>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our public keys (RFC 7517, RFC 8037).
    pub async fn jwks(&self) -> Result<Value, IssueError> {
        let keys: Vec<Value> = self
            .read()
            .await?
            .iter()
            .map(|key| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id, "x": key.public}))
            .collect();
        Ok(json!({"keys": keys}))
    }

    async fn read(&self) -> Result<Vec<StoredKey>, StoreError> {
        let keys = self.store.signing_keys().await?;
        self.known().clone_from(&keys);
        Ok(keys)
    }

    /// The key that signs now: the newest, or a new one. Old ones are forgotten once nothing that they signed is alive.
    async fn signing(&self) -> Result<StoredKey, IssueError> {
        let now = self.clock.now();
        let before =
            |seconds: u64| Instant(now.0.saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)));
        if let Some(newest) = self.read().await?.into_iter().next()
            && newest.created_at > before(ROTATE_SECONDS)
        {
            return Ok(newest);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.clock.random::<32>())
            .map_err(|error| IssueError::Signing(error.to_string()))?;
        let private = pair.to_pkcs8v1().map_err(|error| IssueError::Signing(error.to_string()))?;
        let key = StoredKey {
            id: self.clock.uuid7().to_string(),
            created_at: now,
            private: Secret::from(URL_SAFE_NO_PAD.encode(private.as_ref())),
            public: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        };
        self.store.keep_signing_key(&key).await?;
        self.store.forget_signing_keys(before(ROTATE_SECONDS.saturating_add(LONGEST_SECONDS))).await?;
        self.read().await?;
        Ok(key)
    }

    /// A token for one task of a principal, until `expires`.
    pub async fn issue(&self, principal: &Principal, task: &TaskClaim, expires: Instant) -> Result<Secret, IssueError> {
        let key = self.signing().await?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(KIND.to_owned());
        header.kid = Some(key.id.clone());
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: principal.subject.clone(),
            client_id: principal.agent.clone(),
            exp: expires.seconds(),
            iat: self.clock.now().seconds(),
            jti: task.external_id.clone(),
            scope: principal.scopes.join(" "),
            authorization_details: details(task, &self.issuer),
            pgteller_principal: principal.clone(),
            pgteller_task: task.clone(),
        };
        let private =
            URL_SAFE_NO_PAD.decode(key.private.expose_secret()).map_err(|error| IssueError::Signing(error.to_string()))?;
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&private))
            .map(Secret::from)
            .map_err(|error| IssueError::Signing(error.to_string()))
    }

    /// Verifies one of our own tokens; `None` if it names another issuer.
    pub(super) async fn verify(&self, token: &str, unverified: &jwt::Unverified) -> Option<Result<Authenticated, IdentityError>> {
        if unverified.issuer.as_ref() != Some(&self.issuer) {
            return None;
        }
        Some(self.verified(token, unverified).await)
    }

    async fn verified(&self, token: &str, unverified: &jwt::Unverified) -> Result<Authenticated, IdentityError> {
        if unverified.kind != KIND {
            return Err(IdentityError::Claims("it is no task token"));
        }
        jwt::accepted(unverified, &["EdDSA".to_owned()])?;
        let id = unverified.key_id.as_deref().ok_or(IdentityError::Key)?;
        let find = |keys: &[StoredKey]| keys.iter().find(|key| key.id == id).map(|key| key.public.clone());
        let known = find(&self.known());
        let public = match known {
            Some(public) => Some(public),
            // Another replica may have made it; forged ids cost one question to our own store.
            None => find(&self.read().await.map_err(|_| IdentityError::Keys)?),
        };
        let key = DecodingKey::from_ed_components(&public.ok_or(IdentityError::Key)?).map_err(|_| IdentityError::Key)?;
        let ours = [self.issuer.clone()];
        let claims = jwt::verify(token, &key, Algorithm::EdDSA, (Some(&self.issuer), &ours), self.clock.now())?;
        let claims: Claims = serde_json::from_value(Value::Object(claims)).map_err(|_| IdentityError::Malformed)?;
        Ok(Authenticated {
            principal: claims.pgteller_principal,
            task: Some(claims.pgteller_task),
            expires_at: Some(Instant(claims.exp.saturating_mul(1_000_000_000))),
        })
    }
}

/// The task in the words of RFC 9396.
pub fn details(task: &TaskClaim, location: &str) -> Value {
    let mut detail =
        json!({"type": DETAILS_TYPE, "locations": [location], "identifier": task.external_id, "purpose": task.purpose});
    let limits = [
        ("datatypes", json!(task.narrow.relations)),
        ("actions", json!(task.narrow.tools)),
        ("max_rows", json!(task.narrow.max_rows)),
    ];
    if let Some(members) = detail.as_object_mut() {
        members.extend(limits.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)));
    }
    json!([detail])
}
