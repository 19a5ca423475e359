//! Owns broken bytes for the tests of whoever reads foreign ones: a valid file with some bytes changed, cut, doubled or
//! put in, as a function of a number. Knows no format.

use std::time::{Duration, Instant};

use crate::random::{mix, mix_all};

/// How long a test over broken bytes goes on when the environment does not say it.
const SECONDS: Duration = Duration::from_secs(1);

/// How long the environment asks a test over broken bytes to go on: the seconds of `TRAINER_FUZZ_SECONDS`.
///
/// # Panics
/// When the variable is no whole number of seconds: a long test by hand should not become a short one unseen.
#[must_use]
#[allow(clippy::expect_used)]
pub fn asked() -> Option<Duration> {
    let text = std::env::var("TRAINER_FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(text.parse().expect("TRAINER_FUZZ_SECONDS is a whole number of seconds")))
}

/// Calls `round` with 0, 1, 2, ... for a second, or for as long as [`asked`].
pub fn rounds(mut round: impl FnMut(u64)) {
    let end = Instant::now() + asked().unwrap_or(SECONDS);
    let mut at = 0;
    while at == 0 || Instant::now() < end {
        round(at);
        at += 1;
    }
}

/// `bytes` with changes that follow from `round`, one alone half of the time, else up to eight; `words` are put in now and
/// then.
#[must_use]
pub fn mutated(bytes: &[u8], words: &[&[u8]], round: u64) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut drawn = 0;
    let mut draw = |below: usize| {
        drawn += 1;
        (mix_all(mix(round), &[drawn]) % below.max(1) as u64) as usize
    };
    // One change alone leaves more of a file readable, so that what comes behind the first check is reached too.
    let changes = if draw(2) == 0 { 1 } else { 1 + draw(8) };
    for _ in 0..changes {
        let at = draw(out.len() + 1);
        let end = (at + draw(16)).min(out.len());
        match draw(7) {
            0 => out.truncate(at),
            1 => out.drain(at..end).for_each(drop),
            2 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again).for_each(drop);
            }
            3 => out[at..end].iter_mut().for_each(|byte| *byte = [0, 0xff, 0x7f, 0x80][draw(4)]),
            4 if !words.is_empty() => {
                out.splice(at..end, words[draw(words.len())].iter().copied()).for_each(drop);
            }
            _ => out[at..end].iter_mut().for_each(|byte| *byte = draw(256) as u8),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_repeat_with_their_number_and_differ_without() {
        let bytes = b"version = 1";
        let all: std::collections::BTreeSet<Vec<u8>> = (0..100).map(|at| mutated(bytes, &[b"x"], at)).collect();
        assert!(all.len() > 50);
        assert_eq!(mutated(bytes, &[b"x"], 7), mutated(bytes, &[b"x"], 7));
        assert!(mutated(b"", &[], 3).len() < 1000);
    }
}
