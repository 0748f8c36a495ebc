//! The configuration as it is written: `pgteller.toml`.
//!
//! Takes TOML text, gives a [`Config`] with every key known. Never reads a secret or a file, never fills in what depends on the machine:
//! that is `settings`. Each key is documented once, on its field; the reference page and the schema are generated from here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The HTTP door.
    #[serde(default)]
    pub server: Server,
    /// Where state lives.
    #[serde(default)]
    pub storage: Storage,
    /// What may be seen, by whom.
    #[serde(default)]
    pub policy: Policy,
    /// Token issuers, by a name of your choice.
    #[serde(default)]
    pub identity: BTreeMap<String, Identity>,
    /// A local principal without a token. Works on stdio, and on loopback HTTP with a random token printed at start; stamped on every entry.
    pub dev: Option<Dev>,
    /// How tasks come to be.
    #[serde(default)]
    pub task: Task,
    /// How much anybody may ask for.
    #[serde(default)]
    pub limits: Limits,
    /// Governed databases, by a name of your choice; agents see the name.
    #[serde(default)]
    pub database: BTreeMap<String, Database>,
}

/// `[server]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The URL that clients use, for instance `https://db.example.com/mcp`. Tokens must name it as their audience.
    pub public_url: Option<String>,
    /// Host names under which the HTTP door may be reached, besides loopback.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Origins from which browsers may call, besides loopback.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Most bytes of one request. Default: 4194304.
    pub max_request_bytes: Option<usize>,
    /// Whether an orchestrator may exchange its token for the token of one task (RFC 8693) at `/token`, and revoke it (RFC 7009) at `/revoke`. The
    /// purposes that may be named there are those of grants with `opens`. Default: false.
    #[serde(default)]
    pub task_tokens: bool,
    /// Where `/metrics` is served for Prometheus while HTTP is, for instance `127.0.0.1:9464`. Default: nowhere.
    pub metrics: Option<std::net::SocketAddr>,
    /// Tool to the scopes of which a token needs one; a challenge names the first. Default: none are needed, and policies judge scopes.
    #[serde(default)]
    pub scopes: BTreeMap<String, Vec<String>>,
}

/// `[storage]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// The directory of `audit/` and `exports/`. Default: `pgteller-data` beside the configuration file.
    pub dir: Option<PathBuf>,
    /// `disk`: an entry is on disk before its reply leaves. `process`: it survives our death, not the machine's. Default: `disk`.
    #[serde(default)]
    pub durability: Durability,
    /// Hours for which an exported file is kept. Default: 24.
    pub export_hours: Option<u32>,
    /// Where tasks, revocations and signing keys are remembered, if several replicas share them: `postgres://LOGIN@HOST:PORT/DATABASE`, without
    /// a password, a database of its own. Default: `state.sqlite` in `storage.dir`.
    pub state_url: Option<String>,
    /// The file that holds the password of `state_url`.
    pub state_password_file: Option<PathBuf>,
    /// The environment variable that holds the password of `state_url`.
    pub state_password_env: Option<String>,
}

/// `storage.durability`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// One flush per group of entries.
    #[default]
    Disk,
    /// No flush.
    Process,
}

/// `[policy]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The policy document (YAML), relative to the configuration file.
    pub data: Option<PathBuf>,
    /// A bundle built by `opa build -t wasm`, relative to the configuration file. Default: the one inside this program.
    pub bundle: Option<PathBuf>,
}

/// `[identity.NAME]`: one issuer of tokens (OAuth 2.1), or one SPIFFE trust domain.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The exact `iss` of its tokens.
    pub issuer: Option<String>,
    /// Instead of `issuer`: the SPIFFE trust domain whose JWT-SVIDs are accepted, for instance `example.org`.
    pub trust_domain: Option<String>,
    /// Accepted values of `aud`. Default: `server.public_url`.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Its keys: a file, or an https URL (http only on loopback). For a trust domain, its bundle. Default: what
    /// `/.well-known/openid-configuration` or `/.well-known/oauth-authorization-server` of the issuer names.
    pub jwks: Option<String>,
    /// Its tokens are opaque, or should be asked about anyway: token introspection (RFC 7662).
    pub introspection: Option<Introspection>,
    /// Whether its URLs may lead to addresses of a private network. Link-local addresses are never asked. Default: false.
    #[serde(default)]
    pub private_network: bool,
    /// Accepted signature algorithms. Default: RS256, ES256, EdDSA.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Accepted `typ` headers. `["at+jwt"]` is strict RFC 9068. Default: `at+jwt`, `JWT` or none.
    #[serde(default)]
    pub types: Vec<String>,
    /// The claim that holds the subject. Default: `sub`. A name that begins with `/` is a JSON Pointer (RFC 6901), here and below.
    pub subject_claim: Option<String>,
    /// The claims that may hold the agent, in order. Default: `/act/sub`, `client_id`, `azp`; if all are missing, the subject.
    #[serde(default)]
    pub agent_claims: Vec<String>,
    /// The claim that holds the groups. Default: `groups`.
    pub groups_claim: Option<String>,
    /// The claim that holds `{id, purpose}` of the task. Default: `pgteller_task`. Without it, an element of
    /// `authorization_details` (RFC 9396) of the type `pgteller_task`.
    pub task_claim: Option<String>,
    /// Claims that policies may look at, and take params from: a list of names, or a table of a name of yours to the claim.
    #[serde(default)]
    pub claims: Claims,
    /// On stdio: the environment variable that holds the token.
    pub token_env: Option<String>,
    /// On stdio: the file that holds the token; read again for each call.
    pub token_file: Option<PathBuf>,
}

/// `identity.NAME.claims`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Claims {
    /// Names of claims.
    Names(Vec<String>),
    /// Name that policies use, to claim.
    Mapped(BTreeMap<String, String>),
}

impl Default for Claims {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

/// `[identity.NAME.introspection]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// The endpoint.
    pub url: String,
    /// The client that we are there.
    pub client_id: String,
    /// The environment variable that holds the client's secret.
    pub client_secret_env: Option<String>,
    /// The file that holds the client's secret.
    pub client_secret_file: Option<PathBuf>,
    /// Seconds for which an answer is kept: so late does a revocation at the issuer bite. Default: 5.
    pub cache_seconds: Option<u64>,
}

/// `[dev]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    /// The user.
    pub subject: String,
    /// The agent.
    pub agent: String,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What the task is for. Without it the task is ambient.
    pub purpose: Option<String>,
    /// Claims, as a token would carry them.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
    /// Scopes, as a token would carry them.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// `[task]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The purpose that a task gets when nobody named one. Default: `ambient`.
    pub ambient_purpose: Option<String>,
}

/// `[limits]`: how much anybody may ask for, whatever policy says of single calls.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of one principal: issuer, subject and agent. Default: 20 requests per second, 8 statements at once, 32 open tasks.
    #[serde(default)]
    pub principal: Limit,
    /// Of one agent of an issuer, over all subjects. Default: 100 requests per second, 32 statements at once, 512 open tasks.
    #[serde(default)]
    pub agent: Limit,
}

/// `[limits.principal]` and `[limits.agent]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Tool calls per second, on the long run; ten seconds' worth may come at once.
    pub requests_per_second: Option<u32>,
    /// Statements that run at once; more wait for their turn.
    pub statements: Option<usize>,
    /// Tasks that are open at once.
    pub open_tasks: Option<usize>,
}

/// `[database.NAME]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Where it is: `postgres://LOGIN@HOST:PORT/DATABASE`, without a password. A host that begins with `/` is a socket directory.
    pub url: String,
    /// The file that holds the password of the gateway's login.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password of the gateway's login.
    pub password_env: Option<String>,
    /// What policies know it as. Default: `production`.
    pub environment: Option<String>,
    /// The schemas in which unqualified names are looked up. Default: the gateway login's own.
    pub search_path: Option<Vec<String>>,
    /// The time zone of sessions. Default: the database's.
    pub timezone: Option<String>,
    /// `verify` or `disable`. Default: `disable` on loopback and sockets, `verify` elsewhere.
    pub tls: Option<Tls>,
    /// A file of PEM certificates to trust instead of the machine's.
    pub tls_ca_file: Option<PathBuf>,
    /// Ids of preflight findings that you accept, as `pgteller doctor` shows them.
    #[serde(default)]
    pub acknowledge: Vec<String>,
    /// Sessions of tasks that may be open in this database at once. Default: 50.
    pub max_sessions: Option<usize>,
}

/// `database.NAME.tls`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Encrypted, certificate and host name verified.
    Verify,
    /// Plain text.
    Disable,
}

/// Why a configuration cannot be used. Names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type.
    #[error("`{path}` is not a valid configuration")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}`{}", .nearest.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key with its path.
        key: String,
        /// The nearest known one.
        nearest: Option<String>,
    },
    /// A key whose value cannot be.
    #[error("`{key}`: {why}")]
    Invalid {
        /// The key with its path.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl Config {
    /// Reads a file.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads text; `path` is for messages.
    pub fn parse(text: &str, path: &std::path::Path) -> Result<Self, ConfigError> {
        let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) };
        let written: Value = toml::from_str(text).map_err(syntax)?;
        check_keys::<Self>(&written)?;
        toml::from_str(text).map_err(syntax)
    }
}

/// Compares every written key with the schema of `T`; the first unknown one is named with its nearest neighbour.
pub fn check_keys<T: JsonSchema>(written: &Value) -> Result<(), ConfigError> {
    let schema = schemars::schema_for!(T);
    check_below(written, schema.as_value(), schema.as_value(), "")
}

fn check_below(written: &Value, schema: &Value, root: &Value, path: &str) -> Result<(), ConfigError> {
    let Value::Object(table) = written else { return Ok(()) };
    let schema = resolve(schema, root);
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    for (key, value) in table {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (properties.and_then(|properties| properties.get(key)), others) {
            (Some(below), _) | (None, Some(below)) => check_below(value, below, root, &here)?,
            (None, None) if properties.is_some() => {
                let known = properties.into_iter().flat_map(|properties| properties.keys());
                return Err(ConfigError::UnknownKey { key: here, nearest: nearest(key, known) });
            }
            (None, None) => {}
        }
    }
    Ok(())
}

/// Follows `$ref`, and the one real branch of an optional value.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    }
    let branches = schema.get("anyOf").and_then(Value::as_array);
    let real = branches.into_iter().flatten().find(|branch| branch.get("$ref").is_some());
    real.map_or(schema, |branch| resolve(branch, root))
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= 3 && *distance < name.len())
        .min()
        .map(|(_, name)| name.clone())
}
