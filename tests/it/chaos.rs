//! Several servers at once on bad days: races, restarts, shortages, clocks that jump. `make chaos` is the long run.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pgteller::clock::Clock;
use pgteller::server::House;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::database::{own_cluster, restart};
use crate::support::process::Process;
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase, chaos};

const SQL: &str = "CREATE SCHEMA app;
    CREATE TABLE app.note(id int PRIMARY KEY, owner text NOT NULL, body text NOT NULL);
    INSERT INTO app.note VALUES (1, 'ada', 'first'), (2, 'bob', 'second'), (3, 'ada', 'third');
    CREATE TABLE app.other(id int PRIMARY KEY);";

const POLICY: &str = "version: 1
unlabelled: clear
grants:
  reader: {agents: [bot], purposes: [read], ambient: true, read: {allow: [app.*]}}
  short: {agents: [bot], purposes: [short], read: {allow: [app.*]}, limits: {task_minutes: 1}}
  less: {agents: [bot], purposes: [less], read: {allow: [app.note]}}
";

/// Longest that a test waits for what the housekeeping does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Housekeeping that never rests.
const BUSY: House =
    House { every: Duration::from_millis(20), watch: Duration::from_millis(20), rounds_per_sweep: 1, profile_idle: Duration::ZERO };

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

async fn database() -> TestDatabase {
    TestDatabase::new(SQL, &["app"]).await
}

/// Asks until this is so.
async fn until(what: &str, mut asked: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !asked().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A process that was killed with an open task; its backends are gone.
async fn killed(database: &TestDatabase) -> String {
    let mut process = Process::start(&configured(database, "read"));
    assert_eq!(rows(&process.query("select count(*) from note")), &vec![json!([3])]);
    let newest = "SELECT role_name FROM pgteller_api.made WHERE kind = 't' ORDER BY made_at DESC LIMIT 1";
    let role = database.cell(newest).await;
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let dead = format!(
        "SELECT count(*) FROM pgteller_private.instance i JOIN pg_stat_activity a ON a.pid = i.backend_pid AND a.backend_start = i.backend_start WHERE i.id = split_part('{role}', '_', 3)"
    );
    until("the killed process's connection ends", async || database.cell(&dead).await == "0").await;
    role
}

async fn has_role(database: &TestDatabase, role: &str) -> bool {
    database.cell(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")).await == "1"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_chaos_run_leaves_nothing() {
    let report = chaos::run(24, 5, |_| {}).await;
    assert!(report.is_clean() && report.kills > 0 && report.acknowledged > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_tasks_opened_at_once_by_two_servers_get_a_role_each() {
    let database = database().await;
    let issuer = Issuer::new("k");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("jwks.json"), issuer.jwks()).unwrap();
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        directory.path().join("jwks.json").display()
    );
    // Twenty grant sets, each asked for by both servers.
    let tables: String = (0..20).map(|n| format!("CREATE TABLE app.t{n}(id int);")).collect();
    database.owner.batch_execute(&tables).await.unwrap();
    let owner = format!("pgteller_{}_owner", database.installation);
    database.owner.batch_execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA app TO {owner}")).await.unwrap();
    let grants: String =
        (0..20).map(|n| format!("  g{n}: {{agents: [bot], purposes: [p{n}], read: {{allow: [app.note, app.t{n}]}}}}\n")).collect();
    let policy = format!("version: 1\nunlabelled: clear\ngrants:\n{grants}");
    let configured = Configured { policy: &policy, agent: "", purpose: "", more: &more, ..configured(&database, "") };
    let servers = [Arc::new(configured.serve().await), Arc::new(configured.serve().await)];
    let mut asked = tokio::task::JoinSet::new();
    for (number, server) in servers.iter().enumerate() {
        for n in 0..20 {
            let change =
                json!({"sub": format!("user-{number}-{n}"), "pgteller_task": {"id": format!("t-{n}"), "purpose": format!("p{n}")}});
            let (server, token) = (Arc::clone(server), issuer.sign(&claims(change)));
            asked.spawn(async move { server.call_as(&token, "query", json!({"sql": "select count(*) from note"})).await });
        }
    }
    while let Some(answer) = asked.join_next().await {
        assert_eq!(rows(&answer.unwrap()), &vec![json!([3])]);
    }
    assert_eq!(database.task_roles().await, 40);
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.profile").await, "20");
    // And all end at once.
    let [one, two] = servers.map(|server| Arc::into_inner(server).unwrap());
    tokio::join!(one.stop(), two.stop());
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_large_profile_of_somebody_else_is_served_after_it() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    assert!(served.call("describe", json!({})).await.get("error").is_none());
    database.owner.batch_execute("SELECT pg_advisory_lock(hashtext('pgteller database acl'))").await.unwrap();
    let mut asked = Box::pin(served.query("select count(*) from note"));
    // Longer than we wait for a table.
    let early = tokio::time::timeout(Duration::from_secs(3), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    database.owner.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(rows(&asked.await), &vec![json!([3])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_connections_is_unavailable_until_it_has_some() {
    let cluster = own_cluster(&["max_connections=20"]);
    let database = TestDatabase::on(cluster, SQL, &["app"]).await;
    let served = configured(&database, "read").serve().await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    let mut taken = Vec::new();
    let fill = async |taken: &mut Vec<_>| {
        while let Ok((client, connection)) = tokio_postgres::connect(&cluster.dsn("postgres"), tokio_postgres::NoTls).await {
            tokio::spawn(connection);
            taken.push(client);
        }
    };
    fill(&mut taken).await;
    // With the sessions that it has, the server goes on.
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    database.cell("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename LIKE 'pgteller_%'").await;
    fill(&mut taken).await;
    assert_eq!(code(&served.query("select count(*) from note").await), "database-unavailable");
    assert_eq!(code(&served.query("select count(*) from note").await), "database-unavailable");
    drop(taken);
    until("service returns", async || served.query("select count(*) from note").await.get("rows").is_some()).await;
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_broke_is_a_database_that_is_unavailable_also_while_postgresql_parses() {
    let database = database().await;
    let served = configured(&database, "read").serve().await;
    for sql in ["table note", "select id from note"] {
        assert_eq!(rows(&served.query(sql).await).len(), 3);
        let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
        database
            .cell(&format!("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = '{role}'"))
            .await;
        assert_eq!(code(&served.query(sql).await), "database-unavailable");
        assert_eq!(rows(&served.query(sql).await).len(), 3);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_at_sigterm_is_answered_and_none_after_it() {
    let database = database().await;
    let mut process = Process::start(&configured(&database, "read"));
    assert_eq!(rows(&process.query("select count(*) from note")), &vec![json!([3])]);
    let slow = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": "select count(*) from generate_series(1, 3000000)"}}});
    process.tell(&slow);
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%3000000%' AND pid <> pg_backend_pid()";
    until("the statement runs", async || database.cell(running).await == "1").await;
    let stdin = process.child.stdin.take();
    assert!(Command::new("kill").arg(process.child.id().to_string()).status().unwrap().success());
    let said = std::io::BufRead::lines(process.reader).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "{said:?}");
    let answer: Value = serde_json::from_str(&said[0]).unwrap();
    assert_eq!((&answer["id"], &answer["result"]["structuredContent"]["rows"]), (&json!(9), &json!([[3_000_000]])));
    assert!(process.child.wait().unwrap().success());
    drop(stdin);
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_open_tasks_costs_a_call_and_leaves_nothing() {
    let cluster = own_cluster(&[]);
    let mut database = TestDatabase::on(cluster, SQL, &["app"]).await;
    let served = configured(&database, "read").serve().await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    let role = "SELECT r.oid FROM pg_roles r JOIN pgteller_private.task t ON t.role_name = r.rolname";
    let first = database.cell(role).await;
    for mode in ["immediate", "fast"] {
        tokio::task::spawn_blocking(move || restart(cluster, mode)).await.unwrap();
        database.reconnect().await;
        // Until the server that stayed has asked again, it looks dead to one that starts: its task is closed.
        let mut other = Process::start(&configured(&database, "less"));
        assert_eq!(rows(&other.query("select count(*) from note")), &vec![json!([3])]);
        until("service returns", async || {
            let answer = served.query("select count(*) from note").await;
            let back = answer.get("rows").is_some();
            assert!(back || code(&answer) == "database-unavailable", "{answer}");
            back
        })
        .await;
        other.finish();
    }
    assert_eq!(database.task_roles().await, 1);
    assert_ne!(first, database.cell(role).await);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_private.instance").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_touches_neither_living_processes_nor_other_installations() {
    let (here, there) = tokio::join!(database(), database());
    let living = configured(&here, "read").serve().await;
    assert_eq!(rows(&living.query("select count(*) from note").await), &vec![json!([3])]);
    let role = here.cell("SELECT role_name FROM pgteller_private.task").await;
    let (dead_here, dead_there) = tokio::join!(killed(&here), killed(&there));
    let sweeping = Served::keeping(&configured(&here, "less"), Clock::system(), BUSY).await;
    assert_eq!(rows(&sweeping.query("select count(*) from note").await), &vec![json!([3])]);
    until("the dead process's role goes", async || !has_role(&here, &dead_here).await).await;
    assert!(has_role(&here, &role).await && has_role(&there, &dead_there).await);
    assert_eq!(rows(&living.query("select count(*) from note").await), &vec![json!([3])]);
    assert_eq!(role, here.cell(&format!("SELECT role_name FROM pgteller_private.task WHERE role_name = '{role}'")).await);
    // The timer sweeps, too, not only the start.
    let second = killed(&here).await;
    until("the second dead process's role goes", async || !has_role(&here, &second).await).await;
    sweeping.stop().await;
    living.stop().await;
    Process::start(&configured(&there, "read")).query("select 1");
    assert!(!has_role(&there, &dead_there).await);
    assert_eq!((here.task_roles().await, here.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_drops_profiles_that_nobody_used_for_long_and_keeps_the_others() {
    for (idle, stays) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
        let database = database().await;
        let clock = Clock::pinned(Clock::system().now());
        let served = Served::keeping(&configured(&database, ""), clock.clone(), House { profile_idle: idle, ..BUSY }).await;
        assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
        // A profile in use stays, however old.
        rounds(&served).await;
        assert_eq!((database.task_roles().await, database.profile_objects().await > 0), (1, true));
        clock.advance(61 * 60);
        until("the task's role goes", async || database.task_roles().await == 0).await;
        rounds(&served).await;
        assert_eq!(database.profile_objects().await > 0, stays);
        assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
        served.stop().await;
        assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    }
}

/// Waits until a whole round of sweeping has passed: a round begins with exports, so after two of them one was whole.
async fn rounds(served: &Served) {
    for _ in 0..2 {
        let file = served.directory.path().join(format!("data/exports/{}.csv.part", Clock::system().uuid7()));
        std::fs::write(&file, "id\n").unwrap();
        until("an abandoned export goes", async || !file.exists()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_living_server_could_not_close_its_sweep_closes() {
    let database = database().await;
    let clock = Clock::pinned(Clock::system().now());
    let served = Served::keeping(&configured(&database, "short"), clock.clone(), BUSY).await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    let login = format!("pgteller_{}_login", database.installation);
    let close = "EXECUTE ON FUNCTION pgteller_api.drop_role(name)";
    database.owner.batch_execute(&format!("REVOKE {close} FROM {login}")).await.unwrap();
    clock.advance(61);
    assert_eq!(code(&served.query("select count(*) from note").await), "task-closed");
    until("its parameters go", async || database.cell("SELECT count(*) FROM pgteller_private.task").await == "0").await;
    assert_eq!(database.task_roles().await, 1);
    database.owner.batch_execute(&format!("GRANT {close} TO {login}")).await.unwrap();
    until("its role goes", async || database.task_roles().await == 0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_could_not_register_its_new_connection_does_so_later() {
    let database = database().await;
    let served = Served::keeping(&configured(&database, "read"), Clock::system(), BUSY).await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    let registration = format!("UPDATE, INSERT ON pgteller_private.instance {{}} pgteller_{}_login", database.installation);
    database.owner.batch_execute(&format!("REVOKE {}", registration.replace("{}", "FROM"))).await.unwrap();
    let ours = format!("FROM pg_stat_activity WHERE usename = 'pgteller_{}_login'", database.installation);
    let before = database.cell(&format!("SELECT max(pid) {ours}")).await;
    database.cell(&format!("SELECT count(pg_terminate_backend(pid, 5000)) {ours}")).await;
    until("it connects again", async || {
        !["NULL".to_owned(), before.clone()].contains(&database.cell(&format!("SELECT max(pid) {ours}")).await)
    })
    .await;
    rounds(&served).await;
    database.owner.batch_execute(&format!("GRANT {}", registration.replace("{}", "TO"))).await.unwrap();
    let alive = "SELECT count(*) FROM pgteller_private.instance i JOIN pg_stat_activity a ON a.pid = i.backend_pid AND a.backend_start = i.backend_start";
    until("it is registered", async || database.cell(alive).await == "1").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ends_tasks_early_never_late() {
    let database = database().await;
    let clock = Clock::pinned(Clock::system().now());
    let served = Served::start(&configured(&database, "short"), clock.clone()).await;
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    // Somebody sets the clock back by two hours; the minute of the task passes all the same.
    clock.advance(-2 * 60 * 60);
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    clock.advance(61);
    assert_eq!(code(&served.query("select count(*) from note").await), "task-closed");
    assert_eq!(database.task_roles().await, 0);
    served.stop().await;
    let clock = Clock::pinned(Clock::system().now());
    let served = Served::start(&configured(&database, ""), clock.clone()).await;
    for hours in [5, -3, 12, -14] {
        clock.advance(hours * 60 * 60);
        let answer = served.query("select count(*) from note").await;
        assert!(answer.get("rows").is_some(), "{hours}: {answer}");
        assert_eq!(database.task_roles().await, 1);
    }
    // So far behind that a task would end before PostgreSQL's now: an error, and nothing made.
    clock.advance(-30 * 60 * 60);
    clock.advance(61 * 60);
    let answer = served.query("select count(*) from note").await;
    assert!(answer.get("error").is_some(), "{answer}");
    assert_eq!(database.task_roles().await, 0);
    clock.advance(30 * 60 * 60);
    assert_eq!(rows(&served.query("select count(*) from note").await), &vec![json!([3])]);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_killed_process_goes_and_that_of_a_living_one_stays() {
    let database = database().await;
    let mut writer = Process::start(&configured(&database, "read"));
    let exports = writer.directory.path().join("data/exports");
    let slow = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "export", "arguments":
        {"sql": "select n from generate_series(1, 100000) n where (select count(*) from generate_series(1, 20000) m where m < n) >= 0", "format": "csv"}}});
    writer.tell(&slow);
    let parts =
        || std::fs::read_dir(&exports).unwrap().filter(|file| file.as_ref().unwrap().path().extension().unwrap() == "part").count();
    until("the export begins", async || parts() == 1).await;
    let start = || {
        Process::spawn_in(
            Arc::clone(&writer.directory),
            &writer.directory.path().join("pgteller.toml"),
            Command::new(env!("CARGO_BIN_EXE_pgteller")),
        )
    };
    start().finish();
    assert_eq!(parts(), 1, "a living process writes it");
    writer.child.kill().unwrap();
    writer.child.wait().unwrap();
    start().finish();
    assert_eq!(parts(), 0);
    // What it did publish waits for its hours to pass.
    let mut publisher = start();
    let export = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "export", "arguments": {"sql": "select id from note", "format": "csv"}}});
    let answer: Value = publisher.ask(&export)["result"]["structuredContent"].clone();
    assert_eq!(answer["rows"], 3, "{answer}");
    publisher.finish();
    start().finish();
    let published: Vec<_> = std::fs::read_dir(&exports).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(published.len(), 1);
    let file = std::fs::File::options().append(true).open(&published[0]).unwrap();
    file.set_modified(std::fs::metadata(&published[0]).unwrap().modified().unwrap() - Duration::from_secs(25 * 60 * 60)).unwrap();
    start().finish();
    assert!(!published[0].exists());
}
