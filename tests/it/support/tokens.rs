//! Real tokens: an ES256 key of the test's own, its JWKS, and whatever claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pgteller::clock::Clock;
use serde_json::{Value, json};

/// An issuer with one key.
pub struct Issuer {
    key: rcgen::KeyPair,
    /// The key's id.
    pub key_id: String,
}

impl Issuer {
    /// A new key.
    pub fn new(key_id: &str) -> Self {
        Self { key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(), key_id: key_id.to_owned() }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = self.key.public_key_raw();
        assert_eq!((point.len(), point[0]), (65, 4));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
    }

    /// Its key set.
    pub fn jwks(&self) -> String {
        json!({"keys": [self.jwk()]}).to_string()
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(claims, |_| {})
    }

    /// A token with these claims and a changed header.
    pub fn sign_with(&self, claims: &Value, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        change(&mut header);
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// Claims that are accepted by `AUDIENCE`, with some changed; `null` takes one out.
pub fn claims(change: Value) -> Value {
    let now = Clock::system().now().seconds();
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": AUDIENCE, "sub": "ada", "client_id": "bot", "exp": now + 600, "iat": now,
        "pgteller_task": {"id": "t-1", "purpose": "read"},
    });
    for (key, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(key);
        } else {
            claims[key] = value.clone();
        }
    }
    claims
}

/// What tokens must be meant for.
pub const AUDIENCE: &str = "https://db.test/mcp";
