//! Owns the choice of the next token from logits: greedy, or by temperature with counter-based randomness.
//! Knows no model; a sample is a function of (seed, row, position), so batching does not change it.

use crate::dropout::{key_of, uniform};

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

    /// The id chosen for `row` at `position` of its output. Ties go to the smallest id.
    pub fn sample(&mut self, logits: &[f32], row: usize, position: usize) -> u32 {
        let mut best = 0;
        for (id, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = id;
            }
        }
        if self.temperature <= 0.0 {
            return best as u32;
        }
        let weights: Vec<f64> =
            logits.iter().map(|logit| f64::from((logit - logits[best]) / self.temperature).exp()).collect();
        let key = key_of(self.seed, "sample") ^ (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut left = f64::from(uniform(key, position as u64)) * weights.iter().sum::<f64>();
        for (id, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return id as u32;
            }
        }
        best as u32
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
        let mut sampler = Sampler { temperature: 1.0, seed: 5 };
        let logits = [0.0, 3.0_f32.ln()];
        let ones = (0..4_000).filter(|&position| sampler.sample(&logits, 3, position) == 1).count();
        assert!((2_880..3_120).contains(&ones), "{ones} of 4000");
        assert_eq!(sampler.sample(&logits, 3, 17), Sampler { temperature: 1.0, seed: 5 }.sample(&logits, 3, 17));
    }
}
