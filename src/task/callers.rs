//! How much one principal, and one agent over all its principals, may ask for.
//!
//! Takes limits, gives each caller its seats: statements at once, open tasks, calls per second. A caller that nobody uses any more is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::ending::Owner;
use crate::model::refusal::{Code, Refusal};
use crate::settings::LimitSettings;

/// Seconds' worth of calls that may come at once.
const BURST_SECONDS: u32 = 10;
/// How long a caller that does nothing is remembered: until its rate has recovered.
const IDLE: Duration = Duration::from_secs(60);

/// Everybody who called lately.
#[derive(Debug)]
pub struct Callers {
    per_principal: LimitSettings,
    per_agent: LimitSettings,
    principals: Mutex<HashMap<Owner, Known>>,
    agents: Mutex<HashMap<(String, String), Known>>,
}

/// A caller's seats, kept while they are used and for a while after.
#[derive(Debug)]
struct Known {
    seats: Weak<Seats>,
    recent: Option<(Arc<Seats>, std::time::Instant)>,
}

/// What one caller may have.
#[derive(Debug)]
pub struct Seats {
    /// Statements at once.
    pub statements: Arc<Semaphore>,
    tasks: Arc<Semaphore>,
    open_tasks: usize,
    rate: DefaultDirectRateLimiter,
}

/// The seats of a principal and of its agent.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The principal's.
    pub principal: Arc<Seats>,
    /// The agent's.
    pub agent: Arc<Seats>,
}

/// A place among the open tasks of both.
#[derive(Debug)]
pub struct OpenPlace {
    _principal: OwnedSemaphorePermit,
    _agent: OwnedSemaphorePermit,
    /// A caller with an open task is not forgotten, however long it is silent.
    _caller: Caller,
}

impl Callers {
    /// Nobody yet.
    pub fn new(per_principal: LimitSettings, per_agent: LimitSettings) -> Self {
        Self { per_principal, per_agent, principals: Mutex::default(), agents: Mutex::default() }
    }

    /// The seats of one caller.
    pub fn of(&self, owner: &Owner) -> Caller {
        Caller {
            principal: seats(&self.principals, owner, self.per_principal),
            agent: seats(&self.agents, &(owner.issuer.clone(), owner.agent.clone()), self.per_agent),
        }
    }

    /// Forgets who did nothing for a while.
    pub fn forget_idle(&self) {
        forget_idle(&self.principals);
        forget_idle(&self.agents);
    }
}

fn seats<K: std::hash::Hash + Eq + Clone>(known: &Mutex<HashMap<K, Known>>, key: &K, limits: LimitSettings) -> Arc<Seats> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.get(key).and_then(|known| known.seats.upgrade());
    let seats = found.unwrap_or_else(|| Arc::new(Seats::new(limits)));
    let recent = Some((Arc::clone(&seats), std::time::Instant::now()));
    known.insert(key.clone(), Known { seats: Arc::downgrade(&seats), recent });
    seats
}

fn forget_idle<K: std::hash::Hash + Eq>(known: &Mutex<HashMap<K, Known>>) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, known| {
        if known.recent.as_ref().is_some_and(|(_, at)| at.elapsed() > IDLE) {
            known.recent = None;
        }
        known.seats.strong_count() > 0
    });
}

impl Seats {
    fn new(limits: LimitSettings) -> Self {
        let rate = limits.requests_per_second;
        let quota =
            Quota::per_second(rate).allow_burst(rate.saturating_mul(std::num::NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1)));
        Self {
            statements: Arc::new(Semaphore::new(limits.statements)),
            tasks: Arc::new(Semaphore::new(limits.open_tasks)),
            open_tasks: limits.open_tasks,
            rate: RateLimiter::direct(quota),
        }
    }

    fn call(&self, whose: &str) -> Result<(), Refusal> {
        self.rate.check().map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            Refusal::new(Code::RateLimited, format!("{whose} makes too many calls"))
                .hint("wait before the next call; ask for more in one statement")
                .after(wait)
        })
    }

    fn open(&self, whose: &str) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.tasks).try_acquire_owned().map_err(|_| {
            Refusal::new(Code::RateLimited, format!("{whose} has {} open tasks, which is the most", self.open_tasks))
                .hint("close one with `close_task`, or wait until one expires")
                .after(Duration::from_secs(10))
        })
    }
}

impl Caller {
    /// Counts a call; refuses one too many, and says when to come again.
    pub fn call(&self) -> Result<(), Refusal> {
        self.principal.call("this caller")?;
        self.agent.call("this agent")
    }

    /// Takes a place for an open task.
    pub fn open(&self) -> Result<OpenPlace, Refusal> {
        Ok(OpenPlace {
            _principal: self.principal.open("this caller")?,
            _agent: self.agent.open("this agent")?,
            _caller: self.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_with_open_tasks_is_not_forgotten() {
        let one = std::num::NonZeroU32::MIN;
        let limits = LimitSettings { requests_per_second: one, statements: 1, open_tasks: 2 };
        let callers = Callers::new(limits, limits);
        let owner = Owner { issuer: "i".to_owned(), subject: "s".to_owned(), agent: "a".to_owned() };
        let forget = || {
            for known in callers.principals.lock().unwrap().values_mut() {
                known.recent = None;
            }
            for known in callers.agents.lock().unwrap().values_mut() {
                known.recent = None;
            }
            callers.forget_idle();
        };
        let open = || callers.of(&owner).open();
        let (_first, second) = (open().unwrap(), open().unwrap());
        forget();
        assert_eq!(open().unwrap_err().code, Code::RateLimited);
        drop(second);
        forget();
        assert!(open().is_ok());
    }
}
