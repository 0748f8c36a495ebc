//! Who may come in: real tokens against real keys, every refusal with an entry.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pgteller::clock::Clock;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase};

const SQL: &str = "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, tenant_id int, body text);
    INSERT INTO app.note VALUES (1, 3, 'first'), (2, 4, 'second');";

const POLICY: &str = "version: 1
unlabelled: clear
params: {tenant: {claim: tenant_id}}
grants:
  reader: {agents: [bot], purposes: [read], read: {allow: [app.*]}}
  ambient: {agents: [idle], ambient: true, read: {allow: [app.*]}}
  tenant: {agents: [tenant-bot], purposes: [read], read: {allow: [app.*]}, rows: {app.note: {tenant_id: {param: tenant}}}}
  grouped: {agents: [group-bot], groups: [staff], scopes: [\"db:read\"], purposes: [read], read: {allow: [app.*]}}
";

async fn served(issuer: &Issuer, more: &str) -> (TestDatabase, Served) {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.keep().join("jwks.json");
    std::fs::write(&keys, issuer.jwks()).unwrap();
    let identity = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\nclaims = [\"tenant_id\"]\n{more}",
        keys.display()
    );
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &identity,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    (database, served)
}

/// A delegation chain of this many actors.
fn chain(actors: usize) -> Value {
    (0..actors).fold(json!({"sub": "first"}), |before, _| json!({"sub": "bot", "act": before}))
}

/// Authorization details that name a task.
fn details(change: Value) -> Value {
    let mut details = json!({"type": "pgteller_task", "identifier": "d-1", "purpose": "read", "locations": [AUDIENCE]});
    details.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    details
}

const COUNT: &str = "select count(*) from note";

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_that_verify_come_in_and_each_refusal_has_an_entry() {
    let (issuer, stranger) = (Issuer::new("k1"), Issuer::new("k1"));
    let (_database, served) = served(&issuer, "").await;
    let now = Clock::system().now().seconds();
    let good = issuer.sign(&claims(json!({})));
    assert_eq!(rows(&served.call_as(&good, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    let unsigned = |algorithm: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.{}",
            part(&json!({"alg": algorithm, "typ": "JWT", "kid": "k1"})),
            part(&claims(json!({}))),
            URL_SAFE_NO_PAD.encode("x")
        )
    };
    let by_secret = {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        let secret = issuer.jwk().to_string();
        jsonwebtoken::encode(&header, &claims(json!({})), &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let cut: String = good.chars().take(good.len() - 8).collect();
    let refused = [
        ("garbage", "not a token".to_owned()),
        ("expired", issuer.sign(&claims(json!({"exp": now - 60})))),
        ("not yet valid", issuer.sign(&claims(json!({"nbf": now + 600})))),
        ("no expiry", issuer.sign(&claims(json!({"exp": null})))),
        ("for somebody else", issuer.sign(&claims(json!({"aud": "https://other.test"})))),
        ("for nobody", issuer.sign(&claims(json!({"aud": null})))),
        ("from somebody else", issuer.sign(&claims(json!({"iss": "https://other.test"})))),
        ("without subject", issuer.sign(&claims(json!({"sub": null})))),
        ("empty subject", issuer.sign(&claims(json!({"sub": ""})))),
        ("another key", stranger.sign(&claims(json!({})))),
        ("an unknown key", issuer.sign_with(&claims(json!({})), |header| header.kid = Some("k9".to_owned()))),
        ("an id-jag", issuer.sign_with(&claims(json!({})), |header| header.typ = Some("oauth-id-jag+jwt".to_owned()))),
        ("unsigned", unsigned("none")),
        ("unsigned, spelt oddly", unsigned("nOnE")),
        ("by a shared secret", by_secret),
        ("cut short", cut),
        ("an odd task", issuer.sign(&claims(json!({"pgteller_task": "t-1"})))),
        ("a DPoP proof", issuer.sign_with(&claims(json!({})), |header| header.typ = Some("dpop+jwt".to_owned()))),
        ("an ID token", issuer.sign(&claims(json!({"nonce": "n"})))),
        ("another ID token", issuer.sign(&claims(json!({"at_hash": "h"})))),
        ("an agent that is no text", issuer.sign(&claims(json!({"client_id": 7})))),
        ("a subject that is no text", issuer.sign(&claims(json!({"sub": ["ada"]})))),
        ("a subject with control characters", issuer.sign(&claims(json!({"sub": "ada\u{1b}[2J"})))),
        ("a chain that is none", issuer.sign(&claims(json!({"act": "bot"})))),
        ("a chain without a subject", issuer.sign(&claims(json!({"act": {"sub": "bot", "act": {}}})))),
        ("an endless chain", issuer.sign(&claims(json!({"act": chain(40)})))),
        ("details that are no list", issuer.sign(&claims(json!({"authorization_details": "all"})))),
        ("details without a type", issuer.sign(&claims(json!({"authorization_details": [{"identifier": "t"}]})))),
        ("details of a strange type", issuer.sign(&claims(json!({"authorization_details": [{"type": 7}]})))),
        ("two tasks", issuer.sign(&claims(json!({"authorization_details": [details(json!({}))]})))),
        ("a task without purpose", issuer.sign(&claims(json!({"pgteller_task": {"id": "t", "purpose": " "}})))),
        ("a huge purpose", issuer.sign(&claims(json!({"pgteller_task": {"id": "t", "purpose": "p".repeat(5000)}})))),
        ("a hidden character in a purpose", issuer.sign(&claims(json!({"pgteller_task": {"id": "t", "purpose": "re\u{200b}ad"}})))),
        ("a quarter of a megabyte", format!("{}.{}.x", "e".repeat(1 << 17), "f".repeat(1 << 17))),
        ("clocks ten minutes apart", issuer.sign(&claims(json!({"nbf": now + 600, "iat": now + 600, "exp": now + 900})))),
    ];
    for (name, token) in refused {
        let response = served.post(Some(&token), &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
        assert_eq!(response.status(), 401, "{name}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("invalid_token"), "{name}: {challenge}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(code(&body), "token-invalid", "{name}");
        let entry = served.last_entry();
        assert_eq!((entry.request_id.to_string(), entry.http_status), (id, Some(401)), "{name}");
        assert_eq!(entry.refusal.unwrap().code, "token-invalid", "{name}");
        assert!(entry.principal.is_none(), "{name}");
    }
    // A megabyte is no header: it ends before it is a request.
    let huge = served.post(Some(&"e".repeat(1 << 20)), &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(huge.status(), 431);
    let missing = served.post(None, &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(
        (missing.status().as_u16(), missing.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Bearer realm=\"pgteller\", resource_metadata=\"https://db.test/.well-known/oauth-protected-resource/mcp\"")
    );
    assert_eq!(served.last_entry().refusal.unwrap().code, "token-missing");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_nowhere_but_in_its_header() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "").await;
    let token = issuer.sign(&claims(json!({})));
    served.call_as(&token, "query", json!({"sql": COUNT})).await;
    let in_query = reqwest::Client::new().post(format!("{}?access_token={token}", served.url)).body("{}").send().await.unwrap();
    assert_eq!(in_query.status(), 401);
    let directory = served.stop().await;
    for entry in std::fs::read_dir(directory.path().join("data")).unwrap().map(Result::unwrap) {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let signature = token.rsplit('.').next().unwrap().as_bytes();
        assert!(!bytes.windows(signature.len()).any(|window| window == signature), "{:?}", entry.path());
    }
    for chain in pgteller::audit::verify::chains(&directory.path().join("data/audit")).unwrap() {
        for file in pgteller::audit::verify::files(&chain).unwrap() {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(!text.contains(&token) && !text.contains(token.rsplit('.').next().unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_the_actor_and_policy_sees_groups_scopes_and_claims() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "").await;
    let ask = async |change: Value| served.call_as(&issuer.sign(&claims(change)), "query", json!({"sql": COUNT})).await;
    // `act.sub` before `client_id` before `azp`.
    assert_eq!(rows(&ask(json!({"client_id": "other", "act": {"sub": "bot"}})).await), &vec![json!([2])]);
    assert_eq!(code(&ask(json!({"act": {"sub": "other"}})).await), "policy-denied");
    assert_eq!(
        rows(&ask(json!({"client_id": null, "azp": "bot", "pgteller_task": {"id": "t-2", "purpose": "read"}})).await),
        &vec![json!([2])]
    );
    // A purpose that no grant names.
    assert_eq!(code(&ask(json!({"pgteller_task": {"id": "t-3", "purpose": "other"}})).await), "policy-denied");
    // Groups and scopes: both are needed.
    let staff = json!({"client_id": "group-bot", "groups": ["staff"], "scope": "db:read openid"});
    assert_eq!(rows(&ask(staff).await), &vec![json!([2])]);
    assert_eq!(
        code(&ask(json!({"client_id": "group-bot", "groups": ["staff"], "pgteller_task": {"id": "t-4", "purpose": "read"}})).await),
        "policy-denied"
    );
    assert_eq!(
        code(&ask(json!({"client_id": "group-bot", "scope": "db:read", "pgteller_task": {"id": "t-5", "purpose": "read"}})).await),
        "policy-denied"
    );
    // A row filter by a claim; without the claim nothing is granted.
    assert_eq!(rows(&ask(json!({"client_id": "tenant-bot", "tenant_id": 3})).await), &vec![json!([1])]);
    assert_eq!(
        code(&ask(json!({"client_id": "tenant-bot", "pgteller_task": {"id": "t-6", "purpose": "read"}})).await),
        "policy-denied"
    );
    served.stop().await;
}

/// Found by an attack: a task must never serve one bearer with another's claims.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_differ_in_a_claim_never_share_rights() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "").await;
    let sql = json!({"sql": "select tenant_id from note order by 1"});
    let token = |change: Value| {
        let mut all = json!({"client_id": "tenant-bot"});
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        issuer.sign(&claims(all))
    };
    let ask = async |change: Value| served.call_as(&token(change), "query", sql.clone()).await;
    assert_eq!(rows(&ask(json!({"tenant_id": 3})).await), &vec![json!([3])]);
    assert_eq!(rows(&ask(json!({"tenant_id": 4})).await), &vec![json!([4])]);
    assert_eq!(rows(&ask(json!({"tenant_id": 3})).await), &vec![json!([3])]);
    assert_eq!(code(&ask(json!({})).await), "policy-denied");
    assert_eq!(code(&ask(json!({"tenant_id": 3, "pgteller_task": {"id": "t-1", "purpose": "other"}})).await), "policy-denied");
    assert_eq!(database.task_roles().await, 2);
    // Nor exports.
    let export =
        served.call_as(&token(json!({"tenant_id": 3})), "export", json!({"sql": "select * from note", "format": "csv"})).await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": export["uri"]}});
    let read = async |change: Value| served.post(Some(&token(change)), &message).await.json::<Value>().await.unwrap();
    assert!(read(json!({"tenant_id": 3})).await.get("result").is_some());
    assert!(read(json!({"tenant_id": 4})).await.get("error").is_some());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_named_by_the_token_or_ambient_where_policy_allows() {
    let issuer = Issuer::new("k1");
    let (database, served) = served(&issuer, "").await;
    let ask = async |change: Value| served.call_as(&issuer.sign(&claims(change)), "query", json!({"sql": COUNT})).await;
    assert_eq!(code(&ask(json!({"pgteller_task": null})).await), "task-required");
    assert_eq!(rows(&ask(json!({"pgteller_task": null, "client_id": "idle"})).await), &vec![json!([2])]);
    assert_eq!(rows(&ask(json!({})).await), &vec![json!([2])]);
    // The same task again, and the same id of another subject: another task.
    ask(json!({})).await;
    assert_eq!(database.task_roles().await, 2);
    ask(json!({"sub": "eve"})).await;
    assert_eq!(database.task_roles().await, 3);
    // A task ends with its token; a later token with the same task id does not bring it back.
    let soon = Clock::system().now().seconds() + 4;
    let brief = issuer.sign(&claims(json!({"sub": "brief", "exp": soon})));
    assert_eq!(rows(&served.call_as(&brief, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    while Clock::system().now().seconds() <= soon {
        tokio::task::yield_now().await;
    }
    assert_eq!(code(&ask(json!({"sub": "brief"})).await), "task-closed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_readable_by_its_owner_only() {
    let issuer = Issuer::new("k1");
    let (_database, served) = served(&issuer, "").await;
    let (ada, eve) = (issuer.sign(&claims(json!({}))), issuer.sign(&claims(json!({"sub": "eve"}))));
    let export = served.call_as(&ada, "export", json!({"sql": "select * from note order by id", "format": "jsonl"})).await;
    let uri = export["uri"].as_str().unwrap().to_owned();
    let read = async |token: &str, uri: &str| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}});
        served.post(Some(token), &message).await.json::<Value>().await.unwrap()
    };
    let own = read(&ada, &uri).await;
    let text = own["result"]["contents"][0]["text"].as_str().unwrap();
    assert_eq!(text.lines().next().unwrap(), r#"{"id":1,"tenant_id":3,"body":"first"}"#);
    let foreign = read(&eve, &uri).await;
    let unknown = read(&eve, "pgteller://exports/01234567-89ab-4cde-8f01-23456789abcd").await;
    let said = |answer: &Value| (answer["error"]["code"].clone(), answer["error"]["message"].clone());
    assert_eq!(said(&foreign), said(&unknown));
    assert!(foreign.get("error").is_some());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_are_fetched_and_known_ones_survive_an_outage() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let keys = std::sync::Arc::new(std::sync::Mutex::new(Some(old.jwks())));
    let shared = std::sync::Arc::clone(&keys);
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&asked);
    let route = axum::routing::get(async move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        shared.lock().unwrap().clone().ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().route("/jwks", route)).into_future());
    let database = TestDatabase::new(SQL, &["app"]).await;
    let identity = format!("[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{url}\"\n");
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more: &identity,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    let token = old.sign(&claims(json!({})));
    assert_eq!(rows(&served.call_as(&token, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    *keys.lock().unwrap() = None;
    assert_eq!(rows(&served.call_as(&token, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    // A key that nobody knows yet may be a good one: nothing can be said of it while its source is down.
    let rotated = new.sign(&claims(json!({})));
    assert_eq!(code(&served.call_as(&rotated, "query", json!({"sql": COUNT})).await), "identity-unavailable");
    *keys.lock().unwrap() = Some(json!({"keys": [old.jwk(), new.jwk()]}).to_string());
    assert_eq!(rows(&served.call_as(&rotated, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    assert_eq!(rows(&served.call_as(&token, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    // A flood of invented keys asks the source a few times and no more, and those known serve on.
    let before = asked.load(std::sync::atomic::Ordering::SeqCst);
    for invented in 0..50 {
        let forged = old.sign_with(&claims(json!({})), |header| header.kid = Some(format!("k{invented}")));
        assert_eq!(code(&served.call_as(&forged, "query", json!({"sql": COUNT})).await), "token-invalid");
    }
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) - before <= 4);
    assert_eq!(rows(&served.call_as(&token, "query", json!({"sql": COUNT})).await), &vec![json!([2])]);
    served.stop().await;
}
