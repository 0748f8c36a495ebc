//! Coverage by enumeration: every declared tool, against every way not to be let in, must have a row here.

use serde_json::{Value, json};

use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{TestDatabase, read};

/// Tool and arguments that are served to a good token.
const TOOLS: &[(&str, &str)] = &[
    ("query", r#"{"sql": "select id from note"}"#),
    ("describe", r#"{}"#),
    ("export", r#"{"sql": "select id from note", "format": "csv"}"#),
    ("explain", r#"{"sql": "select id from note"}"#),
    ("open_task", r#"{"purpose": "read"}"#),
    ("close_task", r#"{}"#),
];

/// Whether a tool needs a task: the others are refused for reasons of their own, in `tests/it/tasks.rs`.
fn needs_a_task(tool: &str) -> bool {
    !matches!(tool, "open_task" | "close_task")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_refuses_everybody_who_may_not() {
    let issuer = Issuer::new("k");
    let keys = tempfile::tempdir().unwrap().keep().join("jwks.json");
    std::fs::write(&keys, issuer.jwks()).unwrap();
    let database = TestDatabase::new("CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY);", &["app"]).await;
    let policy = "version: 1\nunlabelled: clear\ngrants:\n  all: {agents: [bot], purposes: [read], opens: true, read: {allow: [app.*]}}\n  none: {agents: [toolless], purposes: [read], tools: [], read: {allow: [app.*]}}\n";
    let identity =
        format!("[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n", keys.display());
    let configured = Configured {
        database: &database,
        policy,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &identity,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let listed: Value = served.post(Some(&issuer.sign(&claims(json!({"pgteller_task": null})))), &list).await.json().await.unwrap();
    let declared: Vec<&str> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let rows: Vec<&str> = TOOLS.iter().map(|(name, _)| *name).collect();
    assert_eq!(declared, rows, "a tool without a row");
    for (tool, arguments) in TOOLS {
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let now = pgteller::clock::Clock::system().now().seconds();
        let outside = [
            (None, "token-missing"),
            (Some(issuer.sign(&claims(json!({"exp": now - 100})))), "token-invalid"),
            (Some(issuer.sign(&claims(json!({"aud": "https://other.test"})))), "token-invalid"),
            (Some(Issuer::new("k").sign(&claims(json!({})))), "token-invalid"),
        ];
        for (token, expected) in outside {
            let response = served.post(token.as_deref(), &message).await;
            assert_eq!(response.status(), 401, "{tool}");
            assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], expected, "{tool}");
            assert_eq!(served.last_entry().refusal.unwrap().code, expected, "{tool}");
        }
        if !needs_a_task(tool) {
            continue;
        }
        let inside = [
            (json!({"pgteller_task": null}), "task-required"),
            (json!({"client_id": "stranger", "pgteller_task": {"id": "s", "purpose": "read"}}), "policy-denied"),
            (json!({"client_id": "toolless", "pgteller_task": {"id": "n", "purpose": "read"}}), "policy-denied"),
            (json!({"pgteller_task": {"id": "x", "purpose": "other"}}), "policy-denied"),
        ];
        for (change, expected) in inside {
            let answer = served.call_as(&issuer.sign(&claims(change)), tool, arguments.clone()).await;
            assert_eq!(answer["error"]["code"], expected, "{tool}: {answer}");
            let entry = served.last_entry();
            assert_eq!((entry.refusal.unwrap().code.as_str(), entry.tool.as_deref()), (expected, Some(*tool)), "{tool}");
        }
        let answer = served.call_as(&issuer.sign(&claims(json!({}))), tool, arguments).await;
        assert!(answer.get("error").is_none(), "{tool}: {answer}");
    }
    served.stop().await;
}

#[test]
fn tool_declarations_are_what_clients_can_read() {
    for name in pgteller::model::call::TOOLS {
        let text = read(&format!("tools/{name}.toml"));
        let tool: toml::Value = toml::from_str(&text).unwrap();
        let description = tool["description"].as_str().unwrap();
        assert!(description.len() <= 700, "{name}: {} characters", description.len());
    }
}

#[test]
fn every_class_of_refused_functions_is_documented() {
    let document = read("docs/policy.md");
    for class in pgteller::sql::functions::classes::all() {
        assert!(document.contains(&format!("| `{}` |", class.name)), "docs/policy.md does not name the class `{}`", class.name);
        assert!(document.contains(class.why.trim_start_matches("it ")), "docs/policy.md does not say why: {}", class.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_mistakes_are_named() {
    let base = "[policy]\ndata = \"policy.yaml\"\n[dev]\nsubject = \"a\"\nagent = \"b\"\n[database.x]\nurl = \"postgres://l@127.0.0.1/x\"\npassword_file = \"password\"\n";
    let cases = [
        (base.replace("[policy]", "[polcy]"), "unknown key `polcy`: did you mean `policy`?"),
        (base.replace("password_file", "pasword_file"), "unknown key `database.x.pasword_file`: did you mean `password_file`?"),
        (base.replace("agent = ", "agnet = "), "unknown key `dev.agnet`: did you mean `agent`?"),
        (base.replace("postgres://l@", "postgres://l:secret@"), "must not hold a password"),
        (base.replace("postgres://l@", "postgres://"), "names no login"),
        (base.replace("password_file = \"password\"\n", ""), "give `password_file` or `password_env`"),
        (base.replace("password_file = \"password\"", "password_env = \"PGTELLER_TEST_NOT_SET\""), "is not set"),
        (base.replace("\"policy.yaml\"", "\"nowhere.yaml\""), "cannot be read"),
        (base.replace("[dev]\nsubject = \"a\"\nagent = \"b\"\n", ""), "nobody could call"),
        (format!("{base}[identity.i]\nissuer = \"https://i\"\njwks = \"j.json\"\n"), "name an audience"),
        (
            format!("{base}[identity.i]\nissuer = \"https://i\"\naudiences = [\"a\"]\njwks = \"http://10.0.0.1/jwks\"\n"),
            "must be a file or an https URL",
        ),
        (
            format!(
                "{base}[identity.i]\nissuer = \"https://i\"\naudiences = [\"a\"]\njwks = \"j.json\"\nalgorithms = [\"HS256\"]\n"
            ),
            "is not asymmetric",
        ),
        (base.replace("[database.x]", "[database.x]\ntls = \"perhaps\""), "not a valid configuration"),
    ];
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.yaml"), "version: 1\n").unwrap();
    std::fs::write(directory.path().join("password"), "secret\n").unwrap();
    for (text, expected) in cases {
        let path = directory.path().join("pgteller.toml");
        std::fs::write(&path, &text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgteller"))
            .args(["config", "check", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{said}\n{text}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(output.status.code(), Some(64), "{said}");
    }
    std::fs::write(directory.path().join("pgteller.toml"), base).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgteller"))
        .args(["config", "check", "--config"])
        .arg(directory.path().join("pgteller.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
