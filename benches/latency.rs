//! First measurements, against their baseline in the same run: what a governed query costs over the same statement sent directly.
//!
//! `make bench`. Prints medians and ratios; the machine is noisy, so trust the ratios. Never a test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that is surprised must stop, and prints"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::database::role::scram_verifier;
use pgteller::model::names::InstallationId;
use pgteller::profile::setup::{InstallationRoles, script};
use serde_json::{Value, json};

const ROUNDS: usize = 15;
const CALLS: usize = 60;

const POINT: (&str, &str) = ("point", "select id, company, email from sales.customers where id = 7");
const HUNDRED: (&str, &str) =
    ("100 rows", "select id, company, email, city, country, segment, created_at from sales.customers order by id limit 100");

struct Process {
    child: Child,
    reader: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(config: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .args(["serve", "--stdio", "--config"])
            .arg(config)
            .env("PGTELLER_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, reader };
        this.ask(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}}}));
        writeln!(this.child.stdin.as_mut().unwrap(), "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .unwrap();
        this
    }

    fn ask(&mut self, message: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn query(&mut self, sql: &str) -> Value {
        let message =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": sql}}});
        let answer = self.ask(&message);
        assert!(answer["result"]["structuredContent"]["rows"].is_array(), "{answer}");
        answer
    }

    fn finish(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn connect(dsn: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Loads a database, runs the set-up, writes a configuration; gives its path.
async fn prepare(cluster: &Cluster, database: &str, sql: &str, policy: &str, agent: &str, schemas: &[&str]) -> std::path::PathBuf {
    let clock = Clock::system();
    connect(&cluster.dsn("postgres")).await.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    let owner = connect(&cluster.dsn(database)).await;
    owner.batch_execute(sql).await.unwrap();
    let id = InstallationId(clock.random_hex::<4>());
    let schemas: Vec<String> = schemas.iter().map(|&schema| schema.to_owned()).collect();
    owner.batch_execute(&script(&id, &scram_verifier("bench", &clock.random::<16>()), &schemas)).await.unwrap();
    let directory = tempfile::tempdir().unwrap().keep();
    std::fs::write(directory.join("policy.yaml"), policy).unwrap();
    std::fs::write(directory.join("password"), "bench").unwrap();
    let login = InstallationRoles::of(&id).login;
    let text = format!(
        "[policy]\ndata = \"policy.yaml\"\n[storage]\ndir = \"data\"\n[dev]\nsubject = \"b\"\nagent = \"{agent}\"\npurpose = \"ticket\"\n[database.shop]\nurl = \"postgres://{login}@127.0.0.1:{}/{database}\"\npassword_file = \"password\"\nsearch_path = [\"sales\"]\n",
        cluster.port()
    );
    let config = directory.join("pgteller.toml");
    std::fs::write(&config, text).unwrap();
    config
}

async fn latency(cluster: &Cluster, config: &std::path::Path) {
    let direct = connect(&cluster.dsn("shop")).await;
    let mut stdio = Process::start(config);
    let mut http = Command::new(env!("CARGO_BIN_EXE_pgteller"))
        .args(["serve", "--http", "127.0.0.1:0", "--config"])
        .arg(config)
        .env("PGTELLER_LOG", "error")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(http.stderr.take().unwrap()).lines();
    let url = said.next().unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let token = said.next().unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let client = reqwest::Client::new();
    let post = async |sql: &str| {
        let message =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": sql}}});
        let request = client
            .post(&url)
            .bearer_auth(&token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        let answer: Value = request.json(&message).send().await.unwrap().json().await.unwrap();
        assert!(answer["result"]["structuredContent"]["rows"].is_array(), "{answer}");
    };
    println!("\n{:<10}{:>14}{:>22}{:>22}", "statement", "direct µs", "stdio µs (x, added)", "HTTP µs (x, added)");
    for (name, sql) in [POINT, HUNDRED] {
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for _ in 0..CALLS {
                let at = Instant::now();
                let rows = direct.query_typed(sql, &[]).await.unwrap();
                std::hint::black_box(rows);
                a.push(at.elapsed().as_secs_f64() * 1e6);
            }
            for _ in 0..CALLS {
                let at = Instant::now();
                stdio.query(sql);
                b.push(at.elapsed().as_secs_f64() * 1e6);
            }
            for _ in 0..CALLS {
                let at = Instant::now();
                post(sql).await;
                c.push(at.elapsed().as_secs_f64() * 1e6);
            }
        }
        let (a, b, c) = (median(a), median(b), median(c));
        println!(
            "{name:<10}{a:>14.0}{:>22}{:>22}",
            format!("{b:.0} ({:.1}x, +{:.0})", b / a, b - a),
            format!("{c:.0} ({:.1}x, +{:.0})", c / a, c - a)
        );
    }
    stages(config);
    stdio.finish();
    Command::new("kill").arg(http.id().to_string()).status().unwrap();
    http.wait().unwrap();
}

/// Where the microseconds go: the medians of the stages in the entries.
fn stages(config: &std::path::Path) {
    let entries = pgteller::audit::show::tail(&config.with_file_name("data").join("audit"), 1500).unwrap();
    println!("\nstage medians, µs (the audit's own flush is outside of them)");
    for stage in ["enter", "read", "decide", "execute"] {
        let values: Vec<f64> = entries
            .iter()
            .flat_map(|entry| &entry.stages)
            .filter(|(name, _)| name == stage)
            .map(|(_, micros)| *micros as f64)
            .collect();
        println!("  {stage:<10}{:>8.0}", median(values));
    }
    let all: Vec<f64> = entries.iter().map(|entry| entry.duration_us as f64).collect();
    println!("  {:<10}{:>8.0}", "in all", median(all));
}

/// 300 relations of 100 columns: the first statement of a task, and of a second task that shares the profile.
async fn large(cluster: &Cluster) {
    let mut sql = "CREATE SCHEMA sales;".to_owned();
    for table in 0..300 {
        let columns: Vec<String> =
            (0..100).map(|column| format!("c{column} {}", ["int", "text", "date", "numeric(10,2)"][column % 4])).collect();
        sql.push_str(&format!("CREATE TABLE sales.t{table}({});", columns.join(", ")));
    }
    let labels: Vec<String> = (0..300).map(|table| format!("  sales.t{table}.c1: [mail]\n  sales.t{table}.c5: [name]\n")).collect();
    let policy = format!(
        "version: 1\nunlabelled: clear\nlabels:\n{}masks: {{mail: {{mask: email}}, name: {{mask: hash}}}}\ngrants: {{all: {{agents: [bench], purposes: [ticket], read: {{allow: [sales.*]}}}}}}\n",
        labels.concat()
    );
    let config = prepare(cluster, "large", &sql, &policy, "bench", &["sales"]).await;
    let timed = |process: &mut Process, sql: &str| {
        let at = Instant::now();
        process.query(sql);
        at.elapsed().as_secs_f64() * 1e3
    };
    let mut first = Process::start(&config);
    let built = timed(&mut first, "select c0 from t0");
    let again = timed(&mut first, "select c0 from t1");
    let mut second = Process::start(&config);
    let shared = timed(&mut second, "select c0 from t0");
    println!(
        "\n300 relations x 100 columns, ms: first statement of a task {built:.0}, next {again:.1}, first of a second task with the same grants {shared:.0}"
    );
    let entries = pgteller::audit::show::tail(&config.with_file_name("data").join("audit"), 50).unwrap();
    for entry in entries.iter().filter(|entry| entry.tool.is_some()) {
        println!("  stages {:?}", entry.stages);
    }
    first.finish();
    second.finish();
}

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start(&Clock::system(), &["fsync=on"]).unwrap();
        let read = |path: &str| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let config = prepare(
            &cluster,
            "shop",
            &read("examples/shop/shop.sql"),
            &read("examples/shop/policy.yaml"),
            "support-bot",
            &["sales", "hr"],
        )
        .await;
        latency(&cluster, &config).await;
        large(&cluster).await;
    });
}
