//! Two worlds, and how they are held to the promise of DESIGN §1.
//!
//! A world is a database in a cluster of its own and a server over it. What `{{world}}` stands for in its SQL is all that differs between two,
//! and a task may not see it. Names, object ids and keys are pinned; the one name that cannot be, the task's role, reads `<role>` in answers.

pub mod compare;
pub mod effects;
pub mod generator;
pub mod straight;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::server::Configured;
use super::{Served, TestDatabase, read, repository};

/// A statement of `attacks.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// Its text.
    pub sql: String,
    #[serde(rename = "about")]
    _about: String,
    /// Whether it must be answered with rows.
    #[serde(default)]
    pub honest: bool,
}

/// The corpus of attacks.
pub fn attacks() -> Vec<Attack> {
    serde_yaml_ng::from_str(&read("tests/corpus/worlds/attacks.yaml")).unwrap()
}

/// What the generator starts from: the attacks, the honest statements among them, and every benign statement that there is.
pub fn corpus() -> Vec<String> {
    let mut all: Vec<String> = attacks().into_iter().map(|attack| attack.sql).collect();
    let Ok(files) = std::fs::read_dir(repository("tests/corpus/benign")) else { return all };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let text = std::fs::read_to_string(path).unwrap();
        let Ok(cases) = serde_yaml_ng::from_str::<Vec<BTreeMap<String, Value>>>(&text) else { continue };
        all.extend(cases.iter().filter_map(|case| case.get("sql").and_then(Value::as_str)).map(str::to_owned));
    }
    all
}

/// One world.
pub struct World {
    /// Its database.
    pub database: TestDatabase,
    /// The server over it.
    pub served: Served,
    /// The task's role.
    pub role: String,
}

/// What holds hidden rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackEnd {
    /// Views in two layers.
    Views,
    /// Policies on the tables with row filters; filtered views stay views.
    Policies,
}

const FILTERED: &[&str] =
    &["crm.customers", "crm.contacts", "billing.invoices", "billing.invoice_lines", "billing.invoices_2023", "people.staff"];

/// What a task may do in a world, and how long it lasts.
#[derive(Debug)]
pub struct Rules<'a> {
    /// The policy document.
    pub policy: &'a str,
    /// The search path, as the configuration writes it.
    pub search_path: &'a str,
}

/// The schemas of `world.sql`.
pub const SCHEMAS: &[&str] = &["crm", "billing", "people"];
const SEARCH_PATH: &str = "[\"crm\", \"billing\", \"people\"]";

/// The policy of the worlds, for a long run of short statements.
fn patient_policy() -> String {
    let policy = read("tests/corpus/worlds/policy.yaml");
    let patient = policy.replace("seconds: 10, task_minutes: 60", "seconds: 4, task_minutes: 1000");
    assert_ne!(policy, patient, "the limits of the policy moved");
    patient
}

impl World {
    /// One of the worlds of `world.sql`, with so many times its hidden rows, in a cluster of its own.
    pub async fn open(world: u8, volumes: u32, back_end: BackEnd) -> Self {
        let database = TestDatabase::alone().await;
        let replace =
            |path: &str| read(path).replace("{{world}}", &world.to_string()).replace("{{more}}", &(volumes - 1).to_string());
        for path in ["tests/corpus/worlds/world.sql", "tests/corpus/worlds/volumes.sql"] {
            database.owner.batch_execute(&replace(path)).await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
        database.set_up(SCHEMAS).await;
        if back_end == BackEnd::Policies {
            database.policies_on(FILTERED).await;
        }
        let this = Self::begin(database, &Rules { policy: &patient_policy(), search_path: SEARCH_PATH }).await;
        let policies = this.database.cell("SELECT count(*) FROM pg_policy WHERE NOT polpermissive").await;
        assert_eq!(policies, if back_end == BackEnd::Policies { FILTERED.len() } else { 0 }.to_string());
        this
    }

    /// Opens the task over a database that is set up.
    pub async fn begin(database: TestDatabase, rules: &Rules<'_>) -> Self {
        let keys = format!("search_path = {}", rules.search_path);
        let configured = Configured {
            database: &database,
            policy: rules.policy,
            agent: "probe",
            purpose: "two-worlds",
            policy_keys: "",
            more: "",
            database_keys: &keys,
        };
        let served = configured.serve().await;
        let opened = served.query("select 1").await;
        assert!(opened.get("rows").is_some(), "{opened}");
        // Keys are pinned: hashed values depend on the task's random key and on nothing hidden.
        let pin = "UPDATE pgteller_private.task SET key = sha256('a key for both worlds'); UPDATE pgteller_private.keys SET key = sha256('another')";
        database.owner.batch_execute(pin).await.unwrap();
        let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
        Self { database, served, role }
    }

    /// Outcome, code, columns and rows in their order, without what is random by design.
    pub async fn ask(&self, sql: &str) -> Value {
        let mut answer = self.served.query(sql).await;
        if let Value::Object(object) = &mut answer {
            object.remove("request_id");
            object
                .get_mut("error")
                .and_then(Value::as_object_mut)
                .and_then(|error| error.get_mut("data").map(|data| *data = Value::Null));
        }
        let text = answer.to_string();
        if !text.contains(&self.role) {
            return answer;
        }
        serde_json::from_str(&text.replace(&self.role, "<role>")).unwrap()
    }

    /// The schemas of the task's profile, as a search path.
    pub async fn profile_schemas(&self) -> String {
        self.database.cell("SELECT array_to_string(p.schemas[2:], ', ') FROM pgteller_private.profile p JOIN pgteller_private.task t ON t.profile = p.name").await
    }

    /// What may outlast a session of the task's role: every table's content, roles that are none of ours, relations, functions. (A role may
    /// make large objects and settings of its own; closing its task drops them.)
    pub async fn lasting(&self) -> String {
        let everything = "SELECT string_agg(x, E'\\n' ORDER BY x) FROM (
            SELECT format('%s.%s %s', schemaname, relname, query_to_xml(format('select md5(string_agg(t::text, '''' order by t::text)) from only %I.%I t', schemaname, relname), true, true, '')::text) AS x
            FROM pg_stat_user_tables WHERE schemaname !~ '^(pgteller|pg_temp)'
            UNION ALL SELECT concat('role ', rolname, rolsuper, rolconnlimit) FROM pg_roles WHERE rolname !~ '^pgteller_'
            UNION ALL SELECT concat('class ', oid::regclass, relkind) FROM pg_class WHERE oid >= 16384 AND relnamespace::regnamespace::text !~ '^pg_(toast|temp)'
            UNION ALL SELECT concat('proc ', oid::regprocedure) FROM pg_proc WHERE oid >= 16384) s";
        self.database.cell(everything).await
    }
}

/// Worlds that are asked together.
pub struct Worlds {
    /// The first.
    pub zero: World,
    /// The same, but for what is hidden.
    pub one: World,
    /// Another, with many times the hidden rows; only exact statements are compared with it.
    pub many: Option<World>,
}

impl Worlds {
    /// The worlds of `world.sql`.
    pub async fn open(volumes: Option<u32>, back_end: BackEnd) -> Self {
        let many = async {
            match volumes {
                Some(times) => Some(World::open(1, times, back_end).await),
                None => None,
            }
        };
        let (zero, one, many) = tokio::join!(World::open(0, 1, back_end), World::open(1, 1, back_end), many);
        Self { zero, one, many }
    }

    /// Stops their servers.
    pub async fn stop(self) {
        self.zero.served.stop().await;
        self.one.served.stop().await;
        if let Some(many) = self.many {
            many.served.stop().await;
        }
    }
}

/// Markers of either world: `SECRET0`, `SECRET1`, and whole numbers 707…/717… of six digits and more.
pub fn markers(text: &str) -> Vec<String> {
    let mut found: Vec<String> =
        ["SECRET0", "SECRET1"].iter().filter(|marker| text.contains(**marker)).map(|&marker| marker.to_owned()).collect();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = (at..bytes.len()).find(|&end| !bytes[end].is_ascii_digit()).unwrap_or(bytes.len());
        if end > at {
            let number = &text[at..end];
            let inside = at > 0 && (bytes[at - 1] == b'.' || bytes[at - 1].is_ascii_alphanumeric());
            if !inside && number.len() >= 6 && (number.starts_with("707") || number.starts_with("717")) {
                found.push(number.to_owned());
            }
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Markers in an answer that the statement did not bring itself.
pub fn leaked(sql: &str, answer: &str) -> Vec<String> {
    markers(answer).into_iter().filter(|marker| !sql.contains(marker.as_str())).collect()
}

/// Markers in two answers to one statement. What hashes hide is marked too; a number that both worlds give is no hidden one, by its first
/// three digits.
pub fn leaked_by_either(sql: &str, first: &str, second: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (own, other) in [(first, second), (second, first)] {
        found
            .extend(leaked(sql, own).into_iter().filter(|marker| marker.starts_with("SECRET") || !other.contains(marker.as_str())));
        if own.contains("SECRET") && !sql.contains("SECRET") && found.is_empty() {
            found.push("SECRET".to_owned());
        }
    }
    found.dedup();
    found
}
