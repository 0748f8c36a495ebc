//! Masks are total and keep the type, over the extremes of every type; and what they hide is not in what they show.

mod random;
mod types;

use std::fmt::Write;

use pgteller::database::snapshot;
use pgteller::model::grants::{AccessAnswer, GrantSet};
use pgteller::model::snapshot::Snapshot;
use pgteller::profile::compile;
use serde_json::{Value, json};

use crate::support::TestDatabase;
use crate::support::server::Configured;
use types::{Kind, kinds};

/// Every mask, with its parameters at their ends.
const MASKS: &[(&str, &str)] = &[
    ("null", r#"{"mask":"null"}"#),
    ("redact", r#"{"mask":"redact"}"#),
    ("partial 1", r#"{"mask":"partial","keep_last":1}"#),
    ("partial 4", r#"{"mask":"partial","keep_last":4}"#),
    ("partial 9", r#"{"mask":"partial","keep_last":9}"#),
    ("email", r#"{"mask":"email"}"#),
    ("hash", r#"{"mask":"hash"}"#),
    ("pseudonym", r#"{"mask":"pseudonym","domain":"a.b_c-9"}"#),
    ("year", r#"{"mask":"truncate","to":"year"}"#),
    ("quarter", r#"{"mask":"truncate","to":"quarter"}"#),
    ("month", r#"{"mask":"truncate","to":"month"}"#),
    ("week", r#"{"mask":"truncate","to":"week"}"#),
    ("day", r#"{"mask":"truncate","to":"day"}"#),
    ("hour", r#"{"mask":"truncate","to":"hour"}"#),
    ("bucket 2", r#"{"mask":"bucket","width":2}"#),
    ("bucket 1000", r#"{"mask":"bucket","width":1000}"#),
    ("bucket 1e15", r#"{"mask":"bucket","width":1000000000000000}"#),
];

/// A database whose schema `app` is masked as a whole, one mask at a time.
struct Masked {
    database: TestDatabase,
    snapshot: Snapshot,
}

impl Masked {
    async fn new(sql: &str) -> Self {
        let database = TestDatabase::new(sql, &["app"]).await;
        database.owner.batch_execute("SET search_path = pg_catalog, pg_temp").await.unwrap();
        let owner = format!("pgteller_{}_owner", database.installation);
        let snapshot = snapshot::read(&database.owner, &owner, Some(&["app".to_owned()])).await.unwrap();
        Self { database, snapshot }
    }

    /// Opens a transaction with views of these columns under this mask and of `id` as it is; gives their schema.
    async fn begin(&self, mask: &str, tables: &[String], columns: &[&str]) -> String {
        let mask: Value = serde_json::from_str(mask).unwrap();
        let relations: serde_json::Map<String, Value> = tables
            .iter()
            .map(|table| {
                let mut shown = json!({"id": "clear"});
                columns.iter().for_each(|column| shown[*column] = mask.clone());
                (format!("app.{table}"), json!({"columns": shown}))
            })
            .collect();
        let answer: AccessAnswer = serde_json::from_value(json!({"allow": true, "relations": relations})).unwrap();
        let grants = GrantSet::validated(answer, &self.snapshot).unwrap();
        let compiled = compile(&grants, &self.snapshot, &self.database.installation);
        let role = &compiled.role;
        let owner = &self.database.owner;
        let begin = format!("BEGIN; CREATE ROLE {role}; {}", compiled.ddl);
        owner.batch_execute(&begin).await.unwrap_or_else(|error| panic!("{mask}: {error:?}"));
        let key = hex(random::KEYS.task);
        let domain = hex(random::KEYS.domain);
        let keys = format!(
            "INSERT INTO pgteller_private.task VALUES (session_user, '{role}', '\\x{key}', '{{}}');
             INSERT INTO pgteller_private.keys VALUES ('a.b_c-9', '\\x{domain}')"
        );
        owner.batch_execute(&keys).await.unwrap();
        compiled.schemas["app"].clone()
    }

    async fn end(&self) {
        self.database.owner.batch_execute("ROLLBACK").await.unwrap();
    }

    /// A column's texts, or how it raises.
    async fn texts(&self, sql: &str) -> Result<Vec<Option<String>>, String> {
        self.database.owner.batch_execute("SAVEPOINT s").await.unwrap();
        let rows = self.database.owner.query(sql, &[]).await;
        self.database.owner.batch_execute("ROLLBACK TO s").await.unwrap();
        let rows = rows.map_err(|error| error.as_db_error().map_or(error.to_string(), |error| error.message().to_owned()))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One table for each type: `v` holds its values and NULL, `a` arrays of them.
fn tables(kinds: &[Kind]) -> String {
    let mut sql = types::SETUP.to_owned();
    for (index, kind) in kinds.iter().enumerate() {
        let (declared, shown, array) = (kind.declared, kind.shown, kind.shown_array());
        let _ = write!(
            sql,
            "CREATE TABLE app.t{index}(id integer, v {declared}, a {declared}[]); CREATE TABLE app.shown{index}(v {shown}, a {array});"
        );
        let values: Vec<String> = kind.values.iter().map(|value| format!("'{}'::{declared}", value.replace('\'', "''"))).collect();
        let all = values.join(", ");
        let first = &values[0];
        let arrays = [
            format!("ARRAY[{all}]::{declared}[]"),
            format!("'{{}}'::{declared}[]"),
            format!("ARRAY[{first}, {first}]::{declared}[]"),
            // Of an array type this has a dimension more.
            format!("ARRAY[ARRAY[{first}, {first}], ARRAY[{first}, {first}]]::{declared}[]"),
            format!("array_fill({first}, ARRAY[3], ARRAY[-5])::{declared}[]"),
        ];
        for (id, value) in values.iter().enumerate() {
            let array = arrays.get(id).cloned().unwrap_or_else(|| format!("ARRAY[{value}]::{declared}[]"));
            let array = if kind.holds_arrays() { format!("'{{}}'::{declared}[]") } else { array };
            let _ = write!(sql, "INSERT INTO app.t{index} VALUES ({id}, {value}, {array});");
        }
        if kind.takes_null {
            let array = if kind.holds_arrays() { "NULL".to_owned() } else { format!("ARRAY[NULL, {first}, NULL]::{declared}[]") };
            let id = values.len();
            let _ = write!(sql, "INSERT INTO app.t{index} VALUES ({id}, NULL, {array}), ({id} + 1, NULL, NULL);");
        }
    }
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mask_over_every_type_never_raises_and_keeps_the_type_and_null() {
    let kinds = kinds().await;
    let masked = Masked::new(&tables(&kinds)).await;
    let names: Vec<String> = (0..kinds.len()).map(|index| format!("t{index}")).collect();
    let mut wrong = Vec::new();
    for (name, mask) in MASKS {
        let schema = masked.begin(mask, &names, &["v", "a"]).await;
        for (index, kind) in kinds.iter().enumerate() {
            for column in ["v", "a"] {
                let about = format!("{name} over {} {column}", kind.declared);
                match masked.texts(&format!("SELECT {column}::text FROM {schema}.t{index} ORDER BY id")).await {
                    Err(error) => wrong.push(format!("{about} raises: {error}")),
                    Ok(shown) => {
                        let stored = format!("SELECT {column}::text FROM app.t{index} ORDER BY id");
                        wrong.extend(
                            null_is_kept(&shown, &masked.texts(&stored).await.unwrap()).map(|why| format!("{about} {why}")),
                        );
                    }
                }
                let types = format!(
                    "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attname = '{column}' AND a.attrelid IN ('{schema}.t{index}'::regclass, 'app.shown{index}'::regclass)"
                );
                let types = masked.texts(&types).await.unwrap();
                if types[0] != types[1] {
                    wrong.push(format!("{about} changes the type: {types:?}"));
                }
            }
        }
        masked.end().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// NULL stays NULL, and nothing else becomes it; or the column is a constant.
fn null_is_kept(shown: &[Option<String>], stored: &[Option<String>]) -> Option<String> {
    let constant = shown.iter().all(|text| *text == shown[0]);
    let kept = shown.iter().zip(stored).all(|(shown, stored)| shown.is_none() == stored.is_none());
    (!constant && !kept).then(|| format!("makes or loses NULL: {stored:?} {shown:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn redact_and_null_show_a_constant_whatever_the_value_and_its_length() {
    let kinds = kinds().await;
    let masked = Masked::new(&tables(&kinds)).await;
    let names: Vec<String> = (0..kinds.len()).map(|index| format!("t{index}")).collect();
    for (name, mask) in MASKS.iter().take(2) {
        let schema = masked.begin(mask, &names, &["v", "a"]).await;
        for (index, kind) in kinds.iter().enumerate() {
            for column in ["v", "a"] {
                let shown = masked.texts(&format!("SELECT DISTINCT {column}::text FROM {schema}.t{index}")).await.unwrap();
                assert_eq!(shown.len(), 1, "{name} over {} {column}: {shown:?}", kind.declared);
            }
        }
        masked.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_shows_the_same_under_every_setting_of_the_session() {
    let settings = "SET LOCAL TimeZone = 'UTC5'; SET LOCAL DateStyle = 'SQL, DMY'; SET LOCAL IntervalStyle = 'sql_standard'; \
         SET LOCAL extra_float_digits = -15; SET LOCAL bytea_output = 'escape'; SET LOCAL lc_numeric = 'C'; SET LOCAL lc_monetary = 'C'; \
         SET LOCAL xmlbinary = 'hex'; SET LOCAL timezone_abbreviations = 'India'; SET LOCAL standard_conforming_strings = off; \
         SET LOCAL search_path = app";
    let pinned = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'; \
         SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'";
    let kinds = kinds().await;
    let masked = Masked::new(&tables(&kinds)).await;
    let names: Vec<String> = (0..kinds.len()).map(|index| format!("t{index}")).collect();
    let owner = &masked.database.owner;
    for (name, mask) in MASKS {
        let schema = masked.begin(mask, &names, &["v", "a"]).await;
        owner.batch_execute("SAVEPOINT settings").await.unwrap();
        owner.batch_execute(settings).await.unwrap();
        for table in &names {
            let keep = format!("CREATE TEMP TABLE kept_{table} ON COMMIT DROP AS SELECT * FROM {schema}.{table}");
            owner.batch_execute(&keep).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        owner.batch_execute(pinned).await.unwrap();
        for (table, kind) in names.iter().zip(&kinds) {
            let sql = |from: &str| format!("SELECT concat(v::text, '|', a::text) FROM {from} ORDER BY id");
            let kept = masked.texts(&sql(&format!("pg_temp.kept_{table}"))).await.unwrap();
            assert_eq!(kept, masked.texts(&sql(&format!("{schema}.{table}"))).await.unwrap(), "{name} over {}", kind.declared);
        }
        masked.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_values_are_masked_like_any_other() {
    // 300 MB of text are too much for a regular expression; a million elements and one are too many to mask.
    let sql = "CREATE SCHEMA app; CREATE TABLE app.huge(id integer, v text, a boolean[], b text[]);
         INSERT INTO app.huge VALUES (1, repeat('x', 300000000) || '@corp.example', array_fill(true, ARRAY[1000001]), array_fill(''::text, ARRAY[1000001])),
                                     (2, 'ab@corp.example', '{}', '{x@corp.example}')";
    let masked = Masked::new(sql).await;
    let expected = [
        ("email", "***,***@corp.example", "{},{***@corp.example}"),
        ("partial 4", "****mple,****mple", "{},{****mple}"),
        ("hash", "24,24", "{},24"),
    ];
    for (name, scalar, array) in expected {
        let mask = MASKS.iter().find(|(known, _)| *known == name).unwrap().1;
        let schema = masked.begin(mask, &["huge".to_owned()], &["v", "a", "b"]).await;
        let show = |column: &str| match name {
            "hash" => format!(
                "SELECT string_agg(CASE WHEN {column}::text ~ '[0-9a-f]{{24}}' THEN '24' ELSE {column}::text END, ',' ORDER BY id) FROM {schema}.huge"
            ),
            _ => format!("SELECT string_agg({column}::text, ',' ORDER BY id) FROM {schema}.huge"),
        };
        assert_eq!(masked.texts(&show("v")).await.unwrap(), [Some(scalar.to_owned())], "{name}");
        assert_eq!(masked.texts(&show("b")).await.unwrap(), [Some(array.to_owned())], "{name}");
        assert_eq!(masked.texts(&show("a")).await.unwrap(), [Some("{},{}".to_owned())], "{name}");
        masked.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_values_have_equal_codes_and_different_integers_different_ones() {
    let sql = "CREATE SCHEMA app;
         CREATE TABLE app.n(id integer, v numeric, i integer, s smallint, f double precision);
         INSERT INTO app.n VALUES (1, 1, 1, 1, 0), (2, 1.0, 1, 1, '-0'), (3, 1.00, 1, 1, 0);
         CREATE TABLE app.all_small(id integer, v smallint); INSERT INTO app.all_small SELECT i, i - 32768 FROM generate_series(0, 65535) i;
         CREATE TABLE app.many(id integer, v integer); INSERT INTO app.many SELECT i, i * 3 - 2147483648 FROM generate_series(0, 99999) i";
    let masked = Masked::new(sql).await;
    let names = ["n".to_owned()];
    for mask in [r#"{"mask":"hash"}"#, r#"{"mask":"pseudonym","domain":"a.b_c-9"}"#] {
        let schema = masked.begin(mask, &names, &["v", "i", "s", "f"]).await;
        let codes = masked.texts(&format!("SELECT DISTINCT (v, i, s, f)::text FROM {schema}.n")).await.unwrap();
        assert_eq!(codes.len(), 1, "{codes:?}");
        masked.end().await;
        let schema = masked.begin(mask, &["all_small".to_owned(), "many".to_owned()], &["v"]).await;
        for (table, rows) in [("all_small", "65536"), ("many", "100000")] {
            let different = masked.texts(&format!("SELECT count(DISTINCT v)::text FROM {schema}.{table}")).await.unwrap();
            assert_eq!(different, [Some(rows.to_owned())]);
        }
        masked.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pseudonym_is_the_same_in_every_task_and_a_hash_is_not() {
    let sql = "CREATE SCHEMA app; CREATE TABLE app.people(id integer, email text); CREATE TABLE app.calls(person integer, mail text[]);
         INSERT INTO app.people VALUES (1, 'a@x.example'), (2, 'b@x.example'); INSERT INTO app.calls VALUES (1, '{a@x.example}'), (1, '{b@x.example}')";
    let database = TestDatabase::new(sql, &["app"]).await;
    let policy = |purposes: &str| {
        format!(
            "version: 1\nlabels: {{app.people.id: [person], app.calls.person: [person], app.people.email: [mail], app.calls.mail: [mail]}}\n\
             masks: {{person: {{mask: pseudonym, domain: person}}, mail: {{mask: hash}}}}\n\
             grants: {{g: {{agents: [bot], purposes: [{purposes}], read: {{allow: [app.people, app.calls]}}}}}}\n"
        )
    };
    let mut seen = Vec::new();
    for purpose in ["first", "second"] {
        let policy = policy(purpose);
        let configured = Configured {
            database: &database,
            policy: &policy,
            agent: "bot",
            purpose,
            policy_keys: "",
            more: "",
            database_keys: "",
        };
        let served = configured.serve().await;
        let answer = served
            .query("select p.id, c.mail[1] from app.people p join app.calls c on c.person = p.id where p.email = c.mail[1]")
            .await;
        assert_eq!(answer["rows"].as_array().map(Vec::len), Some(1), "joins agree within a task: {answer}");
        seen.push(answer["rows"][0].clone());
        let described = served.call("describe", json!({"relation": "app.calls"})).await;
        assert_eq!(
            described["columns"].as_array().unwrap().iter().map(|column| column["masked"].as_str().unwrap()).collect::<Vec<_>>(),
            [
                "a keyed code: equal values of the domain `person` have equal codes, in every task",
                "each element: a keyed hash: equal values stay equal within this task"
            ]
        );
        let refused = served.query("select key from pgteller_private.keys").await;
        assert_eq!(refused["error"]["code"], "relation-not-granted", "{refused}");
        served.stop().await;
    }
    assert_eq!(seen[0][0], seen[1][0], "one key for the domain");
    assert_ne!(seen[0][0], json!(1));
    assert_ne!(seen[0][1], seen[1][1], "a key for each task");
    let keys = database.cell("SELECT string_agg(id || octet_length(key), ',') FROM pgteller_private.keys").await;
    assert_eq!(keys, "person32");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_makes_keys_and_can_neither_read_nor_change_them() {
    let database = TestDatabase::new("CREATE SCHEMA app; CREATE TABLE app.t(id integer)", &["app"]).await;
    let login = format!("pgteller_{}_login", database.installation);
    let made = "INSERT INTO pgteller_private.keys VALUES ('d', 'one') ON CONFLICT DO NOTHING";
    database.owner.batch_execute(&format!("SET ROLE {login}; {made}; {made}; SELECT id FROM pgteller_private.keys")).await.unwrap();
    for refused in [
        "SELECT key FROM pgteller_private.keys",
        "UPDATE pgteller_private.keys SET key = 'two'",
        "DELETE FROM pgteller_private.keys",
        "TRUNCATE pgteller_private.keys",
        "INSERT INTO pgteller_private.keys VALUES ('d', 'two') ON CONFLICT (id) DO UPDATE SET key = 'two'",
    ] {
        let error = database.owner.batch_execute(refused).await.expect_err(refused);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_mask_shows_nothing_but_the_domain_of_one_plain_address() {
    let database = TestDatabase::new("CREATE SCHEMA app; CREATE TABLE app.t0(id integer, v text)", &["app"]).await;
    let cases = [
        ("ab@c.de", "***@c.de"),
        ("a@b@c", "***"),
        ("\"john@smith\"@ex.org", "***"),
        ("@handle_is_secret", "***"),
        ("alice@corp.com,bob@corp.com", "***"),
        ("Alice <a@x.org> / secret note", "***"),
        ("a@b.c\nsecret", "***"),
        ("nothing", "***"),
        ("", "***"),
    ];
    let policy = "version: 1\nlabels: {app.t0.v: [mail]}\nmasks: {mail: {mask: email}}\ngrants: {g: {agents: [bot], purposes: [work], read: {allow: [app.t0]}}}\n";
    let configured =
        Configured { database: &database, policy, agent: "bot", purpose: "work", policy_keys: "", more: "", database_keys: "" };
    let served = configured.serve().await;
    for (value, masked) in cases {
        database.owner.execute("TRUNCATE app.t0", &[]).await.unwrap();
        database.owner.execute("INSERT INTO app.t0 VALUES (1, $1)", &[&value]).await.unwrap();
        let answer = served.query("select v from app.t0").await;
        assert_eq!(answer["rows"], json!([[masked]]), "{value}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_that_would_show_everything_or_cannot_be_built_denies() {
    let masked = Masked::new("CREATE SCHEMA app; CREATE TABLE app.t(v integer)").await;
    let usable = |mask: &Value| {
        let answer = json!({"allow": true, "relations": {"app.t": {"columns": {"v": mask}}}});
        serde_json::from_value::<AccessAnswer>(answer).is_ok_and(|answer| GrantSet::validated(answer, &masked.snapshot).is_ok())
    };
    for (name, mask) in MASKS {
        assert!(usable(&serde_json::from_str(mask).unwrap()), "{name}");
    }
    for mask in [
        json!({"mask": "partial", "keep_last": 0}),
        json!({"mask": "partial", "keep_last": 10}),
        json!({"mask": "bucket", "width": 0}),
        json!({"mask": "bucket", "width": 1}),
        json!({"mask": "bucket", "width": 1_000_000_000_000_001_u64}),
        json!({"mask": "bucket", "width": -5}),
        json!({"mask": "bucket", "width": 2.5}),
        json!({"mask": "bucket"}),
        json!({"mask": "truncate", "to": "decade"}),
        json!({"mask": "pseudonym", "domain": ""}),
        json!({"mask": "pseudonym", "domain": "User"}),
        json!({"mask": "pseudonym", "domain": "a'b"}),
        json!({"mask": "pseudonym", "domain": "d".repeat(64)}),
        json!({"mask": "hide"}),
    ] {
        assert!(!usable(&mask), "{mask}");
    }
}
