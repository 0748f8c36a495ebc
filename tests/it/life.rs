//! Tasks, roles and processes: what is made when, what ends when, and that nothing stays.

use std::io::BufRead;
use std::process::Command;

use pgteller::clock::Clock;
use pgteller::database::role::scram_verifier;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::database::{cluster, connect};
use crate::support::process::Process;
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase};

const SQL: &str = "CREATE SCHEMA app;
    CREATE TABLE app.note(id int PRIMARY KEY, owner text NOT NULL, body text NOT NULL);
    INSERT INTO app.note VALUES (1, 'ada', 'first'), (2, 'bob', 'second'), (3, 'ada', 'third');
    COMMENT ON COLUMN app.note.body IS 'free text @label:text.free';";

const POLICY: &str = "version: 1
unlabelled: clear
masks: {text.free: {mask: redact}}
grants:
  reader: {agents: [bot], purposes: [read], ambient: true, read: {allow: [app.*]}, limits: {seconds: 5}}
  writer: {agents: [bot], purposes: [write], read: {allow: [app.*]}, clear: [text.free]}
  short: {agents: [bot], purposes: [short], read: {allow: [app.*]}, limits: {task_minutes: 1}}
";

async fn database() -> TestDatabase {
    TestDatabase::new(SQL, &["app"]).await
}

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

#[tokio::test(flavor = "multi_thread")]
async fn listing_and_describing_and_refusals_make_nothing_in_postgresql() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    assert!(served.post(Some(&served.token), &list).await.status().is_success());
    served.call("describe", json!({})).await;
    assert_eq!(code(&served.query("select * from app.nothing").await), "relation-not-granted");
    assert_eq!(code(&served.query("delete from app.note").await), "not-a-query");
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.instance").await, "0");
    assert_eq!(rows(&served.query("select id from note order by id").await), &vec![json!([1]), json!([2]), json!([3])]);
    assert_eq!(database.task_roles().await, 1);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.instance").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_of_one_agent_have_different_rights_at_the_same_time() {
    let database = database().await;
    let (reader, writer) = (configured(&database, "read").serve().await, configured(&database, "write").serve().await);
    let sql = "select body from note where id = 1";
    let (masked, clear) = tokio::join!(reader.query(sql), writer.query(sql));
    assert_eq!(rows(&masked), &vec![json!(["[redacted]"])]);
    assert_eq!(rows(&clear), &vec![json!(["first"])]);
    assert_eq!(database.task_roles().await, 2);
    reader.stop().await;
    assert_eq!(rows(&writer.query(sql).await), &vec![json!(["first"])]);
    writer.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_task_is_answered_as_closed_and_its_open_connection_reads_nothing_more() {
    let database = database().await;
    let clock = Clock::pinned(Clock::system().now());
    let served = Served::start(&configured(&database, "short"), clock.clone()).await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    // Somebody keeps a connection of the task's role open.
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    let schema = database.cell("SELECT schemas[2] FROM pgteller_private.profile").await;
    database.owner.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{}'", scram_verifier("known", &[1; 16]))).await.unwrap();
    let inside = connect(&format!("postgres://{role}:known@127.0.0.1:{}/{}", cluster().port(), database.name)).await;
    assert_eq!(inside.query(&format!("SELECT * FROM {schema}.note"), &[]).await.unwrap().len(), 3);
    clock.advance(61);
    assert_eq!(code(&served.query("select count(*) from note").await), "task-closed");
    assert!(inside.query(&format!("SELECT * FROM {schema}.note"), &[]).await.is_err());
    assert_eq!(database.task_roles().await, 0);
    assert_eq!(code(&served.query("select count(*) from note").await), "task-closed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambient_task_opens_anew_after_its_end() {
    let database = database().await;
    let clock = Clock::pinned(Clock::system().now());
    let served = Served::start(&configured(&database, ""), clock.clone()).await;
    assert_eq!(rows(&served.query("select body from note where id = 1").await), &vec![json!(["[redacted]"])]);
    let first = database.cell("SELECT role_name FROM pgteller_private.task").await;
    clock.advance(61 * 60);
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    assert_ne!(first, database.cell("SELECT role_name FROM pgteller_private.task").await);
    assert_eq!(database.task_roles().await, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_bites_at_the_next_statement_of_an_open_transaction() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    served.query("select 1 from note").await;
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    let schema = database.cell("SELECT schemas[2] FROM pgteller_private.profile").await;
    database.owner.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{}'", scram_verifier("known", &[1; 16]))).await.unwrap();
    let inside = connect(&format!("postgres://{role}:known@127.0.0.1:{}/{}", cluster().port(), database.name)).await;
    inside.batch_execute(&format!("BEGIN; SELECT * FROM {schema}.note")).await.unwrap();
    database.owner.batch_execute(&format!("SELECT pgteller_api.revoke_task('{role}')")).await.unwrap();
    let error = inside.batch_execute(&format!("SELECT * FROM {schema}.note")).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_shows_in_the_next_statement_and_a_new_column_only_if_policy_says() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    assert_eq!(rows(&served.query("select * from note where id = 1").await), &vec![json!([1, "ada", "[redacted]"])]);
    database.owner.batch_execute("ALTER TABLE app.note ADD COLUMN extra text DEFAULT 'x'").await.unwrap();
    assert_eq!(code(&served.query("select extra from note").await), "column-not-granted");
    // That error made the server look again: `unlabelled: clear` shows the column now, in the same task.
    assert_eq!(rows(&served.query("select extra from note where id = 1").await), &vec![json!(["x"])]);
    assert_eq!(database.task_roles().await, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_killed_leaves_the_other_undisturbed_and_is_swept() {
    let database = database().await;
    let mut first = Process::start(&configured(&database, "read"));
    let mut second = Process::start(&configured(&database, "read"));
    assert_eq!(rows(&first.query("select count(*) from note")), &vec![json!([3])]);
    assert_eq!(rows(&second.query("select count(*) from note")), &vec![json!([3])]);
    assert_eq!(database.task_roles().await, 2);
    // One profile, shared by both.
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.profile").await, "1");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(rows(&second.query("select count(*) from note")), &vec![json!([3])]);
    // The next process to start sweeps the dead one's task, and only that.
    let gone = "SELECT count(*) FROM pgteller_private.instance i WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = i.backend_pid AND a.backend_start = i.backend_start)";
    while database.cell(gone).await == "0" {
        tokio::task::yield_now().await;
    }
    let mut third = Process::start(&configured(&database, "read"));
    assert_eq!(rows(&third.query("select count(*) from note")), &vec![json!([3])]);
    assert_eq!(database.task_roles().await, 2);
    assert_eq!(rows(&second.query("select count(*) from note")), &vec![json!([3])]);
    second.finish();
    third.finish();
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.instance").await, "0");
}

/// Every window of an IDE starts a server of its own, with the same configuration and the same empty store.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_started_at_once_on_one_empty_store_keep_a_chain_each() {
    let database = database().await;
    let directory = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let config = configured(&database, "read").write(directory.path());
    let start = || {
        let (directory, config) = (std::sync::Arc::clone(&directory), config.clone());
        tokio::task::spawn_blocking(move || {
            let mut process = Process::spawn_in(directory, &config, Command::new(env!("CARGO_BIN_EXE_pgteller")));
            assert_eq!(rows(&process.query("select count(*) from note")), &vec![json!([3])]);
            process.finish();
        })
    };
    let (one, two) = tokio::join!(start(), start());
    one.unwrap();
    two.unwrap();
    let chains = pgteller::audit::verify::chains(&directory.path().join("data/audit")).unwrap();
    assert_eq!(chains.len(), 2);
    for chain in chains {
        let verified = pgteller::audit::verify::verify(&chain).unwrap();
        // The handshake, the question, and the task that ended with its process.
        assert!(verified.broken.is_none() && verified.entries == 3, "{verified:?}");
    }
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_that_ends_right_after_a_question_still_gets_the_answer() {
    let database = database().await;
    let mut process = Process::start(&configured(&database, "read"));
    process.tell(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": "select count(*) from note"}}}));
    drop(process.child.stdin.take());
    let mut line = String::new();
    process.reader.read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["result"]["structuredContent"]["rows"], json!([[3]]));
    assert!(process.child.wait().unwrap().success());
    assert_eq!(database.task_roles().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_or_an_export_withholds_answers_and_the_chain_stays_whole() {
    let database = database().await;
    let mut process = Process::with_a_full_disk(&configured(&database, "read"), 256);
    let big = "select repeat('x', 1000) from generate_series(1, 1000)";
    let export = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "export", "arguments": {"sql": big, "format": "csv"}}});
    let failed = process.ask(&export);
    assert_eq!(failed["error"]["code"], -32603, "{failed}");
    // The log has room for some entries; then no entry, no rows.
    let query = json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": "select count(*) from note"}}});
    let mut served = 0;
    let withheld = loop {
        let answer = process.ask(&query);
        if answer.get("error").is_some() {
            break answer;
        }
        assert_eq!(answer["result"]["structuredContent"]["rows"], json!([[3]]));
        served += 1;
        assert!(served < 500, "the log never fills up");
    };
    assert_eq!(withheld["error"]["code"], -32603, "{withheld}");
    assert_eq!(process.ask(&query)["error"]["code"], -32603);
    let audit = process.directory.path().join("data/audit");
    let chain = pgteller::audit::verify::chains(&audit).unwrap().remove(0);
    let verified = pgteller::audit::verify::verify(&chain).unwrap();
    assert!(verified.broken.is_none() && verified.entries >= served, "{verified:?}");
    process.finish();
    assert_eq!(database.task_roles().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drops_roles_and_ends_cleanly() {
    let database = database().await;
    let mut process = Process::start(&configured(&database, "read"));
    process.query("select 1 from note");
    assert_eq!(database.task_roles().await, 1);
    // Waiting closes a child's stdin, which would end it all the same: a client that goes on holding it must not keep us.
    let stdin = process.child.stdin.take();
    assert!(Command::new("kill").arg(process.child.id().to_string()).status().unwrap().success());
    assert!(process.child.wait().unwrap().success());
    drop(stdin);
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_build_one_profile_at_once() {
    let database = database().await;
    let (one, two) = (configured(&database, "read").serve().await, configured(&database, "read").serve().await);
    let (first, second) = tokio::join!(one.query("select count(*) from note"), two.query("select count(*) from note"));
    assert_eq!((rows(&first), rows(&second)), (&vec![json!([3])], &vec![json!([3])]));
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.profile").await, "1");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_takes_everything_of_ours_out_of_the_database() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    served.query("select 1 from note").await;
    served.stop().await;
    database.owner.batch_execute(&pgteller::profile::setup::removal(&database.installation)).await.unwrap();
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgteller\\_{}%') + (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgteller%')",
        database.installation
    );
    assert_eq!(database.cell(&left).await, "0");
    assert_eq!(database.cell("SELECT count(*) FROM app.note").await, "3");
}
