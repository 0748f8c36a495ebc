//! Time, ids and randomness: the only place that asks the machine for them.
//!
//! Takes nothing. Gives instants, UUIDv7 request ids and random bytes. Never reads configuration, and is never
//! bypassed: tests pin a [`Clock`] and everything that depends on time follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// An instant in nanoseconds since the Unix epoch, as policies and entries see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Instant(pub i64);

impl Instant {
    /// This instant, `seconds` later (saturating).
    pub fn plus_seconds(self, seconds: u64) -> Self {
        let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        Self(self.0.saturating_add(nanos))
    }

    /// What the machine's clock, or the date of a file, says.
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0))
    }

    /// Whole seconds since the Unix epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The time left until `later`, zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with microseconds, as entries print it.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0.div_euclid(1_000)).map(|at| format!("{at:.6}")).unwrap_or_default()
    }
}

/// The source of time, ids and randomness.
#[derive(Debug, Clone)]
pub struct Clock {
    pinned: Option<Arc<Pinned>>,
    made: std::time::Instant,
}

#[derive(Debug)]
struct Pinned {
    now: AtomicI64,
    /// Seconds that it was moved forward.
    passed: AtomicU64,
}

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self { pinned: None, made: std::time::Instant::now() }
    }

    /// A clock that stands still until [`Clock::advance`] is called; for tests.
    pub fn pinned(at: Instant) -> Self {
        let pinned = Pinned { now: AtomicI64::new(at.0), passed: AtomicU64::new(0) };
        Self { pinned: Some(Arc::new(pinned)), made: std::time::Instant::now() }
    }

    /// Moves a pinned clock, which passes that time if it is moved forward; does nothing to the machine's.
    pub fn advance(&self, seconds: i64) {
        if let Some(pinned) = &self.pinned {
            pinned.now.fetch_add(seconds.saturating_mul(1_000_000_000), Ordering::SeqCst);
            pinned.passed.fetch_add(u64::try_from(seconds).unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// How much time has passed since this clock was made, whatever was done to the machine's date meanwhile.
    pub fn passed(&self) -> Duration {
        match &self.pinned {
            Some(pinned) => Duration::from_secs(pinned.passed.load(Ordering::SeqCst)),
            None => self.made.elapsed(),
        }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        match &self.pinned {
            Some(pinned) => Instant(pinned.now.load(Ordering::SeqCst)),
            None => Instant::of(machine_time()),
        }
    }

    /// A new UUIDv7 (RFC 9562 §5.7): sortable by time, random in the rest.
    pub fn uuid7(&self) -> Uuid {
        let millis = u64::try_from(self.now().0.div_euclid(1_000_000)).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random::<10>()).into_uuid()
    }

    /// `N` bytes from the operating system.
    ///
    /// A machine that cannot give random bytes cannot make passwords: the process stops there and then.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        if getrandom::fill(&mut bytes).is_err() {
            std::process::abort();
        }
        bytes
    }

    /// `N` random bytes as lower-case hexadecimal.
    pub fn random_hex<const N: usize>(&self) -> String {
        hex(&self.random::<N>())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
fn machine_time() -> SystemTime {
    SystemTime::now()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
