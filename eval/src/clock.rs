//! The one place of this crate that reads the time: a stopwatch for the seconds and tokens per second of an arm.
//! Knows nothing about dates or time zones.

use std::time::Instant;

/// Adds up the seconds of the pieces of work it is asked to time.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    seconds: f64,
}

impl Stopwatch {
    /// Runs `work` and adds how long it took.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.seconds += start.elapsed().as_secs_f64();
        result
    }

    /// The seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_only_grows_and_returns_what_the_work_returned() {
        let mut watch = Stopwatch::default();
        assert_eq!(watch.time(|| 7), 7);
        let first = watch.seconds();
        watch.time(|| std::hint::black_box(1));
        assert!(watch.seconds() >= first);
    }
}
