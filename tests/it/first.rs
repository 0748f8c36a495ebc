//! The main job on the shop: a question in SQL, masked rows, a role for the task, an entry behind the request id.

use serde_json::json;

use crate::support::client::{code, rows};
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase, read};

async fn shop() -> (TestDatabase, Served) {
    let database = TestDatabase::new(&read("examples/shop/shop.sql"), &["sales", "hr"]).await;
    let policy = read("examples/shop/policy.yaml");
    let served = Configured {
        database: &database,
        policy: &policy,
        agent: "support-bot",
        purpose: "ticket",
        policy_keys: "",
        more: "",
        database_keys: "environment = \"demo\"\nsearch_path = [\"sales\", \"hr\"]",
    }
    .serve()
    .await;
    (database, served)
}

/// What `make demo` runs, on the PostgreSQL of this run.
#[test]
fn the_demo_tells_its_story() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_pgteller")).arg("demo").env("PGTELLER_LOG", "error").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["***@brightwater.example", "relation-not-granted", "decision allow by bundle", "task roles in PostgreSQL now: 0"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_gets_masked_rows_and_leaves_an_entry() {
    let (database, served) = shop().await;
    assert_eq!(database.task_roles().await, 0);
    let answer = served.query("select id, email from sales.customers order by id limit 3").await;
    assert_eq!(rows(&answer).len(), 3);
    assert!(rows(&answer)[0][1].as_str().unwrap().starts_with("***@"));
    assert_eq!(answer["columns"][1]["masked"], "email");
    assert_eq!(database.task_roles().await, 1);
    let entry = served.last_entry();
    assert_eq!(json!(entry.request_id), answer["request_id"]);
    assert_eq!(entry.masked_columns, ["sales.customers.email"]);
    assert_eq!(code(&served.query("select * from sales.payouts").await), "relation-not-granted");
    let described = served.call("describe", json!({"relation": "customers"})).await;
    assert_eq!(described["rows_limited_to"], "region = \"eu\"");
    assert!(!described.to_string().contains("portal_token"), "{described}");
    let export = served.call("export", json!({"sql": "select * from customers", "format": "csv", "max_rows": 100})).await;
    assert_eq!((&export["rows"], &export["truncated"]), (&json!(100), &json!("max-rows")));
    let row = served.query("select row_to_json(c) from customers c order by id limit 1").await;
    assert_eq!(rows(&row)[0][0]["email"], "***@brightwater.example");
    served.stop().await;
    assert_eq!(database.task_roles().await, 0);
    assert_eq!(database.profile_objects().await, 0);
}
