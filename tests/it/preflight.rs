//! Preflight: each finding has its grade and what mends it; serious ones stop the database until acknowledged by id or mended. And what
//! `pgteller doctor` and `pgteller status` make of it.

use std::collections::BTreeMap;

use pgteller::cli::throwaway::Cluster;
use pgteller::clock::Clock;
use pgteller::database::preflight::{self, Depth, Finding, Fix, Grade, Ours};
use pgteller::database::target::{Host, Target};
use pgteller::database::{Database, SETUP_VERSION, Unready, admin};
use pgteller::model::names::InstallationId;
use pgteller::profile::setup::InstallationRoles;
use pgteller::secret::Secret;
use pgteller::settings::Settings;
use serde_json::{Value, json};

use crate::support::TestDatabase;
use crate::support::client::{code, rows};
use crate::support::database::cluster;
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

/// One thing that can be wrong.
struct Case {
    /// What makes it so. `{db}`, `{owner}`, `{login}` and `{definer}` are this database's.
    wrong: &'static str,
    /// What is found then, by id.
    ids: &'static [&'static str],
    /// Of the worst of them.
    grade: Grade,
    /// What mends it where no statement of ours does.
    by_hand: &'static str,
}

const fn serious(wrong: &'static str, ids: &'static [&'static str]) -> Case {
    Case { wrong, ids, grade: Grade::Serious, by_hand: "" }
}

const fn warning(wrong: &'static str, ids: &'static [&'static str], by_hand: &'static str) -> Case {
    Case { wrong, ids, grade: Grade::Warning, by_hand }
}

const fn notice(wrong: &'static str, ids: &'static [&'static str], by_hand: &'static str) -> Case {
    Case { wrong, ids, grade: Grade::Notice, by_hand }
}

/// One of each. They can all be wrong in one database together.
const CASES: &[Case] = &[
    serious("ALTER ROLE {owner} SUPERUSER", &["view-owner:superuser"]),
    serious("GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT SELECT (id) ON app.note TO PUBLIC", &["public-grant:app.note"]),
    serious("CREATE SEQUENCE public.counter; GRANT USAGE ON SEQUENCE public.counter TO PUBLIC", &["public-grant:public.counter"]),
    serious(
        "CREATE FOREIGN DATA WRAPPER w1; CREATE SERVER s1 FOREIGN DATA WRAPPER w1; CREATE FOREIGN TABLE public.far(id int) SERVER s1; GRANT SELECT ON public.far TO PUBLIC",
        &["public-grant:public.far", "foreign-table:public.far"],
    ),
    serious(
        "GRANT SELECT ON pgteller_information_schema._relation TO PUBLIC; GRANT INSERT ON pgteller_catalog.pg_class TO PUBLIC",
        &["public-grant:pgteller_catalog.pg_class", "public-grant:pgteller_information_schema._relation"],
    ),
    serious("GRANT SELECT ON pg_authid TO PUBLIC", &["public-grant:pg_catalog.pg_authid"]),
    serious("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO PUBLIC", &["restricted-function:pg_read_file(text)"]),
    serious(
        "CREATE FUNCTION public.peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'select secret from app.note'",
        &["definer-function:public.peek"],
    ),
    serious("CREATE PROCEDURE public.poke() LANGUAGE sql SECURITY DEFINER AS 'delete from app.note'", &["definer-function:public.poke"]),
    serious(
        "CREATE FUNCTION public.pry() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1';
         CREATE FUNCTION public.pry(app.note) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1'",
        &["definer-function:public.pry()", "definer-function:public.pry(app.note)"],
    ),
    serious(
        "CREATE EXTENSION pg_buffercache; GRANT SELECT ON pg_buffercache TO PUBLIC; GRANT EXECUTE ON FUNCTION pg_buffercache_pages TO PUBLIC",
        &["public-grant:public.pg_buffercache", "restricted-function:public.pg_buffercache_pages()"],
    ),
    serious("CREATE EXTENSION dblink", &["extension:dblink"]),
    serious(
        "CREATE FOREIGN DATA WRAPPER w2; CREATE SERVER far FOREIGN DATA WRAPPER w2; GRANT USAGE ON FOREIGN SERVER far TO PUBLIC; CREATE USER MAPPING FOR PUBLIC SERVER far",
        &["foreign-server:far"],
    ),
    serious("CREATE FOREIGN DATA WRAPPER w3; GRANT USAGE ON FOREIGN DATA WRAPPER w3 TO PUBLIC", &["foreign-data-wrapper:w3"]),
    serious(
        "CREATE LANGUAGE shady HANDLER plpgsql_call_handler; CREATE FUNCTION public.reach() RETURNS int LANGUAGE shady STABLE AS 'BEGIN RETURN 1; END'",
        &["untrusted-language:public.reach()"],
    ),
    serious("GRANT CREATE ON SCHEMA public TO PUBLIC", &["public-create:public"]),
    serious("GRANT CREATE ON DATABASE {db} TO PUBLIC", &["public-create-schema"]),
    serious(
        "DO $$ DECLARE l oid := lo_create(0); BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', l); END $$",
        &["public-large-objects"],
    ),
    serious("ALTER DATABASE {db} SET lo_compat_privileges = on", &["large-objects"]),
    serious("ALTER DATABASE {db} SET standard_conforming_strings = off", &["standard-conforming-strings"]),
    serious("ALTER ROLE {owner} BYPASSRLS CREATEROLE LOGIN", &["view-owner:bypassrls", "view-owner:createrole", "view-owner:login"]),
    serious("ALTER ROLE {login} CREATEDB REPLICATION", &["login:createdb", "login:replication"]),
    serious("ALTER ROLE {definer} LOGIN", &["definer:login"]),
    serious("ALTER ROLE {policies} LOGIN; GRANT {policies} TO {db}_m", &["policies:login", "policies:member:{db}_m"]),
    serious(
        "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN EXECUTE 'GRANT {owner} TO {definer} WITH SET TRUE'; ELSE GRANT {owner} TO {definer}; END IF; END $$",
        &["definer:member-of:{owner}", "view-owner:member:{definer}"],
    ),
    serious("CREATE ROLE {db}_app; GRANT {db}_app TO {owner}", &["view-owner:member-of:{db}_app"]),
    serious("GRANT pg_monitor TO {login}", &["login:member-of:pg_monitor"]),
    serious("CREATE ROLE {db}_thief; GRANT {definer} TO {db}_thief", &["definer:member:{db}_thief"]),
    serious("CREATE ROLE {db}_peer; GRANT {owner} TO {db}_peer", &["view-owner:member:{db}_peer"]),
    serious(
        "CREATE TABLE app.owned(id int); ALTER TABLE app.owned OWNER TO {owner}; CREATE FUNCTION app.owned(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'select 1'; ALTER FUNCTION app.owned OWNER TO {owner}",
        &["view-owner:owns:function app.owned(pg_catalog.text)", "view-owner:owns:table app.owned"],
    ),
    serious("GRANT TRIGGER, INSERT ON pgteller_private.task TO {owner}", &["set-up-grant:pgteller_private.task:{owner}"]),
    serious("GRANT UPDATE (role_oid) ON pgteller_api.made TO {db}_m", &["set-up-grant:pgteller_api.made:{db}_m"]),
    serious(
        "CREATE TRIGGER extra BEFORE UPDATE ON pgteller_private.task FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        &["set-up-trigger:pgteller_private.task:extra"],
    ),
    serious("CREATE TABLE pgteller_api.planted(id int)", &["set-up-owner:table pgteller_api.planted"]),
    warning(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES FOR ROLE {db}_m GRANT USAGE ON SEQUENCES TO PUBLIC",
        &["default-privileges:postgres:app:tables", "default-privileges:{db}_m::sequences"],
        "",
    ),
    warning("ALTER DATABASE {db} SET row_security = off", &["setting:row_security"], ""),
    warning("ALTER DATABASE {db} SET app.jwt_secret = 'hunter2'", &["setting-secret:app.jwt_secret"], ""),
    warning("ALTER ROLE {db}_m IN DATABASE {db} SET app.api_key = 'hunter2'", &["setting-secret:app.api_key:{db}_m"], ""),
    warning("ALTER DATABASE {db} SET pg_hint_plan.enable_hint = on", &["hints:pg_hint_plan"], ""),
    warning(
        "CREATE VIEW app.mine AS SELECT id FROM app.note WHERE body = current_user; CREATE VIEW app.whose AS SELECT current_setting('app.user', true) AS name; GRANT SELECT ON app.mine, app.whose TO {owner}",
        &["view-asker:app.mine", "view-asker:app.whose"],
        "DROP VIEW app.mine, app.whose",
    ),
    warning(
        "CREATE FUNCTION app.half(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'select $1 / 2'; CREATE VIEW app.halves AS SELECT app.half(id) AS half FROM app.note; GRANT SELECT ON app.halves TO {owner}",
        &["view-function:app.halves"],
        "DROP VIEW app.halves",
    ),
    warning(
        "CREATE TABLE app.held(body text); ALTER TABLE app.held ENABLE ROW LEVEL SECURITY; GRANT SELECT ON app.held TO {owner};
         CREATE POLICY by_user ON app.held USING (body = session_user)",
        &["row-policy:app.held.by_user", "row-security:app.held"],
        "DROP TABLE app.held",
    ),
    warning(
        "CREATE FUNCTION app.uid() RETURNS text LANGUAGE sql STABLE AS $$ select current_setting('app.user', true) $$; CREATE TABLE app.kept(body text); ALTER TABLE app.kept ENABLE ROW LEVEL SECURITY;
         GRANT SELECT ON app.kept TO {owner}; CREATE POLICY by_function ON app.kept FOR SELECT TO {owner} USING (body = app.uid())",
        &["row-policy:app.kept.by_function", "row-security:app.kept"],
        "DROP TABLE app.kept",
    ),
    notice(
        "CREATE TABLE app.shut(id int); ALTER TABLE app.shut ENABLE ROW LEVEL SECURITY; GRANT SELECT ON app.shut TO {owner}",
        &["row-security:app.shut"],
        "ALTER TABLE app.shut DISABLE ROW LEVEL SECURITY",
    ),
    notice(
        "CREATE VIEW app.invoked WITH (security_invoker = true) AS SELECT id FROM app.note; GRANT SELECT ON app.invoked TO {owner}",
        &["invoker-view:app.invoked"],
        "DROP VIEW app.invoked",
    ),
    notice(
        "CREATE TRIGGER same BEFORE UPDATE ON app.note FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        &["trigger:app.note"],
        "DROP TRIGGER same ON app.note",
    ),
    notice(
        "CREATE FOREIGN DATA WRAPPER w4; CREATE SERVER s4 FOREIGN DATA WRAPPER w4; CREATE FOREIGN TABLE app.away(id int) SERVER s4; GRANT SELECT ON app.away TO {owner}",
        &["foreign-table:app.away"],
        "DROP FOREIGN TABLE app.away",
    ),
    notice("CREATE FUNCTION public.touch() RETURNS int LANGUAGE sql VOLATILE AS 'select 1'", &["public-functions:public"], ""),
    notice("ALTER DATABASE {db} SET app.tenant = '3'", &["setting:app.tenant"], "ALTER DATABASE {db} RESET app.tenant"),
    notice("ALTER DATABASE {db} SET log_statement = 'all'", &["server-log:log_statement"], "ALTER DATABASE {db} RESET log_statement"),
    notice("CREATE EXTENSION pg_stat_statements", &["statement-statistics"], "DROP EXTENSION pg_stat_statements"),
];

/// What PostgreSQL's own defaults give.
const FRESH: &[&str] = &["public-temp", "server-log:log_min_error_statement"];

fn filled(text: &str, database: &TestDatabase) -> String {
    let roles = InstallationRoles::of(&database.installation);
    text.replace("{db}", &database.name)
        .replace("{owner}", &roles.owner)
        .replace("{login}", &roles.login)
        .replace("{definer}", &roles.definer)
        .replace("{policies}", &roles.policies)
}

/// A database set up, with one role besides.
async fn fresh() -> TestDatabase {
    let database = TestDatabase::new(SQL, &["app"]).await;
    database.owner.batch_execute(&filled("CREATE ROLE {db}_m", &database)).await.unwrap();
    database
}

/// What preflight finds through the gateway's own login; flaws of PostgreSQL itself depend on the machine.
async fn look(database: &TestDatabase) -> Vec<Finding> {
    let roles = InstallationRoles::of(&database.installation);
    let target =
        Target { host: Host::Tcp("127.0.0.1".to_owned()), port: cluster().port(), database: database.name.clone(), tls: None };
    let login = admin::connect(&target, &roles.login, Some(&Secret::from(database.password.clone()))).await.unwrap();
    let ours = Ours { installation: &database.installation, view_owner: &roles.owner };
    let mut findings = preflight::inspect(&login, ours, Depth::All).await.unwrap();
    findings.retain(|finding| !finding.id.starts_with("known-flaw:"));
    let stops: Vec<&Finding> = findings.iter().filter(|finding| finding.grade == Grade::Serious).collect();
    let mut before_a_build = preflight::inspect(&login, ours, Depth::Serious).await.unwrap();
    before_a_build.retain(|finding| !finding.id.starts_with("known-flaw:"));
    assert_eq!(before_a_build.iter().collect::<Vec<_>>(), stops, "a profile build looks for what stops, and nothing else");
    findings
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id.as_str()).collect()
}

/// Opens the database as a server does: what stops it, by id.
async fn stopping(database: &TestDatabase, acknowledged: &[String]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let keys = format!("search_path = [\"app\"]\nacknowledge = {acknowledged:?}");
    let settings = Settings::read(&configured(database, &keys).write(directory.path())).unwrap();
    let one = settings.databases.into_iter().next().unwrap();
    match Database::new(one, BTreeMap::new(), Vec::new(), Clock::system()).ready().await {
        Ok(_) => Vec::new(),
        Err(Unready::Stopped(findings)) => findings.into_iter().map(|finding| finding.id).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_finding_is_found_graded_acknowledged_and_mended() {
    let database = fresh().await;
    assert_eq!(ids(&look(&database).await), FRESH, "a fresh database has nothing to mend");
    for case in CASES {
        database
            .owner
            .batch_execute(&filled(case.wrong, &database))
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.wrong));
        let expected: Vec<String> = case.ids.iter().map(|id| filled(id, &database)).collect();
        let mut findings = look(&database).await;
        findings.retain(|finding| !FRESH.contains(&finding.id.as_str()));
        assert_eq!(ids(&findings), expected);
        assert_eq!(findings.iter().map(|finding| finding.grade).min(), Some(case.grade), "{expected:?}");
        let serious = findings.iter().filter(|finding| finding.grade == Grade::Serious).map(|finding| finding.id.clone());
        assert_eq!(stopping(&database, &[]).await, serious.collect::<Vec<_>>(), "only what is serious stops");
        assert_eq!(stopping(&database, &expected).await, Vec::<String>::new(), "{expected:?}");
        let mends = findings.iter().filter_map(|finding| match &finding.fix {
            Fix::Sql(sql) => Some(sql.clone()),
            Fix::ByHand(_) => None,
        });
        for mend in mends.chain([filled(case.by_hand, &database)]) {
            database.owner.batch_execute(&mend).await.unwrap_or_else(|error| panic!("{expected:?}: {mend}: {error:?}"));
        }
        assert_eq!(ids(&look(&database).await), FRESH, "{expected:?}");
    }
}

/// Grants to roles by name, functions that nobody else may call, and what an application has anyway.
#[tokio::test(flavor = "multi_thread")]
async fn what_public_cannot_reach_is_not_found() {
    let database = fresh().await;
    let innocent = "
        GRANT USAGE ON SCHEMA app TO {db}_m; GRANT ALL ON app.note TO {db}_m;
        CREATE SCHEMA hidden; CREATE TABLE hidden.t(id int); GRANT SELECT ON hidden.t TO PUBLIC;
        CREATE FUNCTION hidden.peek() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1';
        CREATE FUNCTION public.closed() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1'; REVOKE EXECUTE ON FUNCTION public.closed FROM PUBLIC; GRANT EXECUTE ON FUNCTION public.closed TO {db}_m;
        CREATE FUNCTION public.add(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'select $1 + $2';
        CREATE EXTENSION pgcrypto; CREATE EXTENSION citext;
        CREATE SCHEMA net; CREATE EXTENSION dblink SCHEMA net;
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO {db}_m; CREATE USER MAPPING FOR {db}_m SERVER s;
        DO $$ DECLARE l oid := lo_create(0); BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO {db}_m', l); END $$;
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {db}_m; ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {db}_m;
        ALTER DATABASE {db} SET statement_timeout = '1min'; ALTER DATABASE {db} SET timezone = 'Europe/Rome'; ALTER DATABASE {db} SET pg_hint_plan.enable_hint = off;
        ALTER ROLE {db}_m SET app.tenant = '3'; ALTER ROLE {db}_m IN DATABASE {db} SET row_security = off;
        CREATE VIEW app.when AS SELECT id, current_date AS today, upper(body) AS loud FROM app.note; GRANT SELECT ON app.when TO {owner};
        CREATE VIEW app.unseen AS SELECT current_user AS me;
        CREATE TABLE app.locked(id int); ALTER TABLE app.locked ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.locked USING (current_user = 'x');
        CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'; REVOKE EXECUTE ON FUNCTION public.stamp FROM PUBLIC;
        CREATE TRIGGER stamp BEFORE UPDATE ON app.note FOR EACH ROW EXECUTE FUNCTION public.stamp();
        GRANT EXECUTE ON FUNCTION pg_catalog.upper(text) TO {db}_m; GRANT SELECT ON pg_class TO {db}_m; GRANT SELECT ON pg_authid TO {db}_m;
        REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC;";
    database.owner.batch_execute(&filled(innocent, &database)).await.unwrap();
    assert_eq!(ids(&look(&database).await), FRESH);
    let acknowledged = configured(&database, "search_path = [\"app\"]").serve().await;
    assert_eq!(rows(&acknowledged.query("select body from note").await), &vec![json!(["x"])]);
    assert_eq!(ids(&look(&database).await), FRESH, "what a task makes is ours");
    acknowledged.stop().await;
}

/// Another process drops a profile between the query's beginning and its end.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_meanwhile_is_not_found() {
    let database = fresh().await;
    let schema = format!("pgteller_{}_{}_1", database.installation, "0".repeat(32));
    let built = format!(
        "CREATE SCHEMA {schema} AUTHORIZATION {{owner}}; CREATE VIEW {schema}.note AS SELECT id FROM app.note; ALTER VIEW {schema}.note OWNER TO {{owner}}"
    );
    database.owner.batch_execute(&filled(&built, &database)).await.unwrap();
    let roles = InstallationRoles::of(&database.installation);
    let looking = crate::support::database::connect(&cluster().dsn(&database.name)).await;
    looking.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    database.owner.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
    let ours = Ours { installation: &database.installation, view_owner: &roles.owner };
    assert_eq!(preflight::inspect(&looking, ours, Depth::Serious).await.unwrap(), []);
}

/// `pgteller` with these arguments: exit code, stdout, stderr.
fn run(directory: &std::path::Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pgteller"));
    let output = command.args(arguments).arg("--config").arg(directory.join("pgteller.toml")).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_everything_and_its_script_mends_what_sql_can() {
    let database = fresh().await;
    for case in CASES {
        database
            .owner
            .batch_execute(&filled(case.wrong, &database))
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.wrong));
    }
    database.owner.batch_execute("CREATE INDEX mixed ON app.note (secret) INCLUDE (id)").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keys =
        "search_path = [\"app\"]\nacknowledge = [\"public-grant:public.far\", \"mixed-index:app.mixed\", \"extension:gone\"]";
    configured(&database, keys).write(directory.path());
    let (exit, before, _) = run(directory.path(), &["doctor"]);
    println!("before:\n{before}");
    assert_eq!(exit, 1);
    let missing = |text: &str| -> Vec<String> {
        let ids = CASES.iter().flat_map(|case| case.ids).map(|id| filled(id, &database));
        ids.filter(|id| !text.lines().any(|line| line == format!("  {id}") || line == format!("  {id}  (acknowledged)"))).collect()
    };
    assert_eq!(missing(&before), Vec::<String>::new());
    assert!(before.contains("\n  public-grant:public.far  (acknowledged)\n"));
    assert!(before.contains("there is no such finding: extension:gone") && !before.contains("no such finding: mixed-index"));
    let (exit, script, stderr) = run(directory.path(), &["doctor", "--fix"]);
    println!("script:\n{script}");
    assert_eq!((exit, stderr.as_str()), (0, ""));
    database.owner.batch_execute(&script).await.unwrap_or_else(|error| panic!("{script}\n{error:?}"));
    let (exit, after, _) = run(directory.path(), &["doctor"]);
    println!("after:\n{after}");
    assert_eq!(exit, 0);
    let by_hand: Vec<String> =
        CASES.iter().filter(|case| !case.by_hand.is_empty()).flat_map(|case| case.ids).map(|id| (*id).to_owned()).collect();
    assert!(missing(&after).iter().all(|id| !by_hand.contains(id)), "{:?}", missing(&after));
    let json: Value = serde_json::from_str(&run(directory.path(), &["doctor", "--json", "--database", "shop"]).1).unwrap();
    let left = json["databases"][0]["findings"].as_array().unwrap();
    let open: Vec<&Value> =
        left.iter().filter(|finding| finding["acknowledged"] == false && !finding["fix"]["sql"].is_null()).collect();
    assert!(open.is_empty(), "{open:?}");
    let (_, status, _) = run(directory.path(), &["status"]);
    for text in [before, script, after, json.to_string(), status] {
        assert!(!text.contains("hunter2") && !text.contains(&database.password), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_is_going_on() {
    let database = fresh().await;
    let keys = "search_path = [\"app\"]\nacknowledge = [\"public-temp\"]";
    let served = configured(&database, keys).serve().await;
    assert_eq!(rows(&served.query("select body from note").await), &vec![json!(["x"])]);
    database.owner.batch_execute("INSERT INTO pgteller_private.instance VALUES ('deadbeef', 1, now())").await.unwrap();
    let (exit, json, _) = run(served.directory.path(), &["status", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let shop = &json["databases"][0];
    assert_eq!(exit, 0);
    assert_eq!((&shop["state"], &shop["door"], &shop["setup_version"]), (&json!("ready"), &json!("holds"), &json!(SETUP_VERSION)));
    assert_eq!((&shop["instances"], &shop["open_tasks"]), (&json!({"alive": 1, "dead": 1}), &json!(1)));
    assert_eq!((&shop["relations"], &shop["installation"]), (&json!(["app.note"]), &json!(database.installation.to_string())));
    assert_eq!((&shop["profiles"].as_array().unwrap().len(), &shop["profiles"][0]["members"]), (&1, &json!(1)));
    assert_eq!((&shop["findings"]["serious"], &shop["acknowledged"]), (&json!(0), &json!(["public-temp"])));
    let (_, text, _) = run(served.directory.path(), &["status"]);
    assert!(text.contains("  open tasks                   1\n") && text.contains("    app.note\n"), "{text}");
    let directory = served.stop().await;
    assert_eq!(database.task_roles().await, 0);
    std::fs::write(directory.path().join("password"), "wrong").unwrap();
    let (exit, text, error) = run(directory.path(), &["status"]);
    assert!(exit == 1 && text.contains("unavailable") && error.contains("cannot be looked at"), "{text}{error}");
    let (exit, text, _) = run(directory.path(), &["doctor"]);
    assert!(exit == 1 && text.contains("cannot be looked at"), "{text}");
    let (exit, _, error) = run(directory.path(), &["doctor", "--database", "nowhere"]);
    assert!(exit == 1 && error.contains("no database `nowhere`"), "{error}");
}

/// A cluster of its own, because these hold for all of its databases.
#[tokio::test(flavor = "multi_thread")]
async fn what_holds_for_the_whole_server_is_found() {
    let settings = [
        "log_min_error_statement=panic",
        "log_min_duration_statement=0",
        "log_parameter_max_length_on_error=-1",
        "shared_preload_libraries=pg_stat_statements",
    ];
    let own = Cluster::start(&Clock::system(), &settings).unwrap();
    let postgres = crate::support::database::connect(&own.dsn("postgres")).await;
    let installation = InstallationId("00000000".to_owned());
    let ours = Ours { installation: &installation, view_owner: "pgteller_00000000_owner" };
    let found = async || {
        let mut findings = preflight::inspect(&postgres, ours, Depth::All).await.unwrap();
        findings.retain(|finding| !finding.id.starts_with("known-flaw:") && finding.id != "public-temp");
        findings
    };
    let always = ["server-log:log_min_duration_statement", "server-log:log_parameter_max_length_on_error", "statement-statistics"];
    assert_eq!(ids(&found().await), always);
    postgres.batch_execute("GRANT SET ON PARAMETER session_replication_role TO PUBLIC; ALTER ROLE ALL SET app.token = 'x'; ALTER ROLE ALL SET row_security = off").await.unwrap();
    let findings = found().await;
    let ours = ["public-parameter:session_replication_role", "setting-secret:app.token", "setting:row_security"];
    assert_eq!(ids(&findings), [&ours[..], &always[..]].concat());
    for finding in &findings[..3] {
        assert_eq!(finding.grade, Grade::Warning);
        postgres.batch_execute(&finding.fix.to_string()).await.unwrap();
    }
    assert_eq!(ids(&found().await), always);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_encodings_are_found() {
    let database = fresh().await;
    let name = format!("{}_latin", database.name);
    database.owner.batch_execute(&format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")).await.unwrap();
    let latin = crate::support::database::connect(&cluster().dsn(&name)).await;
    let ours = Ours { installation: &database.installation, view_owner: "nobody" };
    let findings = preflight::inspect(&latin, ours, Depth::Serious).await.unwrap();
    assert_eq!(ids(&findings), ["encoding"]);
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
