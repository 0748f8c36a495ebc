//! Bad days on purpose: processes killed at any stage, PostgreSQL restarted, connections used up. `make chaos` runs hundreds, a test some.
//!
//! Takes a seed and a number of events, gives a [`Report`]: what was done, what stayed behind (nothing may), how long until service returned.
//! The seed fixes what is done and after which delay; which stage that hits is the machine's part of the chaos.

mod agent;
mod left;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, message};
use world::{Site, World};

/// Events between two looks at what was left.
const EVENTS_PER_LOOK: usize = 50;
/// Events between two troubles of PostgreSQL itself.
const EVENTS_PER_TROUBLE: usize = 20;
/// Processes that live at the same time, besides the servers that stay.
const AT_ONCE: usize = 3;
/// How long a process may take to end when it is asked to.
const END: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// Events by kind.
    pub events: BTreeMap<&'static str, usize>,
    /// Processes that were killed with SIGKILL, by how many calls they had been sent.
    pub kills: usize,
    /// Restarts of PostgreSQL.
    pub restarts: usize,
    /// Answers that somebody got, each with the id of its entry.
    pub acknowledged: usize,
    /// Answers by what they were: `rows`, a refusal's code, `fault`.
    pub answers: BTreeMap<String, usize>,
    /// What was left, by what it is, after each look and at the end. Nothing may be.
    pub left: BTreeMap<String, usize>,
    /// Looks at what was left.
    pub looks: usize,
    /// How long after the last event of a round everything was gone.
    pub clean: Vec<Duration>,
    /// How long after a restart, and after connections were used up, a server that stayed gave rows again.
    pub service: BTreeMap<&'static str, Vec<Duration>>,
    /// Whatever should not have been.
    pub surprises: Vec<String>,
}

impl Report {
    fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    /// Whether nothing was left and nothing surprised.
    pub fn is_clean(&self) -> bool {
        self.left.values().all(|count| *count == 0) && self.surprises.is_empty()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<58}{:>8}", "events", self.events.values().sum::<usize>())?;
        for (event, count) in &self.events {
            writeln!(f, "  {event:<56}{count:>8}")?;
        }
        writeln!(f, "{:<58}{:>8}", "processes killed with SIGKILL", self.kills)?;
        writeln!(f, "{:<58}{:>8}", "restarts of PostgreSQL", self.restarts)?;
        writeln!(f, "{:<58}{:>8}", "answers that somebody got", self.acknowledged)?;
        for (answer, count) in &self.answers {
            writeln!(f, "  {answer:<56}{count:>8}")?;
        }
        writeln!(f, "what was left, at {} looks", self.looks)?;
        for (what, count) in &self.left {
            writeln!(f, "  {what:<56}{count:>8}")?;
        }
        writeln!(f, "{:<46}{:>10}{:>10}", "milliseconds", "median", "max")?;
        let clean = [("until everything was gone", &self.clean)];
        for (what, times) in clean.into_iter().chain(self.service.iter().map(|(what, times)| (*what, times))) {
            let mut times = times.clone();
            times.sort();
            let at = |index: usize| times.get(index).map_or(0, Duration::as_millis);
            writeln!(f, "  {what:<44}{:>10}{:>10}", at(times.len() / 2), at(times.len().saturating_sub(1)))?;
        }
        writeln!(f, "{:<58}{:>8}", "surprises", self.surprises.len())?;
        self.surprises.iter().take(40).try_for_each(|surprise| writeln!(f, "  {surprise}"))
    }
}

/// Choices that a seed repeats (splitmix64).
pub struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % below
    }

    fn delay(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.roll(u64::try_from(most.as_micros()).unwrap().max(1)))
    }
}

/// What is done to one process.
#[derive(Debug, Clone)]
struct Plan {
    event: &'static str,
    site: usize,
    /// The purpose, or the tables of a grant that nobody had yet.
    purpose: String,
    /// Calls that are answered first.
    before: Vec<String>,
    /// Calls that are sent without waiting.
    calls: Vec<String>,
    delay: Duration,
}

const WARM: &str = "killed at a call of an open task";
const COLD: &str = "killed at a first call (role, profile)";
const START: &str = "killed at its start";
const HTTP: &str = "killed behind HTTP";
const TERM: &str = "SIGTERM at a call";
const EOF: &str = "end of stdin at a call";
const AWAY: &str = "caller of a living server goes away";
const TERMINATED: &str = "backends of ours terminated";
const RESTART: &str = "PostgreSQL restarted (fast)";
const CRASH: &str = "PostgreSQL restarted (immediate)";
const EXHAUSTED: &str = "connections used up";

impl Plan {
    fn new(dice: &mut Dice, number: usize, first_call: Duration) -> Self {
        let event = match dice.roll(100) {
            0..32 => COLD,
            32..58 => WARM,
            58..63 => START,
            63..70 => HTTP,
            70..79 => TERM,
            79..87 => EOF,
            87..95 => AWAY,
            _ => TERMINATED,
        };
        let purpose = match dice.roll(3) {
            0 => "read".to_owned(),
            1 => "write".to_owned(),
            _ => format!("fresh-{number}-{}", 1 + dice.roll(254)),
        };
        let some = |dice: &mut Dice, least: u64, most: u64| -> Vec<String> {
            (0..least + dice.roll(most - least + 1)).map(|_| call(dice)).collect()
        };
        let before = if event == WARM { some(dice, 1, 2) } else { Vec::new() };
        let calls = some(dice, 1, 3);
        // A first call takes as long as it takes to open a database and build a profile: the delay spans it.
        let most = if matches!(event, COLD | TERM | EOF | HTTP) { first_call } else { Duration::from_millis(60) };
        let delay = dice.delay(most);
        Self { event, site: usize::try_from(dice.roll(2)).unwrap(), purpose, before, calls, delay }
    }
}

/// One call, as the JSON of its `params`.
fn call(dice: &mut Dice) -> String {
    let query = |sql: &str| serde_json::json!({"name": "query", "arguments": {"sql": sql}}).to_string();
    let export =
        |sql: &str, format: &str| serde_json::json!({"name": "export", "arguments": {"sql": sql, "format": format}}).to_string();
    match dice.roll(10) {
        0..3 => query("select * from t1 order by id"),
        3 => query("table t1"),
        4 => query("select count(*) from generate_series(1, 2000000)"),
        5 => query("select n, t1.* from generate_series(1, 500) n, t1"),
        6 => export("select id from t1", "csv"),
        7 => export("select repeat('x', 200), n from generate_series(1, 60000) n", "jsonl"),
        8 => serde_json::json!({"name": "describe", "arguments": {}}).to_string(),
        _ => serde_json::json!({"name": "describe", "arguments": {"relation": "t1"}}).to_string(),
    }
}

/// Lets `count` events happen. `say` hears of each look.
pub async fn run(count: usize, seed: u64, say: impl Fn(&str)) -> Report {
    let world = Arc::new(World::new().await);
    let mut dice = Dice(seed);
    let mut living = tokio::task::JoinSet::new();
    for number in 1..=count {
        if number.is_multiple_of(EVENTS_PER_TROUBLE) {
            trouble(&world, &mut dice).await;
            continue;
        }
        while living.len() >= AT_ONCE {
            living.join_next().await.unwrap().unwrap();
        }
        let plan = Plan::new(&mut dice, number, world.first_call());
        let world_of_one = Arc::clone(&world);
        living.spawn(async move { happen(&world_of_one, plan).await });
        if number.is_multiple_of(EVENTS_PER_LOOK - 1) {
            while let Some(ended) = living.join_next().await {
                ended.unwrap();
            }
            left::look(&world).await;
            say(&format!("{number} of {count} events, {} things left", world.report.lock().unwrap().left.values().sum::<usize>()));
        }
    }
    while let Some(ended) = living.join_next().await {
        ended.unwrap();
    }
    left::look(&world).await;
    Arc::into_inner(world).expect("nobody else looks at it").end().await
}

async fn happen(world: &World, plan: Plan) {
    world.report.lock().unwrap().count(plan.event);
    let site = &world.sites[plan.site];
    match plan.event {
        AWAY => {
            for call in &plan.calls {
                let _ = tokio::time::timeout(plan.delay, site.control.post(Some(&site.control.token), &message(1, call))).await;
            }
        }
        TERMINATED => site.terminate_backends().await,
        HTTP => kill_behind_http(world, site, &plan).await,
        _ => on_stdio(world, site, &plan).await,
    }
}

async fn on_stdio(world: &World, site: &Site, plan: &Plan) {
    let mut agent = Agent::on_stdio(site, &plan.purpose);
    if plan.event == START {
        tokio::time::sleep(plan.delay).await;
        agent.kill().await;
        world.report.lock().unwrap().kills += 1;
        return;
    }
    if !agent.shake_hands().await {
        world.surprise(format!("{plan:?}: no handshake"));
    }
    for call in &plan.before {
        let at = Instant::now();
        let answer = agent.ask(call).await;
        world.first_call_took(at.elapsed());
        site.heard(world, plan.event, &answer);
    }
    for call in &plan.calls {
        agent.tell(call).await;
    }
    // The delay is the chaos.
    if plan.event != EOF {
        tokio::time::sleep(plan.delay).await;
    }
    let asked = match plan.event {
        TERM => {
            agent.terminate();
            true
        }
        EOF => {
            agent.close_stdin();
            true
        }
        _ => {
            agent.kill().await;
            world.report.lock().unwrap().kills += 1;
            false
        }
    };
    let Ok(rest) = tokio::time::timeout(END, agent.rest()).await else {
        agent.kill().await;
        return world.surprise(format!("{plan:?}: does not end"));
    };
    for answer in rest {
        site.heard(world, plan.event, &answer);
    }
    if asked {
        match tokio::time::timeout(END, agent.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            other => world.surprise(format!("{plan:?}: ended with {other:?}")),
        }
    }
}

async fn kill_behind_http(world: &World, site: &Site, plan: &Plan) {
    let (mut agent, url, token) = Agent::behind_http(site, &plan.purpose).await;
    let client = reqwest::Client::new();
    let asked = plan.calls.iter().map(|call| {
        let request = client.post(&url).bearer_auth(&token).header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2025-11-25").header("content-type", "application/json");
        tokio::spawn(request.body(message(1, call).to_string()).send())
    });
    let asked: Vec<_> = asked.collect();
    tokio::time::sleep(plan.delay).await;
    agent.kill().await;
    world.report.lock().unwrap().kills += 1;
    for answer in asked {
        if let Ok(Ok(answer)) = answer.await
            && let Ok(answer) = answer.json().await
        {
            site.heard(world, plan.event, &answer);
        }
    }
}

/// PostgreSQL goes away and comes back, or has no connection left.
async fn trouble(world: &World, dice: &mut Dice) {
    let event = [RESTART, CRASH, EXHAUSTED][usize::try_from(dice.roll(3)).unwrap()];
    world.report.lock().unwrap().count(event);
    if event == EXHAUSTED {
        world.exhaust().await;
    } else {
        world.report.lock().unwrap().restarts += 1;
        world.restart(if event == CRASH { "immediate" } else { "fast" }).await;
    }
    let at = Instant::now();
    for site in &world.sites {
        site.until_served(world).await;
        let mut report = world.report.lock().unwrap();
        report
            .service
            .entry(if event == EXHAUSTED { "until rows again: connections" } else { "until rows again: restart" })
            .or_default()
            .push(at.elapsed());
    }
}
