//! How far a pull is, and the one line that says so.
//!
//! Owns the arithmetic of bytes, rate and time left. Knows nothing about terminals: a caller decides where a line goes.

use std::time::Duration;

/// One moment of a running pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being fetched, in words for the user.
    pub what: String,
    /// Bytes here so far.
    pub bytes: u64,
    /// Bytes there will be, when the source says so.
    pub total: Option<u64>,
    /// Bytes that were already here when this pull began; they do not count for the rate.
    pub resumed: u64,
    /// Time since the pull began.
    pub elapsed: Duration,
}

/// Where a pull reports to.
pub type Watch<'a> = &'a mut dyn FnMut(&Progress);

impl Progress {
    /// One line without a newline: bytes, share, rate, and time left where the total is known.
    #[must_use]
    pub fn line(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        if self.bytes == 0 {
            return format!("{}  waiting  {}", self.what, duration_words(seconds));
        }
        let fresh = self.bytes.saturating_sub(self.resumed);
        let rate = if seconds > 0.0 { fresh as f64 / seconds } else { 0.0 };
        let speed = format!("{}/s", bytes_words(rate as u64));
        match self.total {
            Some(total) if total > 0 => {
                let share = (self.bytes as f64 / total as f64 * 100.0).min(100.0);
                let left = total.saturating_sub(self.bytes);
                let time = if left == 0 {
                    format!("done in {}", duration_words(seconds))
                } else if rate > 0.0 {
                    format!("{} left", duration_words(left as f64 / rate))
                } else {
                    "time left unknown".to_owned()
                };
                format!(
                    "{}  {} of {} ({share:.0} %)  {speed}  {time}",
                    self.what,
                    bytes_words(self.bytes),
                    bytes_words(total)
                )
            }
            _ => format!("{}  {}  {speed}  {} so far", self.what, bytes_words(self.bytes), duration_words(seconds)),
        }
    }
}

/// A byte count as people read it: powers of 1000, one decimal from kilobytes on.
#[must_use]
pub fn bytes_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or("TB"))
}

fn duration_words(seconds: f64) -> String {
    let whole = seconds.ceil() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u64, total: Option<u64>, seconds: u64) -> String {
        Progress { what: "wheel".to_owned(), bytes, total, resumed: 0, elapsed: Duration::from_secs(seconds) }.line()
    }

    #[test]
    fn a_line_has_bytes_rate_and_time_left() {
        assert_eq!(at(40_000_000, Some(100_000_000), 4), "wheel  40.0 MB of 100.0 MB (40 %)  10.0 MB/s  6 s left");
        assert_eq!(at(5_000_000, None, 2), "wheel  5.0 MB  2.5 MB/s  2 s so far");
        assert_eq!(at(0, Some(9), 3), "wheel  waiting  3 s");
        assert_eq!(at(9_000, Some(9_000), 1), "wheel  9.0 kB of 9.0 kB (100 %)  9.0 kB/s  done in 1 s");
    }

    #[test]
    fn bytes_of_an_earlier_pull_do_not_raise_the_rate() {
        let line = Progress {
            what: "hub".to_owned(),
            bytes: 90,
            total: Some(100),
            resumed: 80,
            elapsed: Duration::from_secs(1),
        }
        .line();
        assert_eq!(line, "hub  90 B of 100 B (90 %)  10 B/s  1 s left");
    }

    #[test]
    fn units_change_at_a_thousand() {
        assert_eq!(bytes_words(999), "999 B");
        assert_eq!(bytes_words(1000), "1.0 kB");
        assert_eq!(bytes_words(999_960), "1.0 MB");
        assert_eq!(bytes_words(16_100_000_000), "16.1 GB");
    }
}
