//! Permission as a value.
//!
//! Takes the policy's decision, gives a [`Permitted`] that owns what was decided. Executing takes nothing else, and nothing outside this
//! module can make one:
//!
//! ```compile_fail
//! let forged = pgteller::policy::Permitted { subject: "select 1", limits: todo!() };
//! ```

use serde_json::value::RawValue;

use crate::model::decision::{Decision, Limits, Obligations, Ruling};
use crate::model::names::BundleDigest;
use crate::model::refusal::{Code, Refusal};

/// Caps where the policy gives none.
const DEFAULT_LIMITS: Limits = Limits { max_rows: 1_000, max_bytes: 1024 * 1024, max_cell_bytes: 256 * 1024, timeout_ms: 30_000 };

/// Longest that any obligation lets a statement run.
const LONGEST_MS: u64 = 60 * 60 * 1_000;

/// What policy said about one call, with the input exactly as evaluated.
#[derive(Debug)]
pub struct Verdict {
    input: Box<RawValue>,
    decision: Decision,
    bundle: BundleDigest,
}

/// A subject that policy permitted, within limits.
#[derive(Debug)]
pub struct Permitted<T> {
    subject: T,
    limits: Limits,
}

impl<T> Permitted<T> {
    /// What was permitted, and within which limits. Consumes the permission: it holds once.
    pub fn redeem(self) -> (T, Limits) {
        (self.subject, self.limits)
    }

    /// What was permitted, to look at.
    pub fn subject(&self) -> &T {
        &self.subject
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same permission within narrower limits; what is wider is cut to what policy gave.
    #[must_use]
    pub fn within(self, narrow: impl FnOnce(Limits) -> Limits) -> Self {
        let wanted = narrow(self.limits);
        let limits = Limits {
            max_rows: wanted.max_rows.min(self.limits.max_rows),
            max_bytes: wanted.max_bytes.min(self.limits.max_bytes),
            max_cell_bytes: wanted.max_cell_bytes.min(self.limits.max_cell_bytes),
            timeout_ms: wanted.timeout_ms.min(self.limits.timeout_ms),
        };
        Self { subject: self.subject, limits }
    }
}

impl Verdict {
    pub(super) fn new(input: Box<RawValue>, decision: Decision, bundle: BundleDigest) -> Self {
        Self { input, decision, bundle }
    }

    /// The input, as evaluated.
    pub fn input(&self) -> &RawValue {
        &self.input
    }

    /// The decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The bundle that decided.
    pub fn bundle(&self) -> &BundleDigest {
        &self.bundle
    }

    /// Turns an allow into a permit for exactly this subject; anything else into a refusal.
    pub fn permit<T>(self, subject: T, format: Option<&str>) -> Result<Permitted<T>, Refusal> {
        match self.decision.decision {
            Ruling::Allow if self.decision.violations.is_empty() => {
                Ok(Permitted { subject, limits: limits(&self.decision.obligations, format)? })
            }
            Ruling::Allow | Ruling::Deny => Err(denied(&self.decision)),
            Ruling::NeedsApproval => Err(Refusal::new(Code::ApprovalRequired, "policy wants somebody's approval first")
                .hint("ask for fewer rows with `max_rows`, or ask your operator")),
        }
    }
}

fn denied(decision: &Decision) -> Refusal {
    let reasons: Vec<&str> = decision.violations.iter().map(|violation| violation.message.as_str()).collect();
    let message = if reasons.is_empty() { "policy does not allow this call".to_owned() } else { reasons.join("; ") };
    Refusal::new(Code::PolicyDenied, message)
}

/// The limits of an allow. An obligation that we cannot enforce denies.
fn limits(obligations: &Obligations, format: Option<&str>) -> Result<Limits, Refusal> {
    let unknown = obligations.max_affected.is_some() || obligations.dry_run.is_some();
    if unknown {
        return Err(Refusal::new(Code::PolicyDenied, "policy asks for something that cannot be enforced on a query"));
    }
    if let (Some(formats), Some(format)) = (&obligations.formats, format)
        && !formats.iter().any(|allowed| allowed == format)
    {
        return Err(Refusal::new(Code::PolicyDenied, format!("policy does not allow the format `{format}`"))
            .hint(format!("allowed: {}", formats.join(", "))));
    }
    Ok(Limits {
        max_rows: obligations.max_rows.unwrap_or(DEFAULT_LIMITS.max_rows),
        max_bytes: obligations.max_bytes.unwrap_or(DEFAULT_LIMITS.max_bytes),
        max_cell_bytes: obligations.max_cell_bytes.unwrap_or(DEFAULT_LIMITS.max_cell_bytes),
        timeout_ms: obligations.timeout_ms.unwrap_or(DEFAULT_LIMITS.timeout_ms).min(LONGEST_MS),
    })
}
