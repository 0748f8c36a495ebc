//! The configuration, validated: files found, secrets read, defaults filled in.
//!
//! Takes a [`Config`] and the directory it was read from, gives [`Settings`]. Everything below trusts it. Never connects to anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{self, Config, ConfigError, Durability, Tls};
use crate::model::call::TOOLS;
use crate::model::names::DatabaseName;
use crate::model::principal::{Principal, TaskClaim};
use crate::model::task::Narrow;
use crate::secret::Secret;

pub use issuer::{ClaimMapping, IntrospectionSettings, IssuerSettings, KeySource, Proof, SignatureSettings, TokenSource};
pub use limits::{LimitSettings, StateSettings};
pub use target::{Host, Target, parse as parse_target};

mod issuer;
mod limits;
mod target;

/// Default cap on one request: a text that is too long is refused as such, inside the protocol, not as a broken message.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Sessions of tasks in one database unless configured: well below what a server takes by default.
const MAX_SESSIONS: usize = 50;

/// How long a file that nobody collects is kept unless configured: a working day, and the night after.
const EXPORT_HOURS: u32 = 24;

/// Everything, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The HTTP door.
    pub server: ServerSettings,
    /// Where state lives.
    pub storage: StorageSettings,
    /// The policy.
    pub policy: PolicySettings,
    /// Token issuers.
    pub issuers: Vec<IssuerSettings>,
    /// The local principal.
    pub dev: Option<DevSettings>,
    /// The purpose of ambient tasks.
    pub ambient_purpose: String,
    /// How much one principal may ask for, over all its tasks.
    pub per_principal: LimitSettings,
    /// How much one agent may ask for, over all its principals.
    pub per_agent: LimitSettings,
    /// Governed databases; at least one.
    pub databases: Vec<DatabaseSettings>,
}

/// The HTTP door.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The audience.
    pub public_url: Option<String>,
    /// Host names besides loopback.
    pub allowed_hosts: Vec<String>,
    /// Origins besides loopback.
    pub allowed_origins: Vec<String>,
    /// Most bytes of one request.
    pub max_request_bytes: usize,
    /// Whether tokens may be exchanged for task tokens.
    pub task_tokens: bool,
    /// Where metrics are served.
    pub metrics: Option<std::net::SocketAddr>,
    /// The scopes that tools need.
    pub scopes: Scopes,
}

/// Tool to the scopes of which a token needs one.
#[derive(Debug, Clone, Default)]
pub struct Scopes(BTreeMap<String, Vec<String>>);

impl Scopes {
    /// The scope to ask for, if the principal has none that opens the tool.
    pub fn missing(&self, tool: &str, principal: &Principal) -> Option<&str> {
        let any_of = self.0.get(tool)?;
        if any_of.iter().any(|scope| principal.scopes.contains(scope)) { None } else { any_of.first().map(String::as_str) }
    }

    /// The smallest scope of each tool, each once.
    pub fn smallest(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.values().filter_map(|any_of| any_of.first()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a token needs to be of any use: the scope of `describe`, with which everybody begins.
    pub fn first(&self) -> Option<&str> {
        self.0.get("describe").and_then(|any_of| any_of.first()).map(String::as_str)
    }
}

/// Where state lives.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// The directory.
    pub dir: PathBuf,
    /// When an entry counts as written.
    pub durability: Durability,
    /// How long an exported file is kept.
    pub keep_exports: Duration,
    /// Where the state store is.
    pub state: StateSettings,
}

/// The policy.
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// The document's text.
    pub document: String,
    /// The document's file, for messages.
    pub document_path: PathBuf,
    /// Another bundle than the embedded one.
    pub bundle: Option<PathBuf>,
}

/// The local principal.
#[derive(Debug, Clone)]
pub struct DevSettings {
    /// Who.
    pub principal: Principal,
    /// For what; ambient without.
    pub task: Option<TaskClaim>,
}

/// One governed database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Its name.
    pub name: DatabaseName,
    /// Where it is.
    pub target: Target,
    /// The gateway's login.
    pub login: String,
    /// Its password.
    pub password: Secret,
    /// What policies know it as.
    pub environment: String,
    /// Where unqualified names are looked up.
    pub search_path: Option<Vec<String>>,
    /// The sessions' time zone.
    pub timezone: Option<String>,
    /// Accepted preflight findings.
    pub acknowledge: Vec<String>,
    /// Sessions of tasks that may be open at once.
    pub max_sessions: usize,
}

fn invalid(key: impl Into<String>, why: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key: key.into(), why: why.into() }
}

fn at_least_one(key: &str, count: usize) -> Result<usize, ConfigError> {
    if count == 0 { Err(invalid(key, "must be at least 1: with 0 nobody could ever run a statement")) } else { Ok(count) }
}

fn keep_exports(hours: Option<u32>) -> Result<Duration, ConfigError> {
    match hours.unwrap_or(EXPORT_HOURS) {
        0 => Err(invalid("storage.export_hours", "must be at least 1: with 0 nobody could ever read an export")),
        hours => Ok(Duration::from_secs(u64::from(hours).saturating_mul(60 * 60))),
    }
}

impl Settings {
    /// Reads and validates a configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::validate(Config::read(path)?, base)
    }

    /// Validates a configuration; `base` is where its relative paths begin.
    pub fn validate(config: Config, base: &Path) -> Result<Self, ConfigError> {
        let public_url = config.server.public_url.clone();
        if public_url.as_ref().is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            return Err(invalid("server.public_url", "must begin with https:// or http://"));
        }
        let task_tokens = task_tokens(&config.server)?;
        let issuers = config
            .identity
            .iter()
            .map(|(name, identity)| issuer::issuer(name, identity, public_url.as_deref(), base))
            .collect::<Result<Vec<_>, _>>()?;
        let introspecting = |issuer: &&IssuerSettings| matches!(issuer.proof, Proof::Introspection(_));
        if let Some(second) = issuers.iter().filter(introspecting).nth(1) {
            return Err(invalid(
                format!("identity.{}.introspection", second.name),
                "an opaque token does not say whose it is: only one issuer may be asked about them",
            ));
        }
        if let (true, Some(own)) = (task_tokens, &public_url)
            && let Some(issuer) = issuers.iter().find(|issuer| issuer.issuer == *own)
        {
            return Err(invalid(
                format!("identity.{}.issuer", issuer.name),
                "is our own `server.public_url`, under which we issue task tokens",
            ));
        }
        if issuers.is_empty() && config.dev.is_none() {
            return Err(invalid(
                "identity",
                "nobody could call: configure an issuer as `[identity.NAME]`, or a local principal as `[dev]`",
            ));
        }
        if config.database.is_empty() {
            return Err(invalid("database", "nothing to govern: configure a database as `[database.NAME]`"));
        }
        let databases =
            config.database.iter().map(|(name, written)| database(name, written, base)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            server: ServerSettings {
                public_url,
                allowed_hosts: config.server.allowed_hosts,
                allowed_origins: config.server.allowed_origins,
                max_request_bytes: config.server.max_request_bytes.unwrap_or(MAX_REQUEST_BYTES),
                task_tokens,
                metrics: config.server.metrics,
                scopes: scopes(config.server.scopes)?,
            },
            storage: StorageSettings {
                dir: limits::directory(&config.storage, base),
                durability: config.storage.durability,
                keep_exports: keep_exports(config.storage.export_hours)?,
                state: limits::state(&config.storage, base)?,
            },
            policy: policy(&config.policy, base)?,
            issuers,
            dev: config.dev.map(dev),
            ambient_purpose: config.task.ambient_purpose.unwrap_or_else(|| "ambient".to_owned()),
            per_principal: limits::limit("limits.principal", &config.limits.principal, limits::PER_PRINCIPAL)?,
            per_agent: limits::limit("limits.agent", &config.limits.agent, limits::PER_AGENT)?,
            databases,
        })
    }
}

fn scopes(written: BTreeMap<String, Vec<String>>) -> Result<Scopes, ConfigError> {
    for (tool, any_of) in &written {
        let key = format!("server.scopes.{tool}");
        if !TOOLS.contains(&tool.as_str()) {
            return Err(invalid(key, format!("no tool has this name; there are {}", TOOLS.join(", "))));
        }
        // RFC 6749 §3.3: a scope is printable ASCII without space, quote and backslash.
        let is_scope = |scope: &String| {
            !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        };
        if any_of.is_empty() || !any_of.iter().all(is_scope) {
            return Err(invalid(key, "give a list of scopes, the smallest first"));
        }
    }
    Ok(Scopes(written))
}

fn task_tokens(written: &config::Server) -> Result<bool, ConfigError> {
    match (written.task_tokens, &written.public_url) {
        (true, None) => Err(invalid("server.task_tokens", "task tokens name us as issuer and audience: set `server.public_url`")),
        (wanted, _) => Ok(wanted),
    }
}

fn policy(written: &config::Policy, base: &Path) -> Result<PolicySettings, ConfigError> {
    let Some(data) = &written.data else {
        return Err(invalid("policy.data", "name the policy document, for instance `data = \"policy.yaml\"`"));
    };
    let document_path = base.join(data);
    let document = std::fs::read_to_string(&document_path)
        .map_err(|error| invalid("policy.data", format!("`{}` cannot be read: {error}", document_path.display())))?;
    Ok(PolicySettings { document, document_path, bundle: written.bundle.as_ref().map(|path| base.join(path)) })
}

/// A secret from `KEY_env` or `KEY_file`.
fn secret(variable: Option<&str>, file: Option<&Path>, key: &str, base: &Path) -> Result<Secret, ConfigError> {
    match (variable, file) {
        (Some(variable), None) => std::env::var(variable)
            .map(Secret::from)
            .map_err(|_| invalid(format!("{key}_env"), format!("the environment variable `{variable}` is not set"))),
        (None, Some(file)) => {
            let file = base.join(file);
            let text = std::fs::read_to_string(&file)
                .map_err(|error| invalid(format!("{key}_file"), format!("`{}` cannot be read: {error}", file.display())))?;
            Ok(Secret::from(text.trim_end_matches(['\n', '\r']).to_owned()))
        }
        _ => {
            let name = key.rsplit('.').next().unwrap_or(key);
            Err(invalid(format!("{key}_file"), format!("give `{name}_file` or `{name}_env`, one of them")))
        }
    }
}

fn dev(written: config::Dev) -> DevSettings {
    let principal = Principal {
        issuer: "dev".to_owned(),
        subject: written.subject,
        agent: written.agent,
        delegation: Vec::new(),
        scopes: written.scopes,
        groups: written.groups,
        claims: written.claims.into_iter().collect::<Map<String, Value>>(),
        dev: true,
    };
    let task = written.purpose.map(|purpose| TaskClaim {
        external_id: "dev".to_owned(),
        purpose,
        narrow: Narrow::default(),
        asserted: false,
    });
    DevSettings { principal, task }
}

fn database(name: &str, written: &config::Database, base: &Path) -> Result<DatabaseSettings, ConfigError> {
    let key = |key: &str| format!("database.{name}.{key}");
    let (target, login) = target::parse(name, written, base)?;
    let password = secret(written.password_env.as_deref(), written.password_file.as_deref(), &key("password"), base)?;
    Ok(DatabaseSettings {
        name: DatabaseName(name.to_owned()),
        target,
        login,
        password,
        environment: written.environment.clone().unwrap_or_else(|| "production".to_owned()),
        search_path: written.search_path.clone(),
        timezone: written.timezone.clone(),
        acknowledge: written.acknowledge.clone(),
        max_sessions: at_least_one(&key("max_sessions"), written.max_sessions.unwrap_or(MAX_SESSIONS))?,
    })
}
