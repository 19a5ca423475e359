//! A hard cap in dollars: the worst case is reserved before a call is sent and settled after, so that no interleaving of calls can pass it.
//! Knows nothing about prices, sockets or where spending is written down.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::wire::Usd;

/// How often a waiting thread looks whether the run was stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What has been spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// What providers said that they used, at the prices of the table.
    pub exact: Usd,
    /// The worst case of calls that may have been billed although no usage came back.
    pub possible: Usd,
}

impl Spent {
    /// The most that the invoice can say.
    pub fn total(&self) -> Usd {
        self.exact.plus(self.possible)
    }
}

/// What one call is settled at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// The provider did not bill it.
    Nothing,
    /// The price of the usage that the provider named.
    Exact(Usd),
    /// It may have been billed, at most this much.
    Possible(Usd),
    /// There is no price for this model; only possible without a cap.
    Unknown,
}

/// The state behind a budget, as a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Purse {
    cap: Option<Usd>,
    spent: Spent,
    reserved: Usd,
    /// Once a call did not fit, none is sent any more: else only the short prompts of the rest would be answered, which biases the sample.
    closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Granted,
    /// It may fit once calls in flight turn out cheaper than their worst case.
    Wait,
    Refused,
}

impl Purse {
    fn reserve(&mut self, worst: Usd) -> Decision {
        let Some(cap) = self.cap else { return Decision::Granted };
        if self.closed || self.spent.total().plus(worst) > cap {
            self.closed = true;
            return Decision::Refused;
        }
        if self.spent.total().plus(self.reserved).plus(worst) > cap {
            return Decision::Wait;
        }
        self.reserved = self.reserved.plus(worst);
        Decision::Granted
    }

    fn settle(&mut self, worst: Usd, spend: Spend) {
        if self.cap.is_some() {
            self.reserved = self.reserved.minus(worst);
        }
        match spend {
            Spend::Nothing | Spend::Unknown => {}
            Spend::Exact(amount) => self.spent.exact = self.spent.exact.plus(amount),
            Spend::Possible(amount) => self.spent.possible = self.spent.possible.plus(amount),
        }
    }
}

/// A budget that many threads, and many arms, draw on.
#[derive(Debug)]
pub struct Budget {
    purse: Mutex<Purse>,
    settled: Condvar,
}

/// How an attempt to reserve ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    Granted,
    Refused,
    Stopped,
}

impl Budget {
    /// A budget with a cap, or without; `spent` is what earlier processes of the same run have spent (`Journal::spent`).
    pub fn new(cap: Option<Usd>, spent: Spent) -> Self {
        Self { purse: Mutex::new(Purse { cap, spent, ..Purse::default() }), settled: Condvar::new() }
    }

    /// The cap, if there is one.
    pub fn cap(&self) -> Option<Usd> {
        self.lock().cap
    }

    /// What has been spent so far, calls in flight not included.
    pub fn spent(&self) -> Spent {
        self.lock().spent
    }

    /// Whether a call was refused, after which none is sent.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Sets `worst` aside; waits while calls in flight may still give money back. Each grant needs one `settle`.
    pub(super) fn reserve(&self, worst: Usd, stopped: impl Fn() -> bool) -> Reserved {
        let mut purse = self.lock();
        loop {
            if stopped() {
                return Reserved::Stopped;
            }
            match purse.reserve(worst) {
                Decision::Granted => return Reserved::Granted,
                Decision::Refused => return Reserved::Refused,
                Decision::Wait => {
                    purse = self.settled.wait_timeout(purse, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Ends a reservation of `worst`.
    pub(super) fn settle(&self, worst: Usd, spend: Spend) {
        self.lock().settle(worst, spend);
        self.settled.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Purse> {
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn usd(picodollars: u64) -> Usd {
        Usd::from_picodollars(picodollars)
    }

    fn purse(cap: u64) -> Purse {
        Purse { cap: Some(usd(cap)), ..Purse::default() }
    }

    #[test]
    fn a_call_waits_while_reservations_may_come_back_and_is_refused_when_they_cannot() {
        let mut purse = purse(100);
        assert_eq!(purse.reserve(usd(60)), Decision::Granted);
        assert_eq!(purse.reserve(usd(60)), Decision::Wait);
        purse.settle(usd(60), Spend::Exact(usd(10)));
        assert_eq!(purse.reserve(usd(60)), Decision::Granted);
        purse.settle(usd(60), Spend::Possible(usd(60)));
        assert_eq!(purse.reserve(usd(31)), Decision::Refused);
    }

    #[test]
    fn a_refusal_closes_the_budget_for_smaller_calls_too() {
        let mut purse = purse(100);
        assert_eq!(purse.reserve(usd(101)), Decision::Refused);
        assert_eq!(purse.reserve(usd(1)), Decision::Refused);
    }

    #[test]
    fn what_an_earlier_process_spent_counts() {
        let spent = Spent { exact: usd(40), possible: usd(30) };
        let budget = Budget::new(Some(usd(100)), spent);
        assert_eq!(budget.reserve(usd(31), || false), Reserved::Refused);
        assert_eq!(Budget::new(Some(usd(100)), spent).reserve(usd(30), || false), Reserved::Granted);
    }

    #[test]
    fn without_a_cap_everything_is_granted_and_still_added_up() {
        let budget = Budget::new(None, Spent::default());
        assert_eq!(budget.reserve(Usd::MAX, || false), Reserved::Granted);
        budget.settle(Usd::MAX, Spend::Exact(usd(7)));
        assert_eq!(budget.spent(), Spent { exact: usd(7), possible: Usd::ZERO });
    }

    #[test]
    fn a_stopped_run_does_not_wait_for_money() {
        let budget = Budget::new(Some(usd(100)), Spent::default());
        assert_eq!(budget.reserve(usd(100), || false), Reserved::Granted);
        assert_eq!(budget.reserve(usd(100), || true), Reserved::Stopped);
    }

    #[test]
    fn no_interleaving_of_threads_passes_the_cap() {
        let budget = Budget::new(Some(usd(1_000)), Spent::default());
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let budget = &budget;
                scope.spawn(move || {
                    for call in 0..200_u64 {
                        if budget.reserve(usd(40), || false) != Reserved::Granted {
                            return;
                        }
                        {
                            let purse = budget.lock();
                            assert!(purse.reserved.plus(purse.spent.total()) <= usd(1_000));
                        }
                        budget.settle(usd(40), Spend::Exact(usd((thread * 7 + call) % 41)));
                    }
                });
            }
        });
        assert!(budget.is_closed());
        assert!(budget.spent().total() > usd(960) && budget.spent().total() <= usd(1_000));
        assert_eq!(budget.lock().reserved, Usd::ZERO);
    }
}
