//! What was left behind: in PostgreSQL, in the storage, in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use pgteller::audit::verify;

use super::Report;
use super::world::{Site, World};

/// How long a look waits until everything is gone: the longest statement, and some sweeps.
const PATIENCE: Duration = Duration::from_secs(40);

/// Each gives one count, which must be 0. `$I` is the installation, `$K` the tasks that are open.
const IN_POSTGRESQL: &[(&str, &str)] = &[
    (
        "task roles of dead processes",
        "SELECT count(*) FROM pgteller_api.made m WHERE m.kind = 't' AND NOT EXISTS (SELECT FROM pgteller_private.instance i \
         JOIN pg_stat_activity a ON a.pid = i.backend_pid AND a.backend_start = i.backend_start WHERE i.id = split_part(m.role_name::text, '_', 3))",
    ),
    ("task roles beyond the tasks that are open", "SELECT greatest(count(*) - $K, 0) FROM pgteller_api.made m WHERE m.kind = 't'"),
    (
        "registrations of dead processes",
        "SELECT count(*) FROM pgteller_private.instance i WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = i.backend_pid AND a.backend_start = i.backend_start)",
    ),
    (
        "entries of `made` without a role",
        "SELECT count(*) FROM pgteller_api.made m WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = m.role_oid AND r.rolname = m.role_name)",
    ),
    (
        "roles of ours without an entry of `made`",
        "SELECT count(*) FROM pg_roles r WHERE r.rolname ~ '^pgteller_$I_(p|[0-9a-f]{8})_' AND NOT EXISTS (SELECT FROM pgteller_api.made m WHERE r.oid = m.role_oid AND r.rolname = m.role_name)",
    ),
    (
        "parameters of tasks without a role",
        "SELECT count(*) FROM pgteller_private.task t WHERE NOT EXISTS (SELECT FROM pgteller_api.made m WHERE m.role_name = t.role_name)",
    ),
    (
        "profiles that no task uses",
        "SELECT count(*) FROM pgteller_api.made m WHERE m.kind = 'p' AND NOT EXISTS (SELECT FROM pg_auth_members a JOIN pgteller_api.made t ON t.role_oid = a.member AND t.kind = 't' WHERE a.roleid = m.role_oid)",
    ),
    (
        "profile entries without a role",
        "SELECT count(*) FROM pgteller_private.profile p WHERE NOT EXISTS (SELECT FROM pgteller_api.made m WHERE m.role_name = p.name AND m.kind = 'p')",
    ),
    (
        "profile roles without an entry",
        "SELECT count(*) FROM pgteller_api.made m WHERE m.kind = 'p' AND NOT EXISTS (SELECT FROM pgteller_private.profile p WHERE m.role_name = p.name)",
    ),
    (
        "schemas of no profile",
        "SELECT count(*) FROM pg_namespace n WHERE n.nspname ~ '^pgteller_$I_' AND NOT EXISTS (SELECT FROM pgteller_private.profile p WHERE n.nspname::text = ANY (p.schemas))",
    ),
    (
        "rows of the governed catalog of no profile",
        "SELECT coalesce(sum(substring(query_to_xml(format('SELECT count(*) FROM pgteller_private.%I s WHERE NOT EXISTS \
         (SELECT FROM pgteller_private.profile p WHERE p.name = s.profile)', relname), false, true, '')::text from '<count>([0-9]+)')::bigint), 0)::bigint \
         FROM pg_class WHERE relnamespace = 'pgteller_private'::regnamespace AND relname LIKE 'shown%' AND relkind = 'r'",
    ),
    (
        "sessions of ours that no living process has",
        "SELECT count(*) FROM pg_stat_activity a WHERE a.usename ~ '^pgteller_$I_' \
         AND NOT EXISTS (SELECT FROM pgteller_private.instance i WHERE i.backend_pid = a.pid AND i.backend_start = a.backend_start) \
         AND NOT EXISTS (SELECT FROM pgteller_api.made m JOIN pgteller_private.instance i ON i.id = split_part(m.role_name::text, '_', 3) WHERE m.role_name = a.usename)",
    ),
    (
        "rights and memberships of roles that are gone",
        "SELECT (SELECT count(*) FROM pg_database d, aclexplode(d.datacl) x WHERE x.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = x.grantee)) \
         + (SELECT count(*) FROM pg_auth_members a WHERE NOT EXISTS (SELECT FROM pg_authid r WHERE r.oid = a.member))",
    ),
    (
        "advisory locks, prepared transactions, holds",
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) + (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM pgteller_private.hold)",
    ),
];

const PARTS: &str = "unpublished exports";

/// Waits until nothing is left but what the living servers need; counts what stays.
pub(super) async fn look(world: &World) {
    let at = Instant::now();
    for site in &world.sites {
        site.until_served(world).await;
        let left = settled(site, 1, at).await;
        let clean = left.values().all(|count| *count == 0);
        let mut report = world.report.lock().unwrap();
        add(&mut report, left);
        if clean {
            report.clean.push(at.elapsed());
        }
    }
    world.report.lock().unwrap().looks += 1;
}

/// Ends the server that stayed; then nothing at all may be there, and every entry that somebody was told must be.
pub(super) async fn end(site: Site, report: &mut Report) {
    let Site { database, control, acknowledged } = site;
    let directory = control.stop().await;
    let client = super::world::connect_patiently(database.cluster, &database.name).await;
    let at = Instant::now();
    loop {
        let left = count(&client, database.installation.as_str(), 0, directory.path()).await;
        if left.values().all(|count| *count == 0) || at.elapsed() > PATIENCE {
            add(report, left);
            break;
        }
        tokio::task::yield_now().await;
    }
    let audit = directory.path().join("data/audit");
    let mut ids = BTreeSet::new();
    let (mut broken, mut torn) = (0, 0);
    for chain in verify::chains(&audit).unwrap() {
        let verified = verify::verify(&chain).unwrap();
        if let Some(why) = verified.broken {
            broken += 1;
            report.surprises.push(why);
        }
        for file in verify::files(&chain).unwrap() {
            let text = std::fs::read_to_string(&file).unwrap();
            torn += usize::from(!text.is_empty() && !text.ends_with('\n'));
            for line in text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
                ids.insert(line["entry"]["request_id"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    let lost = acknowledged.into_inner().unwrap().iter().filter(|id| !ids.contains(*id)).count();
    add(
        report,
        BTreeMap::from([("audit chains that do not hold", broken), ("torn last lines", torn), ("answers without an entry", lost)]),
    );
    let noise = std::fs::read_to_string(directory.path().join("noise")).unwrap_or_default();
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for line in noise.lines() {
        *faults.entry(line.split_once("ERROR").map_or(line, |(_, rest)| rest).trim().to_owned()).or_default() += 1;
    }
    for (line, count) in faults {
        println!("log x{count}: {line:.300}");
    }
}

async fn settled(site: &Site, open: usize, at: Instant) -> BTreeMap<&'static str, usize> {
    let client = site.superuser().await;
    loop {
        let left = count(&client, site.database.installation.as_str(), open, site.control.directory.path()).await;
        if left.values().all(|count| *count == 0) || at.elapsed() > PATIENCE {
            return left;
        }
        tokio::task::yield_now().await;
    }
}

async fn count(
    client: &tokio_postgres::Client,
    installation: &str,
    open: usize,
    directory: &Path,
) -> BTreeMap<&'static str, usize> {
    let mut left = BTreeMap::new();
    for (what, sql) in IN_POSTGRESQL {
        let sql = sql.replace("$I", installation).replace("$K", &open.to_string());
        let row = client.query_one(&sql, &[]).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        left.insert(*what, usize::try_from(row.get::<_, i64>(0)).unwrap());
    }
    let files = std::fs::read_dir(directory.join("data/exports")).unwrap();
    let part = |path: &Path| path.extension().is_some_and(|extension| extension == "part");
    left.insert(PARTS, files.filter(|file| part(&file.as_ref().unwrap().path())).count());
    left
}

fn add(report: &mut Report, left: BTreeMap<&'static str, usize>) {
    for (what, count) in left {
        *report.left.entry(what.to_owned()).or_default() += count;
    }
}
