//! Preflight: each finding stops the database, says how to mend it, and can be acknowledged by id; mending it lets calls through.

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::database::preflight;
use pgteller::database::target::{Host, Target};
use pgteller::secret::Secret;
use serde_json::json;

use crate::support::TestDatabase;
use crate::support::client::{code, rows};
use crate::support::server::Configured;

const SQL: &str = "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, body text, secret text);
    INSERT INTO app.note VALUES (1, 'x', 's');";

const POLICY: &str = "version: 1
unlabelled: clear
labels: {app.note.secret: [secret]}
masks: {secret: {mask: hide}}
grants: {reader: {agents: [bot], purposes: [work], read: {allow: [app.*]}}}
";

fn configured<'a>(database: &'a TestDatabase, keys: &'a str) -> Configured<'a> {
    Configured { database, policy: POLICY, agent: "bot", purpose: "work", policy_keys: "", more: "", database_keys: keys }
}

/// What is wrong, the finding's id, and the SQL that mends it.
const CASES: &[(&str, &str)] = &[
    ("GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT SELECT (id) ON app.note TO PUBLIC", "public-grant:app.note"),
    (
        "CREATE FUNCTION public.peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'select secret from app.note'",
        "definer-function:public.peek",
    ),
    ("CREATE PROCEDURE public.poke() LANGUAGE sql SECURITY DEFINER AS 'delete from app.note'", "definer-function:public.poke"),
    ("CREATE EXTENSION dblink", "extension:dblink"),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "public-create:public"),
    ("DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO PUBLIC', current_database()); END $$", "public-create-schema"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_public_may_do_stops_the_database_until_mended_or_acknowledged() {
    for (wrong, id) in CASES {
        let database = TestDatabase::new(SQL, &["app"]).await;
        let findings = preflight::inspect(&database.owner).await.unwrap();
        assert_eq!(findings, [], "a fresh database has nothing to mend");
        database.owner.batch_execute(wrong).await.unwrap();
        let findings = preflight::inspect(&database.owner).await.unwrap();
        let [finding] = findings.as_slice() else { panic!("{id}: {findings:?}") };
        assert_eq!(finding.id, *id);
        let served = configured(&database, "search_path = [\"app\"]").serve().await;
        assert_eq!(code(&served.query("select 1").await), "database-unavailable", "{id}");
        assert_eq!(database.task_roles().await, 0, "{id}");
        served.stop().await;
        let keys = format!("search_path = [\"app\"]\nacknowledge = [\"{id}\"]");
        let acknowledged = configured(&database, &keys).serve().await;
        assert_eq!(rows(&acknowledged.query("select body from note").await), &vec![json!(["x"])], "{id}");
        acknowledged.stop().await;
        database.owner.batch_execute(&finding.fix).await.unwrap_or_else(|error| panic!("{id}: {}: {error:?}", finding.fix));
        assert_eq!(preflight::inspect(&database.owner).await.unwrap(), [], "{id}: {}", finding.fix);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_servers_and_other_encodings_are_found() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let foreign = "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER far TO PUBLIC; CREATE USER MAPPING FOR PUBLIC SERVER far";
    database.owner.batch_execute(foreign).await.unwrap();
    let found: Vec<String> = preflight::inspect(&database.owner).await.unwrap().into_iter().map(|finding| finding.id).collect();
    assert_eq!(found, ["extension:postgres_fdw", "foreign-server:far"]);
    let name = format!("{}_latin", database.name);
    database.owner.batch_execute(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")).await.unwrap();
    let latin = crate::support::database::connect(&crate::support::database::cluster().dsn(&name)).await;
    let found: Vec<String> = preflight::inspect(&latin).await.unwrap().into_iter().map(|finding| finding.id).collect();
    assert_eq!(found, ["encoding"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_public_that_comes_later_stops_the_next_profile() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = configured(&database, "search_path = [\"app\"]").serve().await;
    served.call("describe", json!({})).await;
    database.owner.batch_execute("GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT SELECT ON app.note TO PUBLIC").await.unwrap();
    assert_eq!(code(&served.query("select body from note").await), "database-unavailable");
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_mixes_visible_with_hidden_columns_stops_the_profile() {
    let database = TestDatabase::new(
        &format!("{SQL} CREATE INDEX mixed ON app.note (secret) INCLUDE (id); CREATE INDEX alone ON app.note (body, id);"),
        &["app"],
    )
    .await;
    let served = configured(&database, "search_path = [\"app\"]").serve().await;
    assert!(served.call("describe", json!({})).await.get("relations").is_some());
    assert_eq!(code(&served.query("select body from note").await), "database-unavailable");
    served.stop().await;
    let served = configured(&database, "search_path = [\"app\"]\nacknowledge = [\"mixed-index:app.mixed\"]").serve().await;
    assert_eq!(rows(&served.query("select body from note").await), &vec![json!(["x"])]);
    served.stop().await;
}

/// A misspelt label under `unlabelled: clear` would show the column, a misspelt filter every row.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_policy_that_is_not_there_stops_the_database() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    for (policy, name) in [
        (POLICY.replace("app.note.secret:", "app.note.secrte:"), "app.note.secrte"),
        (POLICY.replace("read: {allow: [app.*]}", "read: {allow: [app.*]}, rows: {app.noet: {id: {equals: 1}}}"), "app.noet"),
    ] {
        let configured = Configured { policy: &policy, ..configured(&database, "search_path = [\"app\"]") };
        let served = configured.serve().await;
        assert_eq!(code(&served.query("select body from note").await), "database-unavailable", "{name}");
        served.stop().await;
        let keys = format!("search_path = [\"app\"]\nacknowledge = [\"policy-name:{name}\"]");
        let configured = Configured { policy: &policy, database_keys: &keys, ..configured_plain(&database) };
        let served = configured.serve().await;
        assert_eq!(rows(&served.query("select body from note").await), &vec![json!(["x"])], "{name}");
        served.stop().await;
    }
}

fn configured_plain(database: &TestDatabase) -> Configured<'_> {
    configured(database, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_connect_where_connect_was_taken_from_public() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    database.owner.batch_execute(&format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", database.name)).await.unwrap();
    let served = configured(&database, "search_path = [\"app\"]").serve().await;
    assert_eq!(rows(&served.query("select body from note").await), &vec![json!(["x"])]);
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_of_another_version_is_refused() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    database.owner.batch_execute("UPDATE pgteller_api.installation SET version = 999").await.unwrap();
    let served = configured(&database, "").serve().await;
    assert_eq!(code(&served.query("select 1").await), "database-unavailable");
    served.stop().await;
}

/// A cluster of its own, because pg_hba.conf is the cluster's.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_trusts_or_takes_md5_is_found_out() {
    let own = Cluster::start(&Clock::system(), &[]).unwrap();
    let target = Target { host: Host::Tcp("127.0.0.1".to_owned()), port: own.port(), database: "postgres".to_owned(), tls: None };
    let password = Secret::from(own.password().to_owned());
    assert_eq!(preflight::try_the_door(&target, "postgres", &password, "pgteller_probe").await.unwrap(), []);
    let postgres = crate::support::database::connect(&own.dsn("postgres")).await;
    for (method, ids) in
        [("trust", &["authentication", "authentication-login"][..]), ("password", &["authentication", "authentication-login"])]
    {
        let hba = own.directory().join("data/pg_hba.conf");
        std::fs::write(&hba, format!("host all all 127.0.0.1/32 {method}\n")).unwrap();
        postgres.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The postmaster reads the file when its signal comes.
        let found = loop {
            let findings = preflight::try_the_door(&target, "postgres", &password, "pgteller_probe").await.unwrap();
            if !findings.is_empty() {
                break findings;
            }
            tokio::task::yield_now().await;
        };
        let found: Vec<&str> = found.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!(found, ids, "{method}");
        std::fs::write(&hba, "host all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        postgres.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        while !preflight::try_the_door(&target, "postgres", &password, "pgteller_probe").await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
