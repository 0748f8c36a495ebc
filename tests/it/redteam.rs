//! The attack on the design before it was built (`reference/redteam.md`), item by item: where each is held, and what no other test holds.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::client::{code, rows};
use crate::support::database::{cluster, connect};
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase, read};

/// Item, and the test or corpus that can fail for it.
const HELD: &[(u8, &str)] = &[
    (1, "fn the_gateways_login_cannot_get_at_what_the_definer_touches"),
    (2, "fn an_index_that_mixes_visible_with_hidden_columns_stops_the_profile"),
    (2, "fn sessions_keep_their_settings_whatever_the_database_sets"),
    (3, "fn without_row_security_or_without_the_policy_rows_vanish"),
    (4, "fn wasm_and_opa_give_the_same_answers"),
    (5, "fn a_table_that_took_anothers_name_is_not_served_for_it"),
    (5, "fn a_view_that_was_replaced_meanwhile_shows_nothing_of_its_new_definition"),
    (6, "fn a_condition_on_the_governed_catalog_meets_no_row_of_another_profile"),
    (7, "fn a_table_called_like_a_type_hides_nothing_and_citext_compares_as_citext"),
    (8, "fn an_email_mask_shows_nothing_but_the_domain_of_one_plain_address"),
    (9, "fn a_client_that_goes_away_ends_its_statement"),
    (10, "fn attacks_get_the_same_answers_in_two_worlds_and_leave_nothing_behind"),
    (11, "fn attacks_get_the_same_answers_in_two_worlds_and_leave_nothing_behind"),
    (12, "fn policies_see_no_estimate"),
    (13, "fn a_membership_granted_by_somebody_else_is_a_fault"),
    (14, "fn sigterm_drops_roles_and_ends_cleanly"),
    (15, "fn the_callers_settings_do_not_reach_into_the_definers_functions"),
    (16, "fn a_role_that_only_looks_like_ours_is_not_touched"),
    (17, "fn a_server_that_trusts_or_takes_md5_is_found_out"),
    (18, "fn a_verifier_never_reaches_the_servers_log"),
    (19, "fn every_mask_over_every_type_never_raises_and_keeps_the_type_and_null"),
    (20, "fn each_finding_is_found_graded_acknowledged_and_mended"),
    (21, "fn sessions_keep_their_settings_whatever_the_database_sets"),
    (22, "fn a_trace_that_would_end_our_comment_is_no_trace"),
    (23, "fn a_full_disk_under_the_log_or_an_export_withholds_answers_and_the_chain_stays_whole"),
    (24, "fn two_processes_build_one_profile_at_once"),
];

const SQL: &str = "CREATE SCHEMA app; CREATE EXTENSION citext SCHEMA public;
    CREATE TABLE app.person(id int PRIMARY KEY, region text, mail citext, born date, salary int);
    INSERT INTO app.person VALUES (1, 'eu', 'BOB@ex.org', '1990-01-02', 10), (2, 'us', 'bob@EX.org', '1991-01-02', 20);
    CREATE TABLE app.date(id int PRIMARY KEY); CREATE TABLE app.text(id int PRIMARY KEY); CREATE TABLE app.json(id int PRIMARY KEY);
    CREATE TABLE app.secret(id int PRIMARY KEY);";

const POLICY: &str = "version: 1
unlabelled: clear
labels: {app.person.salary: [secret]}
masks: {secret: {mask: hide}}
grants:
  one: {agents: [bot], purposes: [one], read: {allow: [app.person, app.date, app.text, app.json]}}
  two: {agents: [bot], purposes: [two], read: {allow: [app.secret]}}
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

async fn serve(database: &TestDatabase, purpose: &str) -> Served {
    configured(database, purpose).serve().await
}

/// The gateway's own login, as a thief of its password would use it.
async fn login(database: &TestDatabase) -> Client {
    let url = database.url().replace('@', &format!(":{}@", database.password));
    connect(&url).await
}

async fn refused(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("went through: {sql}"),
        Err(error) => error.code().map(|code| code.code().to_owned()).unwrap_or_else(|| panic!("{sql}: {error:?}")),
    }
}

/// What a resource server must hold by the protocol (`reference/mcp.md` §5), and the test that can fail for it.
const REQUIRED: &[(&str, &str)] = &[
    ("T1 a challenge for every method, and metadata without a token", "fn metadata_is_public_and_challenges_lead_to_it"),
    ("T2 the matrix of bad tokens", "fn only_tokens_that_verify_come_in_and_each_refusal_has_an_entry"),
    ("T2 forged key ids ask the issuer seldom", "fn rotated_keys_are_fetched_and_known_ones_survive_an_outage"),
    ("T3 the scope of this operation, the broader implies the narrower", "fn metadata_is_public_and_challenges_lead_to_it"),
    ("T4 a token is nowhere", "fn a_token_is_nowhere_but_in_its_header"),
    ("T5 Origin, Host, methods, lies, doubled keys, batches", "fn a_lie_about_the_tool_in_a_header_or_a_doubled_key_opens_nothing"),
    ("T5 sizes", "fn large_deep_and_odd_texts_are_refused_and_the_server_goes_on"),
    ("T6 tasks", "fn somebody_elses_task_does_not_exist"),
    ("T6 exports", "fn an_export_is_readable_by_its_owner_only"),
    ("T13 limits", "fn limits_hold_and_are_marked"),
    ("T13 places", "fn statements_are_bounded_per_principal_and_per_database"),
    ("T13 rates", "fn too_many_calls_and_too_many_tasks_are_told_when_to_come_again"),
    ("T13 a client that goes away", "fn a_client_that_goes_away_ends_its_statement"),
    ("T16 stdio", "fn stdio_speaks_json_rpc_listens_nowhere_and_tells_no_secret"),
];

#[test]
fn every_item_has_a_test_that_can_fail() {
    let mut sources = String::new();
    for entry in walk(&crate::support::repository("tests/it")) {
        sources.push_str(&std::fs::read_to_string(entry).unwrap());
    }
    for item in 1..=24 {
        assert!(HELD.iter().any(|(held, _)| *held == item), "item {item} has no test");
    }
    let named = HELD.iter().map(|(_, test)| test).chain(REQUIRED.iter().map(|(_, test)| test));
    let missing: Vec<_> = named.filter(|test| !sources.contains(&format!("{test}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_login_cannot_get_at_what_the_definer_touches() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    served.query("select 1").await;
    let thief = login(&database).await;
    let owner = format!("pgteller_{}_owner", database.installation);
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    for as_owner in [false, true] {
        if as_owner {
            thief.batch_execute(&format!("SET ROLE {owner}")).await.unwrap();
        }
        for sql in [
            "CREATE TRIGGER t BEFORE INSERT ON pgteller_private.task FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE RULE r AS ON INSERT TO pgteller_private.task DO INSTEAD NOTHING",
            "ALTER TABLE pgteller_private.task RENAME TO stolen",
            "DROP TABLE pgteller_api.made",
            "UPDATE pgteller_api.made SET role_oid = 10",
            "INSERT INTO pgteller_api.made VALUES ('postgres', 10, 't')",
            "CREATE FUNCTION pgteller_api.format(text) RETURNS text LANGUAGE sql AS $$ select 'x' $$",
            "CREATE OR REPLACE FUNCTION pgteller_api.create_profile(p name) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$",
            "ALTER FUNCTION pgteller_api.create_profile(name) SECURITY INVOKER",
            &format!("SET ROLE pgteller_{}_definer", database.installation),
            &format!("GRANT pgteller_{}_definer TO {owner}", database.installation),
            &format!("ALTER ROLE {role} SUPERUSER"),
            &format!("ALTER ROLE {role} PASSWORD 'x'"),
            "CREATE ROLE another LOGIN",
            "SELECT pgteller_api.create_profile('postgres')",
            "SELECT pgteller_api.drop_role('postgres')",
            "SELECT pgteller_api.revoke_task('postgres')",
            "SELECT pgteller_api.end_sessions('postgres', 0)",
            "SELECT pgteller_api.end_session('postgres', 1)",
        ] {
            refused(&thief, sql).await;
        }
    }
    // A task may call none of it, and read none of it.
    thief.batch_execute("RESET ROLE").await.unwrap();
    let verifier = pgteller::database::role::scram_verifier("known", &[1; 16]);
    database.owner.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{verifier}'")).await.unwrap();
    let inside = connect(&format!("postgres://{role}:known@127.0.0.1:{}/{}", cluster().port(), database.name)).await;
    for sql in [
        "SELECT * FROM pgteller_private.task",
        "SELECT * FROM pgteller_private.shown_relation",
        "SELECT * FROM pgteller_private.keys",
        "SELECT * FROM pgteller_api.made",
        "SELECT * FROM pgteller_information_schema._relation",
        "SELECT pgteller_api.create_profile('x')",
        "SELECT pgteller_api.end_session(session_user, 1)",
    ] {
        assert_eq!(refused(&inside, sql).await, "42501", "{sql}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_took_anothers_name_is_not_served_for_it() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    assert_eq!(rows(&served.query("select count(*) from person").await), &vec![json!([2])]);
    let swap = format!(
        "ALTER TABLE app.person RENAME TO person_old;
         CREATE TABLE app.person(id int PRIMARY KEY, region text, mail public.citext, born date, salary int);
         GRANT SELECT ON app.person TO pgteller_{}_owner",
        database.installation
    );
    database.owner.batch_execute(&swap).await.unwrap();
    // Its views still read the old table under its new name; after the next look at the schema they read the new one.
    assert_eq!(code(&served.query("select nothing from person").await), "column-not-granted");
    assert_eq!(rows(&served.query("select count(*) from person").await), &vec![json!([0])]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_the_governed_catalog_meets_no_row_of_another_profile() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let (one, two) = (serve(&database, "one").await, serve(&database, "two").await);
    assert_eq!(rows(&two.query("select tablename from pg_tables").await), &vec![json!(["secret"])]);
    let seen = one.query("select tablename from pg_tables order by 1").await;
    assert_eq!(rows(&seen), &vec![json!(["date"]), json!(["json"]), json!(["person"]), json!(["text"])]);
    // Conditions that raise on whatever row they meet, tried on rows that are not ours.
    for sql in [
        "select count(*) from pg_tables where tablename = 'secret' and tablename::int > 0",
        "select count(*) from information_schema.columns where table_name = 'secret' and (table_name || 'x')::int > 0",
        "select count(*) from pg_attribute where attname = 'salary' and attname::text::int > 0",
        "select count(*) from pg_namespace where nspname like 'pgteller%' and nspname::text::int > 0",
    ] {
        assert_eq!(rows(&one.query(sql).await), &vec![json!([0])], "{sql}");
    }
    for answer in [&one.query("select * from pg_class").await, &one.query("select * from information_schema.columns").await] {
        let text = answer.to_string();
        assert!(!text.contains("secret") && !text.contains("salary") && !text.contains("pgteller_private"), "{text}");
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_called_like_a_type_hides_nothing_and_citext_compares_as_citext() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    for (sql, expected) in [
        ("select '2024-01-01'::date::text", json!("2024-01-01")),
        ("select cast(1 as text)", json!("1")),
        ("select '{\"a\":1}'::json ->> 'a'", json!("1")),
        ("select count(*) from person where mail = 'Bob@Ex.Org'", json!(2)),
        ("select count(distinct mail) from person", json!(1)),
        ("select count(*) from date", json!(0)),
    ] {
        assert_eq!(rows(&served.query(sql).await), &vec![json!([expected])], "{sql}");
    }
    served.stop().await;
}

#[test]
fn policies_see_no_estimate() {
    for schema in ["policies/schema/call_input.json", "policies/schema/access_input.json"] {
        let text = read(schema).to_lowercase();
        for word in ["estimate", "reltuples", "plan_rows", "cost"] {
            assert!(!text.contains(word), "{schema} has {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_granted_by_somebody_else_is_a_fault() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let major: i32 = database.cell("SELECT current_setting('server_version_num')::int / 10000").await.parse().unwrap();
    let served = serve(&database, "one").await;
    served.query("select 1").await;
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    let profile = database.cell("SELECT profile FROM pgteller_private.task").await;
    // On 15 a membership has one grantor at most; from 16 a REVOKE leaves what somebody else granted, with a warning.
    if major >= 16 {
        database.owner.batch_execute(&format!("GRANT {profile} TO {role}")).await.unwrap();
        let left = database.owner.batch_execute(&format!("SELECT pgteller_api.revoke_task('{role}')")).await;
        assert_eq!(left.unwrap_err().code().unwrap().code(), "55006");
        database.owner.batch_execute(&format!("REVOKE {profile} FROM {role}")).await.unwrap();
    }
    database.owner.batch_execute(&format!("SELECT pgteller_api.revoke_task('{role}')")).await.unwrap();
    assert_eq!(database.cell(&format!("SELECT count(*) FROM pg_auth_members WHERE member = '{role}'::regrole")).await, "0");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_settings_do_not_reach_into_the_definers_functions() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    served.query("select 1").await;
    let thief = login(&database).await;
    let profile = database.cell("SELECT profile FROM pgteller_private.task").await;
    let role = format!("pgteller_{}_00000000_{}", database.installation, "a".repeat(32));
    let verifier = pgteller::database::role::scram_verifier("x", &[1; 16]);
    let create = format!(
        "SET datestyle = 'SQL, DMY'; SET timezone = 'IST-14:00'; SET search_path = public;
         SELECT pgteller_api.create_task('{role}', '{profile}', '{verifier}', now() + interval '23 hours')"
    );
    thief.batch_execute(&create).await.unwrap();
    let until = format!(
        "SELECT rolvaliduntil - now() BETWEEN interval '22 hours' AND interval '23 hours' FROM pg_roles WHERE rolname = '{role}'"
    );
    assert_eq!(database.cell(&until).await, "t");
    let memberships = format!(
        "SELECT count(*) FROM pg_auth_members WHERE roleid = '{role}'::regrole AND member <> '{role}'::regrole AND NOT admin_option"
    );
    assert_eq!(database.cell(&memberships).await, "0");
    for sql in [format!("SELECT pgteller_api.revoke_task('{role}')"), format!("SELECT pgteller_api.drop_role('{role}')")] {
        thief.batch_execute(&sql).await.unwrap();
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_only_looks_like_ours_is_not_touched() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let look_alike = format!("pgteller_{}_{}_{}", database.installation, "0".repeat(8), "b".repeat(32));
    let other = format!("pgteller_{}_{}_{}", "f".repeat(8), "0".repeat(8), "c".repeat(32));
    database.owner.batch_execute(&format!("CREATE ROLE {look_alike} LOGIN; CREATE ROLE {other} LOGIN")).await.unwrap();
    let served = serve(&database, "one").await;
    served.query("select 1").await;
    let thief = login(&database).await;
    for function in ["revoke_task('{}')", "drop_role('{}')", "end_sessions('{}', 0)"] {
        for role in [&look_alike, &other] {
            assert_eq!(refused(&thief, &format!("SELECT pgteller_api.{}", function.replace("{}", role))).await, "22023");
        }
    }
    served.stop().await;
    let left = format!("SELECT count(*) FROM pg_roles WHERE rolname IN ('{look_alike}', '{other}')");
    assert_eq!(database.cell(&left).await, "2");
    database.owner.batch_execute(&format!("DROP ROLE {look_alike}; DROP ROLE {other}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_never_reaches_the_servers_log() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    served.query("select 1").await;
    let thief = login(&database).await;
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    let profile = database.cell("SELECT profile FROM pgteller_private.task").await;
    let verifier = pgteller::database::role::scram_verifier("in no log", &[9; 16]);
    let error = thief
        .execute(
            "SELECT pgteller_api.create_task($1::text::name, $2::text::name, $3, now() + interval '1 hour')",
            &[&role, &profile, &verifier],
        )
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42710");
    let log = std::fs::read_to_string(cluster().directory().join("log")).unwrap();
    assert!(log.contains("create role failed") && !log.contains(&verifier[20..]), "the verifier is in the server's log");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keep_their_settings_whatever_the_database_sets() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = off",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = -5",
        "enable_indexonlyscan = on",
        "synchronize_seqscans = on",
        "xmlbinary = 'hex'",
        "search_path = 'public'",
        "statement_timeout = '1ms'",
    ] {
        database.owner.batch_execute(&format!("ALTER DATABASE {} SET {setting}", database.name)).await.unwrap();
    }
    let served = serve(&database, "one").await;
    let asked = "select born::text, '1 day 2 hours'::interval::text, '\\x61'::bytea::text, (0.1::float8 + 0.2)::text from person where id = 1";
    let answer = served.query(asked).await;
    assert_eq!(rows(&answer), &vec![json!(["1990-01-02", "1 day 02:00:00", "\\x61", "0.30000000000000004"])], "{answer}");
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    // What the session itself runs under, read by policy-allowed means only: a plan would show an index-only scan.
    let state = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND state = 'idle'");
    assert_eq!(database.cell(&state).await, "1");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_would_end_our_comment_is_no_trace() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let served = serve(&database, "one").await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query", "arguments": {"sql": "select 1"},
        "_meta": {"traceparent": "00-*/ select lo_create(1) /*-00f067aa0ba902b7-01"}}});
    let answer: Value = served.post(Some(&served.token), &call).await.json().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["rows"], json!([[1]]));
    assert_eq!(served.last_entry().trace_id, None);
    served.stop().await;
}
