//! What stays inside: no hidden value in any byte that we emit, no row of a view that was replaced, nothing in a migration's way.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::process::Process;
use crate::support::server::Configured;
use crate::support::{TestDatabase, read};

const SQL: &str = "CREATE SCHEMA app;
    CREATE TABLE app.person(id int PRIMARY KEY, region text NOT NULL, name text, age int, salary int);
    INSERT INTO app.person VALUES (1, 'eu', 'Ada', 30, 100), (2, 'us', 'Bob', 40, 200), (3, 'eu', 'Cy', 50, 300);
    CREATE VIEW app.card AS SELECT id, name AS shown FROM app.person;
    COMMENT ON COLUMN app.card.id IS '@label:public'; COMMENT ON COLUMN app.card.shown IS '@label:public';
    COMMENT ON COLUMN app.person.id IS '@label:public'; COMMENT ON COLUMN app.person.region IS '@label:public';
    COMMENT ON COLUMN app.person.name IS '@label:public'; COMMENT ON COLUMN app.person.age IS '@label:public';
    COMMENT ON COLUMN app.person.salary IS '@label:secret';";

const POLICY: &str = "version: 1
masks: {public: {mask: clear}, secret: {mask: hide}}
grants:
  reader: {agents: [bot], purposes: [work], read: {allow: [app.person, app.card]}}
  limited: {agents: [bot], purposes: [limited], read: {allow: [app.person]}, rows: {app.person: {region: {equals: eu}}}}
  planner: {agents: [bot], purposes: [planning], tools: [query, describe, explain-plan], read: {allow: [app.person]}}
  describer: {agents: [bot], purposes: [looking], tools: [describe], read: {allow: [app.person]}}
";

fn configured<'a>(database: &'a TestDatabase, purpose: &'a str) -> Configured<'a> {
    Configured {
        database,
        policy: POLICY,
        agent: "bot",
        purpose,
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"app\"]",
    }
}

/// Everything below a directory, as one text.
fn bytes_below(directory: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, into);
        } else {
            into.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}

/// The worlds' database marks every hidden value with SECRET. Statements that make errors over it, through the real binary that logs all it
/// can: no byte of its answers, its log, its entries or its exported files holds the mark.
#[tokio::test(flavor = "multi_thread")]
async fn no_hidden_value_is_in_any_byte_that_we_emit() {
    let database =
        TestDatabase::new(&read("tests/corpus/worlds/world.sql").replace("{{world}}", "0"), &["crm", "billing", "people"]).await;
    let policy = read("tests/corpus/worlds/policy.yaml");
    let configured = Configured {
        database: &database,
        policy: &policy,
        agent: "probe",
        purpose: "two-worlds",
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"crm\", \"billing\", \"people\"]",
    };
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let config = configured.write(directory.path());
    let log = std::fs::File::create(directory.path().join("stderr")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgteller"));
    command.env("PGTELLER_LOG", "trace").stderr(Stdio::from(log));
    let mut process = Process::spawn_in(std::sync::Arc::clone(&directory), &config, command);
    let attacks: Vec<Value> = serde_yaml_ng::from_str(&read("tests/corpus/worlds/attacks.yaml")).unwrap();
    let sqls = attacks.iter().map(|attack| attack["sql"].as_str().unwrap());
    let mut said = String::new();
    let mut sent = 0;
    for sql in sqls.filter(|sql| !sql.contains("SECRET")) {
        said.push_str(&process.query(sql).to_string());
        sent += 1;
    }
    for (tool, arguments) in [
        ("export", json!({"sql": "select * from customers", "format": "csv"})),
        ("export", json!({"sql": "select * from type_zoo", "format": "jsonl"})),
        ("describe", json!({})),
        ("describe", json!({"relation": "crm.customers"})),
        ("explain", json!({"sql": "select * from customers"})),
        ("query", json!({"sql": "select name::int from customers where email = $1", "params": ["x"]})),
    ] {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        said.push_str(&process.ask(&call).to_string());
    }
    process.finish();
    assert!(sent > 700, "{sent}");
    let mut everything = String::new();
    bytes_below(directory.path(), &mut everything);
    assert!(said.len() > 100_000 && everything.len() > 1_000_000, "{} {}", said.len(), everything.len());
    println!("{sent} statements: {} bytes of answers, {} bytes of log, entries and exports", said.len(), everything.len());
    for text in [&said, &everything] {
        let at = text.find("SECRET");
        assert!(at.is_none(), "{}", &text[at.unwrap().saturating_sub(300)..at.unwrap() + 40]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_replaced_meanwhile_shows_nothing_of_its_new_definition() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = configured(&database, "work").serve().await;
    assert_eq!(rows(&served.query("select shown from card where id = 1").await), &vec![json!(["Ada"])]);
    // The same column name, now something that nobody may see, and labelled so. The snapshot is still the old one.
    let replace = "BEGIN; CREATE OR REPLACE VIEW app.card AS SELECT id, salary::text AS shown FROM app.person;
        COMMENT ON COLUMN app.card.shown IS '@label:secret'; COMMIT";
    database.owner.batch_execute(replace).await.unwrap();
    // The definition is compared under the statement's own locks: the call is judged again, by what the view is now.
    let answer = served.query("select shown from card where id = 1").await;
    assert_eq!(code(&answer), "column-not-granted", "{answer}");
    assert_eq!(rows(&served.query("select id from card order by id limit 1").await), &vec![json!([1])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_takes_the_views_down_and_the_next_statement_builds_them_again() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = configured(&database, "work").serve().await;
    assert_eq!(rows(&served.query("select age from person where id = 1").await), &vec![json!([30])]);
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    // PostgreSQL does not let a column go that a view reads.
    let retype = "ALTER TABLE app.person ALTER COLUMN age TYPE text";
    assert_eq!(database.owner.batch_execute(retype).await.unwrap_err().code().unwrap().code(), "0A000");
    let config = served.directory.path().join("pgteller.toml");
    let profile = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .arg("profile")
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(profile(&["drop", "--hold", "600"]).contains("1 profiles taken down"));
    let held = served.query("select age from person where id = 1").await;
    assert_eq!((code(&held), held["error"]["message"].as_str().unwrap().contains("migrated")), ("database-unavailable", true));
    let migration = "ALTER TABLE app.person ALTER COLUMN age TYPE text; ALTER TABLE app.person RENAME COLUMN name TO full_name;
        ALTER TABLE app.person DROP COLUMN region";
    database.owner.batch_execute(migration).await.unwrap();
    profile(&["release"]);
    assert_eq!(rows(&served.query("select age, full_name from person where id = 1").await), &vec![json!(["30", "Ada"])]);
    assert_eq!(code(&served.query("select region from person").await), "column-not-granted");
    assert_eq!(code(&served.query("select salary from person").await), "column-not-granted");
    // The task is the same one all along.
    assert_eq!(database.cell("SELECT role_name FROM pgteller_private.task").await, role);
    // Without a hold nobody notices anything.
    assert!(profile(&["drop"]).contains("profiles taken down"));
    assert_eq!(rows(&served.query("select age from person where id = 3").await), &vec![json!(["50"])]);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_only_postgresql_reads_is_judged_by_its_locks() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = configured(&database, "limited").serve().await;
    assert_eq!(rows(&served.query("table app.person").await).len(), 2);
    let entry = served.last_entry();
    let input: Value = serde_json::from_str(entry.input.unwrap().get()).unwrap();
    let statement = &input["statement"];
    assert_eq!(statement["analysis"], "plan");
    assert_eq!(statement["relations"][0]["name"], "person");
    assert_eq!(statement["relations"][0]["columns"], json!(["age", "id", "name", "region"]));
    // Parsed and then refused: nothing runs, and the task goes on.
    assert_eq!(
        code(&served.query("select (p).salary from person p, rows from (generate_series(1, 1)) as g").await),
        "column-not-granted"
    );
    assert_eq!(code(&served.query("table app.card").await), "relation-not-granted");
    // PostgreSQL takes ARRAY[…] for leakproof, and it raises when the sizes of what it holds differ: never over filtered rows.
    let sizes = "select count(*) from person p, rows from (generate_series(1, 1)) as g where array[case when id = 2 then array[1] else array[1, 2] end, array[1, 2]] is not null";
    assert_eq!(code(&served.query(sizes).await), "function-not-allowed");
    let plain = "select count(*) from person p, rows from (generate_series(1, 1)) as g where id = any (array[1, 2])";
    assert_eq!(rows(&served.query(plain).await), &vec![json!([1])]);
    let spoilt = served.query("select (p).name::int from person p, rows from (generate_series(1, 1)) as g").await;
    assert_eq!(spoilt["error"]["sqlstate"], "22P02", "{spoilt}");
    for _ in 0..5 {
        assert_eq!(rows(&served.query("table app.person").await).len(), 2);
    }
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_from_our_reading_and_shows_a_plan_only_by_name() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = configured(&database, "limited").serve().await;
    let answer = served.call("explain", json!({"sql": "select lower(name) from person where age > 1"})).await;
    assert_eq!(answer["decision"], "allow");
    assert_eq!(answer["functions"], json!(["pg_catalog.lower"]));
    let relation = &answer["relations"][0];
    assert_eq!((&relation["name"], &relation["rows_limited_to"]), (&json!("app.person"), &json!("region = \"eu\"")));
    assert_eq!(database.task_roles().await, 0, "explaining makes nothing in PostgreSQL");
    // What is not granted is not there, and so is nothing that the statement reads.
    let nothing = served.call("explain", json!({"sql": "select salary from person"})).await;
    assert_eq!(nothing["relations"][0]["columns"], json!([]));
    assert_eq!(code(&served.call("explain", json!({"sql": "select 1", "plan": true})).await), "policy-denied");
    served.stop().await;
    let served = configured(&database, "planning").serve().await;
    let answer = served.call("explain", json!({"sql": "select name from person where id = 1", "plan": true})).await;
    assert!(answer["plan"].as_array().unwrap()[0].as_str().unwrap().contains("cost="), "{answer}");
    assert!(answer["plan_note"].as_str().unwrap().contains("do not see"));
    let writes = served.call("explain", json!({"sql": "analyze person", "plan": true})).await;
    assert_eq!(code(&writes), "not-a-query");
    served.stop().await;
    let served = configured(&database, "looking").serve().await;
    assert_eq!(code(&served.call("explain", json!({"sql": "select 1"})).await), "policy-denied");
    served.stop().await;
}

/// A function that catches its own cancel: only termination ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_ignores_its_cancel_is_terminated_and_its_place_is_free_again() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let stubborn = "GRANT USAGE ON SCHEMA app TO PUBLIC;
        CREATE FUNCTION app.stubborn() RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN PERFORM pg_sleep(0.05); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$";
    database.owner.batch_execute(stubborn).await.unwrap();
    let policy = POLICY
        .replace("grants:", "functions: {allow: [app.stubborn]}\ngrants:")
        .replace("purposes: [work], read", "purposes: [work], limits: {seconds: 1}, read");
    let served = Configured { policy: &policy, ..configured(&database, "work") }.serve().await;
    let (first, second) = tokio::join!(served.query("select app.stubborn()"), served.query("select app.stubborn()"));
    assert_eq!((code(&first), code(&second)), ("time-limit", "time-limit"));
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%app.stubborn()%' AND pid <> pg_backend_pid() AND datname = current_database()";
    while database.cell(running).await != "0" {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&served.query("select id from person where id = 1").await), &vec![json!([1])]);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_bounded_per_principal_and_per_database() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let policy = POLICY.replace("purposes: [work], read", "purposes: [work], limits: {seconds: 1}, read");
    let slow = "select count(*) from generate_series(1, 1000000000)";
    for (keys, more, whose) in [
        ("search_path = [\"app\"]\nmax_sessions = 1", "", "other tasks kept this database busy"),
        (
            "search_path = [\"app\"]",
            "[limits.principal]\nrequests_per_second = 1000\nstatements = 1\n",
            "other statements of this agent kept its places busy",
        ),
    ] {
        let served = Configured { policy: &policy, database_keys: keys, more, ..configured(&database, "work") }.serve().await;
        // The second waits its whole second for the first one's place.
        let (first, second) = tokio::join!(served.query(slow), served.query(slow));
        let codes = [code(&first), code(&second)];
        assert!(codes.contains(&"time-limit") && codes.contains(&"busy"), "{first} {second}");
        let busy = if code(&first) == "busy" { &first } else { &second };
        assert_eq!(busy["error"]["message"], whose);
        served.stop().await;
    }
}
