//! Bad input and bad days: each has a stable code, a sentence, an entry, and leaves the server serving.

use std::collections::{BTreeMap, BTreeSet};

use pgteller::audit::verify;
use pgteller::model::refusal::Code;
use pgteller::policy::{Policy, PolicyError};
use pgteller::settings::PolicySettings;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase, read};

const SQL: &str = "CREATE SCHEMA app; CREATE SCHEMA other;
    CREATE TABLE app.item(id int PRIMARY KEY, name text, size int);
    INSERT INTO app.item SELECT n, 'item ' || n, n % 7 FROM generate_series(1, 2000) n;
    CREATE TABLE app.big(id int PRIMARY KEY, body text);
    INSERT INTO app.big VALUES (1, repeat('x', 2000000)), (2, repeat('y', 40000000));
    CREATE TABLE other.hidden(id int PRIMARY KEY, secret text);
    CREATE FUNCTION app.shout(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
    CREATE FUNCTION app.quiet(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);";

const POLICY: &str = "version: 1
unlabelled: clear
functions: {allow: [app.quiet]}
grants:
  reader: {agents: [bot], purposes: [work], read: {allow: [app.*]}, limits: {rows: 1500, bytes: 300000, seconds: 2, export_rows: 100000}}
";

async fn serve() -> (TestDatabase, Served) {
    let database = TestDatabase::new(SQL, &["app", "other"]).await;
    let served = configured(&database, POLICY).serve().await;
    (database, served)
}

fn configured<'a>(database: &'a TestDatabase, policy: &'a str) -> Configured<'a> {
    Configured {
        database,
        policy,
        agent: "bot",
        purpose: "work",
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"app\"]",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
    #[serde(default)]
    params: Vec<Value>,
    /// A code, or `ok`.
    expect: String,
    /// A part of message or hint.
    #[serde(default)]
    says: Option<String>,
    #[serde(default)]
    position: Option<u32>,
    #[serde(default)]
    rows: Option<Value>,
    /// Columns by relation that policy must see; exactly these.
    #[serde(default)]
    reads: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Functions that policy must see, among others.
    #[serde(default)]
    calls: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_get_the_code_that_is_written_beside_them() {
    let (_database, served) = serve().await;
    let statements: Vec<Statement> = serde_yaml_ng::from_str(&read("tests/corpus/statements.yaml")).unwrap();
    let mut wrong = Vec::new();
    for statement in &statements {
        let answer = served.call("query", json!({"sql": statement.sql, "params": statement.params})).await;
        let got = answer.pointer("/error/code").and_then(Value::as_str).unwrap_or("ok");
        let said = statement.says.as_ref().is_none_or(|part| answer["error"].to_string().contains(part));
        let place = statement.position.is_none_or(|place| answer["error"]["position"] == place);
        let equal = statement.rows.as_ref().is_none_or(|rows| answer["rows"] == *rows);
        if got != statement.expect || !said || !place || !equal {
            wrong.push(format!("{}\n  expected {}, got {answer:.400}", statement.sql, statement.expect));
        }
        if got == "ok"
            && let Some(expected) = &statement.reads
        {
            let seen = seen_by_policy(&served);
            if seen.0 != *expected || !statement.calls.iter().all(|call| seen.1.contains(call)) {
                wrong.push(format!("{}\n  policy saw {seen:?}", statement.sql));
            }
        }
        if got != "argument-invalid" {
            assert_eq!(served.last_entry().sql.as_deref(), Some(statement.sql.as_str()), "the entry keeps the text");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    served.stop().await;
}

/// Relations with columns, and functions, from the input of the last decision.
fn seen_by_policy(served: &Served) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let input: Value = serde_json::from_str(served.last_entry().input.expect("a decision").get()).unwrap();
    let statement = &input["statement"];
    let relations = statement["relations"].as_array().unwrap().iter();
    let columns = |relation: &Value| {
        relation["columns"].as_array().unwrap().iter().map(|column| column.as_str().unwrap().to_owned()).collect()
    };
    let relations = relations.map(|relation| {
        (format!("{}.{}", relation["schema"].as_str().unwrap(), relation["name"].as_str().unwrap()), columns(relation))
    });
    (relations.collect(), serde_json::from_value(statement["functions"].clone()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_deep_and_odd_texts_are_refused_and_the_server_goes_on() {
    let (_database, served) = serve().await;
    let ask = async |sql: String| served.query(&sql).await;
    assert_eq!(code(&ask("(".repeat(1_000_000)).await), "statement-too-long");
    assert_eq!(code(&ask("(".repeat(60_000)).await), "statement-not-understood");
    assert_eq!(code(&ask(format!("select {}1{}", "(".repeat(200), ")".repeat(200))).await), "statement-too-long");
    assert_eq!(code(&ask(format!("select 1{}", "+1".repeat(30_000))).await), "statement-too-long");
    assert_eq!(code(&ask(format!("select 1{}", " union all select 1".repeat(3_000))).await), "statement-too-long");
    assert_eq!(rows(&ask(format!("select 1{}", "+1".repeat(1_900))).await), &vec![json!([1_901])]);
    assert!(ask(format!("select 1{}", " union all select 1".repeat(900))).await.get("rows").is_some());
    assert_eq!(code(&ask("select '\0'".to_owned()).await), "argument-invalid");
    assert_eq!(code(&served.call("query", json!({"sql": "select 1", "surprise": true})).await), "argument-invalid");
    assert_eq!(code(&served.call("query", json!({})).await), "argument-invalid");
    assert_eq!(code(&served.call("query", json!({"sql": "select 1", "max_rows": 0})).await), "argument-invalid");
    assert_eq!(code(&served.call("query", json!({"sql": "select 1", "database": "nope"})).await), "argument-invalid");
    assert_eq!(code(&served.call("export", json!({"sql": "select 1"})).await), "argument-invalid");
    assert_eq!(code(&served.call("describe", json!({"relation": "item", "search": "x"})).await), "argument-invalid");
    let unknown = served.call("drop_everything", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    // Bytes that are no UTF-8, and no JSON.
    for body in [&b"\xff\xfe{}"[..], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"query\",\"arguments\":{\"sql\":\"\xff\"}}}", b"not json"] {
        let client = reqwest::Client::new();
        let request = client.post(&served.url).bearer_auth(&served.token).header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        let response = request.body(body.to_vec()).send().await.unwrap();
        assert!(response.status().is_client_error(), "{}", response.status());
        assert_eq!(served.last_entry().request_id.to_string(), response.headers()["x-request-id"].to_str().unwrap());
    }
    assert_eq!(rows(&served.query("select 1").await), &vec![json!([1])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_are_marked() {
    let (database, served) = serve().await;
    let many = served.call("query", json!({"sql": "select id from item order by id", "max_rows": 5000})).await;
    assert_eq!((rows(&many).len(), &many["truncated"]), (1500, &json!("max-rows")));
    let default = served.query("select id from item order by id").await;
    assert_eq!((rows(&default).len(), &default["truncated"]), (100, &json!("max-rows")));
    let exactly = served.call("query", json!({"sql": "select id from item order by id limit 3", "max_rows": 3})).await;
    assert_eq!((rows(&exactly).len(), exactly.get("truncated")), (3, None));
    let wide = served.call("query", json!({"sql": "select repeat(name, 200) from item order by id", "max_rows": 1500})).await;
    assert_eq!(wide["truncated"], "max-bytes");
    assert!(rows(&wide).len() > 50 && wide.to_string().len() < 320_000);
    // One enormous cell: a clear refusal, whether it fits a frame or not.
    assert_eq!(code(&served.query("select body from big where id = 1").await), "cell-too-large");
    assert_eq!(code(&served.query("select body from big where id = 2").await), "cell-too-large");
    assert_eq!(
        rows(&served.query("select length(body) from big order by id").await),
        &vec![json!([2_000_000]), json!([40_000_000])]
    );
    // Too long, and nothing of it goes on in the database.
    assert_eq!(code(&served.query("select count(*) from item a, item b, item c").await), "time-limit");
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'pgteller_{}%' AND state = 'active' AND query LIKE '%count(*) from item%'",
        database.installation
    );
    while database.cell(&running).await != "0" {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&served.query("select 1").await), &vec![json!([1])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_statement_of_a_task_waits_and_then_is_told_that_it_is_busy() {
    let (_database, served) = serve().await;
    let slow = "select count(*) from item a, item b, item c";
    let (first, second, third) = tokio::join!(served.query(slow), served.query(slow), served.query("select 1"));
    assert_eq!((code(&first), code(&second)), ("time-limit", "time-limit"));
    // It may get a session in the very moment that the others give theirs up.
    let busy = third.pointer("/error/code") == Some(&json!("busy"));
    assert!(busy || third.get("rows").is_some() || code(&third) == "time-limit", "{third}");
    // A cancelled session holds its place until its backend is gone: the next statement finds room in PostgreSQL.
    assert_eq!(rows(&served.query("select 1").await), &vec![json!([1])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_statement() {
    let (database, served) = serve().await;
    served.query("select 1").await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": "select count(*) from item a, item b, item c, item d"}}});
    let asked = tokio::time::timeout(std::time::Duration::from_millis(400), served.post(Some(&served.token), &message)).await;
    assert!(asked.is_err());
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'pgteller_{}%' AND state = 'active' AND query LIKE '%item d%'",
        database.installation
    );
    while database.cell(&running).await != "0" {
        tokio::task::yield_now().await;
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back() {
    let (database, served) = serve().await;
    assert_eq!(rows(&served.query("select 1").await), &vec![json!([1])]);
    // Every session of ours ends in the middle of everything, as in a restart.
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity WHERE usename LIKE 'pgteller_{}%'",
        database.installation
    );
    database.cell(&kill).await;
    let mut answer = served.query("select 1").await;
    if answer.get("error").is_some() {
        assert_eq!(code(&answer), "database-unavailable");
        answer = served.query("select 1").await;
    }
    assert_eq!(rows(&answer), &vec![json!([1])]);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_or_not_set_up_is_named_as_such() {
    let database = TestDatabase::bare(SQL).await;
    let served = configured(&database, POLICY).serve().await;
    let answer = served.query("select 1").await;
    assert_eq!(code(&answer), "database-unavailable");
    assert!(!answer.to_string().contains("setup"), "the operator's log says why, not the answer");
    let health = async |path: &str| reqwest::get(served.url.replace("/mcp", path)).await.unwrap().status().as_u16();
    assert_eq!((health("/healthz").await, health("/readyz").await), (200, 503));
    database.set_up(&["app"]).await;
    while served.query("select 1").await.get("error").is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(health("/readyz").await, 200);
    served.stop().await;
}

/// A server that accepts connections and never says a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_holds_nobody_but_its_own_callers() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let far = format!("[database.far]\nurl = \"postgres://l@127.0.0.1:{port}/x\"\npassword_file = \"password\"\n");
    let served = Configured { more: &far, ..configured(&database, POLICY) }.serve().await;
    let near = async {
        for _ in 0..3 {
            let answer = served.call("query", json!({"sql": "select 1", "database": "shop"})).await;
            assert_eq!(rows(&answer), &vec![json!([1])]);
        }
    };
    tokio::select! {
        biased;
        answer = served.call("query", json!({"sql": "select 1", "database": "far"})) => panic!("it answered first: {answer}"),
        () = near => {}
    }
    drop(silent);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_undefined_errs_loops_or_invents_obligations_denies() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let access = "access := {\"allow\": true, \"ttl_seconds\": 900, \"relations\": {\"app.item\": {\"columns\": {\"id\": \"clear\"}}}} if input.principal";
    let cases = [
        ("undefined", format!("{access}\ncall := {{\"decision\": \"allow\"}} if input.tool == \"nothing\"")),
        (
            "an unknown obligation",
            format!("{access}\ncall := {{\"decision\": \"allow\", \"obligations\": {{\"watermark\": true}}}} if input.tool"),
        ),
        (
            "an obligation of writes",
            format!("{access}\ncall := {{\"decision\": \"allow\", \"obligations\": {{\"dry_run\": true}}}} if input.tool"),
        ),
        ("an unknown ruling", format!("{access}\ncall := {{\"decision\": \"maybe\"}} if input.tool")),
        (
            "a trap",
            format!(
                "{access}\ncall := {{\"decision\": \"allow\"}} if {{\n\tinput.tool\n\thttp.send({{\"method\": \"get\", \"url\": input.tool}}).status_code == 200\n}}"
            ),
        ),
        (
            "a conflict",
            format!(
                "{access}\ncall := {{\"decision\": \"allow\"}} if input.tool\ncall := {{\"decision\": \"deny\"}} if input.task.id"
            ),
        ),
        (
            "a loop",
            format!(
                "{access}\ncall := {{\"decision\": \"allow\"}} if {{\n\tinput.tool\n\tcount([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); some c in numbers.range(1, 3000); a + b == c + input.max_rows]) == 0\n}}"
            ),
        ),
        (
            "a column that is not there",
            access.replace("\"id\"", "\"nothing\"") + "\ncall := {\"decision\": \"allow\"} if input.tool",
        ),
        (
            "a relation that is not there",
            access.replace("app.item", "app.nothing") + "\ncall := {\"decision\": \"allow\"} if input.tool",
        ),
        (
            "an empty row filter",
            access.replace("{\"id\": \"clear\"}", "{\"id\": \"clear\"}, \"rows\": {\"all\": []}")
                + "\ncall := {\"decision\": \"allow\"} if input.tool",
        ),
        (
            "an unknown mask",
            access.replace("\"clear\"", "{\"mask\": \"blur\"}") + "\ncall := {\"decision\": \"allow\"} if input.tool",
        ),
        (
            "a violation beside an allow",
            format!(
                "{access}\ncall := {{\"decision\": \"allow\", \"violations\": [{{\"code\": \"x\", \"message\": \"y\"}}]}} if input.tool"
            ),
        ),
    ];
    for (name, rules) in cases {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("own.rego"), format!("package pgteller\n\n{rules}\n\ntools := []\n")).unwrap();
        let bundle = directory.path().join("bundle.tar.gz");
        let built = std::process::Command::new("opa")
            .args(["build", "-t", "wasm", "-e", "pgteller/access", "-e", "pgteller/call", "-e", "pgteller/tools", "-o"])
            .arg(&bundle)
            .arg(directory.path().join("own.rego"))
            .output()
            .expect("`opa` on the PATH: run `make setup`");
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
        let served = bundled(&database, &bundle).await;
        let answer = served.query("select id from app.item limit 1").await;
        assert_eq!(code(&answer), "policy-denied", "{name}: {answer}");
        assert_eq!(served.last_entry().refusal.unwrap().code, "policy-denied", "{name}");
        assert_eq!(database.task_roles().await, 0, "{name}");
        served.stop().await;
    }
}

async fn bundled(database: &TestDatabase, bundle: &std::path::Path) -> Served {
    let keep = tempfile::tempdir().unwrap().keep().join("bundle.tar.gz");
    std::fs::copy(bundle, &keep).unwrap();
    let served = Configured { policy_keys: &format!("bundle = \"{}\"", keep.display()), ..configured(database, POLICY) };
    served.serve().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_cannot_be_read_or_lets_everybody_in_does_not_load() {
    let directory = tempfile::tempdir().unwrap();
    let settings = |bundle: &str| PolicySettings {
        document: POLICY.to_owned(),
        document_path: "policy.yaml".into(),
        bundle: Some(directory.path().join(bundle)),
    };
    std::fs::write(directory.path().join("garbage.tar.gz"), b"garbage").unwrap();
    std::fs::write(directory.path().join("garbage.wasm"), b"\0asmgarbage").unwrap();
    for bundle in ["missing.wasm", "garbage.tar.gz", "garbage.wasm"] {
        assert!(matches!(Policy::load(&settings(bundle), None).await, Err(PolicyError::Bundle(_))), "{bundle}");
    }
    let open = "package pgteller\n\naccess := {\"allow\": true}\n\ncall := {\"decision\": \"allow\"}\n\ntools := []\n";
    std::fs::write(directory.path().join("open.rego"), open).unwrap();
    let built = std::process::Command::new("opa")
        .current_dir(directory.path())
        .args([
            "build",
            "-t",
            "wasm",
            "-e",
            "pgteller/access",
            "-e",
            "pgteller/call",
            "-e",
            "pgteller/tools",
            "-o",
            "open.tar.gz",
            "open.rego",
        ])
        .status()
        .unwrap();
    assert!(built.success());
    let error = Policy::load(&settings("open.tar.gz"), None).await.unwrap_err().to_string();
    assert!(error.contains("allows an empty input"), "{error}");
    // One that answers only two of the questions.
    let closed = "package pgteller\n\naccess := {\"allow\": false}\n\ncall := {\"decision\": \"deny\"}\n";
    std::fs::write(directory.path().join("two.rego"), closed).unwrap();
    let built = std::process::Command::new("opa")
        .current_dir(directory.path())
        .args(["build", "-t", "wasm", "-e", "pgteller/access", "-e", "pgteller/call", "-o", "two.tar.gz", "two.rego"])
        .status()
        .unwrap();
    assert!(built.success());
    let error = Policy::load(&settings("two.tar.gz"), None).await.unwrap_err();
    assert!(error.to_string().contains("pgteller/tools"), "{error}");
}

/// A directory on a tiny file system, filled to the brim, would need privileges: a file where the directory should be does the same to us.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_or_an_export_that_cannot_be_written_withholds_the_answer() {
    let (_database, served) = serve().await;
    let exports = served.directory.path().join("data/exports");
    std::fs::remove_dir_all(&exports).unwrap();
    let answer = served.call("export", json!({"sql": "select 1", "format": "csv"})).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert_eq!(served.last_entry().refusal.unwrap().code, "internal");
    assert_eq!(rows(&served.query("select 1").await), &vec![json!([1])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_entry_and_the_chain_holds() {
    let (_database, served) = serve().await;
    let mut ids = Vec::new();
    for sql in ["select 1", "nonsense", "select * from nothing", "select 1/0"] {
        ids.push(served.query(sql).await["request_id"].as_str().unwrap().to_owned());
    }
    let (many, _) = tokio::join!(futures(&served, 20), served.query("select 2"));
    ids.extend(many);
    let directory = served.stop().await;
    let audit = directory.path().join("data/audit");
    for id in &ids {
        let entry = pgteller::audit::show::find(&audit, id.parse().unwrap()).unwrap().expect("an entry");
        assert_eq!(entry.request_id.to_string(), *id);
    }
    for chain in verify::chains(&audit).unwrap() {
        let verified = verify::verify(&chain).unwrap();
        assert!(verified.broken.is_none() && verified.entries >= 25, "{verified:?}");
    }
}

async fn futures(served: &Served, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(served.query("select 1").await["request_id"].as_str().unwrap().to_owned());
    }
    ids
}

#[test]
fn codes_are_kebab_case_and_documented() {
    let readme = read("README.md");
    for code in Code::ALL {
        let text = code.as_str();
        assert!(text.chars().all(|char| char.is_ascii_lowercase() || char == '-'), "{text}");
        assert!(readme.contains(&format!("`{text}`")), "README.md does not name `{text}`");
    }
}
