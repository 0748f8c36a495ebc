//! What holding rows back costs: the same questions over one million rows, asked of the table itself, of a flat view, of two layers and of
//! a policy, as the roles that tasks get.
//!
//! `make bench`. Rounds are paired; prints medians and ratios, and the machine is noisy, so trust the ratios. Never a test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that is surprised must stop, and prints"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::database::role::scram_verifier;
use pgteller::database::target::{Host, Target};
use pgteller::database::{Database, Governed};
use pgteller::model::grants::{AccessAnswer, GrantSet};
use pgteller::model::names::TaskId;
use pgteller::model::names::{DatabaseName, InstallationId, RelationName};
use pgteller::profile::setup::{InstallationRoles, script_with_policies};
use pgteller::profile::{Compiled, compile, open_role};
use pgteller::secret::{ExposeSecret, Secret};
use pgteller::settings::DatabaseSettings;
use serde_json::{Value, json};
use tokio_postgres::Client;

const ROUNDS: usize = 7;
/// A question that is answered faster is asked again within its round.
const AT_LEAST: Duration = Duration::from_millis(40);

/// As sessions of tasks are (`database::wire`).
const SESSION: &str = "SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0; SET enable_indexonlyscan = off; SET jit = off; SET default_transaction_read_only = on";

const LOAD: &str = "CREATE SCHEMA sales;
    CREATE FUNCTION pg_temp.load(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
      EXECUTE format('CREATE TABLE sales.%1$I(id bigint PRIMARY KEY, tenant int NOT NULL, region text NOT NULL, name text NOT NULL, company text NOT NULL, email text NOT NULL,
        phone text NOT NULL, card text NOT NULL, birth date NOT NULL, created_at timestamptz NOT NULL)', name);
      EXECUTE format('INSERT INTO sales.%1$I SELECT i, i * 7 %% 20, CASE WHEN i %% 10 < 9 THEN ''eu'' ELSE ''us'' END, ''Name '' || i, md5(i::text), ''user'' || i || ''@example.org'',
        lpad(i::text, 12, ''0''), lpad((i * 31)::text, 16, ''4''), date ''1950-01-01'' + (i %% 20000)::int, timestamptz ''2020-01-01 00:00:00+00'' + i * interval ''3 minutes''
        FROM generate_series(1, 1000000) i', name);
      EXECUTE format('CREATE INDEX ON sales.%1$I(tenant)', name);
      EXECUTE format('CREATE INDEX ON sales.%1$I(created_at)', name);
      EXECUTE format('CREATE INDEX ON sales.%1$I(company text_pattern_ops)', name);
    END $$;
    SELECT pg_temp.load('layers'), pg_temp.load('policies');
    CREATE ROLE app LOGIN PASSWORD 'app'; GRANT USAGE ON SCHEMA sales TO app; GRANT ALL ON ALL TABLES IN SCHEMA sales TO app;";

/// What is asked; `{t}` is the relation.
const QUESTIONS: &[(&str, &str)] = &[
    ("id = const", "SELECT * FROM {t} WHERE id = 500003"),
    ("ORDER BY id LIMIT 20", "SELECT * FROM {t} ORDER BY id LIMIT 20"),
    ("ORDER BY created_at DESC LIMIT 20", "SELECT * FROM {t} ORDER BY created_at DESC LIMIT 20"),
    ("max(id)", "SELECT max(id) FROM {t}"),
    (
        "created_at, timestamptz range",
        "SELECT * FROM {t} WHERE created_at >= '2024-06-01 00:00:00+00' AND created_at < '2024-06-02 00:00:00+00'",
    ),
    ("created_at, date range", "SELECT * FROM {t} WHERE created_at >= date '2024-06-01' AND created_at < date '2024-06-02'"),
    ("company LIKE 'abc%'", "SELECT * FROM {t} WHERE company LIKE 'abc%'"),
    ("count(*)", "SELECT count(*) FROM {t}"),
];

/// Row filters: name, the filter, and the same as SQL. All rows but a tenth, and one row in twenty.
fn filters() -> [(&'static str, Value, &'static str); 2] {
    [
        ("90 % of the rows visible", json!({"column": "region", "op": "=", "value": "eu"}), "region = 'eu'"),
        ("5 % of the rows visible", json!({"column": "tenant", "op": "=", "value": 3}), "tenant = 3"),
    ]
}

/// One connection and the relation as it names it.
struct Asked {
    client: Client,
    relation: String,
}

async fn connect(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Loads the database and runs the set-up; gives it opened.
async fn prepare(cluster: &Cluster) -> (InstallationId, std::sync::Arc<Governed>) {
    let clock = Clock::system();
    connect(&cluster.dsn("postgres")).await.batch_execute("CREATE DATABASE million").await.unwrap();
    let owner = connect(&cluster.dsn("million")).await;
    owner.batch_execute(LOAD).await.unwrap();
    owner.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    let id = InstallationId(clock.random_hex::<4>());
    let tables = [RelationName::new("sales", "policies")];
    let script = script_with_policies(&id, &scram_verifier("bench", &clock.random::<16>()), &["sales".to_owned()], &tables);
    owner.batch_execute(&script).await.unwrap();
    let settings = DatabaseSettings {
        name: DatabaseName("million".to_owned()),
        target: Target { host: Host::Tcp("127.0.0.1".to_owned()), port: cluster.port(), database: "million".to_owned(), tls: None },
        login: InstallationRoles::of(&id).login,
        password: Secret::from("bench".to_owned()),
        environment: "bench".to_owned(),
        search_path: None,
        timezone: None,
        acknowledge: Vec::new(),
        max_sessions: 10,
    };
    let database = Database::new(settings, BTreeMap::new(), Vec::new(), clock);
    (id, database.ready().await.unwrap())
}

async fn compiled(governed: &Governed, table: &str, rows: Option<&Value>) -> Compiled {
    let snapshot = governed.snapshot().await;
    let mut grant = json!({"columns": {"id": "clear", "tenant": "clear", "region": "clear", "company": "clear", "created_at": "clear", "name": {"mask": "hash"},
        "email": {"mask": "email"}, "phone": {"mask": "partial", "keep_last": 3}, "card": {"mask": "partial", "keep_last": 4}, "birth": {"mask": "redact"}}});
    if let Some(rows) = rows {
        grant["rows"] = rows.clone();
    }
    let answer: AccessAnswer =
        serde_json::from_value(json!({"allow": true, "relations": {format!("sales.{table}"): grant}})).unwrap();
    compile(&GrantSet::validated(answer, &snapshot).unwrap(), &snapshot, &governed.installation)
}

/// A session of a task that may read this table under this filter.
async fn task(cluster: &Cluster, governed: &Governed, table: &str, rows: Option<&Value>) -> Asked {
    let compiled = compiled(governed, table, rows).await;
    let clock = Clock::system();
    let role = open_role(governed, &compiled, (new_task(&clock), clock.now().plus_seconds(3600)), &clock).await.unwrap();
    let dsn = format!("postgres://{}:{}@127.0.0.1:{}/million", role.name.as_str(), role.password.expose_secret(), cluster.port());
    let client = connect(&dsn).await;
    client.batch_execute(SESSION).await.unwrap();
    Asked { client, relation: format!("{}.{table}", compiled.schemas["sales"]) }
}

/// Milliseconds per answer.
async fn time(asked: &Asked, sql: &str) -> f64 {
    let sql = sql.replace("{t}", &asked.relation);
    let start = Instant::now();
    let mut times = 0_u32;
    while times == 0 || start.elapsed() < AT_LEAST {
        std::hint::black_box(asked.client.query_typed(&sql, &[]).await.unwrap());
        times += 1;
    }
    start.elapsed().as_secs_f64() * 1e3 / f64::from(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Asks each of these once a round, after one round that is not counted; gives medians.
async fn paired(asked: &[(&Asked, String)]) -> Vec<f64> {
    let mut times = vec![Vec::new(); asked.len()];
    for round in 0..=ROUNDS {
        for (index, (asked, sql)) in asked.iter().enumerate() {
            let took = time(asked, sql).await;
            if round > 0 {
                times[index].push(took);
            }
        }
    }
    times.into_iter().map(median).collect()
}

/// The filter, written into the question as whoever has the table would.
fn with_condition(sql: &str, condition: &str) -> String {
    match sql.split_once(" WHERE ") {
        Some((head, tail)) => format!("{head} WHERE {condition} AND {tail}"),
        None => sql.replace("{t}", &format!("{{t}} WHERE {condition}")),
    }
}

async fn questions(cluster: &Cluster, governed: &Governed) {
    let base = Asked { client: connect(&cluster.dsn("million")).await, relation: "sales.layers".to_owned() };
    base.client.batch_execute(SESSION).await.unwrap();
    let flat = task(cluster, governed, "layers", None).await;
    for (name, filter, condition) in filters() {
        let layers = task(cluster, governed, "layers", Some(&filter)).await;
        let policies = task(cluster, governed, "policies", Some(&filter)).await;
        println!("\n{name}, five columns masked; median ms of {ROUNDS} rounds\n");
        println!(
            "| question | table, filter written in | flat view, all rows | two layers | policy | layers / policy |\n|---|--:|--:|--:|--:|--:|"
        );
        for (question, sql) in QUESTIONS {
            let asked = [
                (&base, with_condition(sql, condition)),
                (&flat, (*sql).to_owned()),
                (&layers, (*sql).to_owned()),
                (&policies, (*sql).to_owned()),
            ];
            let times = paired(&asked).await;
            let cells: Vec<String> = times.iter().map(|time| figure(*time)).collect();
            println!("| {question} | {} | {}x |", cells.join(" | "), figure(times[2] / times[3]));
        }
    }
}

/// What row security costs a role of the application that does not own the table.
async fn others(cluster: &Cluster) {
    let dsn = format!("postgres://app:app@127.0.0.1:{}/million", cluster.port());
    let mut asked = Vec::new();
    for table in ["layers", "policies"] {
        let client = connect(&dsn).await;
        client.batch_execute(SESSION).await.unwrap();
        asked.push(Asked { client, relation: format!("sales.{table}") });
    }
    println!("\nA role of the application that does not own the table; median ms of {ROUNDS} rounds\n");
    println!("| question | as before | with row security on |\n|---|--:|--:|");
    for (question, sql) in QUESTIONS {
        let times = paired(&[(&asked[0], (*sql).to_owned()), (&asked[1], (*sql).to_owned())]).await;
        println!("| {question} | {} | {} |", figure(times[0]), figure(times[1]));
    }
}

/// The first task of a profile, by either back end: the profile is new each time.
async fn building(governed: &Governed) {
    let clock = Clock::system();
    let mut medians = Vec::new();
    for table in ["layers", "policies"] {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            // Another shape, so another profile.
            let all = vec![json!({"column": "tenant", "op": "=", "value": 3}); round + 2];
            let compiled = compiled(governed, table, Some(&json!({"all": all}))).await;
            let start = Instant::now();
            open_role(governed, &compiled, (new_task(&clock), clock.now().plus_seconds(3600)), &clock).await.unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        medians.push(median(times));
    }
    println!(
        "\nfirst task of a new profile over one filtered relation, ms: two layers {:.0}, policy {:.0}",
        medians[0], medians[1]
    );
}

fn figure(value: f64) -> String {
    if value < 0.995 {
        format!("{value:.2}")
    } else if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start(&Clock::system(), &["fsync=on", "shared_buffers=1GB"]).unwrap();
        let (id, governed) = prepare(&cluster).await;
        let version: String = connect(&cluster.dsn("million")).await.query_one("SHOW server_version", &[]).await.unwrap().get(0);
        println!("PostgreSQL {version}, one million rows, installation {id}");
        questions(&cluster, &governed).await;
        others(&cluster).await;
        building(&governed).await;
    });
}

fn new_task(clock: &Clock) -> TaskId {
    TaskId(clock.uuid7())
}
