//! Tasks with a life of their own: opened, used, narrowed, spent, closed, expired, revoked; and never anybody else's.

use pgteller::clock::Clock;
use pgteller::model::ending::{Ending, Life, Whom};
use pgteller::settings::Settings;
use pgteller::store::Store;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::process::{Door, Listening};
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase};

const SQL: &str =
    "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, body text); CREATE TABLE app.other(id int PRIMARY KEY);
    INSERT INTO app.note SELECT i, 'note ' || i FROM generate_series(1, 100) i;";

const POLICY: &str = "version: 1
unlabelled: clear
grants:
  reader: {agents: [bot], purposes: [read, \"read/*\"], opens: true, read: {allow: [app.*]}, limits: {task_minutes: 5}}
  spender: {agents: [bot], purposes: [spend], opens: true, read: {allow: [app.*]}, limits: {task_rows: 150, task_statements: 4}}
  bound: {agents: [bot], purposes: [bound], read: {allow: [app.*]}}
  idle: {agents: [idle], ambient: true, read: {allow: [app.*]}}
";

struct House {
    issuer: Issuer,
    database: TestDatabase,
    served: Served,
    _keys: tempfile::TempDir,
}

impl House {
    async fn build(more: &str) -> Self {
        Self::with_clock(more, Clock::system()).await
    }

    async fn with_clock(more: &str, clock: Clock) -> Self {
        let (issuer, keys) = (Issuer::new("k1"), tempfile::tempdir().unwrap());
        std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
        let database = TestDatabase::new(SQL, &["app"]).await;
        let more = format!(
            "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n{more}",
            keys.path().join("jwks").display()
        );
        let served = Served::start(&configured(&database, &more), clock).await;
        Self { issuer, database, served, _keys: keys }
    }

    /// A token without a task.
    fn token(&self, change: Value) -> String {
        let mut all = json!({"pgteller_task": null});
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.issuer.sign(&claims(all))
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.served.call_as(&self.token(json!({})), tool, arguments).await
    }

    async fn open(&self, purpose: &str) -> String {
        let opened = self.call("open_task", json!({"purpose": purpose})).await;
        opened["task"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned()
    }

    async fn count(&self, task: &str) -> Value {
        self.call("query", json!({"sql": "select count(*) from note", "task": task})).await
    }

    async fn store(&self) -> Store {
        let settings = Settings::read(&self.served.directory.path().join("pgteller.toml")).unwrap();
        Store::open(&settings.storage.state).await.unwrap()
    }
}

fn configured<'a>(database: &'a TestDatabase, more: &'a str) -> Configured<'a> {
    Configured { database, policy: POLICY, agent: "", purpose: "", policy_keys: "", more, database_keys: "search_path = [\"app\"]" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_opened_used_and_closed_and_each_state_is_in_the_log() {
    let house = House::build("").await;
    assert_eq!(code(&house.call("query", json!({"sql": "select 1"})).await), "task-required");
    let refusal = house.call("query", json!({"sql": "select 1"})).await;
    assert!(refusal["error"]["message"].as_str().unwrap().contains("open_task"), "{refusal}");
    let opened = house.call("open_task", json!({"purpose": "read/4711"})).await;
    assert_eq!((&opened["purpose"], &opened["relations"]), (&json!("read/4711"), &json!(["app.note", "app.other"])));
    let left = opened["seconds_left"].as_u64().unwrap();
    assert!((290..=300).contains(&left), "{left}");
    let entry = house.served.last_entry();
    assert_eq!((entry.task_life.as_slice(), entry.task.unwrap().asserted), ([Life::Opened].as_slice(), true));
    let task = opened["task"].as_str().unwrap();
    assert_eq!(house.database.task_roles().await, 0);
    assert_eq!(rows(&house.count(task).await), &vec![json!([100])]);
    assert_eq!(house.served.last_entry().task_life, [Life::Active]);
    assert_eq!(rows(&house.count(task).await), &vec![json!([100])]);
    assert!(house.served.last_entry().task_life.is_empty());
    assert_eq!(house.database.task_roles().await, 1);
    // PostgreSQL's own log names the task.
    let role = house.served.last_entry().role.unwrap();
    assert!(role.as_str().ends_with(&task.replace('-', "")), "{role}");
    let closed = house.call("close_task", json!({"task": task})).await;
    assert_eq!((&closed["state"], &closed["statements"], &closed["rows"]), (&json!("closed"), &json!(2), &json!(2)));
    assert_eq!(house.database.task_roles().await, 0);
    assert_eq!(code(&house.count(task).await), "task-closed");
    assert_eq!(code(&house.call("close_task", json!({"task": task})).await), "task-closed");
    assert_eq!(code(&house.call("close_task", json!({})).await), "argument-invalid");
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_openings_are_refused_and_open_nothing() {
    let house = House::build("").await;
    for (arguments, expected) in [
        (json!({"purpose": "p".repeat(100 * 1024)}), "argument-invalid"),
        (json!({"purpose": "read\u{1b}[2J"}), "argument-invalid"),
        (json!({"purpose": "read\nmore"}), "argument-invalid"),
        (json!({"purpose": "re\u{200b}ad"}), "argument-invalid"),
        (json!({"purpose": "  "}), "argument-invalid"),
        (json!({}), "argument-invalid"),
        (json!({"purpose": "read", "ttl_seconds": 0}), "argument-invalid"),
        (json!({"purpose": "read", "ttl_seconds": -5}), "argument-invalid"),
        (json!({"purpose": "read", "needs": vec!["app.note"; 501]}), "argument-invalid"),
        (json!({"purpose": "read", "renew": true}), "argument-invalid"),
        (json!({"purpose": "read", "needs": ["app.note", "app.secret"]}), "relation-not-granted"),
        (json!({"purpose": "read", "needs": ["hr.*"]}), "relation-not-granted"),
        // A purpose that exists, but not for the agent's own word; and one that does not exist.
        (json!({"purpose": "bound"}), "policy-denied"),
        (json!({"purpose": "write"}), "policy-denied"),
    ] {
        assert_eq!(code(&house.call("open_task", arguments.clone()).await), expected, "{arguments}");
    }
    // Years are cut to what policy gives.
    let opened = house.call("open_task", json!({"purpose": "read", "ttl_seconds": 10_u64.pow(12)})).await;
    assert!(opened["seconds_left"].as_u64().unwrap() <= 300);
    let opened = house.call("open_task", json!({"purpose": "read", "ttl_seconds": 7})).await;
    assert!(opened["seconds_left"].as_u64().unwrap() <= 7);
    // The token ends it earlier, if it ends earlier.
    let soon = Clock::system().now().seconds() + 20;
    let opened = house.served.call_as(&house.token(json!({"exp": soon})), "open_task", json!({"purpose": "read"})).await;
    assert!(opened["seconds_left"].as_u64().unwrap() <= 20);
    // A token that names its task opens no other, and uses no other.
    let bound = house.issuer.sign(&claims(json!({})));
    assert_eq!(code(&house.served.call_as(&bound, "open_task", json!({"purpose": "read"})).await), "policy-denied");
    let task = house.open("read").await;
    let sql = json!({"sql": "select 1", "task": task});
    assert_eq!(code(&house.served.call_as(&bound, "query", sql).await), "policy-denied");
    assert_eq!(house.database.task_roles().await, 0);
    house.served.stop().await;
}

/// T6: somebody else's task is answered exactly like one that does not exist, whatever is asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_task_does_not_exist() {
    let house = House::build("").await;
    let task = house.open("read").await;
    house.count(&task).await;
    let closed = house.open("read").await;
    house.call("close_task", json!({"task": closed})).await;
    let nowhere = "01234567-89ab-4cde-8f01-23456789abcd";
    let others = [
        ("another subject", house.token(json!({"sub": "eve"}))),
        ("another agent", house.token(json!({"client_id": "idle"}))),
        ("another scope", house.token(json!({"scope": "more"}))),
        ("another group", house.token(json!({"groups": ["staff"]}))),
    ];
    for (who, token) in others {
        for (tool, mut arguments) in [
            ("query", json!({"sql": "select count(*) from note"})),
            ("describe", json!({})),
            ("explain", json!({"sql": "select count(*) from note"})),
            ("export", json!({"sql": "select count(*) from note", "format": "csv"})),
            ("close_task", json!({})),
        ] {
            let mut answers = Vec::new();
            for id in [task.as_str(), closed.as_str(), nowhere, "no id at all"] {
                arguments["task"] = json!(id);
                let mut answer = house.served.call_as(&token, tool, arguments.clone()).await;
                answer.as_object_mut().unwrap().remove("request_id");
                answers.push(answer);
            }
            assert_eq!(code(&answers[0]), "task-unknown", "{who}: {tool}");
            assert!(answers.iter().all(|answer| answer == &answers[0]), "{who}: {tool}: {answers:?}");
        }
    }
    assert_eq!(rows(&house.count(&task).await), &vec![json!([100])]);
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_details_and_meta_narrow_and_never_widen() {
    let house = House::build("").await;
    let opened = house.call("open_task", json!({"purpose": "read", "needs": ["app.note"]})).await;
    assert_eq!(opened["relations"], json!(["app.note"]));
    let task = opened["task"].as_str().unwrap();
    assert_eq!(rows(&house.count(task).await), &vec![json!([100])]);
    assert_eq!(code(&house.call("query", json!({"sql": "select * from other", "task": task})).await), "relation-not-granted");
    // The database holds it back, too: the profile has no other view.
    let role = house.served.last_entry().role;
    assert!(role.is_none());
    // Details of the token (RFC 9396).
    let details = |change: Value| {
        let mut details = json!({"type": "pgteller_task", "identifier": "d-1", "purpose": "read", "locations": [AUDIENCE]});
        details.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        house.token(json!({"authorization_details": [{"type": "payment"}, details]}))
    };
    let ask = async |token: &str, tool: &str, sql: &str| house.served.call_as(token, tool, json!({"sql": sql})).await;
    let token = details(json!({"datatypes": ["app.note"], "actions": ["query", "describe"], "max_rows": 3}));
    assert_eq!(rows(&ask(&token, "query", "select id from note order by id").await).len(), 3);
    assert_eq!(code(&ask(&token, "query", "select id from other").await), "relation-not-granted");
    assert_eq!(code(&ask(&token, "explain", "select id from note").await), "policy-denied");
    let wider =
        details(json!({"identifier": "d-2", "datatypes": ["app.*", "hr.*"], "max_rows": 1_000_000, "actions": ["query", "drop"]}));
    assert_eq!(code(&ask(&wider, "query", "select * from hr.staff").await), "relation-not-granted");
    let nothing = details(json!({"identifier": "d-3", "datatypes": []}));
    assert_eq!(code(&ask(&nothing, "query", "select id from note").await), "relation-not-granted");
    let elsewhere = details(json!({"identifier": "d-4", "locations": ["https://other.test"]}));
    assert_eq!(code(&ask(&elsewhere, "query", "select id from note").await), "task-required");
    // `_meta` of one call.
    let meta = async |narrow: Value| {
        let arguments = json!({"sql": "select id from note order by id", "max_rows": 50, "task": task});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "query", "arguments": arguments, "_meta": {"io.github.pgteller/narrow": narrow}}});
        let answer: Value = house.served.post(Some(&house.token(json!({}))), &message).await.json().await.unwrap();
        answer["result"]["structuredContent"].clone()
    };
    assert_eq!(rows(&meta(json!({"max_rows": 2})).await).len(), 2);
    assert_eq!(rows(&meta(json!({"max_rows": 5000})).await).len(), 50);
    assert_eq!(rows(&meta(json!({"relations": ["app.note", "app.other", "hr.staff"]})).await).len(), 50);
    assert_eq!(code(&meta(json!({"relations": ["app.other"]})).await), "relation-not-granted");
    assert_eq!(code(&meta(json!({"tools": ["describe"]})).await), "policy-denied");
    assert_eq!(code(&meta(json!({"max_row": 2})).await), "argument-invalid");
    assert_eq!(code(&meta(json!("all")).await), "argument-invalid");
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_spent_once_however_many_ask_at_once() {
    let house = House::build("[limits.principal]\nstatements = 8").await;
    let task = house.open("spend").await;
    let ask = || house.call("query", json!({"sql": "select id from note", "max_rows": 100, "task": task}));
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let given: usize = [&a, &b, &c].iter().map(|answer| answer["rows"].as_array().map_or(0, Vec::len)).sum();
    assert!(given <= 150, "{given} rows of a budget of 150");
    let fourth = ask().await;
    let given = given + fourth["rows"].as_array().map_or(0, Vec::len);
    assert!(given <= 150, "{given}");
    assert_eq!(code(&ask().await), "budget-spent");
    // Policy saw each statement's number, and no number twice.
    let entries = pgteller::audit::show::tail(&house.served.audit(), 10).unwrap();
    let mut seen: Vec<u64> = entries
        .iter()
        .filter_map(|entry| serde_json::from_str::<Value>(entry.input.as_ref()?.get()).ok()?["task"]["statements"].as_u64())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_calls_and_too_many_tasks_are_told_when_to_come_again() {
    let more = "[limits.principal]\nrequests_per_second = 1\nopen_tasks = 2\n[limits.agent]\nopen_tasks = 3\n";
    let house = House::build(more).await;
    let (first, _second) = (house.open("read").await, house.open("read").await);
    let third = house.call("open_task", json!({"purpose": "read"})).await;
    assert_eq!(code(&third), "rate-limited");
    assert!(third["error"]["retry_after_ms"].as_u64().unwrap() > 0);
    // The agent's own bound holds over its subjects.
    let other = |subject: &str| house.token(json!({"sub": subject}));
    let open = async |token: String| house.served.call_as(&token, "open_task", json!({"purpose": "read"})).await;
    assert!(open(other("bea")).await.get("task").is_some());
    assert_eq!(code(&open(other("cyd")).await), "rate-limited");
    assert_eq!(house.call("close_task", json!({"task": first})).await["state"], "closed");
    assert!(open(other("cyd")).await.get("task").is_some());
    // Ten seconds' worth may come at once; another principal is not held up.
    let mut refused = None;
    for _ in 0..12 {
        let answer = house.call("describe", json!({"task": "01234567-89ab-4cde-8f01-23456789abcd"})).await;
        if code(&answer) == "rate-limited" {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a call too many");
    assert!((1..=1000).contains(&refused["error"]["retry_after_ms"].as_u64().unwrap()), "{refused}");
    assert_ne!(code(&house.served.call_as(&other("dan"), "close_task", json!({})).await), "rate-limited");
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_task_expires_and_goes_on_in_another_process_until_then() {
    let clock = Clock::pinned(Clock::system().now());
    let house = House::with_clock("", clock.clone()).await;
    let task = house.open("read").await;
    house.count(&task).await;
    // A second server on the same state: the task's owner goes on there, with a role of its own.
    let directory = tempfile::tempdir().unwrap();
    let toml = std::fs::read_to_string(house.served.directory.path().join("pgteller.toml")).unwrap();
    for name in ["policy.yaml", "password"] {
        std::fs::copy(house.served.directory.path().join(name), directory.path().join(name)).unwrap();
    }
    let shared = house.served.directory.path().join("data");
    std::fs::write(
        directory.path().join("pgteller.toml"),
        toml.replace("dir = \"data\"", &format!("dir = \"{}\"", shared.display())),
    )
    .unwrap();
    let second = Served::over(directory, clock.clone()).await;
    let ask = json!({"sql": "select count(*) from note", "task": task});
    assert_eq!(rows(&second.call_as(&house.token(json!({})), "query", ask.clone()).await), &vec![json!([100])]);
    assert_eq!(code(&second.call_as(&house.token(json!({"sub": "eve"})), "query", ask.clone()).await), "task-unknown");
    assert_eq!(house.database.task_roles().await, 2);
    // Closing it at one closes it at both.
    house.call("close_task", json!({"task": task})).await;
    let mut answer = second.call_as(&house.token(json!({})), "query", ask.clone()).await;
    let since = std::time::Instant::now();
    while answer.get("rows").is_some() && since.elapsed().as_secs() < 10 {
        answer = second.call_as(&house.token(json!({})), "query", ask.clone()).await;
    }
    assert_eq!(code(&answer), "task-closed");
    house.database.until(&format!("SELECT count(*) = 0 FROM pg_roles WHERE rolname LIKE '%{}'", task.replace('-', ""))).await;
    // Closed where nobody serves it, it is closed where somebody does.
    let task = house.open("read").await;
    assert_eq!(rows(&house.count(&task).await), &vec![json!([100])]);
    let closed = second.call_as(&house.token(json!({})), "close_task", json!({"task": task})).await;
    assert_eq!(closed["state"], "closed", "{closed}");
    house.database.until(&format!("SELECT count(*) = 0 FROM pg_roles WHERE rolname LIKE '%{}'", task.replace('-', ""))).await;
    assert_eq!(code(&house.count(&task).await), "task-closed");
    // Also after everything that was ended before is forgotten.
    let store = house.store().await;
    let later = pgteller::clock::Instant(i64::MAX);
    store.tidy(later, clock.now(), pgteller::clock::Instant(0)).await.unwrap();
    let task = house.open("read").await;
    let ask = json!({"sql": "select count(*) from note", "task": task});
    assert_eq!(rows(&house.count(&task).await), &vec![json!([100])]);
    assert_eq!(rows(&second.call_as(&house.token(json!({})), "query", ask.clone()).await), &vec![json!([100])]);
    house.call("close_task", json!({"task": task})).await;
    second.enforcement().tasks.watch().await;
    assert_eq!(code(&second.call_as(&house.token(json!({})), "query", ask).await), "task-closed");
    // Its time ends it for good.
    let task = house.open("read").await;
    house.count(&task).await;
    clock.advance(301);
    let token = house.token(json!({"exp": Clock::system().now().seconds() + 3600}));
    let late = house.served.call_as(&token, "query", json!({"sql": "select 1", "task": task})).await;
    assert_eq!(code(&late), "task-closed");
    second.stop().await;
    house.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_an_agent_ends_what_it_does_and_it_opens_nothing_new() {
    let house = House::build("").await;
    let (task, token) = (house.open("read").await, house.token(json!({})));
    house.count(&task).await;
    let other = house.token(json!({"client_id": "idle"}));
    let export = house.call("export", json!({"sql": "select id from note", "format": "csv", "task": task})).await;
    let slow = json!({"sql": "select count(*) from note a, note b, note c, note d, note e", "task": task});
    let running = house.served.call_as(&token, "query", slow);
    let stopping = async {
        house.database.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%note e%' AND state = 'active' AND pid <> pg_backend_pid()").await;
        let store = house.store().await;
        let now = Clock::system().now();
        let whom = Whom { agent: Some("bot".to_owned()), ..Whom::default() };
        let ending = Ending {
            id: "e1".to_owned(),
            life: Life::Revoked,
            whom,
            at_ns: now,
            until_ns: now.plus_seconds(60),
            reason: None,
            by: None,
        };
        store.end(&ending).await.unwrap();
        store
    };
    let (running, store) = tokio::join!(running, stopping);
    assert_eq!(code(&running), "task-closed", "{running}");
    house.served.enforcement().tasks.watch().await;
    assert_eq!(code(&house.count(&task).await), "access-revoked");
    assert_eq!(code(&house.call("open_task", json!({"purpose": "read"})).await), "access-revoked");
    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": export["uri"]}});
    assert!(house.served.post(Some(&token), &read).await.json::<Value>().await.unwrap().get("error").is_some());
    let query = json!({"sql": "select count(*) from note"});
    assert_eq!(rows(&house.served.call_as(&other, "query", query).await), &vec![json!([100])]);
    house.database.until(&format!("SELECT count(*) = 0 FROM pg_roles WHERE rolname LIKE '%{}'", task.replace('-', ""))).await;
    // Each end is in the log, with the state that it left.
    let entries = pgteller::audit::show::tail(&house.served.audit(), 50).unwrap();
    let ended = entries.iter().find(|entry| entry.method.as_deref() == Some("task/revoked")).expect("a transition");
    assert_eq!(ended.task_life, [Life::Active, Life::Revoked]);
    assert!(store.lift("e1").await.unwrap());
    house.served.enforcement().tasks.watch().await;
    assert!(house.call("open_task", json!({"purpose": "read"})).await.get("task").is_some());
    assert_eq!(code(&house.count(&task).await), "task-closed");
    house.served.stop().await;
}

/// A task that a token names never opens again while it is being ended, however many calls come at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_task_does_not_open_again_while_it_is_closed() {
    let house = House::build("").await;
    let store = house.store().await;
    for round in 0..5 {
        let task = json!({"id": format!("t-{round}"), "purpose": "read"});
        let token = house.issuer.sign(&claims(json!({"pgteller_task": task})));
        let count = || house.served.call_as(&token, "query", json!({"sql": "select count(*) from note"}));
        assert_eq!(rows(&count().await), &vec![json!([100])]);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (url, token) = (house.served.url.clone(), token.clone());
            calls.spawn(async move { Door::at(&url).call(&token, "query", json!({"sql": "select count(*) from note"})).await });
        }
        let closed = house.served.call_as(&token, "close_task", json!({})).await;
        assert_eq!(closed["state"], "closed", "{closed}");
        calls.join_all().await;
        assert_eq!(code(&count().await), "task-closed");
        let named = format!("t-{round}");
        let opened = store.tasks(true).await.unwrap().iter().filter(|task| task.external_id.as_ref() == Some(&named)).count();
        assert_eq!(opened, 1, "{named}");
    }
    house.served.stop().await;
}

/// The same store in PostgreSQL, as several replicas share it: two servers, and a command that stops an agent at both.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_store_in_postgresql() {
    let state = TestDatabase::bare("").await;
    state.owner.batch_execute("CREATE ROLE teller_state LOGIN PASSWORD 'secret %/?#'").await.unwrap_or(());
    state.owner.batch_execute(&format!("ALTER DATABASE {} OWNER TO teller_state", state.name)).await.unwrap();
    let (issuer, keys) = (Issuer::new("k1"), tempfile::tempdir().unwrap());
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let database = TestDatabase::new(SQL, &["app"]).await;
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        keys.path().join("jwks").display()
    );
    let directory = || {
        let directory = tempfile::tempdir().unwrap();
        let path = configured(&database, &more).write(directory.path());
        std::fs::write(directory.path().join("state-password"), "secret %/?#\n").unwrap();
        let url = format!("postgres://teller_state@127.0.0.1:{}/{}", state.cluster.port(), state.name);
        let keys = format!("[storage]\nstate_url = \"{url}\"\nstate_password_file = \"state-password\"");
        let text = std::fs::read_to_string(&path).unwrap().replace("[storage]", &keys);
        std::fs::write(&path, text).unwrap();
        directory
    };
    let (first, second) = tokio::join!(Served::over(directory(), Clock::system()), Served::over(directory(), Clock::system()));
    let token = issuer.sign(&claims(json!({"pgteller_task": null})));
    let opened = first.call_as(&token, "open_task", json!({"purpose": "read"})).await;
    let ask = json!({"sql": "select count(*) from note", "task": opened["task"]});
    for served in [&first, &second] {
        assert_eq!(rows(&served.call_as(&token, "query", ask.clone()).await), &vec![json!([100])]);
    }
    assert_eq!(database.task_roles().await, 2);
    let settings = Settings::read(&first.directory.path().join("pgteller.toml")).unwrap();
    let store = Store::open(&settings.storage.state).await.unwrap();
    let now = Clock::system().now();
    let whom = Whom { subject: Some("ada".to_owned()), ..Whom::default() };
    let ending = Ending {
        id: "e1".to_owned(),
        life: Life::Revoked,
        whom,
        at_ns: now,
        until_ns: now.plus_seconds(60),
        reason: None,
        by: None,
    };
    let stopped = pgteller::task::stop(&store, &settings.databases, &ending).await.unwrap();
    // The servers may have seen it first, and closed their roles themselves.
    assert_eq!((stopped.tasks.len(), stopped.unreachable.len()), (1, 0));
    database.until("SELECT count(*) = 0 FROM pgteller_private.task").await;
    for served in [&first, &second] {
        let code = code(&served.call_as(&token, "query", ask.clone()).await).to_owned();
        assert!(code == "task-closed" || code == "access-revoked", "{code}");
    }
    first.stop().await;
    second.stop().await;
}

/// The command line beside a running server.
#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_is_at_work_and_stop_them() {
    let (issuer, keys) = (Issuer::new("k1"), tempfile::tempdir().unwrap());
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let database = TestDatabase::new(SQL, &["app"]).await;
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        keys.path().join("jwks").display()
    );
    let server = Listening::start(&configured(&database, &more));
    let (door, token) = (server.door(), issuer.sign(&claims(json!({"pgteller_task": null}))));
    let open = async || door.call(&token, "open_task", json!({"purpose": "read/4711"})).await["task"].as_str().unwrap().to_owned();
    let (one, other) = (open().await, open().await);
    let count = async |task: &str| door.call(&token, "query", json!({"sql": "select count(*) from note", "task": task})).await;
    assert_eq!(rows(&count(&one).await), &vec![json!([100])]);
    assert_eq!(rows(&count(&other).await), &vec![json!([100])]);
    let list = server.cli(&["task", "list"]);
    assert!(list.lines().count() == 3 && list.contains(&one) && list.contains("bot, ada, read/4711"), "{list}");
    let shown: Value = serde_json::from_str(&server.cli(&["task", "show", &one])).unwrap();
    assert_eq!((&shown["owner"]["agent"], &shown["facts"]["purpose"]), (&json!("bot"), &json!("read/4711")));
    // One task.
    let told = server.cli(&["task", "revoke", &one, "--reason", "a test"]);
    assert!(told.contains("1 open tasks ended"), "{told}");
    assert_eq!(code(&count(&one).await), "task-closed");
    assert_eq!(rows(&count(&other).await), &vec![json!([100])]);
    // A task that a token names stays ended, whatever id it would get.
    let bound = issuer.sign(&claims(json!({})));
    let counted = json!({"sql": "select count(*) from note"});
    assert_eq!(rows(&door.call(&bound, "query", counted.clone()).await), &vec![json!([100])]);
    let named = server.cli(&["task", "list", "--json"]);
    let named: Vec<Value> = named.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = named.iter().find(|task| task["external_id"] == "t-1").unwrap_or_else(|| panic!("{named:?}"));
    server.cli(&["task", "revoke", named["facts"]["id"].as_str().unwrap()]);
    assert_eq!(code(&door.call(&bound, "query", counted.clone()).await), "task-closed");
    assert_eq!(code(&door.call(&bound, "query", counted).await), "task-closed");
    // Everything that the agent does, and back.
    let told = server.cli(&["task", "revoke", "--agent", "bot", "--hours", "1"]);
    assert!(told.contains("1 open tasks ended") && told.contains("nothing new opens until"), "{told}");
    let refused = count(&other).await;
    assert!(["task-closed", "access-revoked"].contains(&code(&refused)), "{refused}");
    database.until("SELECT count(*) = 0 FROM pgteller_private.task").await;
    let stopped: Value = serde_json::from_str(server.cli(&["task", "stopped"]).trim()).unwrap();
    assert_eq!(stopped["whom"], json!({"agent": "bot"}));
    server.cli(&["task", "restore", stopped["id"].as_str().unwrap()]);
    assert_eq!(server.cli(&["task", "stopped"]), "");
    let since = std::time::Instant::now();
    while door.call(&token, "open_task", json!({"purpose": "read"})).await.get("task").is_none() {
        assert!(since.elapsed().as_secs() < 20, "still stopped");
        tokio::task::yield_now().await;
    }
    let all = server.cli(&["task", "list", "--all"]);
    assert!(all.lines().filter(|line| line.contains("revoked")).count() == 3, "{all}");
    // Operators' commands are in the log, with whom and why.
    let audit = server.directory().join("data/audit");
    let entries = pgteller::audit::show::tail(&audit, 1000).unwrap();
    let noted: Vec<_> = entries.iter().filter(|entry| entry.transport == "operator").collect();
    assert_eq!(noted.len(), 4, "{noted:?}");
    assert!(noted.iter().any(|entry| entry.ending.as_ref().is_some_and(|ending| ending.reason.as_deref() == Some("a test"))));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_store_that_cannot_be_used_is_refused_clearly() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let directory = tempfile::tempdir().unwrap();
    let more = "[dev]\nsubject = \"s\"\nagent = \"idle\"\n";
    let settings = Settings::read(&configured(&database, more).write(directory.path())).unwrap();
    let build = async || pgteller::server::Server::build(settings.clone(), Clock::system()).await.map(|_| ());
    build().await.expect("a store");
    // Only its owner can read it.
    use std::os::unix::fs::PermissionsExt;
    let file = directory.path().join("data/state.sqlite");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let chain = |error: pgteller::server::ServerError| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        text
    };
    let behind_its_back = sqlx::AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("INSERT INTO pgteller_state (version) VALUES (99)").execute(&behind_its_back).await.unwrap();
    behind_its_back.close().await;
    let told = chain(build().await.unwrap_err());
    assert!(told.contains("is of version 99, and this program knows 1"), "{told}");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "not a database at all, but long enough to be looked at as one".repeat(100)).unwrap();
    let told = chain(build().await.unwrap_err());
    assert!(told.contains("state store") && told.contains("not a database"), "{told}");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let told = chain(build().await.unwrap_err());
    assert!(told.contains("state store"), "{told}");
}
