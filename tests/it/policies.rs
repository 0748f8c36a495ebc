//! Row filters as policies (`pgteller setup --rls`): the same rows as two layers, nothing once they cannot hold, nobody else concerned.

use pgteller::database::role::scram_verifier;
use pgteller::database::snapshot;
use pgteller::model::grants::{AccessAnswer, GrantSet};
use pgteller::model::names::RelationName;
use pgteller::profile::compile;
use pgteller::profile::setup::{policies_on, removal};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::client::rows;
use crate::support::database::{cluster, connect};
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase};

const SQL: &str = "CREATE SCHEMA app;
    CREATE TABLE app.note(id int PRIMARY KEY, tenant int NOT NULL, place text NOT NULL, body text NOT NULL);
    INSERT INTO app.note SELECT i, i % 5, CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END, 'body ' || i FROM generate_series(1, 100) i;
    CREATE TABLE app.event(id int, tenant int, at date) PARTITION BY RANGE (id);
    CREATE TABLE app.event_1 PARTITION OF app.event FOR VALUES FROM (0) TO (1000);
    INSERT INTO app.event SELECT i, i % 5, date '2024-01-01' + i FROM generate_series(1, 100) i;
    CREATE TABLE app.plain(id int); INSERT INTO app.plain VALUES (1);
    CREATE VIEW app.seen AS SELECT id FROM app.note;
    ANALYZE;";

const POLICY: &str = "version: 1
unlabelled: clear
labels: {app.note.body: [text.free], app.note.tenant: [secret]}
masks: {text.free: {mask: redact}, secret: {mask: hide}}
params: {tenant: {claim: tenant_id}}
grants:
  bot:
    agents: [bot]
    ambient: true
    read: {allow: [app.note, app.event, app.plain]}
    rows: {app.note: {tenant: {param: tenant}}, app.event: {tenant: {param: tenant}}}
";

/// What a task sees of `note` and `event`: tenant 3.
const COUNT: &str = "select (select count(*) from note), (select count(*) from event), (select count(*) from plain)";

async fn database() -> TestDatabase {
    let database = TestDatabase::new(SQL, &["app"]).await;
    database.policies_on(&["app.note", "app.event"]).await;
    database
}

fn configured(database: &TestDatabase) -> Configured<'_> {
    Configured {
        database,
        policy: POLICY,
        agent: "bot",
        purpose: "",
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"app\"]",
    }
}

/// Restrictive policies of profiles.
async fn policies(database: &TestDatabase) -> String {
    database.cell("SELECT count(*) FROM pg_policy WHERE NOT polpermissive").await
}

/// A connection as the task's own role, and the schema of its views.
async fn inside(database: &TestDatabase) -> (Client, String) {
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    let schema = database.cell("SELECT schemas[2] FROM pgteller_private.profile").await;
    database.owner.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{}'", scram_verifier("known", &[1; 16]))).await.unwrap();
    (connect(&format!("postgres://{role}:known@127.0.0.1:{}/{}", cluster().port(), database.name)).await, schema)
}

async fn count(client: &Client, schema: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {schema}.note"), &[]).await.unwrap().get(0)
}

/// The gateway's login, as a thief of its password.
async fn login(database: &TestDatabase) -> Client {
    let url = database.url().replacen('@', &format!(":{}@", database.password), 1);
    connect(&url).await
}

async fn served_with_a_task(database: &TestDatabase) -> Served {
    let served = configured(database).serve().await;
    assert_eq!(rows(&served.query(COUNT).await), &vec![json!([20, 20, 1])]);
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn named_tables_are_limited_by_policies_and_nothing_of_them_stays() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    assert_eq!(policies(&database).await, "2");
    let first = served.query("select * from note order by id limit 1").await;
    assert_eq!(rows(&first), &vec![json!([3, "us", "[redacted]"])]);
    // One role of the profile's own owns these two views; it may not log in, and row security binds it.
    let owner = "SELECT concat(count(DISTINCT r.oid), bool_or(r.rolcanlogin OR r.rolsuper OR r.rolbypassrls OR r.rolcreaterole), count(*)) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
         JOIN pgteller_api.made m ON m.role_oid = r.oid AND m.kind = 'o'";
    assert_eq!(database.cell(owner).await, "1f2");
    let bypass = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgteller\\_{}%' AND (rolbypassrls OR rolsuper)",
        database.installation
    );
    assert_eq!(database.cell(&bypass).await, "0");
    // The order of the key comes from its index: nothing is sorted.
    let (inside, schema) = inside(&database).await;
    inside.batch_execute("SET enable_seqscan = off").await.unwrap();
    let plan = format!("EXPLAIN (COSTS OFF) SELECT * FROM {schema}.note ORDER BY id LIMIT 5");
    let plan = inside.query(&plan, &[]).await.unwrap();
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
    assert!(plan.contains("Index Scan using note_pkey") && !plan.contains("Sort"), "{plan}");
    served.stop().await;
    assert_eq!((database.task_roles().await, database.profile_objects().await), (0, 0));
    assert_eq!(policies(&database).await, "0");
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_api.made").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_row_security_or_without_the_policy_rows_vanish() {
    for (under_us, back) in [
        ("ALTER TABLE app.note DISABLE ROW LEVEL SECURITY", "ALTER TABLE app.note ENABLE ROW LEVEL SECURITY"),
        // The view does not show the column that the filter reads, so only the policy goes with it.
        ("ALTER TABLE app.note DROP COLUMN tenant CASCADE", ""),
        (
            "DO $$ BEGIN EXECUTE (SELECT format('DROP POLICY %I ON app.note', polname) FROM pg_policy WHERE NOT polpermissive AND polrelid = 'app.note'::regclass); END $$",
            "",
        ),
        // The owner of a table is not bound by its policies.
        (
            "DO $$ BEGIN EXECUTE (SELECT format('GRANT postgres TO %I', m.role_name) FROM pgteller_api.made m WHERE kind = 'o'); END $$",
            "DO $$ BEGIN EXECUTE (SELECT format('REVOKE postgres FROM %I', m.role_name) FROM pgteller_api.made m WHERE kind = 'o'); END $$",
        ),
    ] {
        let database = database().await;
        let served = served_with_a_task(&database).await;
        let (client, schema) = inside(&database).await;
        let before = count(&client, &schema).await;
        assert_eq!(before, 20);
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
        database.owner.batch_execute(under_us).await.unwrap();
        // An old snapshot does not see the old policy.
        assert_eq!(count(&client, &schema).await, 0, "{under_us}");
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(count(&client, &schema).await, 0, "{under_us}");
        if !back.is_empty() {
            database.owner.batch_execute(back).await.unwrap();
            assert_eq!(count(&client, &schema).await, 20, "{back}");
        }
        drop(client);
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_security_switched_off_moves_the_task_to_two_layers() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    database.owner.batch_execute("ALTER TABLE app.note DISABLE ROW LEVEL SECURITY").await.unwrap();
    // An error that says that the schema may have moved makes the server look again.
    served.query("select nothing from note").await;
    assert_eq!(rows(&served.query(COUNT).await), &vec![json!([20, 20, 1])]);
    assert_eq!(database.cell("SELECT count(*) FROM pg_views WHERE schemaname LIKE 'pgteller%' AND viewname = 'r1'").await, "1");
    served.stop().await;
    assert_eq!((database.profile_objects().await, policies(&database).await.as_str()), (0, "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_policy_was_dropped_is_built_anew_for_the_next_task() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    let drop = "DO $$ BEGIN EXECUTE (SELECT format('DROP POLICY %I ON app.note', polname) FROM pg_policy WHERE NOT polpermissive AND polrelid = 'app.note'::regclass); END $$";
    database.owner.batch_execute(drop).await.unwrap();
    // Somebody is still on it: a second process is told, and gets no rows that are not there.
    let second = configured(&database).serve().await;
    assert_eq!(second.query(COUNT).await["error"]["code"], -32603);
    let role = database.cell("SELECT role_name FROM pgteller_private.task").await;
    database.owner.batch_execute(&format!("SELECT pgteller_api.revoke_task('{role}')")).await.unwrap();
    assert_eq!(rows(&second.query(COUNT).await), &vec![json!([20, 20, 1])]);
    served.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_the_application_do_not_widen_and_force_changes_nothing() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    let (client, schema) = inside(&database).await;
    database
        .owner
        .batch_execute(
            "CREATE POLICY a ON app.note FOR SELECT TO PUBLIC USING (true); CREATE POLICY zz ON app.note TO PUBLIC USING (true)",
        )
        .await
        .unwrap();
    assert_eq!(count(&client, &schema).await, 20);
    database.owner.batch_execute("ALTER TABLE app.note FORCE ROW LEVEL SECURITY").await.unwrap();
    assert_eq!(count(&client, &schema).await, 20);
    // A restrictive one of the application's narrows, as it does for everybody.
    database.owner.batch_execute("CREATE POLICY r ON app.note AS RESTRICTIVE TO PUBLIC USING (id <= 50)").await.unwrap();
    assert_eq!(count(&client, &schema).await, 10);
    // What the view owner may not read, this role may not.
    let grant = format!("SELECT ON app.note {{}} pgteller_{}_owner", database.installation);
    database.owner.batch_execute(&format!("REVOKE {}", grant.replace("{}", "FROM"))).await.unwrap();
    assert_eq!(state(&client, &format!("SELECT * FROM {schema}.note")).await, "42501");
    database.owner.batch_execute(&format!("GRANT {}", grant.replace("{}", "TO"))).await.unwrap();
    // Off: an error instead of rows. Deleted values: nothing.
    client.batch_execute("SET row_security = off").await.unwrap();
    let error = client.query(&format!("SELECT * FROM {schema}.note"), &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
    client.batch_execute("SET row_security = on").await.unwrap();
    database.owner.batch_execute("DELETE FROM pgteller_private.task").await.unwrap();
    assert_eq!(count(&client, &schema).await, 0);
    drop(client);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_roles_see_and_do_what_they_did() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let role = format!("app_{}", database.name);
    let grant = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA app TO {role}; GRANT ALL ON app.note, app.event TO {role}"
    );
    database.owner.batch_execute(&grant).await.unwrap();
    let app = connect(&format!("postgres://{role}:x@127.0.0.1:{}/{}", cluster().port(), database.name)).await;
    let work = "INSERT INTO app.note VALUES (101, 1, 'eu', 'x'); UPDATE app.note SET tenant = 2 WHERE id = 101; DELETE FROM app.note WHERE id = 101";
    let all = "SELECT (SELECT count(*) FROM app.note) + (SELECT count(*) FROM app.event)";
    app.batch_execute(work).await.unwrap();
    let before: i64 = app.query_one(all, &[]).await.unwrap().get(0);
    database.policies_on(&["app.note", "app.event"]).await;
    let served = served_with_a_task(&database).await;
    app.batch_execute(work).await.unwrap();
    assert_eq!(app.query_one(all, &[]).await.unwrap().get::<_, i64>(0), before);
    served.stop().await;
    drop(app);
    // Said in docs/performance.md: what such a role can no longer do.
    let app = connect(&format!("postgres://{role}:x@127.0.0.1:{}/{}", cluster().port(), database.name)).await;
    assert_eq!(state(&app, "COPY app.note FROM STDIN").await, "0A000");
    assert_eq!(state(&app, "SET row_security = off; SELECT * FROM app.note").await, "42501");
    drop(app);
    database.owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_no_policy_now_is_limited_by_two_layers() {
    let database = database().await;
    let reader = connect(&cluster().dsn(&database.name)).await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM app.event").await.unwrap();
    let served = served_with_a_task(&database).await;
    // Relations are taken in order of their names: `event` was busy, and then nothing else is waited for.
    assert_eq!(policies(&database).await, "0");
    reader.batch_execute("COMMIT").await.unwrap();
    served.stop().await;
    assert_eq!((database.profile_objects().await, database.task_roles().await), (0, 0));
    // The same if the DBA took the right away.
    database.owner.batch_execute(&format!("REVOKE postgres FROM pgteller_{}_policies", database.installation)).await.unwrap();
    let served = served_with_a_task(&database).await;
    assert_eq!(policies(&database).await, "0");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_rows_takes_named_tables_owners_of_profiles_and_shapes_and_nothing_else() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    let thief = login(&database).await;
    let oid = |name: &'static str| {
        let database = &database;
        async move { database.cell(&format!("SELECT '{name}'::regclass::oid")).await }
    };
    let (note, plain) = (oid("app.note").await, oid("app.plain").await);
    let owner = format!("pgteller_{}_o_{}", database.installation, "0".repeat(32));
    thief.batch_execute(&format!("SELECT pgteller_api.create_profile_owner('{owner}')")).await.unwrap();
    let good = r#"{"column":"tenant","op":"=","at":["p","tenant"]}"#;
    let limit = |owner: &str, relation: &str, filter: &str| {
        format!("SELECT pgteller_api.limit_rows('{owner}', {relation}, '{}')", filter.replace('\'', "''"))
    };
    let profile = database.cell("SELECT role_name FROM pgteller_api.made WHERE kind = 'p'").await;
    let task = database.cell("SELECT role_name FROM pgteller_api.made WHERE kind = 't'").await;
    let roles = ["owner", "login", "definer", "policies"].map(|role| format!("pgteller_{}_{role}", database.installation));
    for role in
        [profile.as_str(), task.as_str(), "postgres", "public", "nobody"].into_iter().chain(roles.iter().map(String::as_str))
    {
        assert_eq!(state(&thief, &limit(role, &note, good)).await, "22023", "{role}");
    }
    for relation in [plain.as_str(), "0", "NULL", "1259", &oid("pgteller_private.task").await, &oid("app.seen").await] {
        assert_eq!(state(&thief, &limit(&owner, relation, good)).await, "55000", "{relation}");
    }
    for filter in [
        "null",
        "1",
        "\"true\"",
        "[]",
        "{}",
        "true",
        r#"{"all":[]}"#,
        r#"{"any":[]}"#,
        r#"{"all":{}}"#,
        r#"{"not":[]}"#,
        r#"{"not":null}"#,
        r#"{"all":[{"all":[]}]}"#,
        r#"{"any":[true]}"#,
        r#"{"all":[{"column":"tenant","op":"is-null"}],"any":[]}"#,
        r#"{"column":"nothing","op":"is-null"}"#,
        r#"{"column":"ctid","op":"is-null"}"#,
        r#"{"column":"tenant\" IS NULL OR true --","op":"is-null"}"#,
        r#"{"column":"tenant","op":"is true"}"#,
        r#"{"column":"tenant","op":"=","at":["p"]}"#,
        r#"{"column":"tenant","op":"=","at":["x","tenant"]}"#,
        r#"{"column":"tenant","op":"=","at":"p"}"#,
        r#"{"column":"tenant","op":"=","at":["p",null]}"#,
        r#"{"column":"tenant","op":"=","at":["p","a","b"]}"#,
        r#"{"column":"tenant","op":"||","at":["p","tenant"]}"#,
        r#"{"column":"tenant","op":"= 1 OR 1 =","at":["p","tenant"]}"#,
        r#"{"column":"tenant","op":null,"at":["p","tenant"]}"#,
        r#"{"column":null,"op":"=","at":["p","tenant"]}"#,
        r#"{"column":"tenant","op":"=","at":["p","tenant"],"more":1}"#,
    ] {
        assert_eq!(state(&thief, &limit(&owner, &note, filter)).await, "22023", "{filter}");
    }
    // A name that is SQL stays a name, in every place where one may stand.
    let odd = json!({"column": "tenant", "op": "=", "at": ["p", "'); DROP TABLE app.note; --\"}"]}).to_string();
    assert_eq!(state(&thief, &limit(&owner, &note, &odd)).await, "ok");
    let text = database.cell(&format!("SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = '{owner}'")).await;
    assert!(text.contains(r#"'{p,"''); DROP TABLE app.note; --\"}"}'"#), "{text}");
    assert_eq!(state(&thief, &limit(&owner, &note, good)).await, "42710");
    // The login itself may do none of it, nor change what is registered, nor become who may; and a task may call nothing.
    for sql in [
        "CREATE POLICY p ON app.note USING (true)",
        "ALTER TABLE app.note DISABLE ROW LEVEL SECURITY",
        "INSERT INTO pgteller_api.rls_table VALUES (1, 1, false)",
        "INSERT INTO pgteller_api.made VALUES ('postgres', 10, 'o')",
        &format!("SET ROLE pgteller_{}_policies", database.installation),
        &format!("SELECT pgteller_api.create_profile_owner('pgteller_{}_p_{}')", database.installation, "0".repeat(32)),
        "SELECT pgteller_api.create_profile_owner(NULL)",
        &format!(
            "SELECT pgteller_api.create_task('pgteller_{0}_00000000_{1}', '{owner}', '{2}', now() + interval '1 hour')",
            database.installation,
            "0".repeat(32),
            scram_verifier("x", &[1; 16])
        ),
    ] {
        let state = state(&thief, sql).await;
        assert!(["42501", "22023"].contains(&state.as_str()), "{sql}: {state}");
    }
    let (task, _) = inside(&database).await;
    assert_eq!(state(&task, &limit(&owner, &note, good)).await, "42501");
    // Another owner of the table, or row security off: not the table that was named.
    thief.batch_execute(&format!("SELECT pgteller_api.drop_role('{owner}')")).await.unwrap();
    thief.batch_execute(&format!("SELECT pgteller_api.create_profile_owner('{owner}')")).await.unwrap();
    database.owner.batch_execute("ALTER TABLE app.note DISABLE ROW LEVEL SECURITY").await.unwrap();
    assert_eq!(state(&thief, &limit(&owner, &note, good)).await, "55000");
    database
        .owner
        .batch_execute("ALTER TABLE app.note ENABLE ROW LEVEL SECURITY; ALTER TABLE app.note OWNER TO pg_monitor")
        .await
        .unwrap();
    assert_eq!(state(&thief, &limit(&owner, &note, good)).await, "55000");
    thief.batch_execute(&format!("SELECT pgteller_api.drop_role('{owner}')")).await.unwrap();
    drop((thief, task));
    served.stop().await;
}

/// The SQLSTATE, or `ok`.
async fn state(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or_else(|| panic!("{sql}: {error:?}")).code().to_owned(),
    }
}

/// Columns of every kind, compared in every way: what stands in the view stands in the policy.
#[tokio::test(flavor = "multi_thread")]
async fn both_back_ends_hold_the_same_filter() {
    let sql = "CREATE SCHEMA \"App \"\"s\"; CREATE TYPE \"App \"\"s\".mood AS ENUM ('a', 'b'); CREATE DOMAIN \"App \"\"s\".\"Code \" AS varchar(4);
        CREATE DOMAIN \"App \"\"s\".code2 AS \"App \"\"s\".\"Code \";
        CREATE TABLE \"App \"\"s\".\"T'1\"(id int PRIMARY KEY, \"a \"\"b\" text, n numeric(5,2), v varchar(7), m \"App \"\"s\".mood, d \"App \"\"s\".code2, t timestamptz, \"select\" date, u uuid, x int[], b boolean, \"session_user\" bigint)";
    let database = TestDatabase::new(sql, &["App \"s"]).await;
    database.owner.batch_execute("SET search_path = pg_catalog, pg_temp").await.unwrap();
    let has_citext = database.owner.batch_execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; ALTER TABLE \"App \"\"s\".\"T'1\" ADD COLUMN ci ext.citext, ADD COLUMN cis ext.citext[]").await.is_ok();
    database.policies_on(&["App \"s.T'1"]).await;
    let view_owner = format!("pgteller_{}_owner", database.installation);
    let snapshot = snapshot::read(&database.owner, &view_owner, Some(&[])).await.unwrap();
    let name = "App \"s.T'1";
    let columns = &snapshot.relations[&RelationName::parse(name).unwrap()].columns;
    assert!(columns.len() >= 12 && (!has_citext || columns.len() == 14));
    let mut leaves: Vec<Value> = vec![json!({"column": "b", "op": "is-null"}), json!({"column": "a \"b", "op": "is-not-null"})];
    for (index, column) in columns.iter().enumerate() {
        let op = ["=", "<>", "<", "<=", ">", ">="][index % 6];
        leaves.push(json!({"column": column.name, "op": op, "param": "it's \"{,}\\ odd"}));
        leaves.push(json!({"column": column.name, "op": "in", "values": ["x", 1, true]}));
        leaves.push(json!({"column": column.name, "op": "=", "value": "y"}));
    }
    let filters = leaves
        .iter()
        .cloned()
        .chain([json!({"all": [leaves[0], {"any": [leaves[1], {"not": leaves[2]}]}, {"not": {"all": [leaves[3], leaves[4]]}}]})]);
    for (number, filter) in filters.enumerate() {
        let answer: AccessAnswer =
            serde_json::from_value(json!({"allow": true, "params": {"it's \"{,}\\ odd": 1}, "relations": {name: {"columns": {"id": "clear"}, "rows": filter}}})).unwrap();
        let compiled = compile(&GrantSet::validated(answer, &snapshot).unwrap(), &snapshot, &database.installation);
        let [limited] = compiled.limited.as_slice() else { panic!("{filter}") };
        let owner = format!("pgteller_{}_o_{number:032x}", database.installation);
        let role = &compiled.role;
        database
            .owner
            .batch_execute(&format!("BEGIN; CREATE ROLE {role}; {} {}", compiled.ddl, limited.layers))
            .await
            .unwrap_or_else(|error| panic!("{filter}: {error:?}"));
        database.owner.batch_execute(&format!("SELECT pgteller_api.create_profile_owner('{owner}')")).await.unwrap();
        let made = database
            .owner
            .query_one("SELECT pgteller_api.limit_rows($1::text::name, $2, $3)", &[&owner, &limited.relation, &limited.filter])
            .await;
        let policy: u32 = made.unwrap_or_else(|error| panic!("{filter}: {error:?}")).get(0);
        let policy: String = database
            .owner
            .query_one("SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE oid = $1", &[&policy])
            .await
            .unwrap()
            .get(0);
        let view =
            database.cell("SELECT definition FROM pg_views WHERE viewname = 'r0' AND schemaname LIKE 'pgteller\\_%\\_0'").await;
        let view = view.split_once("WHERE ").unwrap().1.trim_end_matches(';').replace("s.", "");
        let flat = |text: &str| {
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace("( ", "(")
                .trim_start_matches('(')
                .trim_end_matches(')')
                .to_owned()
        };
        assert_eq!(flat(&view), flat(&policy), "{filter}");
        database.owner.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tables_whose_policies_are_in_force_can_be_named_and_nothing_else_changes() {
    let database = TestDatabase::new(SQL, &["app"]).await;
    database
        .owner
        .batch_execute("CREATE TABLE app.dormant(id int); CREATE POLICY theirs ON app.dormant USING (false);
            CREATE TABLE app.guarded(id int); CREATE POLICY theirs ON app.guarded USING (true); ALTER TABLE app.guarded ENABLE ROW LEVEL SECURITY")
        .await
        .unwrap();
    let script = |name: &str| policies_on(&database.installation, &[RelationName::parse(name).unwrap()]);
    for (name, expected) in [("app.seen", "P0001"), ("app.dormant", "P0001"), ("app.nothing", "42P01")] {
        assert_eq!(state(&database.owner, &script(name)).await, expected, "{name}");
        database.owner.batch_execute("ROLLBACK").await.unwrap();
    }
    // A table of the view owner's own would not bind it.
    database
        .owner
        .batch_execute(&format!(
            "CREATE TABLE app.own(id int); ALTER TABLE app.own OWNER TO pgteller_{}_owner",
            database.installation
        ))
        .await
        .unwrap();
    assert_eq!(state(&database.owner, &script("app.own")).await, "P0001");
    database.owner.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(database.cell("SELECT count(*) FROM pgteller_api.rls_table").await, "0");
    database.policies_on(&["app.guarded", "app.event_1", "app.note"]).await;
    database.policies_on(&["app.note"]).await;
    let said = "SELECT string_agg(concat(relation::regclass, ' ', turned_on, ' ', (SELECT count(*) FROM pg_policy WHERE polrelid = relation)), ', ' ORDER BY relation::regclass::text) FROM pgteller_api.rls_table";
    database.owner.batch_execute("SET search_path = app").await.unwrap();
    assert_eq!(database.cell(&format!("SELECT s FROM ({said}) AS x(s)")).await, "event_1 t 1, guarded f 1, note t 1");
    // Removal puts row security back, unless somebody else relies on it by now.
    database.owner.batch_execute("CREATE POLICY theirs ON app.event_1 AS RESTRICTIVE USING (true)").await.unwrap();
    database.owner.batch_execute(&removal(&database.installation)).await.unwrap();
    let left = "SELECT string_agg(concat(c.relname, ' ', c.relrowsecurity, ' ', (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid)), ', ' ORDER BY c.relname) FROM pg_class c WHERE c.relname IN ('guarded', 'event_1', 'note', 'plain')";
    assert_eq!(database.cell(left).await, "event_1 t 2, guarded t 1, note f 0, plain f 0");
    let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgteller\\_{}%'", database.installation);
    assert_eq!(database.cell(&roles).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_takes_policies_of_a_profile_with_it() {
    let database = database().await;
    let served = served_with_a_task(&database).await;
    let name = database.cell("SELECT name FROM pgteller_private.profile").await;
    served.stop().await;
    // What a killed process leaves: a profile with its policies.
    let thief = login(&database).await;
    let owner = name.replace("_p_", "_o_");
    thief.batch_execute(&format!("SELECT pgteller_api.create_profile('{name}'); SELECT pgteller_api.create_profile_owner('{owner}'); SELECT pgteller_api.limit_rows('{owner}', (SELECT relation FROM pgteller_api.rls_table ORDER BY 1 LIMIT 1), '{{\"column\":\"tenant\",\"op\":\"is-null\"}}')")).await.unwrap();
    drop(thief);
    let open = format!("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'pgteller\\_{}%'", database.installation);
    while database.cell(&open).await != "0" {
        tokio::task::yield_now().await;
    }
    database.owner.batch_execute(&removal(&database.installation)).await.unwrap();
    assert_eq!(database.cell("SELECT count(*) FROM pg_policy").await, "0");
    assert_eq!(database.cell("SELECT count(*) FROM pg_class WHERE relrowsecurity").await, "0");
}

/// The DBA's commands, as typed.
#[tokio::test(flavor = "multi_thread")]
async fn setup_names_tables_at_once_or_later_or_prints_what_it_would_run() {
    let database = TestDatabase::bare(SQL).await;
    let directory = tempfile::tempdir().unwrap();
    let setup = |arguments: &[&str]| {
        let url = format!("postgres://postgres@127.0.0.1:{}/{}", cluster().port(), database.name);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .args(["setup", "--admin-url", &url, "--password-file"])
            .arg(directory.path().join("password"))
            .args(arguments)
            .env("PGPASSWORD", cluster().password())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    // A view among them: nothing of the installation stays.
    let (good, said) = setup(&["--select", "app", "--rls", "app.note,app.seen"]);
    assert!(!good && said.contains("app.seen is not a table") && said.contains("nothing was changed"), "{said}");
    assert_eq!(database.cell("SELECT to_regnamespace('pgteller_api') IS NULL").await, "t");
    assert!(setup(&["--select", "app", "--rls", "app.note"]).0);
    let named = "SELECT string_agg(relation::regclass::text, ' ' ORDER BY relation) FROM pgteller_api.rls_table";
    assert_eq!(database.cell(named).await, "app.note");
    let (good, said) = setup(&["--rls", "app.event", "--print"]);
    assert!(good && said.contains("\"event\"") && !said.contains("CREATE ROLE"), "{said}");
    assert_eq!(database.cell(named).await, "app.note");
    assert!(!setup(&["--rls", "event"]).0);
    assert!(!setup(&["--rls", "app.event", "--select", "app"]).0);
    assert!(setup(&["--rls", "app.event"]).0);
    assert_eq!(database.cell(named).await, "app.note app.event");
    assert!(setup(&["--remove"]).0);
    assert_eq!(database.cell("SELECT count(*) FROM pg_class WHERE relrowsecurity").await, "0");
}
