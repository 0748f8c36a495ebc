//! What there is to know about a database before it is used.
//!
//! Takes the gateway's connection and what is configured, gives an [`Examination`]: the set-up, every finding of preflight, the schema.
//! Changes nothing: no process is registered, no role made or closed.

use tokio_postgres::Client;

use super::governed::installation;
use super::preflight::{self, Depth, Finding, Grade, Ours};
use super::{DatabaseError, Unready, snapshot};
use crate::model::names::InstallationId;
use crate::model::snapshot::Snapshot;
use crate::settings::DatabaseSettings;

/// What was found in a database.
#[derive(Debug)]
pub struct Examination {
    /// Its configured name.
    pub name: String,
    /// PostgreSQL's own version.
    pub server_version: String,
    /// The installation.
    pub installation: InstallationId,
    /// The role that owns the views.
    pub view_owner: String,
    /// Everything that preflight found, the worst first.
    pub findings: Vec<Finding>,
    /// The ids that configuration acknowledges.
    pub acknowledged: Vec<String>,
    /// What the view owner may select.
    pub snapshot: Snapshot,
    /// Of the snapshot.
    pub(super) fingerprint: String,
}

impl Examination {
    /// Examines. `stranger` is the end of a role's name that does not exist; `expected` are names that the policy document uses.
    pub(super) async fn read(
        client: &Client,
        settings: &DatabaseSettings,
        expected: &[String],
        stranger: &str,
    ) -> Result<Self, Unready> {
        let (installation, view_owner) = installation(client).await?;
        let ours = Ours { installation: &installation, view_owner: &view_owner };
        let mut findings = preflight::inspect(client, ours, Depth::All).await?;
        let probe = format!("pgteller_{installation}_{stranger}");
        findings.extend(preflight::try_the_door(&settings.target, &settings.login, &settings.password, &probe).await?);
        let fingerprint = snapshot::fingerprint(client).await?;
        let snapshot = snapshot::read(client, &view_owner, settings.search_path.as_deref()).await?;
        findings.extend(expected.iter().filter(|name| !snapshot.knows(name)).map(|name| preflight::unknown_name(name)));
        findings.sort();
        let version = client.query_one("SELECT current_setting('server_version')", &[]).await;
        let server_version = version.map_err(DatabaseError::admin("asking for the server's version"))?.get(0);
        Ok(Self {
            name: settings.name.to_string(),
            server_version,
            installation,
            view_owner,
            findings,
            acknowledged: settings.acknowledge.clone(),
            snapshot,
            fingerprint,
        })
    }

    /// Whether configuration acknowledges it.
    pub fn accepts(&self, finding: &Finding) -> bool {
        self.acknowledged.contains(&finding.id)
    }

    /// What stops the database.
    pub fn stopping(&self) -> Vec<Finding> {
        self.findings.iter().filter(|finding| finding.stops(&self.acknowledged)).cloned().collect()
    }

    /// How many findings of a grade are not acknowledged.
    pub fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|finding| finding.grade == grade && !self.accepts(finding)).count()
    }

    /// Whether the server lets roles of ours in by SCRAM and nothing weaker, and is reached directly.
    pub fn door_holds(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding.id.as_str(), "authentication" | "authentication-login" | "pooler"))
    }

    /// Acknowledged ids that nothing answers to. An index that mixes columns is found when a profile is built: its id holds as long as
    /// the index is there.
    pub fn stale(&self) -> Vec<&str> {
        let found = |id: &str| self.findings.iter().any(|finding| finding.id == id) || self.has_index(id);
        self.acknowledged.iter().map(String::as_str).filter(|id| !found(id)).collect()
    }

    fn has_index(&self, id: &str) -> bool {
        let Some(name) = id.strip_prefix("mixed-index:") else { return false };
        let mut indexes =
            self.snapshot.relations.iter().flat_map(|(relation, known)| known.indexes.iter().map(move |index| (relation, index)));
        indexes.any(|(relation, index)| name == format!("{}.{}", relation.schema, index.name))
    }

    /// Tells the log once what does not stop the database. What stops it is told by whoever is stopped.
    pub fn report(&self) {
        let ids = |grade| {
            let these = self.findings.iter().filter(|finding| finding.grade == grade && !self.accepts(finding));
            these.map(|finding| finding.id.as_str()).collect::<Vec<_>>().join(", ")
        };
        if self.count(Grade::Warning) > 0 {
            tracing::warn!(database = self.name, "preflight warns, `pgteller doctor` explains: {}", ids(Grade::Warning));
        }
        if self.count(Grade::Notice) > 0 {
            tracing::info!(database = self.name, "preflight notes: {}", ids(Grade::Notice));
        }
        for id in self.stale() {
            tracing::warn!(database = self.name, id, "acknowledged, but there is no such finding");
        }
    }
}
