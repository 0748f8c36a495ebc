//! The OAuth resource server: metadata, challenges, scopes, discovery, trust domains, introspection; and whom it does not let itself be led to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pgteller::clock::Clock;
use serde_json::{Value, json};

use crate::support::client::{code, rows};
use crate::support::server::Configured;
use crate::support::tokens::{AUDIENCE, Issuer, claims};
use crate::support::{Served, TestDatabase};

const SQL: &str = "CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY, tenant_id int, body text);
    INSERT INTO app.note VALUES (1, 3, 'first'), (2, 4, 'second'); CREATE TABLE app.extra(id int PRIMARY KEY);";

const POLICY: &str = "version: 1
unlabelled: clear
params: {tenant: {claim: tenant}}
grants:
  reader: {agents: [bot, \"spiffe://example.org/bot\"], purposes: [read], ambient: true, read: {allow: [app.*]}}
  tenant: {agents: [tenant-bot], ambient: true, read: {allow: [app.*]}, rows: {app.note: {tenant_id: {param: tenant}}}}
";

/// A server with this `[server]` and `[identity.*]`.
async fn served(more: &str) -> (TestDatabase, Served) {
    let database = TestDatabase::new(SQL, &["app"]).await;
    let configured = Configured {
        database: &database,
        policy: POLICY,
        agent: "",
        purpose: "",
        policy_keys: "",
        more,
        database_keys: "search_path = [\"app\"]",
    };
    let served = configured.serve().await;
    (database, served)
}

/// What a provider of a test publishes: path to body, and how often each was asked for.
#[derive(Default)]
struct Published {
    answers: Mutex<Vec<(String, u16, String)>>,
    asked: AtomicUsize,
}

impl Published {
    fn put(&self, path: &str, status: u16, body: impl ToString) {
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(known, ..)| known != path);
        answers.push((path.to_owned(), status, body.to_string()));
    }
}

/// Serves it on loopback; gives its base URL.
async fn provider(published: Arc<Published>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = async move |uri: axum::http::Uri| {
        published.asked.fetch_add(1, Ordering::SeqCst);
        let answers = published.answers.lock().unwrap();
        let found = answers.iter().find(|(path, ..)| path == uri.path()).cloned();
        let (_, status, body) = found.unwrap_or_else(|| (String::new(), 404, "{}".to_owned()));
        let location = if status == 302 { body.clone() } else { String::new() };
        (axum::http::StatusCode::from_u16(status).unwrap(), [("location", location)], body)
    };
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
    base
}

fn identity(base: &str, more: &str) -> String {
    format!("[identity.test]\nissuer = \"{base}\"\naudiences = [\"{AUDIENCE}\"]\n{more}\n")
}

const COUNT: &str = "select count(*) from note";

async fn count(served: &Served, token: &str) -> Value {
    served.call_as(token, "query", json!({"sql": COUNT})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_public_and_challenges_lead_to_it() {
    let keys = tempfile::tempdir().unwrap();
    let issuer = Issuer::new("k1");
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let more = format!(
        "[server]\npublic_url = \"{AUDIENCE}\"\nscopes = {{ describe = [\"pg:describe\", \"pg:query\"], query = [\"pg:query\", \"pg:all\"], export = [\"pg:export\"] }}\n[identity.test]\nissuer = \"https://issuer.test\"\njwks = \"{}\"\n",
        keys.path().join("jwks").display()
    );
    let (_database, served) = served(&more).await;
    let base = served.url.trim_end_matches("/mcp");
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let response = reqwest::get(format!("{base}{path}")).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["access-control-allow-origin"].to_str().unwrap()), (200, "*"));
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            json!({"resource": AUDIENCE, "authorization_servers": ["https://issuer.test"], "bearer_methods_supported": ["header"],
                "resource_name": "pgteller", "scopes_supported": ["pg:describe", "pg:export", "pg:query"]})
        );
    }
    let url = "resource_metadata=\"https://db.test/.well-known/oauth-protected-resource/mcp\"";
    let challenge = async |token: Option<&str>, message: Value| {
        let response = served.post(token, &message).await;
        let text = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), text.unwrap_or_default(), response.text().await.unwrap())
    };
    let call = |tool: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"sql": COUNT}}});
    // Every method without a token.
    for method in ["initialize", "tools/list", "tools/call", "resources/list", "resources/read", "server/discover", "ping"] {
        let (status, text, _) = challenge(None, json!({"jsonrpc": "2.0", "id": 1, "method": method})).await;
        assert_eq!((status, text), (401, format!("Bearer realm=\"pgteller\", scope=\"pg:describe\", {url}")), "{method}");
    }
    // Where nothing is, nobody gets further either.
    let response = reqwest::get(format!("{base}/other")).await.unwrap();
    assert_eq!((response.status().as_u16(), served.last_entry().http_status), (401, Some(401)));
    // A token without the scope: 403, for this tool's scope and no other; an entry each.
    let token = |scope: &str| issuer.sign(&claims(json!({"scope": scope, "pgteller_task": null})));
    let (status, text, body) = challenge(Some(&token("pg:describe")), call("query")).await;
    assert_eq!(status, 403);
    assert_eq!(text, format!("Bearer realm=\"pgteller\", error=\"insufficient_scope\", scope=\"pg:query\", {url}"));
    assert_eq!(code(&serde_json::from_str(&body).unwrap()), "scope-insufficient");
    let entry = served.last_entry();
    assert_eq!(
        (entry.http_status, entry.tool.as_deref(), entry.refusal.unwrap().code.as_str()),
        (Some(403), Some("query"), "scope-insufficient")
    );
    // Any of the listed scopes is enough: the broader one implies the narrower.
    assert_eq!(rows(&count(&served, &token("pg:all")).await), &vec![json!([2])]);
    assert_eq!(rows(&count(&served, &token("openid pg:query")).await), &vec![json!([2])]);
    // The body decides, whatever the header says; reading a file needs the scope of the tool that made it.
    let read = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "pgteller://exports/x"}});
    assert_eq!(challenge(Some(&token("pg:query")), read).await.0, 403);
    assert_eq!(challenge(Some(&token("pg:query")), call("export")).await.0, 403);
    // A tool that no scope is configured for needs none.
    assert_eq!(challenge(Some(&token("")), call("explain")).await.0, 200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_the_tool_in_a_header_or_a_doubled_key_opens_nothing() {
    let keys = tempfile::tempdir().unwrap();
    let issuer = Issuer::new("k1");
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let more = format!(
        "[server]\nscopes = {{ query = [\"pg:query\"] }}\n[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        keys.path().join("jwks").display()
    );
    let (database, served) = served(&more).await;
    let token = issuer.sign(&claims(json!({"pgteller_task": null})));
    let post = async |headers: &[(&str, &str)], body: &str| {
        let mut request = reqwest::Client::new()
            .post(&served.url)
            .bearer_auth(&token)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let modern = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "describe")];
    let meta =
        "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{}}";
    let asked = |name: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{{name},\"arguments\":{{\"sql\":\"{COUNT}\"}},{meta}}}}}"
        )
    };
    assert_eq!(post(&modern, &asked("\"name\":\"query\"")).await.0, 403);
    for doubled in ["\"name\":\"describe\",\"name\":\"query\"", "\"name\":\"query\",\"name\":\"describe\""] {
        let (_, body) = post(&[("mcp-protocol-version", "2025-11-25")], &asked(doubled)).await;
        assert!(body.contains("\"error\"") && !body.contains("\"rows\""), "{doubled}: {body}");
    }
    let doubled = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"method\":\"tools/call\",\"params\":{{\"name\":\"query\",\"arguments\":{{\"sql\":\"{COUNT}\"}}}}}}"
    );
    let (_, body) = post(&[("mcp-protocol-version", "2025-11-25")], &doubled).await;
    assert!(!body.contains("\"rows\""), "{body}");
    let batch = format!("[{}]", asked("\"name\":\"query\""));
    let (status, body) = post(&[("mcp-protocol-version", "2025-11-25")], &batch).await;
    assert!(status >= 400 && !body.contains("\"rows\""), "{status} {body}");
    assert_eq!(post(&[("origin", "https://evil.test")], &asked("\"name\":\"describe\"")).await.0, 403);
    assert_eq!(post(&[("host", "evil.test")], &asked("\"name\":\"describe\"")).await.0, 403);
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let response = reqwest::Client::new()
            .request(method, &served.url)
            .bearer_auth(&token)
            .header("accept", "text/event-stream")
            .send()
            .await;
        assert_eq!(response.unwrap().status(), 405);
    }
    assert_eq!(database.task_roles().await, 0);
    served.stop().await;
}

/// Found by an attack: a caller whose bodies never come does not keep others out.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_stall_their_sender_and_nobody_else() {
    use tokio::io::AsyncWriteExt;
    let keys = tempfile::tempdir().unwrap();
    let issuer = Issuer::new("k1");
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        keys.path().join("jwks").display()
    );
    let (_database, served) = served(&more).await;
    let token = |subject: &str| issuer.sign(&claims(json!({"pgteller_task": null, "sub": subject})));
    assert_eq!(rows(&count(&served, &token("ada")).await), &vec![json!([2])]);
    let address = served.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
            token("eve")
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(rows(&count(&served, &token("ada")).await), &vec![json!([2])]);
    }
    drop(held);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_discovered_and_only_of_the_issuer_that_was_asked() {
    let issuer = Issuer::new("k1");
    let published = Arc::new(Published::default());
    let base = provider(Arc::clone(&published)).await;
    let metadata = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    published.put("/keys", 200, issuer.jwks());
    let token = issuer.sign(&claims(json!({"iss": base, "pgteller_task": null})));
    // OpenID Connect's place, and that of RFC 8414.
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        published.answers.lock().unwrap().retain(|(path, ..)| path == "/keys");
        published.put(path, 200, metadata(&base, &format!("{base}/keys")));
        let (_database, served) = served(&identity(&base, "")).await;
        assert_eq!(rows(&count(&served, &token).await), &vec![json!([2])], "{path}");
        served.stop().await;
    }
    // Metadata of somebody else, or that leads elsewhere, or is no JSON, or is a redirect: no keys; the token may be good, so 503.
    let elsewhere = Arc::new(Published::default());
    let other = provider(Arc::clone(&elsewhere)).await;
    elsewhere.put("/keys", 200, issuer.jwks());
    for (why, status, body) in [
        ("another issuer", 200, metadata("https://issuer.test", &format!("{base}/keys"))),
        ("a link-local address", 200, metadata(&base, "http://169.254.169.254/keys")),
        ("a private address", 200, metadata(&base, "http://10.0.0.1/keys")),
        ("a file", 200, metadata(&base, "file:///etc/passwd")),
        ("no JSON", 200, "<html>".to_owned()),
        ("a redirect", 302, format!("{other}/keys")),
    ] {
        published.answers.lock().unwrap().clear();
        published.put("/.well-known/openid-configuration", status, body);
        let (_database, served) = served(&identity(&base, "")).await;
        let response = served.post(Some(&token), &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
        assert_eq!(response.status(), 503, "{why}");
        assert!(response.headers().contains_key("retry-after"));
        assert_eq!(code(&response.json().await.unwrap()), "identity-unavailable", "{why}");
        served.stop().await;
    }
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0, "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_key_sets_open_nothing_and_good_keys_among_them_work() {
    let (issuer, twin) = (Issuer::new("k1"), Issuer::new("k1"));
    let published = Arc::new(Published::default());
    let base = provider(Arc::clone(&published)).await;
    let good = issuer.sign(&claims(json!({"iss": base, "pgteller_task": null})));
    let symmetric = json!({"kty": "oct", "kid": "s1", "alg": "HS256", "k": "c2VjcmV0"});
    let strange = json!({"kty": "NEW", "kid": "n1"});
    let encryption = {
        let mut key = issuer.jwk();
        key["use"] = json!("enc");
        key
    };
    let by_secret = {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("s1".to_owned());
        let all = claims(json!({"iss": base, "pgteller_task": null}));
        jsonwebtoken::encode(&header, &all, &jsonwebtoken::EncodingKey::from_secret(b"secret")).unwrap()
    };
    for (why, keys, works) in [
        ("symmetric and strange keys beside a good one", json!({"keys": [symmetric, strange, issuer.jwk()]}), true),
        ("two keys with one id", json!({"keys": [issuer.jwk(), twin.jwk()]}), false),
        ("a key for encryption", json!({"keys": [encryption]}), false),
        ("no key", json!({"keys": []}), false),
        ("no list", json!({"keys": "k1"}), false),
        ("huge", json!({"keys": [issuer.jwk()], "padding": "x".repeat(300 * 1024)}), false),
    ] {
        published.put("/keys", 200, keys);
        let (_database, served) = served(&identity(&base, &format!("jwks = \"{base}/keys\""))).await;
        let answer = count(&served, &good).await;
        assert_eq!(answer.get("rows").is_some(), works, "{why}: {answer}");
        assert!(count(&served, &by_secret).await.get("rows").is_none(), "{why}");
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_is_fetched_in_bounded_time_and_size_and_never_from_where_it_must_not() {
    // 100 MB, as fast as we read; and one byte at a time.
    let issuer = Issuer::new("k1");
    let endless = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", endless.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        loop {
            let (mut stream, _) = endless.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n").await;
                let block = [b' '; 64 * 1024];
                while stream.write_all(&block).await.is_ok() {
                    counted.fetch_add(block.len(), Ordering::SeqCst);
                }
            });
        }
    });
    let token = issuer.sign(&claims(json!({"iss": base})));
    let (_database, served) = served(&identity(&base, &format!("jwks = \"{base}/keys\""))).await;
    assert_eq!(code(&count(&served, &token).await), "identity-unavailable");
    assert!(sent.load(Ordering::SeqCst) < 16 << 20, "read {} bytes", sent.load(Ordering::SeqCst));
    served.stop().await;
    // One byte now and then: as long as we wait, and no longer.
    let dripping = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = format!("http://{}", dripping.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = dripping.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        while stream.write_all(b" ").await.is_ok() {
            ticks.tick().await;
        }
    });
    let (_database, served) = self::served(&identity(&base, &format!("jwks = \"{slow}/keys\""))).await;
    assert_eq!(code(&count(&served, &token).await), "identity-unavailable");
    served.stop().await;
    // A private or link-local address of the configuration itself: nothing is sent, and it is said at once.
    for url in
        ["https://10.255.255.1/keys", "https://169.254.169.254/keys", "https://[fe80::1]/keys", "https://[::ffff:10.0.0.1]/keys"]
    {
        let (_database, served) = self::served(&identity(&base, &format!("jwks = \"{url}\""))).await;
        assert_eq!(code(&count(&served, &token).await), "identity-unavailable", "{url}");
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_domain_is_an_issuer_of_svids_and_of_nothing_else() {
    let (domain, oauth) = (Issuer::new("d1"), Issuer::new("o1"));
    let directory = tempfile::tempdir().unwrap();
    let mut key = domain.jwk();
    key["use"] = json!("jwt-svid");
    let x509 = json!({"kty": "EC", "use": "x509-svid", "crv": "P-256", "x": "AA", "y": "AA", "x5c": ["AA"]});
    let bundle = json!({"keys": [x509, key], "spiffe_sequence": 1, "spiffe_refresh_hint": 300});
    std::fs::write(directory.path().join("bundle"), bundle.to_string()).unwrap();
    std::fs::write(directory.path().join("jwks"), json!({"keys": [oauth.jwk(), key]}).to_string()).unwrap();
    let more = format!(
        "[identity.mesh]\ntrust_domain = \"example.org\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n",
        directory.path().join("bundle").display(),
        directory.path().join("jwks").display()
    );
    let (_database, served) = served(&more).await;
    let svid = |change: Value| {
        let mut all = claims(json!({"iss": null, "client_id": null, "pgteller_task": null, "sub": "spiffe://example.org/bot"}));
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        domain.sign(&all)
    };
    assert_eq!(rows(&count(&served, &svid(json!({}))).await), &vec![json!([2])]);
    let who = served.last_entry().principal.unwrap();
    assert_eq!((who.issuer.as_str(), who.agent.as_str()), ("spiffe://example.org", "spiffe://example.org/bot"));
    let refused = [
        ("another domain", svid(json!({"sub": "spiffe://example.org.evil.test/bot"}))),
        ("no path", svid(json!({"sub": "spiffe://example.org"}))),
        ("a longer domain", svid(json!({"sub": "spiffe://example.organic/bot"}))),
        ("for somebody else", svid(json!({"aud": "https://other.test"}))),
        ("an OAuth issuer's key", oauth.sign(&claims(json!({"iss": null, "sub": "spiffe://example.org/bot"})))),
        ("the domain's key for the OAuth issuer", domain.sign(&claims(json!({})))),
    ];
    for (why, token) in refused {
        assert_eq!(code(&count(&served, &token).await), "token-invalid", "{why}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_what_their_issuer_says_and_only_for_us() {
    let published = Arc::new(Published::default());
    let base = provider(Arc::clone(&published)).await;
    let more = identity(
        &base,
        &format!(
            "introspection = {{ url = \"{base}/introspect\", client_id = \"pgteller\", client_secret_file = \"password\", cache_seconds = 0 }}"
        ),
    );
    let (_database, served) = served(&more).await;
    let end = Clock::system().now().seconds() + 60;
    let active = json!({"active": true, "iss": base, "aud": AUDIENCE, "sub": "ada", "client_id": "bot", "exp": end});
    let with = |change: Value| {
        let mut answer = active.clone();
        answer.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        answer.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        answer
    };
    published.put("/introspect", 200, with(json!({})));
    assert_eq!(rows(&count(&served, "opaque-1").await), &vec![json!([2])]);
    for (why, answer) in [
        ("inactive", json!({"active": false})),
        ("active in another sense", with(json!({"active": "true"}))),
        ("for somebody else", with(json!({"aud": ["https://other.test"]}))),
        ("for nobody", with(json!({"aud": null}))),
        ("from somebody else", with(json!({"iss": "https://other.test"}))),
        ("without end", with(json!({"exp": null}))),
        ("at its end", with(json!({"exp": end - 60}))),
        ("not yet", with(json!({"nbf": end}))),
        ("without subject", with(json!({"sub": null}))),
    ] {
        published.put("/introspect", 200, answer);
        assert_eq!(code(&count(&served, "opaque-1").await), "token-invalid", "{why}");
    }
    published.put("/introspect", 500, "{}");
    assert_eq!(code(&count(&served, "opaque-1").await), "identity-unavailable");
    // What can be no token, or may be another issuer's JWT, is not sent to anybody.
    let before = published.asked.load(Ordering::SeqCst);
    for token in ["a&token=b", "a.b.c", "eyJhbGciOiJkaXIifQ.a.b.c.d"] {
        assert_eq!(code(&count(&served, token).await), "token-invalid", "{token}");
    }
    assert_eq!(published.asked.load(Ordering::SeqCst), before);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_found_where_configuration_says_and_the_chain_is_kept_whole() {
    let issuer = Issuer::new("k1");
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("jwks"), issuer.jwks()).unwrap();
    let more = format!(
        "[identity.test]\nissuer = \"https://issuer.test\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\nsubject_claim = \"email\"\nagent_claims = [\"/ext/agent\"]\ngroups_claim = \"/realm/roles\"\ntask_claim = \"/ext/job\"\nclaims = {{ tenant = \"/ext/tenants/0\" }}\n",
        keys.path().join("jwks").display()
    );
    let (_database, served) = served(&more).await;
    let token = issuer.sign(&claims(json!({
        "email": "ada@example.org", "ext": {"agent": "tenant-bot", "tenants": [4, 5], "job": {"id": "j-1", "purpose": "read"}}, "pgteller_task": null,
        "realm": {"roles": ["staff"]}, "act": {"sub": "bot", "iss": "https://issuer.test", "act": {"sub": "planner", "act": {"sub": "portal"}}},
    })));
    assert_eq!(rows(&served.call_as(&token, "query", json!({"sql": "select id from note"})).await), &vec![json!([2])]);
    let entry = served.last_entry();
    let who = serde_json::to_value(entry.principal.unwrap()).unwrap();
    let chain = json!([{"subject": "bot", "issuer": "https://issuer.test"}, {"subject": "planner"}, {"subject": "portal"}]);
    assert_eq!((&who["subject"], &who["agent"], &who["delegation"]), (&json!("ada@example.org"), &json!("tenant-bot"), &chain));
    let input: Value = serde_json::from_str(entry.input.unwrap().get()).unwrap();
    assert_eq!(input["principal"]["delegation"], chain);
    assert_eq!(input["principal"]["groups"], json!(["staff"]));
    assert_eq!(entry.task.unwrap().purpose, "read");
    served.stop().await;
}

#[test]
fn configurations_that_could_let_anybody_in_are_refused() {
    for (toml, key) in [
        ("[identity.x]\naudiences = [\"a\"]\njwks = \"k\"", "identity.x.issuer"),
        ("[identity.x]\nissuer = \"i\"\ntrust_domain = \"d\"\naudiences = [\"a\"]\njwks = \"k\"", "identity.x.trust_domain"),
        ("[identity.x]\ntrust_domain = \"spiffe://d\"\naudiences = [\"a\"]\njwks = \"k\"", "identity.x.trust_domain"),
        ("[identity.x]\ntrust_domain = \"d\"\naudiences = [\"a\"]", "identity.x.jwks"),
        ("[identity.x]\nissuer = \"corp\"\naudiences = [\"a\"]", "identity.x.jwks"),
        ("[identity.x]\nissuer = \"i\"\njwks = \"k\"", "identity.x.audiences"),
        ("[identity.x]\nissuer = \"i\"\naudiences = [\"a\"]\njwks = \"http://idp.example/keys\"", "identity.x.jwks"),
        ("[identity.x]\nissuer = \"i\"\naudiences = [\"a\"]\njwks = \"http://localhost.evil.example/keys\"", "identity.x.jwks"),
        ("[identity.x]\nissuer = \"i\"\naudiences = [\"a\"]\njwks = \"k\"\nalgorithms = [\"HS256\"]", "identity.x.algorithms"),
        (
            "[identity.x]\nissuer = \"i\"\naudiences = [\"a\"]\nintrospection = {url = \"http://idp.example/i\", client_id = \"c\", client_secret_file = \"s\"}",
            "identity.x.introspection.url",
        ),
        ("[server]\nscopes = {qeury = [\"a\"]}\n[dev]\nsubject = \"s\"\nagent = \"a\"", "server.scopes.qeury"),
        ("[server]\nscopes = {query = [\"a b\"]}\n[dev]\nsubject = \"s\"\nagent = \"a\"", "server.scopes.query"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy.yaml"), "version: 1\ngrants: {}").unwrap();
        std::fs::write(directory.path().join("password"), "p").unwrap();
        let text = format!(
            "{toml}\n[policy]\ndata = \"policy.yaml\"\n[database.d]\nurl = \"postgres://u@127.0.0.1/d\"\npassword_file = \"password\"\n"
        );
        let path = directory.path().join("pgteller.toml");
        std::fs::write(&path, text).unwrap();
        let error = pgteller::settings::Settings::read(&path).expect_err(toml).to_string();
        assert!(error.starts_with(&format!("`{key}`")), "{toml}: {error}");
    }
}
