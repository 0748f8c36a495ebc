//! The issuers of tokens, validated.
//!
//! Takes `[identity.NAME]` as written, gives [`IssuerSettings`]. Never accepts a symmetric algorithm, a plain-text URL beyond this machine, or
//! an issuer without an audience.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::invalid;
use crate::config::{self, Claims, ConfigError};
use crate::secret::Secret;

/// Signature algorithms accepted unless configured: asymmetric ones only, always.
const ALGORITHMS: &[&str] = &["RS256", "ES256", "EdDSA"];
/// Where the agent stands unless configured: the current actor (RFC 8693 §4.1), else the client (RFC 9068 §2.2), else the authorized party.
const AGENT_CLAIMS: &[&str] = &["/act/sub", "client_id", "azp"];
/// `typ` headers accepted unless configured (RFC 9068 §2.1; many issuers still write `JWT`, or nothing).
const TYPES: &[&str] = &["at+jwt", "jwt", ""];
/// How long the answer of an introspection is kept unless configured.
const INTROSPECTION_SECONDS: u64 = 5;

/// One token issuer.
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// Its configured name.
    pub name: String,
    /// The exact `iss`; for a trust domain its SPIFFE id, `spiffe://example.org`.
    pub issuer: String,
    /// Accepted audiences; never empty.
    pub audiences: Vec<String>,
    /// What proves a token.
    pub proof: Proof,
    /// Where claims stand.
    pub mapping: ClaimMapping,
    /// Whom its URLs may reach.
    pub private_network: bool,
    /// Where a stdio server finds its token.
    pub token: Option<TokenSource>,
}

/// What proves that a token is the issuer's.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Its signature.
    Signature(SignatureSettings),
    /// The signature of a SPIFFE JWT-SVID.
    Svid(SignatureSettings),
    /// The issuer's word (RFC 7662).
    Introspection(IntrospectionSettings),
}

/// How signatures are checked.
#[derive(Debug, Clone)]
pub struct SignatureSettings {
    /// The keys.
    pub keys: KeySource,
    /// Accepted algorithms, by name.
    pub algorithms: Vec<String>,
    /// Accepted `typ` headers, in lower case, without `application/`; empty text for none.
    pub types: Vec<String>,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, read again when it may have changed.
    File(PathBuf),
    /// A URL.
    Url(String),
    /// The `jwks_uri` of the issuer's own metadata.
    Discovered(String),
}

/// How the issuer is asked about a token.
#[derive(Debug, Clone)]
pub struct IntrospectionSettings {
    /// The endpoint.
    pub url: String,
    /// Our client there.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// How long an answer is kept.
    pub keep: Duration,
}

/// Where a stdio server's token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// Read once from the environment.
    Env(Secret),
    /// Read for each call.
    File(PathBuf),
}

/// Where the facts about a principal stand among the claims.
#[derive(Debug, Clone)]
pub struct ClaimMapping {
    /// The subject.
    pub subject: ClaimPath,
    /// The agent: the first that is there.
    pub agent: Vec<ClaimPath>,
    /// The groups.
    pub groups: ClaimPath,
    /// The task.
    pub task: ClaimPath,
    /// Name for policies, and the claim.
    pub claims: Vec<(String, ClaimPath)>,
}

/// A claim by its name, or by a JSON Pointer (RFC 6901) if it begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// Its value, if it is there.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(pointer) = self.0.strip_prefix('/') else { return claims.get(&self.0) };
        let mut parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let first = claims.get(&parts.next()?)?;
        parts.try_fold(first, |value, part| match value {
            Value::Object(object) => object.get(&part),
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

/// Validates one issuer; `base` is where its relative paths begin.
pub fn issuer(
    name: &str,
    written: &config::Identity,
    public_url: Option<&str>,
    base: &Path,
) -> Result<IssuerSettings, ConfigError> {
    let key = |key: &str| format!("identity.{name}.{key}");
    let audiences =
        if written.audiences.is_empty() { public_url.map(str::to_owned).into_iter().collect() } else { written.audiences.clone() };
    if audiences.is_empty() {
        return Err(invalid(key("audiences"), "tokens must be meant for us: name an audience, or set `server.public_url`"));
    }
    let (issuer, proof) = match (&written.issuer, &written.trust_domain) {
        (Some(issuer), None) => match &written.introspection {
            Some(introspection) => {
                (issuer.clone(), Proof::Introspection(asked(introspection, written, &key("introspection"), base)?))
            }
            None => (issuer.clone(), Proof::Signature(signature(written, Some(issuer), &key, base)?)),
        },
        (None, Some(domain)) => {
            if domain.is_empty() || domain.contains([':', '/']) {
                return Err(invalid(key("trust_domain"), "give the bare name, for instance `example.org`"));
            }
            if written.introspection.is_some() {
                return Err(invalid(key("introspection"), "a JWT-SVID is proved by its trust domain's bundle"));
            }
            (format!("spiffe://{domain}"), Proof::Svid(signature(written, None, &key, base)?))
        }
        (Some(_), Some(_)) => return Err(invalid(key("trust_domain"), "give `issuer` or `trust_domain`, not both")),
        (None, None) => return Err(invalid(key("issuer"), "give the exact `iss` of its tokens, or a SPIFFE `trust_domain`")),
    };
    let token = match (&written.token_env, &written.token_file) {
        (Some(_), Some(_)) => return Err(invalid(key("token_env"), "give `token_env` or `token_file`, not both")),
        (Some(variable), None) => std::env::var(variable).ok().map(|token| TokenSource::Env(Secret::from(token))),
        (None, Some(file)) => Some(TokenSource::File(base.join(file))),
        (None, None) => None,
    };
    Ok(IssuerSettings {
        name: name.to_owned(),
        issuer,
        audiences,
        proof,
        mapping: mapping(written),
        private_network: written.private_network,
        token,
    })
}

fn signature(
    written: &config::Identity,
    issuer: Option<&str>,
    key: &dyn Fn(&str) -> String,
    base: &Path,
) -> Result<SignatureSettings, ConfigError> {
    let algorithms = or_default(&written.algorithms, ALGORITHMS);
    if let Some(weak) = algorithms.iter().find(|name| name.starts_with("HS") || name.eq_ignore_ascii_case("none")) {
        return Err(invalid(key("algorithms"), format!("`{weak}` is not asymmetric: whoever can check such a token can forge it")));
    }
    let keys = match (&written.jwks, issuer) {
        (Some(jwks), _) if is_reachable_url(jwks) => KeySource::Url(jwks.clone()),
        (Some(jwks), _) if jwks.contains("://") => return Err(invalid(key("jwks"), "must be a file or an https URL")),
        (Some(jwks), _) => KeySource::File(base.join(jwks)),
        (None, Some(issuer)) if is_reachable_url(issuer) => KeySource::Discovered(issuer.to_owned()),
        (None, Some(_)) => {
            return Err(invalid(key("jwks"), "name the keys: they are discovered only of an issuer that is an https URL"));
        }
        (None, None) => return Err(invalid(key("jwks"), "name the trust domain's bundle: a file or an https URL")),
    };
    let types = or_default(&written.types, TYPES).iter().map(|name| name.to_ascii_lowercase()).collect();
    Ok(SignatureSettings { keys, algorithms, types })
}

fn asked(
    written: &config::Introspection,
    identity: &config::Identity,
    key: &str,
    base: &Path,
) -> Result<IntrospectionSettings, ConfigError> {
    if identity.jwks.is_some() {
        return Err(invalid(key, "give `jwks` or `introspection`, not both: a token is proved one way"));
    }
    if !is_reachable_url(&written.url) {
        return Err(invalid(format!("{key}.url"), "must be an https URL"));
    }
    let client_secret = super::secret(
        written.client_secret_env.as_deref(),
        written.client_secret_file.as_deref(),
        &format!("{key}.client_secret"),
        base,
    )?;
    Ok(IntrospectionSettings {
        url: written.url.clone(),
        client_id: written.client_id.clone(),
        client_secret,
        keep: Duration::from_secs(written.cache_seconds.unwrap_or(INTROSPECTION_SECONDS)),
    })
}

/// https anywhere, or http on this machine.
fn is_reachable_url(url: &str) -> bool {
    let loopback = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let rest = |prefix: &str| url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']));
    url.starts_with("https://") || loopback.iter().any(|prefix| rest(prefix))
}

fn mapping(written: &config::Identity) -> ClaimMapping {
    let path = |name: &Option<String>, otherwise: &str| ClaimPath(name.clone().unwrap_or_else(|| otherwise.to_owned()));
    ClaimMapping {
        subject: path(&written.subject_claim, "sub"),
        agent: or_default(&written.agent_claims, AGENT_CLAIMS).into_iter().map(ClaimPath).collect(),
        groups: path(&written.groups_claim, "groups"),
        task: path(&written.task_claim, "pgteller_task"),
        claims: match &written.claims {
            Claims::Names(names) => names.iter().map(|name| (name.clone(), ClaimPath(name.clone()))).collect(),
            Claims::Mapped(table) => table.iter().map(|(name, claim)| (name.clone(), ClaimPath(claim.clone()))).collect(),
        },
    }
}

fn or_default(written: &[String], otherwise: &[&str]) -> Vec<String> {
    if written.is_empty() { otherwise.iter().map(|&name| name.to_owned()).collect() } else { written.to_vec() }
}
