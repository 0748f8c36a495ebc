//! Task tokens: exchanged for an orchestrator's token, good for one task, revoked at once, and never for more than their token was.

use pgteller::clock::Clock;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase};

const SQL: &str =
    "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, body text); CREATE TABLE app.other(id int PRIMARY KEY);
    INSERT INTO app.note SELECT i, 'note ' || i FROM generate_series(1, 100) i;";

const POLICY: &str = "version: 1
unlabelled: clear
grants:
  reader: {agents: [bot], issuers: [\"https://issuer.test\"], purposes: [read], opens: true, read: {allow: [app.*]}, limits: {task_minutes: 5}}
  bound: {agents: [bot], purposes: [bound], read: {allow: [app.*]}}
";

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const KIND: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn served(issuer: &Issuer, server: &str) -> (TestDatabase, Served) {
    let keys = tempfile::tempdir().unwrap().keep().join("jwks");
    std::fs::write(&keys, issuer.jwks()).unwrap();
    let database = TestDatabase::new(SQL, &["app"]).await;
    let more = format!(
        "[server]\npublic_url = \"{AUDIENCE}\"\n{server}\n[identity.test]\nissuer = \"https://issuer.test\"\njwks = \"{}\"\n",
        keys.display()
    );
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &more,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    (database, served)
}

fn plain(issuer: &Issuer, change: Value) -> String {
    let mut all = json!({"pgteller_task": null});
    all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    issuer.sign(&claims(all))
}

async fn post(served: &Served, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let response = reqwest::Client::new()
        .post(served.url.replace("/mcp", path))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.headers().contains_key("x-request-id"));
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn exchange(served: &Served, token: &str, detail: Value) -> (u16, Value) {
    let mut details = json!({"type": "pgteller_task", "purpose": "read"});
    details.as_object_mut().unwrap().extend(detail.as_object().unwrap().clone());
    let details = json!([details]).to_string();
    let form = [("grant_type", GRANT), ("subject_token", token), ("subject_token_type", KIND), ("authorization_details", &details)];
    post(served, "/token", &form).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrators_token_becomes_a_task_token_that_opens_one_task() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "task_tokens = true").await;
    let subject = plain(&issuer, json!({"act": {"sub": "bot", "act": {"sub": "planner"}}, "scope": "a b", "groups": ["staff"]}));
    let (status, answer) =
        exchange(&served, &subject, json!({"datatypes": ["app.note"], "actions": ["query"], "max_rows": 5})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["token_type"], &answer["issued_token_type"], &answer["scope"]),
        (&json!("Bearer"), &json!(KIND), &json!("a b"))
    );
    let left = answer["expires_in"].as_u64().unwrap();
    assert!((290..=300).contains(&left), "{left}");
    let detail = &answer["authorization_details"][0];
    assert_eq!((&detail["purpose"], &detail["datatypes"]), (&json!("read"), &json!(["app.note"])));
    assert_eq!(database.task_roles().await, 0);
    let entry = served.last_entry();
    assert_eq!((entry.tool.as_deref(), entry.method.as_deref()), (Some("exchange"), Some("oauth/token")));
    // The task's principal is the one that the token was exchanged for, whole.
    let token = answer["access_token"].as_str().unwrap();
    let ask = async |tool: &str, sql: &str| served.call_as(token, tool, json!({"sql": sql})).await;
    assert_eq!(rows(&ask("query", "select id from note order by id").await).len(), 5);
    let entry = served.last_entry();
    let who = serde_json::to_value(entry.principal.unwrap()).unwrap();
    assert_eq!(
        who,
        json!({"issuer": "https://issuer.test", "subject": "ada", "agent": "bot", "delegation": [{"subject": "bot"}, {"subject": "planner"}]})
    );
    let task = entry.task.unwrap();
    assert!(task.asserted && task.purpose == "read");
    assert_eq!(code(&ask("query", "select id from other").await), "relation-not-granted");
    assert_eq!(code(&ask("explain", "select id from note").await), "policy-denied");
    assert_eq!(code(&served.call_as(token, "open_task", json!({"purpose": "read"})).await), "policy-denied");
    // It is exchanged no further, and is nobody else's key.
    assert_eq!(exchange(&served, token, json!({})).await.1["error"], "access_denied");
    let keys: Value = reqwest::get(served.url.replace("/mcp", "/jwks")).await.unwrap().json().await.unwrap();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
    assert!(key.get("d").is_none());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_never_gives_more_than_policy_and_the_token_do() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "task_tokens = true").await;
    let subject = plain(&issuer, json!({}));
    for (detail, error) in [
        (json!({"purpose": "bound"}), "access_denied"),
        (json!({"purpose": "write"}), "access_denied"),
        (json!({"datatypes": ["app.note", "hr.staff"]}), "invalid_authorization_details"),
        (json!({"purpose": "p".repeat(100_000)}), "invalid_request"),
        (json!({"purpose": "re\u{7}ad"}), "invalid_authorization_details"),
        (json!({"actions": ["drop"]}), "invalid_authorization_details"),
        (json!({"type": "payment"}), "invalid_authorization_details"),
        (json!({"ttl_seconds": 0}), "invalid_authorization_details"),
        (json!({"surprise": 1}), "invalid_authorization_details"),
    ] {
        let (status, answer) = exchange(&served, &subject, detail.clone()).await;
        assert_eq!((status, answer["error"].as_str().unwrap()), (400, error), "{detail}: {answer}");
    }
    let details = json!([{"type": "pgteller_task", "purpose": "read"}]).to_string();
    let form = |change: &[(&'static str, &'static str)]| {
        let mut form = vec![
            ("grant_type", GRANT.to_owned()),
            ("subject_token", subject.clone()),
            ("subject_token_type", KIND.to_owned()),
            ("authorization_details", details.clone()),
        ];
        for (name, value) in change {
            form.retain(|(known, _)| known != name);
            if !value.is_empty() {
                form.push((name, (*value).to_owned()));
            }
        }
        form
    };
    for (change, error) in [
        (vec![("grant_type", "client_credentials")], "unsupported_grant_type"),
        (vec![("subject_token", "")], "invalid_request"),
        (vec![("subject_token", "garbage")], "invalid_grant"),
        (vec![("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")], "invalid_request"),
        (vec![("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (vec![("actor_token", "x")], "invalid_request"),
        (vec![("scope", "everything")], "invalid_scope"),
        (vec![("resource", "https://other.test/mcp")], "invalid_target"),
        (vec![("audience", "https://other.test/mcp")], "invalid_target"),
        (vec![("authorization_details", "[]")], "invalid_authorization_details"),
        (vec![("authorization_details", "all")], "invalid_authorization_details"),
        (vec![("authorization_details", "")], "invalid_authorization_details"),
    ] {
        let form = form(&change);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, answer) = post(&served, "/token", &form).await;
        assert_eq!((status, answer["error"].as_str().unwrap()), (400, error), "{change:?}: {answer}");
        assert_eq!(served.last_entry().http_status, Some(400));
    }
    let mut twice: Vec<(&str, &str)> = vec![("grant_type", GRANT), ("grant_type", GRANT)];
    twice.push(("subject_token", &subject));
    assert_eq!(post(&served, "/token", &twice).await.1["error"], "invalid_request");
    // The subject token ends it, and so does policy.
    let soon = Clock::system().now().seconds() + 30;
    let (_, answer) = exchange(&served, &plain(&issuer, json!({"exp": soon})), json!({"ttl_seconds": 10_000_000})).await;
    assert!(answer["expires_in"].as_u64().unwrap() <= 30);
    let (_, answer) = exchange(&served, &subject, json!({"ttl_seconds": 10})).await;
    assert!(answer["expires_in"].as_u64().unwrap() <= 10);
    assert_eq!(database.task_roles().await, 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_task_token_opens_nothing_any_more_and_others_do() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "task_tokens = true").await;
    let subject = plain(&issuer, json!({}));
    let token = async || exchange(&served, &subject, json!({})).await.1["access_token"].as_str().unwrap().to_owned();
    let (first, second, unused) = (token().await, token().await, token().await);
    let count = async |token: &str| served.call_as(token, "query", json!({"sql": "select count(*) from note"})).await;
    assert_eq!(rows(&count(&first).await), &vec![json!([100])]);
    assert_eq!(rows(&count(&second).await), &vec![json!([100])]);
    assert_eq!(database.task_roles().await, 2);
    for token in [&first, &unused] {
        assert_eq!(post(&served, "/revoke", &[("token", token), ("token_type_hint", "access_token")]).await.0, 200);
        assert_eq!(code(&count(token).await), "task-closed");
        // Once more is as good as once.
        assert_eq!(post(&served, "/revoke", &[("token", token)]).await.0, 200);
    }
    assert_eq!(database.task_roles().await, 1);
    assert_eq!(rows(&count(&second).await), &vec![json!([100])]);
    // Neither can what was made with it be read any more, nor what was made within another task.
    let export = async |token: &str| {
        let answer = served.call_as(token, "export", json!({"sql": "select id from note", "format": "csv"})).await;
        answer["uri"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let read = async |token: &str, uri: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}});
        served.post(Some(token), &message).await.json::<Value>().await.unwrap().get("result").is_some()
    };
    let third = token().await;
    let (of_second, of_third) = (export(&second).await, export(&third).await);
    assert!(read(&second, &of_second).await && read(&third, &of_third).await);
    assert!(!read(&second, &of_third).await);
    post(&served, "/revoke", &[("token", &third)]).await;
    assert!(!read(&third, &of_third).await && read(&second, &of_second).await);
    // Closing a task first does not save its files from being revoked.
    let fourth = token().await;
    let of_fourth = export(&fourth).await;
    assert_eq!(served.call_as(&fourth, "close_task", json!({})).await["state"], "closed");
    assert!(read(&fourth, &of_fourth).await);
    post(&served, "/revoke", &[("token", &fourth)]).await;
    assert!(!read(&fourth, &of_fourth).await);
    let narrow = exchange(&served, &subject, json!({"actions": ["query"]})).await.1["access_token"].as_str().unwrap().to_owned();
    assert!(!read(&narrow, &of_second).await);
    // The other method has an entry, too.
    let wrong = reqwest::get(served.url.replace("/mcp", "/token")).await.unwrap();
    assert_eq!((wrong.status().as_u16(), served.last_entry().http_status), (405, Some(405)));
    // What is no token is as good as revoked; another issuer's is not ours to revoke.
    assert_eq!(post(&served, "/revoke", &[("token", "garbage")]).await.0, 200);
    assert_eq!(
        post(&served, "/revoke", &[]).await,
        (400, json!({"error": "invalid_request", "error_description": "`token` is missing", "code": "argument-invalid"}))
    );
    let (status, answer) = post(&served, "/revoke", &[("token", &subject)]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("unsupported_token_type")));
    assert!(exchange(&served, &subject, json!({})).await.1.get("access_token").is_some());
    served.stop().await;
}

/// Found by an attack: whoever asks too much, or lacks a scope, can still be stopped by whoever holds its token.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_does_not_keep_a_token_from_being_revoked() {
    let issuer = Issuer::new("k1");
    let server = "task_tokens = true\nscopes = { close_task = [\"pg:close\"] }\n[limits.principal]\nrequests_per_second = 1\n";
    let (_database, served) = served(&issuer, server).await;
    let subject = plain(&issuer, json!({}));
    let token = exchange(&served, &subject, json!({})).await.1["access_token"].as_str().unwrap().to_owned();
    let describe = || served.call_as(&token, "describe", json!({}));
    while describe().await.pointer("/error/code") != Some(&json!("rate-limited")) {}
    assert_eq!(post(&served, "/revoke", &[("token", &token)]).await, (200, json!({})));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_make_a_task_token() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "task_tokens = true").await;
    let subject = plain(&issuer, json!({}));
    let token = exchange(&served, &subject, json!({})).await.1["access_token"].as_str().unwrap().to_owned();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid;
    let parts: Vec<&str> = token.split('.').collect();
    use base64::Engine;
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let mut forged = decode(parts[1]);
    forged["pgteller_principal"]["agent"] = json!("admin");
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    for (why, token) in [
        ("changed claims", format!("{}.{}.{}", parts[0], encode(&forged), parts[2])),
        ("the corporate issuer's key", issuer.sign_with(&forged, |header| header.typ = Some("pgteller-task+jwt".to_owned()))),
        (
            "the corporate key under our kid",
            issuer.sign_with(&forged, |header| {
                header.typ = Some("pgteller-task+jwt".to_owned());
                header.kid.clone_from(&kid);
            }),
        ),
        ("as an ordinary access token", issuer.sign(&forged)),
    ] {
        assert_eq!(code(&served.call_as(&token, "query", json!({"sql": "select 1"})).await), "token-invalid", "{why}");
    }
    // A corporate token that copies our claims is a corporate token.
    forged["iss"] = json!("https://issuer.test");
    let copied = served.call_as(&issuer.sign(&forged), "query", json!({"sql": "select 1"})).await;
    assert_ne!(copied.pointer("/error/code"), None, "{copied}");
    served.stop().await;
    // Without the setting there is no such door.
    let (_database, served) = self::served(&issuer, "").await;
    let response = reqwest::Client::new().post(served.url.replace("/mcp", "/token")).body("").send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(code(&served.call_as(&token, "query", json!({"sql": "select 1"})).await), "token-invalid");
    served.stop().await;
}
