//! Fetching what an issuer publishes, without being led elsewhere.
//!
//! Takes a URL of the configuration (or of an issuer's own metadata), gives at most 256 KiB. Never follows a redirect, never speaks to a
//! link-local address, to a private one only where the configuration says so, and to this machine only if the configured URL is on it:
//! addresses are judged after resolution and before anything is sent.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{RequestBuilder, Url};

use crate::secret::{ExposeSecret, Secret};
use crate::settings::IssuerSettings;

/// How long one exchange may take in all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest document.
const MAX_BYTES: usize = 256 * 1024;

/// Why a document cannot be had; for the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that we ask.
    #[error("`{0}` is not an https URL")]
    Url(String),
    /// Refused before anything was sent.
    #[error("the host leads to {0}, which is not asked")]
    Address(IpAddr),
    /// The other side, or the way there.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// A redirect, an error.
    #[error("the answer is {0}")]
    Status(u16),
    /// More than we read.
    #[error("the answer is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

/// Which addresses may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This machine only.
    Loopback,
    /// The internet, and private networks.
    Private,
    /// The internet.
    Public,
}

/// A client for what one issuer publishes.
#[derive(Debug, Clone)]
pub struct Fetcher {
    reach: Reach,
    client: Result<reqwest::Client, Arc<reqwest::Error>>,
}

impl Fetcher {
    /// For the URLs of one issuer. `configured` is the URL that the configuration names.
    pub fn new(issuer: &IssuerSettings, configured: Option<&str>) -> Self {
        let on_this_machine = configured.and_then(|url| Url::parse(url).ok()).is_some_and(|url| is_this_machine(&url));
        let reach = match (on_this_machine, issuer.private_network) {
            (true, _) => Reach::Loopback,
            (false, true) => Reach::Private,
            (false, false) => Reach::Public,
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .dns_resolver(Arc::new(Guarded(reach)))
            .build()
            .map_err(Arc::new);
        Self { reach, client }
    }

    /// A document.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let url = self.checked(url)?;
        self.bytes(self.client()?.get(url).header("accept", "application/json")).await
    }

    /// The answer to a form, as a client with a secret (RFC 6749 §2.3.1).
    pub async fn post(&self, url: &str, client: (&str, &Secret), form: &str) -> Result<Vec<u8>, FetchError> {
        let url = self.checked(url)?;
        let request = self
            .client()?
            .post(url)
            .basic_auth(percent_encoded(client.0), Some(percent_encoded(client.1.expose_secret())))
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        self.bytes(request).await
    }

    fn client(&self) -> Result<&reqwest::Client, FetchError> {
        self.client.as_ref().map_err(|error| FetchError::Url(error.to_string()))
    }

    /// A literal address never meets the resolver.
    fn checked(&self, url: &str) -> Result<Url, FetchError> {
        let parsed = Url::parse(url).map_err(|_| FetchError::Url(url.to_owned()))?;
        let encrypted = parsed.scheme() == "https" || (parsed.scheme() == "http" && self.reach == Reach::Loopback);
        if !encrypted || parsed.host_str().is_none() {
            return Err(FetchError::Url(url.to_owned()));
        }
        match literal(&parsed) {
            Some(address) if !self.reach.allows(address) => Err(FetchError::Address(address)),
            Some(_) | None => Ok(parsed),
        }
    }

    async fn bytes(&self, request: RequestBuilder) -> Result<Vec<u8>, FetchError> {
        let mut response = request.send().await.map_err(FetchError::Request)?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::Request)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
        }
        Ok(bytes)
    }
}

impl Reach {
    fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Loopback => kind(address) == Kind::Loopback,
            Self::Private => matches!(kind(address), Kind::Public | Kind::Private),
            Self::Public => kind(address) == Kind::Public,
        }
    }
}

/// Resolves a name, and gives only addresses that may be spoken to.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(|address| reach.allows(address.ip())).collect();
            match (allowed.is_empty(), found.first()) {
                (true, Some(address)) => Err(FetchError::Address(address.ip()).into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Loopback,
    Never,
}

/// What an address leads to (IANA's special-purpose registries). An IPv4 address inside an IPv6 one counts as itself.
fn kind(address: IpAddr) -> Kind {
    let address = match address {
        IpAddr::V6(v6) => embedded(v6).unwrap_or(address),
        IpAddr::V4(_) => address,
    };
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && (64..128).contains(&second);
            let reserved =
                (first == 192 && second == 0 && v4.octets().get(2) == Some(&0)) || (first == 198 && (18..20).contains(&second));
            if v4.is_loopback() {
                Kind::Loopback
            } else if v4.is_link_local() || first == 0 || first >= 224 || reserved {
                Kind::Never
            } else if v4.is_private() || shared {
                Kind::Private
            } else {
                Kind::Public
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_loopback() {
                Kind::Loopback
            } else if v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() {
                Kind::Never
            } else if v6.is_unique_local()
                || matches!(v6.octets(), [0xfe, 0xc0..=0xff, ..] | [0, 0x64, 0xff, 0x9b, 0, 1, ..] | [0x20, 0x01, 0, 0, ..])
            {
                Kind::Private
            } else {
                Kind::Public
            }
        }
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped (RFC 4291), translated (RFC 6052) or 6to4 (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<IpAddr> {
    let bytes = v6.octets();
    let (head, tail) = bytes.split_at(12);
    let last: [u8; 4] = tail.try_into().ok()?;
    match head {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] if !v6.is_loopback() && !v6.is_unspecified() => Some(IpAddr::from(last)),
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0] => Some(IpAddr::from(last)),
        [0x20, 0x02, a, b, c, d, ..] => Some(IpAddr::from([*a, *b, *c, *d])),
        _ => None,
    }
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_this_machine(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal(url).is_some_and(|address| kind(address) == Kind::Loopback)
}

/// `application/x-www-form-urlencoded`, for the values of forms and of client authentication.
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_lead_to() {
        for (address, expected) in [
            ("93.184.216.34", Kind::Public),
            ("10.0.0.1", Kind::Private),
            ("172.16.9.9", Kind::Private),
            ("192.168.1.1", Kind::Private),
            ("100.64.0.1", Kind::Private),
            ("127.0.0.1", Kind::Loopback),
            ("127.8.8.8", Kind::Loopback),
            ("169.254.169.254", Kind::Never),
            ("0.0.0.0", Kind::Never),
            ("224.0.0.1", Kind::Never),
            ("255.255.255.255", Kind::Never),
            ("::1", Kind::Loopback),
            ("::", Kind::Never),
            ("fe80::1", Kind::Never),
            ("ff02::1", Kind::Never),
            ("fd00::1", Kind::Private),
            ("2606:2800:220:1::1", Kind::Public),
            ("::ffff:169.254.169.254", Kind::Never),
            ("::ffff:10.0.0.1", Kind::Private),
            ("64:ff9b::a9fe:a9fe", Kind::Never),
            ("2002:a9fe:a9fe::1", Kind::Never),
            ("::169.254.169.254", Kind::Never),
            ("192.0.0.192", Kind::Never),
            ("198.18.0.1", Kind::Never),
            ("fec0::1", Kind::Private),
            ("64:ff9b:1::a00:1", Kind::Private),
            ("2001:0:a9fe::1", Kind::Private),
        ] {
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }
}
