//! The windows: bytes become a `Call`, a `Reply` becomes bytes. Layer 6, and the only modules that know MCP or HTTP.
//!
//! Takes connections, gives each request an open entry ([`Ticket`]) before anything is believed about it. Never decides, and never answers
//! a request whose entry could not be written.

pub mod client;
pub mod http;
pub mod mcp;
pub mod metrics;
pub mod stdio;
pub mod tools;

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::audit::Draft;
use crate::identity::{Authenticated, Identity, IdentityError};
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Refusal};
use crate::secret::{ExposeSecret, Secret};
use crate::settings::DevSettings;

/// The open entry of one request, on its way from the window's edge to whoever closes it.
#[derive(Debug, Clone)]
pub struct Ticket {
    draft: Arc<Mutex<Option<Draft>>>,
    /// Who, where the window knew before the message was read (HTTP).
    who: Option<Arc<Authenticated>>,
}

impl Ticket {
    /// A ticket for an open entry.
    pub fn new(draft: Draft, who: Option<Authenticated>) -> Self {
        Self { draft: Arc::new(Mutex::new(Some(draft))), who: who.map(Arc::new) }
    }

    /// Notes who calls, where only the message's handler knows.
    pub fn admitted(&self, principal: &Principal) {
        if let Some(draft) = self.draft.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            draft.admitted(principal);
        }
    }

    /// Takes the entry; whoever has it closes it.
    pub fn take(&self) -> Option<Draft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Who may come in, and how they prove it.
#[derive(Debug)]
pub struct Gate {
    identity: Identity,
    dev: Option<DevSettings>,
    /// The hash of the random token that `[dev]` needs on HTTP.
    dev_token: Option<[u8; 32]>,
}

impl Gate {
    /// From the configured issuers and `[dev]`; `dev_token` opens HTTP for `[dev]`.
    pub fn new(identity: Identity, dev: Option<DevSettings>, dev_token: Option<&Secret>) -> Self {
        Self { identity, dev, dev_token: dev_token.map(|token| Sha256::digest(token.expose_secret()).into()) }
    }

    /// A bearer token of an HTTP request (RFC 6750 §2.1: only in the header).
    pub async fn http(&self, token: Option<Secret>) -> Result<Authenticated, Refusal> {
        let token = token.ok_or_else(|| {
            Refusal::new(Code::TokenMissing, "the request carries no bearer token").hint("send `Authorization: Bearer …`")
        })?;
        // Hashes are compared, so that time tells nothing about the token.
        let hash: [u8; 32] = Sha256::digest(token.expose_secret()).into();
        match (&self.dev, self.dev_token) {
            (Some(dev), Some(expected)) if hash == expected => Ok(local(dev)),
            _ => Ok(self.identity.authenticate(&token).await?),
        }
    }

    /// A token that came otherwise than as a bearer's, to be exchanged or revoked.
    pub async fn token(&self, token: &Secret) -> Result<Authenticated, IdentityError> {
        // The token of `[dev]` is shown to no issuer.
        let hash: [u8; 32] = Sha256::digest(token.expose_secret()).into();
        if let (Some(dev), true) = (&self.dev, self.dev_token == Some(hash)) {
            return Ok(local(dev));
        }
        self.identity.authenticate(token).await
    }

    /// The caller of a stdio server: its configured token, else `[dev]`.
    pub async fn stdio(&self) -> Result<Authenticated, Refusal> {
        match (self.identity.ambient_token().await, &self.dev) {
            (Some(token), _) => Ok(self.identity.authenticate(&token).await?),
            (None, Some(dev)) => Ok(local(dev)),
            (None, None) => Err(Refusal::new(Code::TokenMissing, "this server was started without a token")
                .hint("set `token_env` or `token_file` of an issuer, or `[dev]`")),
        }
    }
}

fn local(dev: &DevSettings) -> Authenticated {
    Authenticated { principal: dev.principal.clone(), task: dev.task.clone(), expires_at: None }
}
