//! The WASM answers what `opa eval` answers, over a table of cases: with data supplied at run time an optimised bundle would not
//! (`reference/crates.md` §12.3).

use std::process::Command;

use pgteller::policy::{ACCESS, CALL, Policy};
use pgteller::settings::PolicySettings;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::repository;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    entrypoint: String,
    policy: Value,
    input: Value,
    expect: Value,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(repository("tests/corpus/decisions")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let more: Vec<Case> = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        cases.extend(more);
    }
    cases
}

/// Every case's answer by OPA's own evaluator, in one run of the binary: a wrapper package asks for all of them.
fn by_opa(cases: &[Case]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let module = r#"package table

answers := [answer |
	some one in input.cases
	answer := ask(one)
]

ask(one) := answer if {
	one.entrypoint == "access"
	answer := data.pgteller.access with input as one.input with data.policy as one.policy
}

ask(one) := answer if {
	one.entrypoint == "call"
	answer := data.pgteller.call with input as one.input with data.policy as one.policy
}
"#;
    std::fs::write(directory.path().join("table.rego"), module).unwrap();
    let input: Vec<Value> =
        cases.iter().map(|case| json!({"entrypoint": case.entrypoint, "policy": case.policy, "input": case.input})).collect();
    std::fs::write(directory.path().join("input.json"), json!({"cases": input}).to_string()).unwrap();
    let output = Command::new("opa")
        .args(["eval", "--format", "raw", "--data"])
        .arg(repository("policies/pgteller"))
        .arg("--data")
        .arg(directory.path().join("table.rego"))
        .arg("--input")
        .arg(directory.path().join("input.json"))
        .arg("data.table.answers")
        .output()
        .expect("`opa` on the PATH: run `make setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn contains(answer: &Value, expected: &Value) -> bool {
    match (answer, expected) {
        (Value::Object(answer), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| answer.get(key).is_some_and(|found| contains(found, value)))
        }
        (answer, expected) => answer == expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wasm_and_opa_give_the_same_answers() {
    let cases = cases();
    let by_opa = by_opa(&cases);
    assert_eq!(by_opa.len(), cases.len(), "a case is undefined");
    let mut denied = 0;
    for (case, by_opa) in cases.iter().zip(&by_opa) {
        let by_wasm = evaluate(case).await;
        assert_eq!(by_wasm.as_ref(), Some(by_opa), "{}", case.name);
        assert!(contains(by_opa, &case.expect), "{}: {by_opa}\nexpected {}", case.name, case.expect);
        denied += usize::from(by_opa["allow"] == false || by_opa["decision"] == "deny");
    }
    assert!(denied >= 20, "the table needs must-denies, it has {denied}");
}

/// Some tables hold documents that no admin could load; the engine is asked all the same.
async fn evaluate(case: &Case) -> Option<Value> {
    let entrypoint = if case.entrypoint == "access" { ACCESS } else { CALL };
    let input = serde_json::value::to_raw_value(&case.input).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let home = std::env::var_os("HOME").map(|home| std::path::PathBuf::from(home).join(".cache/pgteller"));
    let policy = Policy::load_unchecked(&case.policy, Some(home.as_deref().unwrap_or(cache.path()))).ok()?;
    policy.evaluate(entrypoint, &input).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_a_misspelt_key_is_refused() {
    for (text, key) in [
        ("version: 1\ngrnats: {}", "grants"),
        ("version: 1\nmasks: {x: {mask: partial, keep_lost: 2}}", "keep_last"),
        ("version: 1\ngrants: {a: {agents: [x], raed: {allow: [y.*]}}}", "read"),
    ] {
        let settings = PolicySettings { document: text.to_owned(), document_path: "policy.yaml".into(), bundle: None };
        let error = Policy::load(&settings, None).await.expect_err("a misspelt key").to_string();
        assert!(error.contains(&format!("did you mean `{key}`?")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_with_missing_or_misplaced_parameters_is_refused() {
    let load = async |mask: &str| {
        let document = format!("version: 1\nmasks: {{x: {mask}}}");
        let settings = PolicySettings { document, document_path: "policy.yaml".into(), bundle: None };
        Policy::load(&settings, None).await.map(|_| ()).map_err(|error| error.to_string())
    };
    for (mask, why) in [
        ("{mask: partial}", "`partial`, and only `partial`, takes `keep_last` from 1 to 9"),
        ("{mask: partial, keep_last: 10}", "`keep_last` from 1 to 9"),
        ("{mask: hash, keep_last: 3}", "only `partial`"),
        ("{mask: bucket}", "`bucket`, and only `bucket`, takes `width`"),
        ("{mask: bucket, width: 1}", "a whole number from 2 to 1000000000000000"),
        ("{mask: bucket, width: 1000000000000001}", "a whole number from 2 to 1000000000000000"),
        ("{mask: bucket, width: 2.5}", "u64"),
        ("{mask: redact, width: 10}", "only `bucket`"),
        ("{mask: truncate}", "`truncate`, and only `truncate`, takes `to`: year, quarter, month, week, day or hour"),
        ("{mask: truncate, to: decade}", "unknown variant `decade`"),
        ("{mask: bucket, width: 10, to: year}", "only `truncate`"),
        ("{mask: pseudonym}", "`pseudonym`, and only `pseudonym`, takes `domain`"),
        ("{mask: pseudonym, domain: User}", "a name of 1 to 63"),
        ("{mask: pseudonym, domain: ''}", "a name of 1 to 63"),
        ("{mask: hash, domain: user}", "only `pseudonym`"),
    ] {
        let error = load(mask).await.expect_err(mask);
        assert!(error.contains(why), "{mask}: {error}");
    }
    for mask in ["{mask: bucket, width: 2}", "{mask: truncate, to: week}", "{mask: pseudonym, domain: a.b_c-9}", "{mask: null}"] {
        assert_eq!(load(mask).await, Ok(()), "{mask}");
    }
}
