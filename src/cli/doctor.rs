//! `pgteller doctor`: preflight by itself, and the script that mends what it found.

use serde::Serialize;
use serde_json::{Value, json};

use super::{ConfigPath, say};
use crate::clock::Clock;
use crate::database::examination::Examination;
use crate::database::preflight::{Finding, Fix, Grade, script};
use crate::database::{Database, Unready};
use crate::model::text::visible;
use crate::policy::PolicyDocument;
use crate::settings::Settings;

/// Look for what would let a task around its grants.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    config: ConfigPath,
    /// Only this database. Default: all that are configured.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Print one SQL script that mends what was found, for a superuser to read and run, and nothing else.
    #[arg(long, conflicts_with = "json")]
    fix: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Runs it. Fails if something serious is not acknowledged, or a database cannot be looked at.
    pub async fn run(self) -> anyhow::Result<()> {
        let databases = configured(&self.config, self.database.as_deref())?;
        if self.fix {
            let [database] = databases.as_slice() else {
                anyhow::bail!("a script is for one database: name it with --database");
            };
            return say(mending(&database.examination().await.map_err(|why| anyhow::anyhow!("{why}"))?));
        }
        let (mut reports, mut stopped) = (Vec::new(), 0_usize);
        for database in &databases {
            let examined = database.examination().await;
            let stops = examined.as_ref().map_or(true, |examination| !examination.stopping().is_empty());
            stopped = stopped.saturating_add(usize::from(stops));
            if self.json {
                reports.push(as_json(database, &examined));
            } else {
                say(as_text(database, &examined))?;
            }
        }
        if self.json {
            say(serde_json::to_string_pretty(&json!({"databases": reports}))?)?;
        }
        anyhow::ensure!(stopped == 0, "{stopped} of {} databases cannot be used", databases.len());
        Ok(())
    }
}

/// The configured databases, or the one of this name, not opened.
pub(super) fn configured(path: &ConfigPath, only: Option<&str>) -> anyhow::Result<Vec<Database>> {
    let settings = Settings::read(&path.config)?;
    let document = PolicyDocument::parse(&settings.policy.document, &settings.policy.document_path.display().to_string())?;
    let expected = if settings.databases.len() == 1 { document.names() } else { Vec::new() };
    let chosen = settings.databases.into_iter().filter(|one| only.is_none_or(|name| one.name.as_str() == name));
    let databases: Vec<Database> =
        chosen.map(|one| Database::new(one, document.labels().clone(), expected.clone(), Clock::system())).collect();
    anyhow::ensure!(!databases.is_empty(), "there is no database `{}` in the configuration", only.unwrap_or_default());
    Ok(databases)
}

fn mending(examination: &Examination) -> String {
    let (accepted, open): (Vec<&Finding>, Vec<&Finding>) =
        examination.findings.iter().partition(|finding| examination.accepts(finding));
    script(&examination.name, &examination.installation, &open, &accepted)
}

/// A finding as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    acknowledged: bool,
}

fn as_json(database: &Database, examined: &Result<Examination, Unready>) -> Value {
    let name = database.name().as_str();
    let examination = match examined {
        Ok(examination) => examination,
        Err(why) => return json!({"database": name, "error": why.to_string()}),
    };
    let shown = |finding| Shown { finding, acknowledged: examination.accepts(finding) };
    let findings: Vec<Shown<'_>> = examination.findings.iter().map(shown).collect();
    json!({
        "database": name,
        "server_version": examination.server_version,
        "installation": examination.installation,
        "findings": findings,
        "acknowledged_without_finding": examination.stale(),
    })
}

fn as_text(database: &Database, examined: &Result<Examination, Unready>) -> String {
    let name = database.name();
    let examination = match examined {
        Ok(examination) => examination,
        Err(why) => return format!("{name}: cannot be looked at: {}\n", visible(&why.to_string())),
    };
    let mut text = format!("{name}: PostgreSQL {}, installation {}\n", examination.server_version, examination.installation);
    for grade in Grade::ALL {
        let these: Vec<&Finding> = examination.findings.iter().filter(|finding| finding.grade == grade).collect();
        if !these.is_empty() {
            text.push_str(&format!("\n{grade}\n"));
        }
        for finding in these {
            let accepted = if examination.accepts(finding) { "  (acknowledged)" } else { "" };
            let verb = match finding.fix {
                Fix::Sql(_) => "sql",
                Fix::ByHand(_) => "do",
            };
            text.push_str(&visible(&format!("  {}{accepted}\n    {}\n", finding.id, finding.message)));
            text.push_str(&visible(&format!("    {verb}: {}\n", finding.fix)));
        }
    }
    for id in examination.stale() {
        text.push_str(&visible(&format!("\nacknowledged, but there is no such finding: {id}\n")));
    }
    let counts = Grade::ALL.map(|grade| format!("{} {grade}", examination.count(grade))).join(", ");
    let verdict = if examination.stopping().is_empty() { "it can be used" } else { "it is stopped" };
    text.push_str(&format!("\nnot acknowledged: {counts}; {verdict}\n"));
    text
}
