//! Tasks in numbers: `make tasks`.
//!
//! A thousand tasks opened, used and closed by 32 clients: errors, leftovers, memory. And an agent stopped while 50 of its calls run: how long
//! until the last row left, and that nothing left after. Ends with 1 if anything was left or surprising.
#![expect(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "it shares the tests' helpers, must stop when surprised, and prints"
)]

#[path = "../../tests/it"]
mod it {
    pub mod support;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use it::support;
use serde_json::json;
use support::TestDatabase;
use support::process::Listening;
use support::server::Configured;
use support::tokens::{AUDIENCE, Issuer, claims};

const SQL: &str = "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, body text);
    INSERT INTO app.note SELECT i, 'note ' || i FROM generate_series(1, 1000) i;";

const POLICY: &str = "version: 1
unlabelled: clear
grants:
  reader: {agents: [bot], purposes: [read], opens: true, read: {allow: [app.*]}, limits: {seconds: 60}}
";

fn main() -> std::process::ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clean = runtime.block_on(async { thousand(1000, 32).await && stopped(50).await });
    if clean { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

struct Scene {
    issuer: Issuer,
    database: TestDatabase,
    server: Listening,
    _keys: tempfile::TempDir,
}

async fn scene(limits: &str, keys: &str) -> Scene {
    let (issuer, directory) = (Issuer::new("k1"), tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("jwks"), issuer.jwks()).unwrap();
    let database = TestDatabase::new(SQL, &["app"]).await;
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n{limits}",
        directory.path().join("jwks").display()
    );
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &more,
        database_keys: &format!("search_path = [\"app\"]\n{keys}"),
    };
    let server = Listening::start(&configured);
    Scene { issuer, database, server, _keys: directory }
}

impl Scene {
    fn token(&self, subject: &str) -> String {
        self.issuer.sign(&claims(json!({"sub": subject, "pgteller_task": null, "exp": now() + 3600})))
    }
}

fn now() -> i64 {
    pgteller::clock::Clock::system().now().seconds()
}

/// Resident memory of the server, in MB.
fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn percentile(times: &mut [Duration], of_hundred: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * of_hundred / 100].as_secs_f64() * 1000.0
}

async fn thousand(count: usize, clients: usize) -> bool {
    let scene = scene(
        "[limits.principal]\nrequests_per_second = 10000\n[limits.agent]\nrequests_per_second = 10000\nstatements = 64\n",
        "max_sessions = 64",
    )
    .await;
    let (next, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let pid = scene.server.child.id();
    let began = Instant::now();
    let mut marks = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (next, failed) = (Arc::clone(&next), Arc::clone(&failed));
        let (token, door) = (scene.token(&format!("user-{client}")), scene.server.door());
        running.spawn(async move {
            let mut times: [Vec<Duration>; 3] = Default::default();
            while next.fetch_add(1, Ordering::SeqCst) < count {
                let at = Instant::now();
                let opened = door.call(&token, "open_task", json!({"purpose": "read"})).await;
                times[0].push(at.elapsed());
                let task = opened["task"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned();
                let at = Instant::now();
                let first = door.call(&token, "query", json!({"sql": "select count(*) from note", "task": task})).await;
                times[1].push(at.elapsed());
                let more =
                    door.call(&token, "query", json!({"sql": "select body from note order by id limit 3", "task": task})).await;
                let at = Instant::now();
                let closed = door.call(&token, "close_task", json!({"task": task})).await;
                times[2].push(at.elapsed());
                let sound = first["rows"] == json!([[1000]])
                    && more["rows"].as_array().map(Vec::len) == Some(3)
                    && closed["state"] == "closed";
                if !sound && failed.fetch_add(1, Ordering::SeqCst) < 3 {
                    println!("  surprising: {first} {more} {closed}");
                }
            }
            times
        });
    }
    let mut all: [Vec<Duration>; 3] = Default::default();
    loop {
        tokio::select! {
            done = running.join_next() => match done {
                Some(times) => for (all, own) in all.iter_mut().zip(times.unwrap()) { all.extend(own) },
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(500)) => marks.push((next.load(Ordering::SeqCst).min(count), memory(pid))),
        }
    }
    let took = began.elapsed().as_secs_f64();
    let (roles, failed) = (scene.database.task_roles().await, failed.load(Ordering::SeqCst));
    println!("{count} tasks by {clients} clients: {took:.1} s, {failed} failed, {roles} roles left");
    for (what, times) in ["open_task", "first query (role, connection)", "close_task"].iter().zip(&mut all) {
        println!("  {what}: p50 {:.0} ms, p99 {:.0} ms", percentile(times, 50), percentile(times, 99));
    }
    let text: Vec<String> =
        marks.iter().step_by((marks.len() / 8).max(1)).map(|(tasks, memory)| format!("{tasks}: {memory:.0} MB")).collect();
    println!("  memory after so many tasks: {}", text.join(", "));
    let open = scene.database.cell("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'pgteller\\_%\\_%\\_%'").await;
    println!("  sessions of tasks left: {open}");
    scene.server.stop();
    roles == 0 && failed == 0 && open == "0"
}

async fn stopped(calls: usize) -> bool {
    let limits = "[limits.principal]\nrequests_per_second = 10000\nstatements = 200\n[limits.agent]\nrequests_per_second = 10000\nstatements = 200\n";
    let scene = scene(limits, "max_sessions = 60").await;
    let (token, door) = (scene.token("ada"), scene.server.door());
    let mut tasks = Vec::new();
    for _ in 0..calls.div_ceil(2) {
        let opened = door.call(&token, "open_task", json!({"purpose": "read"})).await;
        tasks.push(opened["task"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned());
    }
    // Each call answers some rows again and again until it is stopped; another half sits in one long statement.
    let last_row = Arc::new(std::sync::Mutex::new(Vec::<Instant>::new()));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..calls {
        let (task, token, door, rows) = (tasks[number / 2].clone(), token.clone(), scene.server.door(), Arc::clone(&last_row));
        running.spawn(async move {
            let sql = if number % 2 == 0 {
                "select count(*) from note a, note b, note c"
            } else {
                "select body from note order by id limit 100"
            };
            loop {
                let answer = door.call(&token, "query", json!({"sql": sql, "task": task})).await;
                if answer.get("rows").is_none() {
                    return answer["error"]["code"].as_str().unwrap_or("?").to_owned();
                }
                rows.lock().unwrap().push(Instant::now());
            }
        });
    }
    let busy = format!(
        "SELECT count(*) >= {} FROM pg_stat_activity WHERE usename LIKE 'pgteller\\_%\\_%\\_%' AND state = 'active'",
        calls / 2
    );
    scene.database.until(&busy).await;
    let began = Instant::now();
    let told = scene.server.cli(&["task", "revoke", "--agent", "bot", "--reason", "bench"]);
    let commanded = began.elapsed();
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    while let Some(code) = running.join_next().await {
        *codes.entry(code.unwrap()).or_default() += 1;
    }
    let over = began.elapsed();
    let rows = last_row.lock().unwrap().clone();
    let after: Vec<Duration> = rows.iter().filter_map(|at| at.checked_duration_since(began)).collect();
    let last = after.iter().max().copied().unwrap_or_default();
    let late = after.iter().filter(|at| **at > commanded).count();
    scene.database.until("SELECT count(*) = 0 FROM pg_roles WHERE rolname ~ '^pgteller_[0-9a-f]+_[0-9a-f]+_[0-9a-f]{32}$'").await;
    println!("\nan agent is stopped while {calls} of its calls run: {}", told.lines().next().unwrap_or_default());
    println!(
        "  the command took {:.0} ms; the last row left {:.0} ms after it was begun, {late} after it had ended",
        ms(commanded),
        ms(last)
    );
    println!(
        "  the last call was answered after {:.0} ms, all roles gone after {:.0} ms; answers: {codes:?}",
        ms(over),
        ms(began.elapsed())
    );
    let again = door.call(&token, "open_task", json!({"purpose": "read"})).await;
    println!("  open_task after that: {}", again["error"]["code"]);
    scene.server.stop();
    late == 0 && again["error"]["code"] == "access-revoked"
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
