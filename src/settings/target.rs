//! Where a database is, from its URL.
//!
//! Takes `url`, `tls` and `tls_ca_file`, gives a [`Target`] and the login. Never accepts a password in the URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Tls, config, invalid};
use crate::config::ConfigError;

/// Where a database listens.
#[derive(Debug, Clone)]
pub enum Host {
    /// Host name or address.
    Tcp(String),
    /// A directory with the server's socket.
    Unix(PathBuf),
}

/// A database server and the database on it.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// TLS with a verified certificate; nothing for plain text.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

/// Reads the URL of `[database.NAME]`; gives the target and the login.
pub fn parse(name: &str, written: &config::Database, base: &Path) -> Result<(Target, String), ConfigError> {
    let key = |key: &str| format!("database.{name}.{key}");
    let parsed: tokio_postgres::Config =
        written.url.parse().map_err(|error| invalid(key("url"), format!("not a PostgreSQL URL: {error}")))?;
    if parsed.get_password().is_some() {
        return Err(invalid(key("url"), "must not hold a password: use `password_file` or `password_env`"));
    }
    let login = parsed.get_user().ok_or_else(|| invalid(key("url"), "names no login: postgres://LOGIN@HOST/DATABASE"))?;
    let database = parsed.get_dbname().ok_or_else(|| invalid(key("url"), "names no database: postgres://LOGIN@HOST/DATABASE"))?;
    let host = match parsed.get_hosts() {
        [tokio_postgres::config::Host::Tcp(host)] => Host::Tcp(host.clone()),
        [tokio_postgres::config::Host::Unix(directory)] => Host::Unix(directory.clone()),
        _ => return Err(invalid(key("url"), "must name one host")),
    };
    let local = match &host {
        Host::Unix(_) => true,
        Host::Tcp(host) => matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1"),
    };
    let tls = match (written.tls, local, &host) {
        (Some(Tls::Verify), _, Host::Tcp(_)) | (None, false, _) => Some(trust(&key("tls_ca_file"), written, base)?),
        (Some(Tls::Verify), _, Host::Unix(_)) => return Err(invalid(key("tls"), "there is no TLS over a socket directory")),
        (Some(Tls::Disable), _, _) | (None, true, _) => None,
    };
    let port = parsed.get_ports().first().copied().unwrap_or(5432);
    Ok((Target { host, port, database: database.to_owned(), tls }, login.to_owned()))
}

fn trust(key: &str, written: &config::Database, base: &Path) -> Result<Arc<rustls::ClientConfig>, ConfigError> {
    let mut roots = rustls::RootCertStore::empty();
    match &written.tls_ca_file {
        Some(file) => {
            let file = base.join(file);
            let unreadable = |why: String| invalid(key, format!("`{}` cannot be used: {why}", file.display()));
            for certificate in CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(error.to_string()))? {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // Roots that rustls cannot read only make fewer servers trusted.
                let _ = roots.add(certificate);
            }
        }
    }
    if roots.is_empty() {
        return Err(invalid(key, "there is no certificate to trust"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(key, error.to_string()))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
