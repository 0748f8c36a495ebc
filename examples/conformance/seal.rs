//! State that travels through the client (SEP-2322 `requestState`).
//!
//! Takes a word, gives it with its HMAC; takes that back and gives the word. Never believes a word whose seal is broken.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use pgteller::clock::Clock;
use rmcp::ErrorData;
use sha2::Sha256;

/// The seal of this process.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl Seal {
    /// A seal that nobody else has.
    pub fn new(clock: &Clock) -> Self {
        Self(Hmac::new(&clock.random::<64>().into()))
    }

    /// `word.seal`
    pub fn put_on(&self, word: &str) -> String {
        let seal = self.0.clone().chain_update(word).finalize().into_bytes();
        format!("{word}.{}", URL_SAFE_NO_PAD.encode(seal))
    }

    /// The word, if its seal is unbroken.
    pub fn open<'a>(&self, sealed: &'a str) -> Result<&'a str, ErrorData> {
        let broken = || ErrorData::invalid_params("requestState was not sealed by this server", None);
        let (word, seal) = sealed.split_once('.').ok_or_else(broken)?;
        let seal = URL_SAFE_NO_PAD.decode(seal).map_err(|_| broken())?;
        self.0.clone().chain_update(word).verify_slice(&seal).map_err(|_| broken())?;
        Ok(word)
    }
}
