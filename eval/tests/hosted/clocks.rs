//! Clocks for tests: one on which time runs faster, and one that is moved by sleeping alone.
//! Knows nothing about calls.

use std::sync::Mutex;

use eval::{Clock, SystemClock};

/// A clock on which `speed` seconds pass in each real one.
pub(crate) struct FastClock {
    inner: SystemClock,
    speed: f64,
}

impl FastClock {
    pub(crate) fn new(speed: f64) -> Self {
        Self { inner: SystemClock::default(), speed }
    }
}

impl Clock for FastClock {
    fn now_secs(&self) -> f64 {
        self.inner.now_secs() * self.speed
    }

    fn unix_secs(&self) -> i64 {
        self.inner.unix_secs()
    }

    fn sleep(&self, seconds: f64) {
        self.inner.sleep(seconds / self.speed);
    }
}

/// A clock that stands still but for sleeping, which takes no time.
#[derive(Default)]
pub(crate) struct SleepClock {
    now_secs: Mutex<f64>,
}

impl Clock for SleepClock {
    fn now_secs(&self) -> f64 {
        *self.now_secs.lock().unwrap()
    }

    fn unix_secs(&self) -> i64 {
        1_800_000_000
    }

    fn sleep(&self, seconds: f64) {
        *self.now_secs.lock().unwrap() += seconds;
    }
}
