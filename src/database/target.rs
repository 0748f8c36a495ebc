//! Opening byte streams to a governed database.
//!
//! Takes validated settings, gives open byte streams. Never authenticates, and never falls back from TLS to plain text.

use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::wire::WireError;
pub use crate::settings::{Host, Target};

/// How long a connection may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

impl Target {
    /// Opens a stream, encrypted if configured so.
    pub async fn open(&self) -> Result<Box<dyn Stream>, WireError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.open_unbounded())
            .await
            .map_err(|_| WireError::Connect(std::io::ErrorKind::TimedOut.into()))?
    }

    async fn open_unbounded(&self) -> Result<Box<dyn Stream>, WireError> {
        match &self.host {
            Host::Unix(directory) => {
                let socket = directory.join(format!(".s.PGSQL.{}", self.port));
                Ok(Box::new(UnixStream::connect(socket).await.map_err(WireError::Connect)?))
            }
            Host::Tcp(host) => {
                let stream = TcpStream::connect((host.as_str(), self.port)).await.map_err(WireError::Connect)?;
                stream.set_nodelay(true).map_err(WireError::Connect)?;
                match &self.tls {
                    None => Ok(Box::new(stream)),
                    Some(config) => encrypt(stream, host, Arc::clone(config)).await,
                }
            }
        }
    }
}

/// PostgreSQL's TLS negotiation (manual §55.2.10): one byte, `S` or nothing doing.
async fn encrypt(mut stream: TcpStream, host: &str, config: Arc<rustls::ClientConfig>) -> Result<Box<dyn Stream>, WireError> {
    let mut request = bytes::BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(WireError::Connect)?;
    let mut answer = [0_u8; 1];
    stream.read_exact(&mut answer).await.map_err(WireError::Connect)?;
    if answer != *b"S" {
        return Err(WireError::Protocol("the server does not offer TLS"));
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|_| WireError::Protocol("the host's name cannot be verified by TLS"))?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(WireError::Connect)?;
    Ok(Box::new(stream))
}
