//! Owns broken bytes for the tests of whoever reads foreign ones: a valid file with some bytes changed, cut, doubled or
//! put in, as a function of a number. Knows no format.

use std::time::{Duration, Instant};

use crate::random::{mix, mix_all};

/// How long a test over broken bytes goes on when the environment does not say it.
const SECONDS: u64 = 1;

/// Calls `round` with 0, 1, 2, ... for a second, or for as many as `TRAINER_FUZZ_SECONDS` says.
pub fn rounds(mut round: impl FnMut(u64)) {
    let asked = std::env::var("TRAINER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(asked.unwrap_or(SECONDS));
    let mut at = 0;
    while at == 0 || Instant::now() < end {
        round(at);
        at += 1;
    }
}

/// `bytes` with one to eight changes that follow from `round`; `words` are put in now and then.
#[must_use]
pub fn mutated(bytes: &[u8], words: &[&[u8]], round: u64) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut drawn = 0;
    let mut draw = |below: usize| {
        drawn += 1;
        (mix_all(mix(round), [drawn]) % below.max(1) as u64) as usize
    };
    for _ in 0..=draw(8) {
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
