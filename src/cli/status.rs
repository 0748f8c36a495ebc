//! `pgteller status`: how each database stands.

use serde_json::{Value, json};

use super::doctor::configured;
use super::{ConfigPath, say};
use crate::database::posture::Posture;
use crate::database::preflight::Grade;
use crate::database::{Database, SETUP_VERSION, Unready};
use crate::model::text::visible;

/// Show how each database stands.
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    config: ConfigPath,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Runs it. Fails if a database cannot be looked at; one that preflight stops is shown as such.
    pub async fn run(self) -> anyhow::Result<()> {
        let databases = configured(&self.config, None)?;
        let (mut reports, mut failed) = (Vec::new(), 0_usize);
        for database in &databases {
            let posture = database.posture().await;
            failed = failed.saturating_add(usize::from(posture.is_err()));
            let report = as_json(database, &posture);
            if !self.json {
                say(as_text(&report))?;
            }
            reports.push(report);
        }
        if self.json {
            say(serde_json::to_string_pretty(&json!({"databases": reports}))?)?;
        }
        anyhow::ensure!(failed == 0, "{failed} of {} databases cannot be looked at", databases.len());
        Ok(())
    }
}

fn as_json(database: &Database, posture: &Result<Posture, Unready>) -> Value {
    let name = database.name().as_str();
    let posture = match posture {
        Ok(posture) => posture,
        Err(why) => return json!({"database": name, "state": "unavailable", "why": why.to_string()}),
    };
    let examination = &posture.examination;
    let counts: serde_json::Map<String, Value> =
        Grade::ALL.iter().map(|grade| (grade.to_string(), examination.count(*grade).into())).collect();
    let relations: Vec<String> = examination.snapshot.relations.keys().map(ToString::to_string).collect();
    json!({
        "database": name,
        "environment": database.environment(),
        "state": if examination.stopping().is_empty() { "ready" } else { "stopped" },
        "server_version": examination.server_version,
        "installation": examination.installation,
        "setup_version": SETUP_VERSION,
        "door": if examination.door_holds() { "holds" } else { "does not hold" },
        "findings": counts,
        "acknowledged": examination.acknowledged,
        "acknowledged_without_finding": examination.stale(),
        "instances": {"alive": posture.alive, "dead": posture.dead},
        "open_tasks": posture.tasks,
        "profiles": posture.profiles,
        "relations": relations,
    })
}

/// One line per fact, from the same facts as the JSON.
fn as_text(report: &Value) -> String {
    let Some(report) = report.as_object() else { return String::new() };
    let mut text = String::new();
    for (key, value) in report {
        let label = key.replace('_', " ");
        match value {
            Value::String(value) if key == "database" => text.push_str(&format!("{}\n", visible(value))),
            Value::String(value) => text.push_str(&format!("  {label:<28} {}\n", visible(value))),
            Value::Object(facts) => {
                let facts: Vec<String> = facts.iter().map(|(fact, value)| format!("{value} {fact}")).collect();
                text.push_str(&format!("  {label:<28} {}\n", facts.join(", ")));
            }
            Value::Array(items) => {
                let count = if items.is_empty() { "none".to_owned() } else { items.len().to_string() };
                text.push_str(&format!("  {label:<28} {count}\n"));
                for item in items {
                    text.push_str(&format!("    {}\n", visible(&item_line(item))));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&format!("  {label:<28} {value}\n")),
        }
    }
    text
}

fn item_line(item: &Value) -> String {
    let of = |key: &str| item.get(key).map(ToString::to_string).unwrap_or_default();
    match (item.as_str(), item.get("name").and_then(Value::as_str)) {
        (Some(text), _) => text.to_owned(),
        (None, Some(name)) => format!("{name}: {} members, built {} s ago", of("members"), of("age_seconds")),
        (None, None) => item.to_string(),
    }
}
