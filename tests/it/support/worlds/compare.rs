//! Sends statements to two worlds, compares the answers, and judges what differs.
//!
//! A difference is a finding unless a rule of DESIGN §1 puts it outside, and only then:
//! * **time**: one of the two ran into the time limit.
//! * **clock**: the text names the clock, chance or the server's start, and a world does not even answer twice alike (or, for what stands
//!   still, the text says so). Clock and chance are pinned for us, not for PostgreSQL.
//! * **plan**: what SQL leaves open. Each world gives the *other* world's answer too, under another plan: then which of the two came tells
//!   about the plan and about nothing else. An answer that only one of them can give stays a finding.
//!
//! Each is counted, and reported with its text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::generator::{Generated, Kind};
use super::{World, Worlds, leaked_by_either};

/// Why a difference is outside the promise, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Time,
    Clock,
    Plan,
    Finding,
}

/// A statement that two worlds answered differently, or that showed what it must not.
#[derive(Debug, Clone)]
pub struct Difference {
    /// What it was.
    pub sql: String,
    /// What is to say about it: its verdict, or what it showed.
    pub why: String,
    /// The answers.
    pub answers: [Value; 2],
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Tally {
    /// Per kind: statements, and those answered with at least one row.
    pub kinds: BTreeMap<Kind, (usize, usize)>,
    /// Per outcome: rows, no rows, or the refusal's code.
    pub outcomes: BTreeMap<String, usize>,
    /// Exact statements that were compared with the world of other volumes too, and those of them with rows.
    pub exact: (usize, usize),
    /// Excluded differences, by verdict, with their texts.
    pub outside: BTreeMap<Verdict, Vec<String>>,
    /// What must not be.
    pub findings: Vec<Difference>,
    suspects: Vec<Suspect>,
}

#[derive(Debug)]
struct Suspect {
    statement: Generated,
    volumes: bool,
    answers: [Value; 2],
}

impl Tally {
    /// Statements compared.
    pub fn compared(&self) -> usize {
        self.kinds.values().map(|(all, _)| all).sum()
    }

    /// Statements answered with rows.
    pub fn with_rows(&self) -> usize {
        self.kinds.values().map(|(_, rows)| rows).sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        for (kind, (all, rows)) in other.kinds {
            let own = self.kinds.entry(kind).or_default();
            *own = (own.0 + all, own.1 + rows);
        }
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.exact = (self.exact.0 + other.exact.0, self.exact.1 + other.exact.1);
        for (verdict, texts) in other.outside {
            self.outside.entry(verdict).or_default().extend(texts);
        }
        self.findings.extend(other.findings);
        self.suspects.extend(other.suspects);
    }

    /// For people.
    pub fn print(&self, what: &str) {
        let (all, rows) = (self.compared(), self.with_rows());
        println!(
            "{what}: {all} compared, {rows} answered with rows ({} %), {} differ",
            rows * 100 / all.max(1),
            self.findings.len()
        );
        for (kind, (all, rows)) in &self.kinds {
            println!("  {kind:?}: {all} compared, {rows} with rows ({} %)", rows * 100 / (*all).max(1));
        }
        println!("  outcomes: {:?}", self.outcomes);
        if self.exact.0 > 0 {
            println!(
                "  other hidden volumes: {} exact statements compared in their order, {} with rows",
                self.exact.0, self.exact.1
            );
        }
        for (verdict, texts) in &self.outside {
            println!("  outside the promise by {verdict:?}: {}", texts.len());
            for text in texts.iter().take(5) {
                println!("    {text:.600}");
            }
        }
        self.print_findings();
    }

    /// What must not be, the smallest text first.
    pub fn print_findings(&self) {
        let mut findings: Vec<&Difference> = self.findings.iter().collect();
        findings.sort_by_key(|difference| difference.sql.len());
        for difference in findings.iter().take(20) {
            println!(
                "  FINDING {}: {}\n    {:.1500}\n    {:.1500}",
                difference.why, difference.sql, difference.answers[0], difference.answers[1]
            );
        }
    }
}

/// Sends every statement, several at once, and judges afterwards, when nothing else runs.
pub async fn compare(worlds: &Arc<Worlds>, statements: Vec<Generated>, at_once: usize) -> Tally {
    let queue = Arc::new(Mutex::new(statements.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (worlds, queue) = (Arc::clone(worlds), Arc::clone(&queue));
        workers.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let next = queue.lock().unwrap().next();
                let Some(statement) = next else { return tally };
                one(&worlds, statement, &mut tally).await;
            }
        });
    }
    let mut tally = Tally::default();
    while let Some(part) = workers.join_next().await {
        tally.add(part.unwrap());
    }
    for suspect in std::mem::take(&mut tally.suspects) {
        judge(worlds, suspect, &mut tally).await;
    }
    tally
}

async fn one(worlds: &Worlds, statement: Generated, tally: &mut Tally) {
    let sql = &statement.sql;
    let (first, second) = tokio::join!(worlds.zero.ask(sql), worlds.one.ask(sql));
    let rows = first.get("rows").and_then(Value::as_array).map(Vec::len);
    let outcome = match rows {
        Some(0) => "no rows".to_owned(),
        Some(_) => "rows".to_owned(),
        None => {
            first.pointer("/error/code").map_or("none".to_owned(), |code| code.as_str().map_or(code.to_string(), str::to_owned))
        }
    };
    let has_rows = usize::from(rows.is_some_and(|rows| rows > 0));
    let kind = tally.kinds.entry(statement.kind).or_default();
    *kind = (kind.0 + 1, kind.1 + has_rows);
    let shown = leaked_by_either(sql, &first.to_string(), &second.to_string());
    // A hostile statement may fail, but never us.
    let broken = ["internal", "database-unavailable", "none"].contains(&outcome.as_str()) || outcome.starts_with('-');
    if !shown.is_empty() || broken {
        let why = if broken { format!("failed with {outcome}") } else { format!("shows {shown:?}") };
        tally.findings.push(Difference { sql: sql.clone(), why, answers: [first.clone(), second.clone()] });
    }
    *tally.outcomes.entry(outcome).or_default() += 1;
    if statement.exact
        && let Some(many) = &worlds.many
    {
        let third = many.ask(sql).await;
        tally.exact = (tally.exact.0 + 1, tally.exact.1 + has_rows);
        if !same(&first, &third, Order::Total) {
            tally.suspects.push(Suspect { statement: statement.clone(), volumes: true, answers: [first.clone(), third] });
        }
    }
    if !same(&first, &second, order(&statement)) {
        tally.suspects.push(Suspect { statement, volumes: false, answers: [first, second] });
    }
}

/// Whether a statement fixes the order of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Total,
    Open,
}

fn order(statement: &Generated) -> Order {
    if statement.exact { Order::Total } else { Order::Open }
}

fn same(first: &Value, second: &Value, order: Order) -> bool {
    first == second || (order == Order::Open && unordered(first) == unordered(second))
}

fn unordered(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(rows) = answer.get_mut("rows").and_then(Value::as_array_mut) {
        rows.sort_by_key(Value::to_string);
    }
    answer
}

/// Words of the clock, of chance and of the server's start.
const CLOCK: &[&str] = &[
    "now(",
    "now (",
    "'now'",
    "'today'",
    "'tomorrow'",
    "'yesterday'",
    "current_timestamp",
    "current_time",
    "localtime",
    "current_date",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "uuidv",
    "age(",
    "\"now\"",
];
const STANDS_STILL: &[&str] = &["pg_postmaster_start_time"];

async fn judge(worlds: &Worlds, suspect: Suspect, tally: &mut Tally) {
    let Suspect { statement, volumes, answers } = suspect;
    let other = match (&worlds.many, volumes) {
        (Some(many), true) => many,
        _ => &worlds.one,
    };
    let verdict = verdict(&worlds.zero, other, &statement, &answers).await;
    let text = statement.sql.clone();
    match verdict {
        // By construction nothing of an exact statement depends on its plan.
        Verdict::Plan | Verdict::Finding if volumes => {
            tally.findings.push(Difference { sql: text, why: "differs by volumes".to_owned(), answers });
        }
        Verdict::Finding => tally.findings.push(Difference { sql: text, why: "differs".to_owned(), answers }),
        Verdict::Time | Verdict::Clock | Verdict::Plan => tally.outside.entry(verdict).or_default().push(text),
    }
}

async fn verdict(zero: &World, one: &World, statement: &Generated, answers: &[Value; 2]) -> Verdict {
    let order = order(statement);
    if answers.iter().any(|answer| answer.pointer("/error/code").is_some_and(|code| code == "time-limit")) {
        return Verdict::Time;
    }
    let text = statement.sql.to_lowercase();
    let again = [zero.ask(&statement.sql).await, one.ask(&statement.sql).await];
    let steady = same(&answers[0], &again[0], order) && same(&answers[1], &again[1], order);
    if STANDS_STILL.iter().any(|word| text.contains(word)) || (!steady && CLOCK.iter().any(|word| text.contains(word))) {
        return Verdict::Clock;
    }
    let (mut zero_gives_second, mut one_gives_first) = (false, false);
    for plan in PLANS {
        zero_gives_second |= same(&zero.ask_under(plan, &statement.sql).await, &answers[1], order);
        one_gives_first |= same(&one.ask_under(plan, &statement.sql).await, &answers[0], order);
        if zero_gives_second && one_gives_first {
            return Verdict::Plan;
        }
    }
    Verdict::Finding
}

/// Planner settings that are switched off together, each a way to another plan.
const PLANS: &[&[&str]] = &[
    &["enable_hashjoin"],
    &["enable_mergejoin"],
    &["enable_nestloop"],
    &["enable_seqscan"],
    &["enable_indexscan", "enable_bitmapscan"],
    &["enable_hashagg"],
    &["enable_sort"],
    &["enable_hashjoin", "enable_mergejoin"],
    &["enable_hashjoin", "enable_nestloop"],
    &["enable_mergejoin", "enable_nestloop"],
    &["enable_hashagg", "enable_sort"],
    &["enable_material", "enable_memoize"],
    &["enable_seqscan", "enable_hashjoin", "enable_mergejoin"],
];

impl World {
    /// The answer of this world under another plan. Nothing else may run in it meanwhile: the task's sessions are ended twice.
    async fn ask_under(&self, off: &[&str], sql: &str) -> Value {
        let name = &self.database.name;
        let set =
            |how: &str| off.iter().map(|setting| format!("ALTER DATABASE {name} {how};").replace('?', setting)).collect::<String>();
        self.database.owner.batch_execute(&set("SET ? = off")).await.unwrap();
        self.begin_anew().await;
        let answer = self.ask(sql).await;
        self.database.owner.batch_execute(&set("RESET ?")).await.unwrap();
        self.begin_anew().await;
        answer
    }

    /// Ends the task's sessions; the next statement opens new ones.
    async fn begin_anew(&self) {
        let end = format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{}'", self.role);
        self.database.owner.batch_execute(&end).await.unwrap();
        // A session that was pooled is found dead once, and then replaced.
        for _ in 0..4 {
            if self.ask("SELECT 1").await.get("rows").is_some() {
                return;
            }
        }
        panic!("the task does not come back");
    }
}
