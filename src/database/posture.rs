//! What is going on in a database: for `pgteller status`.
//!
//! Takes the gateway's connection and an examination, gives a [`Posture`]. Reads only what the set-up grants to the gateway's login, and
//! nothing that is secret.

use serde::Serialize;
use tokio_postgres::Client;

use super::DatabaseError;
use super::examination::Examination;

/// How a database stands.
#[derive(Debug)]
pub struct Posture {
    /// What was found in it.
    pub examination: Examination,
    /// Processes that are registered and connected.
    pub alive: usize,
    /// Processes that are registered and gone; the next sweep forgets them.
    pub dead: usize,
    /// Roles of open tasks.
    pub tasks: usize,
    /// Built profiles, the oldest first.
    pub profiles: Vec<ProfilePosture>,
}

/// One built profile.
#[derive(Debug, Serialize)]
pub struct ProfilePosture {
    /// Its role.
    pub name: String,
    /// Tasks that are members of it.
    pub members: usize,
    /// How long ago it was built.
    pub age_seconds: u64,
}

const INSTANCES: &str = "
SELECT count(a.pid), count(*) - count(a.pid) FROM pgteller_private.instance i
LEFT JOIN pg_stat_activity a ON a.pid = i.backend_pid AND a.backend_start = i.backend_start";

const TASKS: &str = "SELECT count(*) FROM pgteller_api.made m JOIN pg_roles r ON r.oid = m.role_oid WHERE m.kind = 't'";

const PROFILES: &str = "
SELECT p.name::text, greatest(extract(epoch FROM clock_timestamp() - p.built_at), 0)::bigint,
  (SELECT count(*) FROM pg_roles r JOIN pg_auth_members a ON a.roleid = r.oid JOIN pgteller_api.made m ON m.role_oid = a.member AND m.kind = 't'
     WHERE r.rolname = p.name)
FROM pgteller_private.profile p ORDER BY p.built_at, p.name";

impl Posture {
    /// Reads it.
    pub(super) async fn read(client: &Client, examination: Examination) -> Result<Self, DatabaseError> {
        let reading = || DatabaseError::admin("reading what is going on");
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let instances = client.query_one(INSTANCES, &[]).await.map_err(reading())?;
        let tasks = client.query_one(TASKS, &[]).await.map_err(reading())?;
        let profiles = client.query(PROFILES, &[]).await.map_err(reading())?;
        Ok(Self {
            examination,
            alive: count(instances.get(0)),
            dead: count(instances.get(1)),
            tasks: count(tasks.get(0)),
            profiles: profiles
                .iter()
                .map(|row| ProfilePosture {
                    name: row.get(0),
                    age_seconds: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0),
                    members: count(row.get(2)),
                })
                .collect(),
        })
    }
}
