//! The governed catalog through the server: what agents and `psql` ask of information_schema and pg_catalog, over several schemas, masks and
//! profiles at once. No answer names anything hidden: everything hidden in `fixture.sql` has `zz_` in its name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::client::rows;
use crate::support::server::Configured;
use crate::support::{Served, TestDatabase, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    sql: String,
    expect: Expected,
    #[serde(default)]
    majors: Vec<i32>,
    #[serde(default, rename = "about")]
    _about: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Rows,
    Empty,
    Hint,
}

const POLICY: &str = "version: 1
unlabelled: clear
labels:
  sales.customers.email: [mail]
  sales.customers.zz_salary: [hidden]
  sales.customers.zz_secret_token: [hidden]
  sales.products.sku: [code]
  sales.products.owner_row: [hidden]
  sales.orders.vault_id: [hidden]
  sales.orders_2024.hidden_id: [hidden]
  sales.orders_2024.vault_id: [hidden]
  sales.orders_2024.total: [hidden]
  sales.orders_2024.id: [public]
  sales.orders_2024.placed: [public]
  sales.orders_2024.customer_id: [public]
  sales.orders_2024.status: [public]
  sales.big_orders.id: [public]
  sales.big_orders.total: [public]
  sales.order_totals.customer_id: [public]
  sales.order_totals.total: [public]
  hr.employees.zz_pay: [hidden]
masks: {mail: {mask: redact}, code: {mask: partial, keep_last: 3}, hidden: {mask: hide}, public: {mask: clear}, internal: {mask: clear}, pii.email: {mask: redact}, pii.mood: {mask: clear}}
grants:
  a:
    agents: [bot]
    purposes: [a]
    read: {allow: [sales.customers, sales.products, sales.orders, sales.orders_2024, sales.items, sales.big_orders, sales.order_totals, hr.employees]}
    rows: {hr.employees: {dept: {equals: a}}}
    limits: {rows: 5000, bytes: 4000000, seconds: 30}
  b:
    agents: [bot]
    purposes: [b]
    read: {allow: [sales.secret_only]}
";

async fn serve(database: &TestDatabase, purpose: &str) -> Served {
    let configured = Configured {
        database,
        policy: POLICY,
        agent: "bot",
        purpose,
        policy_keys: "",
        more: "",
        database_keys: "search_path = [\"sales\", \"hr\"]\nacknowledge = [\"mixed-index:sales.customers_name_zz_salary_key\", \"mixed-index:sales.customers_id_zz_salary_key\"]",
    };
    configured.serve().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_agents_and_psql_ask_of_the_catalogs_is_answered_with_what_is_granted() {
    let database = TestDatabase::new(&read("tests/corpus/catalog/fixture.sql"), &["sales", "hr", "types"]).await;
    let major: i32 = database.cell("SELECT current_setting('server_version_num')::int / 10000").await.parse().unwrap();
    // Another profile at the same time, which sees what is hidden from this one.
    let other = serve(&database, "b").await;
    assert!(other.query("select * from information_schema.columns").await.get("rows").is_some());
    let served = serve(&database, "a").await;
    let asked: Vec<Asked> = serde_yaml_ng::from_str(&read("tests/corpus/catalog/introspection.yaml")).unwrap();
    let mut wrong = Vec::new();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.majors.is_empty() || asked.majors.contains(&major)) {
        let answer = served.call("query", json!({"sql": asked.sql, "max_rows": 5000})).await;
        let rows = answer.get("rows").and_then(Value::as_array).map(Vec::len);
        let hint = answer.pointer("/error/hint").is_some();
        let refused = asked.expect == Expected::Hint;
        let right = match (refused, rows) {
            (true, None) => hint,
            (false, Some(0)) => asked.expect == Expected::Empty,
            (false, Some(_)) => asked.expect == Expected::Rows,
            (true, Some(_)) | (false, None) => false,
        };
        *tally.entry(if rows.is_some() { "answered" } else { "refused with a hint" }).or_default() += 1;
        if !right {
            wrong.push(format!("{}: {}\n    {answer:.300}", asked.name, asked.sql.chars().take(300).collect::<String>()));
        }
        // The agent's own text may name what it likes.
        if answer["rows"].to_string().contains("zz_") && !asked.sql.contains("zz_") {
            wrong.push(format!("{} names what is hidden: {:.600}", asked.name, answer["rows"]));
        }
        if answer["rows"].to_string().contains("pgteller_private") {
            wrong.push(format!("{} names our own tables: {:.600}", asked.name, answer["rows"]));
        }
    }
    println!("{tally:?}");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    served.stop().await;
    other.stop().await;
}

/// A hundred object ids up and down from what a task sees, through every function that takes one.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_take_a_number_name_nothing_hidden() {
    let database = TestDatabase::new(&read("tests/corpus/catalog/fixture.sql"), &["sales", "hr", "types"]).await;
    let served = serve(&database, "a").await;
    let from: i64 = database.cell("SELECT min(oid)::bigint FROM pg_class WHERE oid >= 16384").await.parse().unwrap();
    let to: i64 = database.cell("SELECT max(oid)::bigint + 10 FROM pg_class").await.parse().unwrap();
    for function in [
        "pg_get_constraintdef(o::oid)",
        "pg_get_indexdef(o::oid)",
        "pg_get_viewdef(o::oid)",
        "format_type(o::oid, -1)",
        "obj_description(o::oid, 'pg_class')",
        "col_description(o::oid, 5)",
        "pg_get_userbyid(o::oid)",
        "pg_get_functiondef(o::oid)",
    ] {
        let sql = format!("select string_agg(distinct {function}::text, '|') from generate_series({from}, {to}) o");
        let answer = served.query(&sql).await;
        let text = rows(&answer)[0][0].to_string();
        assert!(!text.contains("zz_") && !text.contains("_private"), "{function}: {text}");
    }
    served.stop().await;
}
