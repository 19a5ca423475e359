//! Owns how often and how long the program waits for a hub that asks it to, and the loop that does.
//! Knows nothing about requests: one attempt says what became of it.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};

/// Attempts beside the first.
const RETRIES: u32 = 4;
/// The longest wait that is honoured: the hub counts requests in windows of five minutes.
const LONGEST_SECS: f64 = 330.0;

/// What became of one attempt.
pub(super) enum Attempt<T> {
    /// It worked.
    Done(T),
    /// It failed in a way that passes; the hub may have said when.
    Passing { why: String, asked_secs: Option<f64> },
    /// Another attempt would end the same.
    Final(Error),
}

impl<T> Attempt<T> {
    /// A result after which nothing is tried again.
    pub(super) fn of(result: Result<T>) -> Self {
        match result {
            Ok(value) => Attempt::Done(value),
            Err(error) => Attempt::Final(error),
        }
    }
}

/// Makes attempts until one is done, one is final, or patience ends. `tell` hears of waits that a person notices.
pub(super) fn patiently<T>(tell: &dyn Fn(&str), mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
    let mut failed = 0;
    loop {
        let (why, asked_secs) = match attempt() {
            Attempt::Done(value) => return Ok(value),
            Attempt::Final(error) => return Err(error),
            Attempt::Passing { why, asked_secs } => (why, asked_secs),
        };
        let Some(secs) = wait_secs(failed, asked_secs) else {
            let when = asked_secs.map_or("in a few minutes".to_owned(), |secs| format!("in {secs:.0} s"));
            return Err(anyhow!(
                "{why}, {} times in a row; what was sent so far stays there\nhint: run the same command again {when}",
                failed + 1
            ));
        };
        if secs >= 1.0 {
            tell(&format!("{why}: trying again in {secs:.0} s"));
        }
        std::thread::sleep(Duration::try_from_secs_f64(secs).unwrap_or_default());
        failed += 1;
    }
}

/// Seconds to wait after so many failures; none when it is time to give up.
fn wait_secs(failed: u32, asked_secs: Option<f64>) -> Option<f64> {
    if failed >= RETRIES {
        return None;
    }
    match asked_secs {
        // A hub that asks for longer will not answer before; an hour of silence helps nobody.
        Some(secs) => (secs <= LONGEST_SECS).then_some(secs),
        None => Some((0.5 * f64::from(2_u32.pow(failed))).min(8.0)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_says_how_long_and_else_waits_grow() {
        assert_eq!(
            [0, 1, 2, 3, 4].map(|failed| wait_secs(failed, None)),
            [Some(0.5), Some(1.0), Some(2.0), Some(4.0), None]
        );
        assert_eq!((wait_secs(0, Some(0.25)), wait_secs(3, Some(300.0))), (Some(0.25), Some(300.0)));
        assert_eq!((wait_secs(0, Some(3600.0)), wait_secs(4, Some(0.1))), (None, None));
    }

    #[test]
    fn patience_ends_with_a_hint_and_a_final_failure_is_told_at_once() {
        let passing = || Attempt::<()>::Passing { why: "busy".to_owned(), asked_secs: Some(0.0) };
        let error = patiently(&|_| {}, passing).unwrap_err().to_string();
        assert!(error.starts_with("busy, 5 times in a row") && error.contains("hint: "), "{error}");
        let mut attempts = 0;
        let outcome = patiently(&|_| {}, || {
            attempts += 1;
            Attempt::<()>::Final(anyhow!("no"))
        });
        assert_eq!((outcome.unwrap_err().to_string().as_str(), attempts), ("no", 1));
    }
}
