//! Values that must not print: passwords, tokens, keys.
//!
//! Takes a string as it was read. Gives a [`Secret`] whose `Debug` shows nothing and whose memory is wiped when dropped.
//! Never offers a way to print or serialise one; `expose_secret()` marks each place that uses the raw value.

pub use secrecy::{ExposeSecret, SecretString as Secret};
