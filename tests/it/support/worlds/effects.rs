//! What could outlast a statement: is everything outside the task as it was?
//!
//! Beside each world stand three onlookers: a superuser who looks, one session that holds an open transaction with an advisory lock, and one
//! that listens on every channel that the corpus names. A logical slot with `test_decoding` reads every change of a row and every message in
//! the WAL, whoever made it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::World;
use crate::support::TestDatabase;
use crate::support::database::connect;

/// The onlookers of one world.
pub struct Effects {
    heard: Arc<Mutex<Vec<String>>>,
    listener: Client,
    _holder: Client,
    holder_pid: i32,
    slot: bool,
}

/// How long a statement may go on after its answer: more than PostgreSQL's own limit for it.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(10);

const SLOT: &str = "SELECT pg_create_logical_replication_slot('onlooker', 'test_decoding')";
const CHANGES: &str = "SELECT string_agg(data, E'\\n') FROM pg_logical_slot_get_changes('onlooker', NULL, NULL, 'skip-empty-xacts', '1', 'include-xids', '0')";

/// What is cheap to ask after every statement. `{role}` is the task's, `{holder}` the session that holds.
const CHEAP: &str = "SELECT string_agg(x, E'\\n' ORDER BY x) FROM (
    SELECT concat('roles ', md5(string_agg(a::text, '' ORDER BY oid))) AS x FROM pg_authid a
    UNION ALL SELECT concat('members ', md5(string_agg(m::text, '' ORDER BY m::text))) FROM pg_auth_members m
    UNION ALL SELECT concat('settings ', md5(string_agg(s::text, '' ORDER BY s::text))) FROM pg_db_role_setting s
    UNION ALL SELECT concat('databases ', md5(string_agg(concat(datname, datacl, datconnlimit, datallowconn), '' ORDER BY oid))) FROM pg_database
    UNION ALL SELECT concat('server settings ', s.modification, s.size, pg_conf_load_time()) FROM pg_stat_file('postgresql.auto.conf') s
    UNION ALL SELECT concat('large objects ', md5(string_agg(l::text, '' ORDER BY oid))) FROM pg_largeobject_metadata l
    UNION ALL SELECT concat('relations ', md5(string_agg(concat(oid, relname, relnamespace, relkind, relowner, relacl, reloptions), '' ORDER BY oid))) FROM pg_class
    UNION ALL SELECT concat('functions ', md5(string_agg(concat(oid, proname, proowner, proacl, md5(prosrc)), '' ORDER BY oid))) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat('schemas ', md5(string_agg(n::text, '' ORDER BY oid))) FROM pg_namespace n
    UNION ALL SELECT concat('others ', (SELECT count(*) FROM pg_type), ' ', (SELECT count(*) FROM pg_trigger), ' ', (SELECT count(*) FROM pg_constraint), ' ', (SELECT count(*) FROM pg_rewrite), ' ',
        (SELECT count(*) FROM pg_policy), ' ', (SELECT count(*) FROM pg_extension), ' ', (SELECT count(*) FROM pg_publication), ' ', (SELECT count(*) FROM pg_subscription), ' ', (SELECT count(*) FROM pg_foreign_server), ' ',
        (SELECT count(*) FROM pg_default_acl), ' ', (SELECT count(*) FROM pg_event_trigger), ' ', (SELECT count(*) FROM pg_description), ' ', (SELECT count(*) FROM pg_prepared_xacts), ' ', (SELECT count(*) FROM pg_replication_slots), ' ',
        (SELECT count(*) FROM pg_operator), ' ', (SELECT count(*) FROM pg_cast), ' ', (SELECT count(*) FROM pg_attribute), ' ', (SELECT count(*) FROM pg_tablespace))
    UNION ALL SELECT concat('sequence ', schemaname, '.', sequencename, ' ', coalesce(last_value::text, 'not called')) FROM pg_sequences
    UNION ALL SELECT concat('lock ', a.usename, ' ', l.locktype, ' ', l.classid, ' ', l.objid, ' ', l.mode, ' ', l.granted) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE pid <> pg_backend_pid() AND (pid = {holder} OR locktype = 'advisory' OR a.usename = '{role}') AND a.usename IS NOT NULL
    UNION ALL SELECT concat('session ', pid, ' ', state, ' ', xact_start, ' ', query_start, ' ', query) FROM pg_stat_activity WHERE pid = {holder}
    ) s";

/// Files by name and size: the top of the data directory, and those of this database, without what changes by itself.
const FILES: &str = "SELECT string_agg(x, E'\\n' ORDER BY x) FROM (
    SELECT concat('file ', f) AS x FROM pg_ls_dir('.') f
    UNION ALL SELECT concat('file base/', f) FROM pg_ls_dir('base') f WHERE f <> 'pgsql_tmp'
    UNION ALL SELECT concat('file ', d, '/', f) FROM unnest(ARRAY['pg_tblspc', 'pg_twophase', 'pg_replslot', 'pg_logical/mappings']) d, LATERAL pg_ls_dir(d) f
    UNION ALL SELECT concat('file ', f, ' ', (pg_stat_file(f)).size) FROM unnest(ARRAY['PG_VERSION', 'pg_hba.conf', 'pg_ident.conf', 'postgresql.conf', 'postgresql.auto.conf', 'postmaster.opts']) f
    UNION ALL SELECT concat('file base/', f, ' ', (pg_stat_file('base/' || oid || '/' || f)).size) FROM pg_database, LATERAL pg_ls_dir('base/' || oid) f
        WHERE datname = current_database() AND f !~ '(^pg_internal|_fsm$|_vm$|^t[0-9])'
    ) s";

impl Effects {
    /// Puts them there; `channels` are listened on.
    pub async fn watch(world: &World, channels: &BTreeSet<String>) -> Self {
        let database = &world.database;
        let slot = database.owner.batch_execute(SLOT).await.is_ok();
        // Empty files of what the loading itself replaced are unlinked now, and not by a checkpoint in the middle.
        database.owner.batch_execute("CHECKPOINT").await.unwrap();
        let holder = connect(&database.cluster.dsn(&database.name)).await;
        holder.batch_execute("BEGIN; SELECT pg_advisory_lock(4242), pg_advisory_xact_lock_shared(4243)").await.unwrap();
        let holder_pid = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        holder.batch_execute("DECLARE open_cursor CURSOR FOR SELECT 1; SAVEPOINT kept").await.unwrap();
        let (listener, heard) = listen(database).await;
        let listens: String = channels.iter().map(|channel| format!("LISTEN \"{channel}\";")).collect();
        listener.batch_execute(&listens).await.unwrap();
        Self { heard, listener, _holder: holder, holder_pid, slot }
    }

    /// Whether changes and messages in the WAL are read.
    pub fn reads_wal(&self) -> bool {
        self.slot
    }

    /// Waits until the task runs nothing: a statement that was answered with its time limit may take a moment to notice its cancel, and a
    /// running statement's locks are no lasting effect. PostgreSQL's own limit ends what does not notice.
    async fn at_rest(&self, world: &World) {
        let running = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state <> 'idle'", world.role);
        let since = std::time::Instant::now();
        while world.database.cell(&running).await != "0" {
            assert!(since.elapsed() < LONGEST, "a statement of the task still runs after its answer");
            tokio::task::yield_now().await;
        }
    }

    /// What is cheap to compare after every statement.
    pub async fn cheap(&self, world: &World) -> String {
        self.at_rest(world).await;
        let sql = CHEAP.replace("{role}", &world.role).replace("{holder}", &self.holder_pid.to_string());
        let mut text = world.database.cell(&sql).await;
        if self.slot {
            text.push_str(&format!("\nwal {}", world.database.cell(CHANGES).await));
        }
        // Messages come before the answer to whatever is asked next.
        self.listener.batch_execute("SELECT 1").await.unwrap();
        text.push_str(&format!("\nheard {:?}", self.heard.lock().unwrap()));
        text
    }

    /// Everything: also every table's content, and files.
    pub async fn full(&self, world: &World) -> String {
        format!("{}\n{}\n{}", self.cheap(world).await, world.lasting().await, world.database.cell(FILES).await)
    }
}

/// A session whose notifications are kept.
async fn listen(database: &TestDatabase) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = tokio_postgres::connect(&database.cluster.dsn(&database.name), NoTls).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                kept.lock().unwrap().push(format!("{} {}", notification.channel(), notification.payload()));
            }
        }
    });
    (client, heard)
}

/// The channels that statements name.
pub fn channels(statements: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::from(["onlooker".to_owned()]);
    for sql in statements {
        let lower = sql.to_lowercase();
        for (at, _) in lower.match_indices("notify") {
            let word: String = lower[at + 6..]
                .trim_start_matches([' ', '(', '\'', '"'])
                .chars()
                .take_while(|char| char.is_alphanumeric() || *char == '_')
                .collect();
            if !word.is_empty() {
                found.insert(word);
            }
        }
    }
    found
}

/// Lines that differ, for people.
pub fn changed(before: &str, after: &str) -> Vec<String> {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    old.difference(&new).map(|line| format!("- {line}")).chain(new.difference(&old).map(|line| format!("+ {line}"))).collect()
}

/// Files that a statement names by an absolute path: their sizes and times.
pub fn named_files(sql: &str) -> Vec<(String, Option<(u64, SystemTime)>)> {
    let paths = sql.split('\'').filter(|text| text.starts_with('/') && !text.contains([' ', '*', '\n']) && text.len() > 1);
    paths
        .map(|path| {
            let known = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
            (path.to_owned(), known.and_then(|file| Some((file.len(), file.modified().ok()?))))
        })
        .collect()
}
