//! The one place of this crate that reads the time: a stopwatch for the seconds of an arm, and a clock for calls, waits and limits.
//! Knows nothing about dates or time zones; whoever decides something takes the time as a number.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// What tells the time to the calls of hosted models, so that a test can make an hour of waiting pass in a second.
pub trait Clock: Send + Sync {
    /// Seconds since some fixed instant; never goes back.
    fn now_secs(&self) -> f64;
    /// Seconds since 1970, for what is written down.
    fn unix_secs(&self) -> i64;
    /// Waits.
    fn sleep(&self, seconds: f64);
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_secs(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn unix_secs(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, seconds: f64) {
        std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }
}

/// The time, RFC 3339, for what is written down.
pub fn now() -> String {
    let now = jiff::Timestamp::from_second(SystemClock::default().unix_secs()).unwrap_or_default();
    now.to_string()
}

/// The day in UTC, for prices that hold from a day on.
pub fn today() -> jiff::civil::Date {
    let now = jiff::Timestamp::from_second(SystemClock::default().unix_secs()).unwrap_or_default();
    now.to_zoned(jiff::tz::TimeZone::UTC).date()
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

    #[test]
    fn the_clock_of_the_machine_never_goes_back_and_waits_at_least_as_long_as_asked() {
        let clock = SystemClock::default();
        let before = clock.now_secs();
        clock.sleep(0.002);
        assert!(clock.now_secs() - before >= 0.002);
        clock.sleep(-1.0);
        assert!(clock.unix_secs() > 1_700_000_000);
    }
}
