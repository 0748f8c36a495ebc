//! What a task has used, and what it may.
//!
//! Takes the budget that policy gave, gives reservations: what one statement may use is set aside before it runs, so that statements side by
//! side never use more than there is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::decision::Limits;
use crate::model::ending::Used;
use crate::model::grants::Budget;
use crate::model::refusal::{Code, Refusal};

/// The counters of one task.
#[derive(Debug, Default, Clone)]
pub struct Spent(Arc<Mutex<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    used: Used,
    reserved: Used,
}

/// What is set aside for one statement; what it does not use goes back.
#[derive(Debug)]
pub struct Reservation {
    spent: Spent,
    rows: u64,
    bytes: u64,
}

impl Spent {
    /// Counters that go on from what was used before.
    pub fn from(used: Used) -> Self {
        Self(Arc::new(Mutex::new(Counters { used, reserved: Used::default() })))
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used so far.
    pub fn so_far(&self) -> Used {
        self.counters().used
    }

    /// Counts a statement that is put to policy, if there is one left. Gives what was used before it: no two statements see the same count.
    pub fn count(&self, budget: &Budget) -> Result<Used, Refusal> {
        let mut counters = self.counters();
        let before = counters.used;
        if budget.statements.is_some_and(|most| before.statements >= most) {
            return Err(spent("statements"));
        }
        counters.used.statements = before.statements.saturating_add(1);
        Ok(before)
    }

    /// Sets aside what a statement may use within its limits, or less if less is left.
    pub fn reserve(&self, budget: &Budget, limits: Limits) -> Result<(Reservation, Limits), Refusal> {
        let mut counters = self.counters();
        let left =
            |most: Option<u64>, used: u64, reserved: u64| most.map(|most| most.saturating_sub(used.saturating_add(reserved)));
        let rows = left(budget.rows, counters.used.rows, counters.reserved.rows);
        let bytes = left(budget.bytes, counters.used.bytes, counters.reserved.bytes);
        if rows == Some(0) {
            return Err(spent("rows"));
        }
        if bytes == Some(0) {
            return Err(spent("bytes"));
        }
        let within = Limits {
            max_rows: rows.map_or(limits.max_rows, |rows| rows.min(limits.max_rows)),
            max_bytes: bytes.map_or(limits.max_bytes, |bytes| bytes.min(limits.max_bytes)),
            ..limits
        };
        // Without a budget there is nothing to be set aside.
        let rows = if rows.is_some() { within.max_rows } else { 0 };
        let bytes = if bytes.is_some() { within.max_bytes } else { 0 };
        counters.reserved.rows = counters.reserved.rows.saturating_add(rows);
        counters.reserved.bytes = counters.reserved.bytes.saturating_add(bytes);
        drop(counters);
        Ok((Reservation { spent: self.clone(), rows, bytes }, within))
    }
}

impl Reservation {
    /// Counts what the statement used.
    pub fn settle(self, rows: u64, bytes: u64) {
        let mut counters = self.spent.counters();
        counters.used.rows = counters.used.rows.saturating_add(rows);
        counters.used.bytes = counters.used.bytes.saturating_add(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut counters = self.spent.counters();
        counters.reserved.rows = counters.reserved.rows.saturating_sub(self.rows);
        counters.reserved.bytes = counters.reserved.bytes.saturating_sub(self.bytes);
    }
}

fn spent(what: &str) -> Refusal {
    Refusal::new(Code::BudgetSpent, format!("the task has used up its {what}")).hint("ask your operator, or for a new task")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_rows: 100, max_bytes: 1000, max_cell_bytes: 10, timeout_ms: 10 };

    #[test]
    fn statements_side_by_side_never_use_more_than_there_is() {
        let (spent, budget) = (Spent::default(), Budget { statements: Some(2), rows: Some(150), bytes: None });
        let (first, limits) = spent.reserve(&budget, LIMITS).unwrap();
        assert_eq!(limits.max_rows, 100);
        let (second, limits) = spent.reserve(&budget, LIMITS).unwrap();
        assert_eq!((limits.max_rows, limits.max_bytes), (50, 1000));
        assert_eq!(spent.reserve(&budget, LIMITS).unwrap_err().code, Code::BudgetSpent);
        drop(second);
        first.settle(60, 7);
        let (third, limits) = spent.reserve(&budget, LIMITS).unwrap();
        assert_eq!(limits.max_rows, 90);
        third.settle(90, 0);
        assert_eq!(spent.reserve(&budget, LIMITS).unwrap_err().code, Code::BudgetSpent);
        assert_eq!(spent.count(&budget).unwrap().statements, 0);
        assert_eq!(spent.count(&budget).unwrap().statements, 1);
        assert_eq!(spent.count(&budget).unwrap_err().code, Code::BudgetSpent);
        assert_eq!(spent.so_far(), Used { statements: 2, rows: 150, bytes: 7 });
    }
}
