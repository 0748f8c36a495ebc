//! `pgteller task`: who is at work, and stopping them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{ConfigPath, say};
use crate::audit::Audit;
use crate::clock::{Clock, Instant};
use crate::model::ending::{Ending, Life, TaskRecord, Whom};
use crate::model::names::TaskId;
use crate::model::text::visible;
use crate::settings::Settings;
use crate::store::Store;
use crate::task::stop;

/// See who is at work, and stop them.
#[derive(Debug, clap::Args)]
pub struct TaskCommand {
    #[command(flatten)]
    config: ConfigPath,
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the tasks that are open.
    List {
        /// Those that ended in the last seven days, too.
        #[arg(long)]
        all: bool,
        /// Print JSON, one line each.
        #[arg(long)]
        json: bool,
    },
    /// Show one task.
    Show {
        /// Its id.
        task: TaskId,
    },
    /// Stop a task, or all that somebody does: sessions end at once, and nothing new opens.
    Revoke(Revoke),
    /// List whom `revoke` stopped.
    Stopped,
    /// Let somebody work again. Tasks that were ended stay ended.
    Restore {
        /// The id that `revoke` and `stopped` print.
        id: String,
    },
}

/// Whom to stop. What is given must all fit.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whom").required(true).multiple(true).args(["task", "agent", "subject", "issuer"])))]
struct Revoke {
    /// A task's id.
    task: Option<TaskId>,
    /// Everything that this agent does, for whomever.
    #[arg(long)]
    agent: Option<String>,
    /// Everything that is done for this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Only with tokens of this issuer.
    #[arg(long)]
    issuer: Option<String>,
    /// For how long; long enough for every token that is about.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=8760))]
    hours: u64,
    /// Why; it is kept with the entry.
    #[arg(long)]
    reason: Option<String>,
}

impl TaskCommand {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        let settings = Settings::read(&self.config.config)?;
        let store = Store::open(&settings.storage.state).await?;
        match self.command {
            What::List { all, json } => list(&store, all, json).await,
            What::Show { task } => match store.task(task).await? {
                Some(record) => say(serde_json::to_string_pretty(&told(&record))?),
                None => anyhow::bail!("there is no task {task}"),
            },
            What::Revoke(revoke) => revoke.run(&settings, &store).await,
            What::Stopped => {
                for ending in store.stopped(Clock::system().now()).await? {
                    say(serde_json::to_string(&json!({"id": ending.id, "whom": ending.whom, "since": ending.at_ns.rfc3339(),
                        "until": ending.until_ns.rfc3339(), "reason": ending.reason, "by": ending.by}))?)?;
                }
                Ok(())
            }
            What::Restore { id } => restore(&settings, &store, &id).await,
        }
    }
}

async fn list(store: &Store, all: bool, json: bool) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let tasks = store.tasks(all).await?;
    if json {
        return tasks.iter().try_for_each(|task| say(told(task)));
    }
    say(format_args!("{:36}  {:8}  {:>6}  {:>10}  {:>8}  AGENT, SUBJECT, PURPOSE", "TASK", "STATE", "LEFT", "STATEMENTS", "ROWS"))?;
    for task in &tasks {
        say(line(task, now))?;
    }
    Ok(())
}

fn line(task: &TaskRecord, now: Instant) -> String {
    let open = task.life.is_open();
    let left = if open { format!("{} s", now.until(task.expires_at_ns).as_secs()) } else { String::new() };
    let state = if open && task.expires_at_ns <= now { Life::Expired } else { task.life };
    let who = visible(&format!("{}, {}, {}", task.owner.agent, task.owner.subject, task.facts.purpose));
    format!("{}  {:8}  {left:>6}  {:>10}  {:>8}  {who}", task.facts.id, state.as_str(), task.used.statements, task.used.rows)
}

fn told(task: &TaskRecord) -> Value {
    let mut told = json!(task);
    if let Some(members) = told.as_object_mut() {
        members.insert("expires_at".to_owned(), task.expires_at_ns.rfc3339().into());
    }
    crate::model::text::visible_json(&mut told);
    told
}

impl Revoke {
    async fn run(self, settings: &Settings, store: &Store) -> anyhow::Result<()> {
        let clock = Clock::system();
        let now = clock.now();
        let given = Whom { task: self.task, issuer: self.issuer, subject: self.subject, agent: self.agent, ..Whom::default() };
        let record = match self.task {
            Some(id) => Some(store.task(id).await?.ok_or_else(|| anyhow::anyhow!("there is no task {id}"))?),
            None => None,
        };
        let ending = Ending {
            id: clock.uuid7().to_string(),
            life: Life::Revoked,
            whom: record.as_ref().and_then(by_its_name).unwrap_or(given),
            at_ns: now,
            until_ns: now.plus_seconds(self.hours.saturating_mul(3600)),
            reason: self.reason,
            by: operator(),
        };
        // The entry first: nobody is stopped without a trace. Stopping goes on if it cannot be written.
        let noted = note(settings, clock, "task/revoke", &ending).await;
        let stopped = stop(store, &settings.databases, &ending).await?;
        say(format_args!("{}: {} open tasks ended, {} roles closed", ending.id, stopped.tasks.len(), stopped.roles))?;
        if ending.whom.is_principal() {
            say(format_args!("nothing new opens until {}, or `pgteller task restore {}`", ending.until_ns.rfc3339(), ending.id))?;
        }
        if record.is_some_and(|record| record.facts.ambient) {
            say("it was ambient: the next call opens another. Stop its agent with --agent")?;
        }
        for (database, why) in &stopped.unreachable {
            say(format_args!(
                "{database}: roles could not be closed from here ({why}); its servers end the tasks within a second"
            ))?;
        }
        noted
    }
}

async fn restore(settings: &Settings, store: &Store, id: &str) -> anyhow::Result<()> {
    let clock = Clock::system();
    let found = store.stopped(clock.now()).await?.into_iter().find(|ending| ending.id == id);
    let Some(ending) = found else { anyhow::bail!("nothing is stopped under `{}`: see `pgteller task stopped`", visible(id)) };
    note(settings, clock, "task/restore", &ending).await?;
    store.lift(id).await?;
    say(format_args!("{id}: lifted"))
}

/// A task that a token names is ended under that name: the token would open it again under another id.
fn by_its_name(task: &TaskRecord) -> Option<Whom> {
    Some(Whom {
        task: None,
        external_id: Some(task.external_id.clone()?),
        issuer: Some(task.owner.issuer.clone()),
        subject: Some(task.owner.subject.clone()),
        agent: Some(task.owner.agent.clone()),
        database: Some(task.database.clone()),
    })
}

/// Writes to a chain of this command's own.
async fn note(settings: &Settings, clock: Clock, method: &str, ending: &Ending) -> anyhow::Result<()> {
    let audit = Audit::open(&settings.storage.dir.join("audit"), settings.storage.durability, clock)?;
    audit.ended(method, ending).await?;
    Ok(())
}

/// Who runs this command.
fn operator() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|variable| std::env::var(variable).ok()).filter(|name| !name.is_empty())
}
