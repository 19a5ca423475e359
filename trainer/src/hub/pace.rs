//! Owns how slow a transfer may be: in every window of time some bytes must pass, so that a slow line may take days and a
//! byte now and then may not. Knows nothing about what passes, or in which direction.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The slowest that a transfer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long is looked at.
    pub(super) window: Duration,
    /// The least that must pass in each second of it.
    pub(super) bytes_per_sec: u64,
}

/// A stream that ends with an error when less passes than must.
#[derive(Debug)]
pub(super) struct Paced<R> {
    from: R,
    pace: Pace,
    since: Instant,
    bytes: u64,
}

impl<R> Paced<R> {
    pub(super) fn new(from: R, pace: Pace) -> Self {
        Self { from, pace, since: Instant::now(), bytes: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.bytes = self.bytes.saturating_add(count as u64);
        let passed = self.since.elapsed();
        if passed >= self.pace.window && count > 0 {
            let least = passed.as_secs_f64() * self.pace.bytes_per_sec as f64;
            if (self.bytes as f64) < least {
                let rate = self.bytes as f64 / passed.as_secs_f64();
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("only {rate:.0} bytes a second came through in {:.0} s", passed.as_secs_f64()),
                ));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Gives some bytes after a pause, for ever.
    struct Drip(usize);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(5));
            let count = self.0.min(buffer.len());
            buffer[..count].fill(b'x');
            Ok(count)
        }
    }

    const PACE: Pace = Pace { window: Duration::from_millis(40), bytes_per_sec: 4_000 };

    #[test]
    fn a_byte_now_and_then_is_too_slow() {
        let mut bytes = Vec::new();
        let error = Paced::new(Drip(1), PACE).take(10_000).read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(bytes.len() < 20, "{}", bytes.len());
    }

    #[test]
    fn a_slow_line_goes_on_for_as_long_as_it_takes() {
        // 400 bytes in each 5 ms are 80,000 in a second, or fewer where the machine is busy.
        let mut slow = Paced::new(Drip(400), PACE);
        let mut bytes = 0;
        for _ in 0..40 {
            bytes += slow.read(&mut [0; 400]).unwrap();
        }
        assert_eq!(bytes, 16_000);
    }
}
