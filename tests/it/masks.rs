//! Masks are total and keep the type, over the extremes of every type; and what they hide is not in what they show.

use std::fmt::Write;

use pgteller::clock::Clock;
use pgteller::database::snapshot;
use pgteller::model::grants::{AccessAnswer, GrantSet};
use pgteller::profile::compile;
use serde_json::json;

use crate::support::TestDatabase;

/// Types with their extremes and oddities, as text.
const TYPES: &[(&str, &[&str])] = &[
    (
        "text",
        &[
            "",
            "a",
            "ab@c.de",
            "a@b@c",
            "\"john@smith\"@ex.org",
            "@handle_is_secret",
            "alice@corp.com,bob@corp.com",
            "Alice <a@x.org> / secret note",
            "a@b.c\nsecret",
            "ünï©ødé 🙂 ünï©ødé",
            "****",
        ],
    ),
    ("varchar(3)", &["", "a", "abc", "é@b"]),
    ("varchar(40)", &["alice@corp.com", "x"]),
    ("char(2)", &["", "a", "ab"]),
    ("char(30)", &["alice@corp.com"]),
    ("name", &["", "somebody@corp.com"]),
    ("smallint", &["-32768", "32767", "0", "-1"]),
    ("integer", &["-2147483648", "2147483647", "0", "123456789"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807", "0"]),
    ("numeric", &["NaN", "Infinity", "-Infinity", "0", "-0.000000001", "1e100", "123456789012345678901234567890.5"]),
    ("numeric(5,2)", &["NaN", "999.99", "-999.99", "0"]),
    ("numeric(2,2)", &["0.99", "-0.99"]),
    ("real", &["NaN", "Infinity", "-Infinity", "3.4e38", "-1e-37", "1234567"]),
    ("double precision", &["NaN", "Infinity", "-Infinity", "1.7e308", "-1e-307", "123456789012"]),
    ("boolean", &["true", "false"]),
    ("date", &["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "1970-01-01"]),
    ("time", &["00:00", "24:00:00", "23:59:59.999999"]),
    ("timetz", &["00:00+15:59", "24:00:00-15:59"]),
    ("timestamp", &["infinity", "-infinity", "4713-01-01 00:00 BC", "294276-12-31 23:59:59.999999"]),
    ("timestamptz", &["infinity", "-infinity", "4713-01-02 00:00+00 BC", "294276-12-30 23:59:59+00"]),
    ("interval", &["-178000000 years", "178000000 years", "0", "1 mon -1 day"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("app.mood", &["happy", "odd ' label", "sad"]),
    ("app.email", &["a@b.cd"]),
    ("json", &["null", "{\"a\":1}"]),
    ("jsonb", &["[]", "\"x\""]),
    ("bytea", &["\\x", "\\xdeadbeef"]),
    ("int[]", &["{}", "{1,NULL}", "{{1},{2}}"]),
    ("inet", &["::1", "10.0.0.0/8"]),
    ("int4range", &["empty", "[1,)"]),
    ("tsvector", &["", "'a':1"]),
];

const MASKS: &[(&str, &str)] = &[
    ("null", r#"{"mask":"null"}"#),
    ("redact", r#"{"mask":"redact"}"#),
    ("partial 1", r#"{"mask":"partial","keep_last":1}"#),
    ("partial 4", r#"{"mask":"partial","keep_last":4}"#),
    ("partial 9", r#"{"mask":"partial","keep_last":9}"#),
    ("email", r#"{"mask":"email"}"#),
    ("hash", r#"{"mask":"hash"}"#),
];

/// One table with a column for each type, a row for each value of the longest list.
fn tables() -> String {
    let mut sql = "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('happy', 'odd '' label', 'sad'); CREATE DOMAIN app.email AS text NOT NULL CHECK (value ~ '@');".to_owned();
    for (index, (kind, values)) in TYPES.iter().enumerate() {
        let null = if *kind == "app.email" { "" } else { ", (NULL)" };
        let values: Vec<String> = values.iter().map(|value| format!("('{}'::{kind})", value.replace('\'', "''"))).collect();
        let _ = write!(sql, "CREATE TABLE app.t{index}(v {kind}); INSERT INTO app.t{index} VALUES {}{null};", values.join(", "));
    }
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mask_over_every_type_never_raises_and_keeps_the_type() {
    let database = TestDatabase::new(&tables(), &["app"]).await;
    database.owner.batch_execute("SET search_path = pg_catalog, pg_temp").await.unwrap();
    let owner = format!("pgteller_{}_owner", database.installation);
    let snapshot = snapshot::read(&database.owner, &owner, Some(&["app".to_owned()])).await.unwrap();
    let mut wrong = Vec::new();
    for (name, mask) in MASKS {
        let relations: serde_json::Map<String, serde_json::Value> = (0..TYPES.len())
            .map(|index| {
                (format!("app.t{index}"), json!({"columns": {"v": serde_json::from_str::<serde_json::Value>(mask).unwrap()}}))
            })
            .collect();
        let answer: AccessAnswer = serde_json::from_value(json!({"allow": true, "relations": relations})).unwrap();
        let grants = GrantSet::validated(answer, &snapshot).unwrap();
        let compiled = compile(&grants, &snapshot, &database.installation);
        let role = &compiled.role;
        let test = format!("BEGIN; CREATE ROLE {role}; {}", compiled.ddl);
        database.owner.batch_execute(&test).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let key = format!(
            "INSERT INTO pgteller_private.task VALUES (session_user, '{role}', '\\x{}', '{{}}')",
            Clock::system().random_hex::<32>()
        );
        database.owner.batch_execute(&key).await.unwrap();
        let schema = &compiled.schemas["app"];
        for (index, (kind, _)) in TYPES.iter().enumerate() {
            database.owner.batch_execute("SAVEPOINT s").await.unwrap();
            let shown = format!(
                "SELECT string_agg(coalesce(v::text, 'NULL'), '|') || pg_typeof(max(v::text))::text FROM {schema}.t{index}"
            );
            if let Err(error) = database.owner.query_one(&shown, &[]).await {
                wrong.push(format!("{name} over {kind} raises: {}", error.as_db_error().unwrap().message()));
            }
            database.owner.batch_execute("ROLLBACK TO s").await.unwrap();
            // A domain is shown as the type under it.
            let declared = if *kind == "app.email" { "text" } else { kind };
            let same = format!(
                "SELECT (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{schema}.t{index}'::regclass AND attnum = 1) = format_type('{}'::regtype, NULL) OR position('(' in '{declared}') > 0",
                declared.split('(').next().unwrap()
            );
            let same: bool = database.owner.query_one(&same, &[]).await.unwrap().get(0);
            if !same {
                wrong.push(format!("{name} over {kind} changes the type"));
            }
        }
        database.owner.batch_execute("ROLLBACK").await.unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_mask_shows_nothing_but_the_domain_of_one_plain_address() {
    let database = TestDatabase::new(&tables(), &["app"]).await;
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
    let configured = crate::support::server::Configured {
        database: &database,
        policy,
        agent: "bot",
        purpose: "work",
        policy_keys: "",
        more: "",
        database_keys: "",
    };
    let served = configured.serve().await;
    for (value, masked) in cases {
        database.owner.execute("TRUNCATE app.t0", &[]).await.unwrap();
        database.owner.execute("INSERT INTO app.t0 VALUES ($1)", &[&value]).await.unwrap();
        let answer = served.query("select v from app.t0").await;
        assert_eq!(answer["rows"], json!([[masked]]), "{value}");
    }
    served.stop().await;
}
