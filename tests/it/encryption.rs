//! TLS to the database: verified, or nothing.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use pgteller::clock::Clock;
use pgteller::database::role::scram_verifier;
use pgteller::model::names::InstallationId;
use pgteller::profile::setup::{InstallationRoles, script};
use serde_json::json;

use crate::support::TestDatabase;
use crate::support::client::{code, rows};
use crate::support::database::{connect, own_cluster};
use crate::support::server::Configured;

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_encrypted_and_the_certificate_is_verified() {
    let clock = Clock::system();
    let cluster = own_cluster(&[]);
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = authority("localhost");
    let (stranger, _) = authority("localhost");
    let directory = cluster.directory();
    let owner = std::fs::metadata(directory).unwrap();
    for (name, text) in [("server.crt", &certificate), ("server.key", &key)] {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let postgres = connect(&cluster.dsn("postgres")).await;
    for (name, value) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
        postgres.batch_execute(&format!("ALTER SYSTEM SET {name} = '{}'", directory.join(value).display())).await.unwrap();
    }
    postgres.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    postgres.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    while connect(&cluster.dsn("postgres")).await.query_one("SHOW ssl", &[]).await.unwrap().get::<_, String>(0) != "on" {
        tokio::task::yield_now().await;
    }
    let id = InstallationId(clock.random_hex::<4>());
    postgres.batch_execute("CREATE SCHEMA app; CREATE TABLE app.note(id int PRIMARY KEY)").await.unwrap();
    postgres.batch_execute(&script(&id, &scram_verifier("tls", &[3; 16]), &["app".to_owned()])).await.unwrap();
    let url = format!("postgres://{}@127.0.0.1:{}/postgres", InstallationRoles::of(&id).login, cluster.port());
    let database =
        TestDatabase { name: "postgres".to_owned(), installation: id, password: "tls".to_owned(), owner: postgres, cluster };
    let policy = "version: 1\nunlabelled: clear\ngrants: {g: {agents: [bot], purposes: [work], read: {allow: [app.*]}}}\n";
    for (trusted, expected) in [(&certificate, true), (&stranger, false)] {
        let roots = tempfile::tempdir().unwrap().keep().join("roots.pem");
        std::fs::write(&roots, trusted).unwrap();
        let keys = format!("search_path = [\"app\"]\ntls = \"verify\"\ntls_ca_file = \"{}\"", roots.display());
        let configured = Configured {
            database: &database,
            policy,
            agent: "bot",
            purpose: "work",
            policy_keys: "",
            more: "",
            database_keys: &keys,
        };
        let served = configured.serve_at(&url).await;
        let answer = served.query("select count(*) from note").await;
        if expected {
            assert_eq!(rows(&answer), &vec![json!([0])]);
            let plain = "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename LIKE 'pgteller%' AND NOT s.ssl";
            assert_eq!(database.cell(plain).await, "0", "a session of ours is not encrypted");
        } else {
            assert_eq!(code(&answer), "database-unavailable");
        }
        served.stop().await;
    }
}
