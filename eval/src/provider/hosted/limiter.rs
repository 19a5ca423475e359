//! How many calls may be in flight at once: slow start, then additive increase, and a cut when the provider says it is too much.
//! Knows nothing about sockets or money. `Limiter` is a value that is told the time; `Gate` is the thin part that makes threads wait for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What is left of the limit after a cut.
pub const CUT: f64 = 0.8;
/// A limit is cut at most once in this time, because one burst of refusals is one message.
pub const SECS_BETWEEN_CUTS: f64 = 15.0;
/// How often a waiting thread looks whether the run was stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The limit as a value. It starts at one call, which is also the probe of a wrong key or model.
#[derive(Clone, Debug, PartialEq)]
pub struct Limiter {
    limit: f64,
    max: f64,
    slow_start: bool,
    last_cut_secs: Option<f64>,
}

impl Limiter {
    /// A limit that starts at 1 and never passes `max_concurrency`.
    pub fn new(max_concurrency: usize) -> Self {
        Self { limit: 1.0, max: max_concurrency.max(1) as f64, slow_start: true, last_cut_secs: None }
    }

    /// Calls that may be in flight now.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A call came back well while `in_flight` calls, itself included, were out.
    ///
    /// A limit that nobody reaches says nothing about what the provider bears, so it does not grow.
    pub fn succeeded(&mut self, in_flight: usize) {
        if in_flight < self.limit() {
            return;
        }
        let step = if self.slow_start { 1.0 } else { 1.0 / self.limit };
        self.limit = (self.limit + step).min(self.max);
    }

    /// The provider said at `now_secs` that it is too much (429 or 529).
    pub fn overloaded(&mut self, now_secs: f64) {
        if self.last_cut_secs.is_some_and(|last| now_secs - last < SECS_BETWEEN_CUTS) {
            return;
        }
        self.slow_start = false;
        self.last_cut_secs = Some(now_secs);
        self.limit = (self.limit * CUT).max(1.0);
    }
}

/// Lets as many threads through as the limiter allows.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    in_flight: usize,
}

/// How a call came back, as far as the limit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// It came back with an answer.
    Good,
    /// The provider said that it is too much.
    Overloaded,
    /// Anything else: it says nothing about the limit.
    Silent,
}

impl Gate {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { state: Mutex::new(State { limiter, in_flight: 0 }), freed: Condvar::new() }
    }

    /// Waits for a place; false when the run was stopped meanwhile. Each true needs one `leave`.
    pub(super) fn enter(&self, stopped: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stopped() {
                return false;
            }
            if state.in_flight < state.limiter.limit() {
                state.in_flight += 1;
                return true;
            }
            state = self.freed.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives the place back.
    pub(super) fn leave(&self, echo: Echo, now_secs: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let in_flight = state.in_flight;
        match echo {
            Echo::Good => state.limiter.succeeded(in_flight),
            Echo::Overloaded => state.limiter.overloaded(now_secs),
            Echo::Silent => {}
        }
        state.in_flight = in_flight.saturating_sub(1);
        self.freed.notify_all();
    }

    /// Calls that may be in flight now.
    pub(super) fn limit(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limiter.limit()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// One round: as many successes as calls may be in flight.
    fn round(limiter: &mut Limiter) -> usize {
        let limit = limiter.limit();
        (0..limit).for_each(|_| limiter.succeeded(usize::MAX));
        limiter.limit()
    }

    #[test]
    fn slow_start_doubles_per_round_up_to_the_maximum() {
        let mut limiter = Limiter::new(12);
        assert_eq!(limiter.limit(), 1);
        assert_eq!((0..5).map(|_| round(&mut limiter)).collect::<Vec<_>>(), [2, 4, 8, 12, 12]);
    }

    #[test]
    fn after_a_cut_to_four_fifths_the_limit_grows_by_one_per_round() {
        let mut limiter = Limiter::new(100);
        (0..4).for_each(|_| {
            round(&mut limiter);
        });
        assert_eq!(limiter.limit(), 16);
        limiter.overloaded(100.0);
        assert_eq!(limiter.limit(), 12);
        assert_eq!((0..3).map(|_| round(&mut limiter)).collect::<Vec<_>>(), [13, 14, 15]);
    }

    #[test]
    fn a_burst_of_refusals_cuts_once_in_fifteen_seconds() {
        let mut limiter = Limiter::new(100);
        (0..4).for_each(|_| {
            round(&mut limiter);
        });
        for now_secs in [10.0, 10.1, 24.9] {
            limiter.overloaded(now_secs);
        }
        assert_eq!(limiter.limit(), 12);
        limiter.overloaded(25.0);
        assert_eq!(limiter.limit(), 10);
    }

    #[test]
    fn the_limit_never_falls_below_one() {
        let mut limiter = Limiter::new(4);
        (0..50).for_each(|cut| limiter.overloaded(f64::from(cut) * 20.0));
        assert_eq!(limiter.limit(), 1);
    }

    #[test]
    fn a_limit_that_is_not_reached_does_not_grow() {
        let mut limiter = Limiter::new(100);
        (0..3).for_each(|_| {
            round(&mut limiter);
        });
        (0..50).for_each(|_| limiter.succeeded(3));
        assert_eq!(limiter.limit(), 8);
    }

    #[test]
    fn threads_never_pass_the_gate_beyond_the_limit() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (gate, out, most) = (Gate::new(Limiter::new(3)), AtomicUsize::new(0), AtomicUsize::new(0));
        // The limit grows where as many calls as it allows are out together, which threads need not be.
        for together in [1, 2] {
            (0..together).for_each(|_| assert!(gate.enter(|| false)));
            (0..together).for_each(|_| gate.leave(Echo::Good, 0.0));
        }
        assert_eq!(gate.limit(), 3);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert!(gate.enter(|| false));
                        most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        out.fetch_sub(1, Ordering::SeqCst);
                        gate.leave(Echo::Good, 0.0);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(gate.limit(), 3);
    }

    #[test]
    fn a_stopped_run_does_not_wait_at_the_gate() {
        let gate = Gate::new(Limiter::new(1));
        assert!(gate.enter(|| false));
        assert!(!gate.enter(|| true));
    }
}
