//! What the protocol promises beside the calls themselves: lists for the caller, progress, metrics, one answer to every message.

use pgteller::model::call::TOOLS;
use serde_json::{Value, json};

use crate::support::client::rows;
use crate::support::process::Process;
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase};

const SQL: &str =
    "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY); INSERT INTO app.note SELECT generate_series(1, 100);";

const POLICY: &str = "version: 1
unlabelled: clear
grants:
  opener: {agents: [bot], purposes: [read], opens: true, read: {allow: [app.*]}}
  looker: {agents: [looker], ambient: true, tools: [describe], read: {allow: [app.*]}}
  tester: {agents: [tester], ambient: true, read: {allow: [app.*]}}
";

async fn served(issuer: &Issuer, server: &str) -> (TestDatabase, Served) {
    let keys = tempfile::tempdir().unwrap().keep().join("jwks");
    std::fs::write(&keys, issuer.jwks()).unwrap();
    let database = TestDatabase::new(SQL, &["app"]).await;
    let more = format!(
        "[server]\n{server}\n[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        keys.display()
    );
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &more,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    (database, served)
}

async fn listed(served: &Served, token: &str) -> Vec<String> {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let answer: Value = served.post(Some(token), &message).await.json().await.unwrap();
    assert_eq!(answer["result"]["cacheScope"], "private");
    answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_listed_what_its_policy_and_scopes_may_open_and_nothing_else() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "scopes = { export = [\"pg:export\"] }").await;
    let token = |change: Value| {
        let mut all = json!({"pgteller_task": null, "scope": "pg:export"});
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        issuer.sign(&claims(all))
    };
    assert_eq!(listed(&served, &token(json!({}))).await, TOOLS);
    assert_eq!(listed(&served, &token(json!({"client_id": "looker"}))).await, ["describe"]);
    assert_eq!(listed(&served, &token(json!({"client_id": "tester"}))).await, ["query", "describe", "export", "explain"]);
    assert_eq!(listed(&served, &token(json!({"client_id": "tester", "scope": ""}))).await, ["query", "describe", "explain"]);
    assert!(listed(&served, &token(json!({"client_id": "stranger"}))).await.is_empty());
    let named = issuer.sign(&claims(json!({})));
    assert_eq!(listed(&served, &named).await, ["query", "describe", "explain", "close_task"]);
    assert_eq!(database.task_roles().await, 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_progress_hears_of_a_long_call_and_nobody_else_does() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "").await;
    let token = issuer.sign(&claims(json!({"pgteller_task": null, "client_id": "tester"})));
    let ask = async |sql: &str, meta: Value| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "query", "arguments": {"sql": sql}, "_meta": meta}});
        let response = served.post(Some(&token), &message).await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, response.text().await.unwrap())
    };
    // About three seconds of work, however fast the machine: until `clock_timestamp` says so.
    let long = "with recursive t(n) as (select 1 union all select n + 1 from t where clock_timestamp() < now() + interval '2500 ms') select count(*) > 0 from t";
    let (kind, text) = ask(long, json!({"progressToken": "p-1"})).await;
    assert!(kind.starts_with("text/event-stream"), "{kind}: {text}");
    let messages: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect();
    let told: Vec<f64> = messages
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .map(|message| {
            assert_eq!(message["params"]["progressToken"], "p-1");
            message["params"]["progress"].as_f64().unwrap()
        })
        .collect();
    assert!(told.len() >= 2 && told.is_sorted(), "{text}");
    assert_eq!(rows(&messages.last().unwrap()["result"]["structuredContent"]), &vec![json!([true])]);
    let (kind, _) = ask("select 1", json!({"progressToken": "p-1"})).await;
    assert!(kind.starts_with("application/json"));
    let (kind, _) = ask(long, json!({})).await;
    assert!(kind.starts_with("application/json"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_on_a_listener_of_their_own_and_name_nobody() {
    let issuer = Issuer::new("k1");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_database, served) = served(&issuer, &format!("metrics = \"{free}\"")).await;
    let token = issuer.sign(&claims(json!({"pgteller_task": null, "client_id": "tester"})));
    for sql in ["select * from note", "select * from secret", "drop table note"] {
        served.call_as(&token, "query", json!({"sql": sql})).await;
    }
    served.call_as(&token, "made-up\"} 1\nlie{", json!({})).await;
    served.post(None, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    let text = reqwest::get(format!("http://{free}/metrics")).await.unwrap().text().await.unwrap();
    for line in [
        "pgteller_calls_total{tool=\"query\",decision=\"allow\",code=\"ok\"} 1",
        "pgteller_calls_total{tool=\"query\",decision=\"none\",code=\"relation-not-granted\"} 1",
        "pgteller_calls_total{tool=\"query\",decision=\"none\",code=\"not-a-query\"} 1",
        "pgteller_calls_total{tool=\"none\",decision=\"none\",code=\"token-missing\"} 1",
        "pgteller_rows_total 100",
        "pgteller_tasks_open 1",
        "pgteller_sessions_open 1",
        "pgteller_roles_open 1",
        "pgteller_task_transitions_total{state=\"opened\"} 1",
        "pgteller_task_transitions_total{state=\"active\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("pgteller_stage_seconds_bucket{le=") && text.ends_with("# EOF\n"));
    for name in ["tester", "ada", "note", "secret", "lie", "issuer.test"] {
        assert!(!text.contains(name), "{name}");
    }
    // Neither window opens the other's door.
    let elsewhere = reqwest::get(served.url.replace("/mcp", "/metrics")).await.unwrap();
    assert_eq!(elsewhere.status(), 401);
    assert_eq!(reqwest::get(format!("http://{free}/mcp")).await.unwrap().status(), 404);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_declared_is_not_answered() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "").await;
    let token = issuer.sign(&claims(json!({})));
    let ask = async |method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        served.post(Some(&token), &message).await.json::<Value>().await.unwrap()
    };
    let reference = json!({"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"}});
    assert_eq!(ask("completion/complete", reference).await["error"]["code"], -32601);
    assert_eq!(ask("prompts/list", json!({})).await["error"]["code"], -32601);
    // A resource that does not exist, as each revision spells it.
    let unknown = json!({"uri": "pgteller://exports/00000000-0000-4000-8000-000000000000"});
    assert_eq!(ask("resources/read", unknown).await["error"]["code"], -32002);
    served.stop().await;
}

/// T16: on stdio every line out is JSON-RPC, whatever comes in; nothing listens, and no secret stands among the arguments.
#[tokio::test(flavor = "multi_thread")]
async fn stdio_speaks_json_rpc_listens_nowhere_and_tells_no_secret() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "tester",
        purpose: "",
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"app\"]",
    };
    // Everything that it could want to say goes to stderr.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgteller"));
    command.env("PGTELLER_LOG", "info,pgteller=trace,rmcp=debug").stderr(std::process::Stdio::null());
    let mut process = Process::spawn(&configured, command);
    let call = |id: u8, sql: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": sql}}});
    for line in [
        "garbage".to_owned(),
        "{\"jsonrpc\":\"2.0\"}".to_owned(),
        "[]".to_owned(),
        json!({"jsonrpc": "2.0", "id": 2, "method": "no/such", "params": {}}).to_string(),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"}).to_string(),
        call(5, "select * from nothing").to_string(),
        call(6, "select count(*) from note").to_string(),
    ] {
        process.tell_text(&line);
    }
    let mut answers: Vec<Value> = Vec::new();
    while answers.iter().filter(|answer| answer["id"] == 5 || answer["id"] == 6).count() < 2 {
        answers.push(process.line());
    }
    assert!(answers.iter().all(|answer| answer["jsonrpc"] == "2.0"), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.pointer("/result/structuredContent/rows") == Some(&json!([[100]]))), "{answers:?}");
    let pid = process.child.id();
    #[cfg(target_os = "linux")]
    {
        let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
            .filter_map(|target| Some(target.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
            .collect();
        let listening = ["tcp", "tcp6"].iter().flat_map(|kind| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap_or_default();
            let lines = table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            lines.filter(|fields| fields[3] == "0A").map(|fields| fields[9].clone()).collect::<Vec<_>>()
        });
        let ours: Vec<String> = listening.filter(|inode| own.contains(inode)).collect();
        assert!(ours.is_empty(), "{ours:?}");
        let arguments = String::from_utf8(std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()).unwrap();
        assert!(!arguments.contains(&database.password));
    }
    let _ = pid;
    process.finish();
}
