//! Two worlds at full scale (DESIGN §1): `make worlds`, or `cargo bench --bench worlds -- [PART…]`.
//!
//! Parts: `attacks` `generated` `straight` `regress` `timing`; all but `timing` without arguments. COUNT (100,000) generated statements of SEED
//! (1) go through the server, and again straight on the task role's own connection. BACK_END=policies lets policies hold rows back instead of
//! views. Prints totals, and ends with 1 if anything differs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a run that is surprised must stop, and prints"
)]

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/it"]
mod it {
    pub mod support;
}
mod regress;
mod timing;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use it::support;

use support::worlds::compare::{Tally, compare};
use support::worlds::effects::{Effects, changed, channels, named_files};
use support::worlds::generator::{Generated, Generator, Kind};
use support::worlds::straight::{Straight, bare, shows};
use support::worlds::{BackEnd, Worlds, attacks, corpus};

/// How many times the hidden rows the third world has.
const VOLUMES: u32 = 10;
/// Statements at once: the server and its database share two processors here.
const AT_ONCE: usize = 3;
/// After so many statements everything outside the task is compared.
const ROUND: usize = 2000;

fn from_env(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn main() {
    // The stacks that the binary gives its threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(16 * 1024 * 1024).build().unwrap();
    let wrong = runtime.block_on(run());
    println!("{wrong} findings");
    std::process::exit(i32::from(wrong > 0));
}

async fn run() -> usize {
    let mut parts: Vec<String> = std::env::args().skip(1).filter(|part| part != "--bench").collect();
    if parts.is_empty() {
        parts = ["attacks", "generated", "straight", "regress"].map(str::to_owned).to_vec();
    }
    let (count, seed) = (from_env("COUNT", 100_000), from_env("SEED", 1) as u64);
    let back_end = match std::env::var("BACK_END").as_deref() {
        Err(_) | Ok("" | "views") => BackEnd::Views,
        Ok("policies") => BackEnd::Policies,
        Ok(other) => panic!("no back end `{other}`"),
    };
    let mut wrong = 0;
    for part in &parts {
        let began = Instant::now();
        wrong += match part.trim_start_matches('-') {
            "attacks" => every_attack(back_end).await,
            "generated" => generated(count, seed, back_end).await,
            "straight" => straight(count, seed, back_end).await,
            "regress" => regression().await,
            "timing" => {
                timing::table().await;
                0
            }
            other => panic!("no part `{other}`"),
        };
        println!("{part} took {} s\n", began.elapsed().as_secs());
    }
    wrong
}

/// Each attack, and after each what is outside the task.
async fn every_attack(back_end: BackEnd) -> usize {
    let worlds = Arc::new(Worlds::open(None, back_end).await);
    let version = worlds.zero.database.cell("SELECT version()").await;
    println!("{version}");
    let texts: Vec<String> = attacks().into_iter().map(|attack| attack.sql).collect();
    let channels = channels(&texts);
    let watch = tokio::join!(Effects::watch(&worlds.zero, &channels), Effects::watch(&worlds.one, &channels));
    let mut wrong = 0;
    let mut tally = Tally::default();
    let mut before = tokio::join!(watch.0.full(&worlds.zero), watch.1.full(&worlds.one));
    for sql in &texts {
        let files = named_files(sql);
        tally.add(compare(&worlds, vec![Generated::as_it_stands(sql.clone(), Kind::Corpus)], 1).await);
        let after = tokio::join!(watch.0.full(&worlds.zero), watch.1.full(&worlds.one));
        let mut lines = changed(&before.0, &after.0);
        lines.extend(changed(&before.1, &after.1));
        if !lines.is_empty() || files != named_files(sql) {
            println!("  FINDING outlasts its statement: {sql}\n    {lines:?}");
            wrong += 1;
            // What was read from the WAL is not read twice.
            before = tokio::join!(watch.0.full(&worlds.zero), watch.1.full(&worlds.one));
        }
    }
    tally.print("attacks");
    println!("durable effects: {wrong} of {} attacks; changes and messages in the WAL read: {}", texts.len(), watch.0.reads_wal());
    wrong + tally.findings.len()
}

/// The generator's statements through the server, in worlds of other values and of other volumes.
async fn generated(count: usize, seed: u64, back_end: BackEnd) -> usize {
    let worlds = Arc::new(Worlds::open(Some(VOLUMES), back_end).await);
    let texts = corpus();
    let channels = channels(&texts);
    println!("{count} statements of seed {seed}, from a corpus of {}", texts.len());
    let watch = tokio::join!(Effects::watch(&worlds.zero, &channels), Effects::watch(&worlds.one, &channels));
    let before = tokio::join!(watch.0.full(&worlds.zero), watch.1.full(&worlds.one));
    let mut generator = Generator::new(seed, &texts);
    let mut tally = Tally::default();
    let (mut wrong, began) = (0, Instant::now());
    while tally.compared() < count {
        let round: Vec<Generated> = generator.by_ref().take(ROUND.min(count - tally.compared())).collect();
        let part = compare(&worlds, round, AT_ONCE).await;
        part.print_findings();
        tally.add(part);
        let after = tokio::join!(watch.0.full(&worlds.zero), watch.1.full(&worlds.one));
        for lines in [changed(&before.0, &after.0), changed(&before.1, &after.1)].iter().filter(|lines| !lines.is_empty()) {
            println!("  FINDING something outlasts the round that ended at {}: {lines:?}", tally.compared());
            wrong += 1;
        }
        println!(
            "  {} in {} s, {} with rows, {} differ",
            tally.compared(),
            began.elapsed().as_secs(),
            tally.with_rows(),
            tally.findings.len()
        );
    }
    tally.print("generated");
    let asked_plan = plan_mode(&worlds);
    println!("  read by PostgreSQL instead of our parser: {} judged, {} answered", asked_plan.0, asked_plan.1);
    println!("  durable effects: {wrong} rounds");
    wrong + tally.findings.len()
}

/// Entries of one world whose statement only PostgreSQL read, and those of them that were answered.
fn plan_mode(worlds: &Worlds) -> (usize, usize) {
    let (mut judged, mut answered) = (0, 0);
    let mut directories = vec![worlds.zero.served.audit()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            for line in std::fs::read_to_string(path).unwrap().lines().filter(|line| line.contains("\"analysis\":\"plan\"")) {
                judged += 1;
                answered += usize::from(line.contains("\"outcome\":\"allowed\"") || line.contains("\"outcome\":\"answered\""));
            }
        }
    }
    (judged, answered)
}

/// The same, straight on the task role's own connection: only hidden values are looked for.
async fn straight(count: usize, seed: u64, back_end: BackEnd) -> usize {
    let worlds = Worlds::open(None, back_end).await;
    let before = tokio::join!(worlds.zero.lasting(), worlds.one.lasting());
    let (zero, one) = (Straight::new(&worlds.zero).await, Straight::new(&worlds.one).await);
    let statements = attacks().into_iter().map(|attack| attack.sql);
    let statements = Mutex::new(statements.chain(Generator::new(seed, &corpus()).take(count).map(|one| bare(&one.sql))));
    let answers: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    let findings = AtomicUsize::new(0);
    let worker = async || {
        loop {
            let next = statements.lock().unwrap().next();
            let Some(sql) = next else { return };
            let shown = shows(&zero, &one, &sql).await;
            *answers.lock().unwrap().entry(shown.outcome).or_default() += 1;
            if let Some(what) = shown.finding {
                println!("  FINDING {what}");
                findings.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    tokio::join!(worker(), worker(), worker());
    let mut wrong = findings.into_inner();
    let answers = answers.into_inner().unwrap();
    let sent: usize = answers.values().sum();
    let after = tokio::join!(worlds.zero.lasting(), worlds.one.lasting());
    for lines in [changed(&before.0, &after.0), changed(&before.1, &after.1)].iter().filter(|lines| !lines.is_empty()) {
        println!("  FINDING something outlasts them: {lines:?}");
        wrong += 1;
    }
    println!(
        "straight on the role: {sent} statements in both worlds ({answers:?}), {wrong} show a hidden value or outlast their session"
    );
    wrong
}

/// PostgreSQL's regression suite.
async fn regression() -> usize {
    let statements = regress::statements();
    let worlds = Arc::new(regress::open(&statements).await);
    let (reads, others): (Vec<_>, Vec<_>) = statements.into_iter().partition(|statement| statement.class == "read");
    let mut wrong = 0;
    for (what, part) in [("pg_regress, class read", reads), ("pg_regress, other classes", others)] {
        let tally = compare(&worlds, regress::sent(&part), AT_ONCE).await;
        tally.print(what);
        wrong += tally.findings.len();
    }
    wrong
}
