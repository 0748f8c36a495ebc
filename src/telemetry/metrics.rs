//! Numbers for Prometheus (OpenMetrics text format).
//!
//! Takes closed entries and counts of what is open, gives text. Labels come from lists of ours, never from a caller: nobody can make a series.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::model::call::TOOLS;
use crate::model::decision::Ruling;
use crate::model::entry::{Entry, EntryOutcome};

/// What a call was, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    tool: &'static str,
    decision: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// The counters of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    stages: Family<Stage, Histogram>,
    requests: Histogram,
    transitions: Family<State, Counter>,
    rows: Counter<u64, AtomicU64>,
    open: [Gauge; 3],
}

/// From 100 microseconds to 52 seconds, each bound twice the one before.
fn seconds() -> Histogram {
    Histogram::new((0..20).map(|power| 0.0001 * f64::from(1_u32 << power)))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pgteller");
        let (calls, stages) = (Family::default(), Family::<Stage, Histogram>::new_with_constructor(seconds));
        let (requests, transitions, rows) = (seconds(), Family::default(), Counter::default());
        let open = [Gauge::default(), Gauge::default(), Gauge::default()];
        registry.register("calls", "Tool calls, by tool, decision of the policy and code of the refusal", calls.clone());
        registry.register_with_unit("stage", "Time spent in the stages of a call", Unit::Seconds, stages.clone());
        registry.register_with_unit("request", "Time from knocking to the entry", Unit::Seconds, requests.clone());
        registry.register("task_transitions", "States that tasks went into", transitions.clone());
        registry.register("rows", "Rows given out, in answers and files", rows.clone());
        let helps = ["Tasks that are open", "Sessions of tasks in PostgreSQL", "Roles of tasks in PostgreSQL"];
        for ((name, help), gauge) in ["tasks_open", "sessions_open", "roles_open"].into_iter().zip(helps).zip(&open) {
            registry.register(name, help, gauge.clone());
        }
        Self { registry, calls, stages, requests, transitions, rows, open }
    }
}

impl Metrics {
    /// Counts what an entry tells.
    pub fn count(&self, entry: &Entry) {
        for life in &entry.task_life {
            self.transitions.get_or_create(&State { state: life.as_str() }).inc();
        }
        if entry.outcome == EntryOutcome::Transition {
            return;
        }
        self.requests.observe(to_seconds(entry.duration_us));
        for (stage, took) in &entry.stages {
            self.stages.get_or_create(&Stage { stage: stage.clone() }).observe(to_seconds(*took));
        }
        self.rows.inc_by(entry.rows.unwrap_or(0));
        let known = |tool: &str| {
            TOOLS.iter().chain(&["explain-plan", "read-export", "exchange", "revoke"]).copied().find(|name| *name == tool)
        };
        let decision = match entry.decision.as_ref().map(|decision| decision.decision) {
            Some(Ruling::Allow) => "allow",
            Some(Ruling::Deny) => "deny",
            Some(Ruling::NeedsApproval) => "needs-approval",
            None => "none",
        };
        let code = entry.refusal.as_ref().map_or_else(|| "ok".to_owned(), |refusal| refusal.code.clone());
        let tool = entry.tool.as_deref().and_then(known).unwrap_or("none");
        self.calls.get_or_create(&Call { tool, decision, code }).inc();
    }

    /// The text, with how many tasks, sessions and roles are open now.
    pub fn text(&self, open: [usize; 3]) -> String {
        for (gauge, count) in self.open.iter().zip(open) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

fn to_seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
