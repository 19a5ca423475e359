//! Owns the choice of the next token from logits: greedy, or by temperature with counter-based randomness.
//! Knows no model; a sample is a function of (seed, row, position), so batching does not change it.

use crate::dropout::{key_of, random_bits};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Zero for the most likely token.
    pub temperature: f32,
    /// What randomness is a function of.
    pub seed: u64,
}

impl Sampler {
    /// The most likely token, always.
    #[must_use]
    pub fn greedy() -> Self {
        Sampler { temperature: 0.0, seed: 0 }
    }

    /// The id chosen for `row` at `position` of its output: the one with the largest score. Ties go to the smallest id.
    ///
    /// At temperature zero the score is the logit, and else `logit / T - ln(-ln(u))` with a uniform number of its own for each
    /// id (the Gumbel-max trick), which follows the softmax and needs no sum over the vocabulary.
    #[must_use]
    pub fn sample(&self, logits: &[f32], row: usize, position: usize) -> u32 {
        let key = random_bits(random_bits(self.key(), row as u64), position as u64);
        let score = |id: usize| {
            if self.temperature <= 0.0 {
                return f64::from(logits[id]);
            }
            let uniform = (((random_bits(key, id as u64) >> 32) as f64) + 0.5) / (1_u64 << 32) as f64;
            f64::from(logits[id]) / f64::from(self.temperature) - (-uniform.ln()).ln()
        };
        let scores = (0..logits.len()).map(|id| (id, score(id)));
        scores.fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best }).0 as u32
    }

    /// What the randomness of every choice is a function of, beside row and position.
    pub(crate) fn key(&self) -> u64 {
        key_of(self.seed, "sample")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_temperature_takes_the_first_of_the_largest() {
        assert_eq!(Sampler::greedy().sample(&[0.0, 2.0, 2.0, 1.0], 0, 0), 1);
    }

    #[test]
    fn samples_follow_the_distribution() {
        let sampler = Sampler { temperature: 1.0, seed: 5 };
        let logits = [0.0, 3.0_f32.ln()];
        let ones = (0..4_000).filter(|&position| sampler.sample(&logits, 3, position) == 1).count();
        assert!((2_880..3_120).contains(&ones), "{ones} of 4000");
        assert_eq!(sampler.sample(&logits, 3, 17), Sampler { temperature: 1.0, seed: 5 }.sample(&logits, 3, 17));
    }
}
