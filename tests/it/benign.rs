//! What agents really write (`tests/corpus/benign`), against the twin of three databases: nothing refused but what a hint is promised for,
//! nothing different.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::server::Configured;
use crate::support::{Served, TestDatabase, read, repository};
use crate::twin::{KEYS, masks, plain, sorted};

/// Databases, and the corpora that run over each.
const DATABASES: &[(&str, &[&str])] = &[("chinook", &["chinook", "general"]), ("pagila", &["pagila"]), ("tpch", &["tpch"])];

/// Honest statements that are refused all the same, each with the hint that the agent gets.
const EXCEPTIONS: &[(&str, &str)] = &[("newer-number-literals", "plainer SQL")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    sql: String,
    #[serde(default)]
    params: Vec<Option<String>>,
    #[serde(default)]
    ordered: bool,
    /// The statement itself leaves values or rows open.
    #[serde(default)]
    open: bool,
    #[serde(default, rename = "empty")]
    _empty: bool,
    #[serde(default)]
    from_major: Option<i32>,
    /// It is refused, with a hint.
    #[serde(default)]
    hint: Option<String>,
    #[serde(default, rename = "about")]
    _about: Option<String>,
}

#[derive(Deserialize)]
struct Policy {
    labels: BTreeMap<String, Vec<String>>,
    grants: BTreeMap<String, Grant>,
}

#[derive(Deserialize)]
struct Grant {
    #[serde(default)]
    rows: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
}

fn unpack(name: &str) -> String {
    use std::io::Read;
    let file = std::fs::File::open(repository("tests/corpus/benign").join(format!("{name}.sql.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

async fn serve(database: &TestDatabase, policy: &str) -> Served {
    let indexes = database
        .owner
        .query("SELECT concat('mixed-index:', schemaname, '.', indexname) FROM pg_indexes WHERE schemaname = 'public'", &[])
        .await
        .unwrap();
    let ids: Vec<String> = indexes.iter().map(|row| row.get(0)).collect();
    let keys = format!("search_path = [\"public\"]\ntimezone = \"UTC\"\nacknowledge = {}", json!(ids));
    let configured =
        Configured { database, policy, agent: "twin", purpose: "twin", policy_keys: "", more: "", database_keys: &keys };
    let served = configured.serve().await;
    let opened = served.query("select 1").await;
    assert!(opened.get("rows").is_some(), "{opened}");
    database.owner.execute("UPDATE pgteller_private.task SET key = $1", &[&KEYS.task]).await.unwrap();
    served
}

/// The statement with its parameters as literals: what an untyped parameter means to PostgreSQL.
fn with_literals(asked: &Asked) -> String {
    let values = asked.params.iter().enumerate().rev();
    values.fold(asked.sql.clone(), |sql, (index, value)| {
        let literal = value.as_ref().map_or("NULL".to_owned(), |value| format!("'{}'", value.replace('\'', "''")));
        sql.replace(&format!("${}", index + 1), &literal)
    })
}

/// Compares one statement; nothing if it is as it should be.
async fn compare(served: &Served, twin: &Client, asked: &Asked) -> Result<(), String> {
    let wrong = |why: &str, got: &Value| Err(format!("{}: {why}\n  {}\n  {got:.600}", asked.name, asked.sql));
    let answer = served.call("query", json!({"sql": asked.sql, "params": asked.params, "max_rows": 100_000})).await;
    let exception = EXCEPTIONS.iter().find(|(name, _)| *name == asked.name);
    if asked.hint.is_some() || exception.is_some() {
        let hint = answer.pointer("/error/hint").and_then(Value::as_str).unwrap_or_default();
        let helps = !hint.is_empty() && exception.is_none_or(|(_, expected)| hint.contains(expected));
        return if helps { Ok(()) } else { wrong("is to be refused with a hint", &answer) };
    }
    let Some(rows) = answer.get("rows").and_then(Value::as_array) else { return wrong("is refused", &answer) };
    let (names, expected) = match plain(twin, &with_literals(asked)).await {
        Ok(expected) => expected,
        Err(why) => return wrong(&format!("fails on the twin: {why}"), &answer),
    };
    let got_names: Vec<&str> =
        answer["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    let same = if asked.open {
        rows.len() == expected.len()
    } else if asked.ordered {
        *rows == expected
    } else {
        sorted(rows) == sorted(&expected)
    };
    if got_names != names || !same {
        return wrong(&format!("differs from {names:?} {:.400}", json!(expected).to_string()), &answer);
    }
    Ok(())
}

async fn run(policy_of: impl Fn(&str) -> String) {
    let (mut asked_in_all, mut wrong) = (0, Vec::new());
    for (name, corpora) in DATABASES {
        let (real, twin) = TestDatabase::two(&unpack(name)).await;
        real.set_up(&["public"]).await;
        let policy = policy_of(name);
        let parsed: Policy = serde_yaml_ng::from_str(&policy).unwrap();
        let rows = parsed.grants.values().next().unwrap().rows.clone();
        masks::apply(&twin.owner, "public", &parsed.labels, &rows, &KEYS).await;
        twin.owner.batch_execute("SET search_path = public; SET extra_float_digits = 1; SET timezone = 'UTC'").await.unwrap();
        let served = serve(&real, &policy).await;
        let major: i32 = real.cell("SELECT current_setting('server_version_num')::int / 10000").await.parse().unwrap();
        for corpus in *corpora {
            let all: Vec<Asked> = serde_yaml_ng::from_str(&read(&format!("tests/corpus/benign/{corpus}.yaml"))).unwrap();
            for asked in all.iter().filter(|asked| asked.from_major.is_none_or(|from| major >= from)) {
                // The twin's own catalogs are not what a task sees.
                let catalog = asked.name.starts_with("catalog-");
                asked_in_all += 1;
                match compare(&served, &twin.owner, asked).await {
                    Err(why) if !catalog || why.contains("is refused") => wrong.push(why),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        served.stop().await;
    }
    println!("{asked_in_all} statements, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {asked_in_all}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_write_is_served_as_the_twin_serves_it_masked() {
    run(|name| read(&format!("tests/corpus/benign/{name}.policy.yaml"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_write_is_served_as_the_twin_serves_it_masked_and_filtered() {
    run(|name| read(&format!("tests/corpus/benign/{name}.rows.policy.yaml"))).await;
}
