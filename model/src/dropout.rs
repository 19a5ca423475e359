//! Owns counter-based randomness: a number is a function of a key and an index, so nothing is stored and a resumed
//! run draws the same. Knows no tensor.

use ground::random::{mix, unit_f32, unit_f64};

pub use ground::random::key_of;

/// What a dropout mask is a function of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutKey {
    /// Mixed from seed, layer, packed linear, step and micro-batch.
    pub key: u64,
    /// Probability that a value is dropped, below one.
    pub probability: f32,
}

impl DropoutKey {
    /// A key for one place and time of a run.
    #[must_use]
    pub fn new(parts: &[u64], probability: f32) -> Self {
        DropoutKey { key: parts.iter().fold(0, |key, &part| mix(key ^ mix(part))), probability }
    }

    /// What value `index` is multiplied by: zero, or `1 / (1 - p)`.
    #[inline(always)]
    #[must_use]
    pub fn factor(&self, index: u64) -> f32 {
        if uniform(self.key, index) < self.probability { 0.0 } else { 1.0 / (1.0 - self.probability) }
    }
}

/// 64 bits that are a function of a key and an index.
#[inline(always)]
#[must_use]
pub(crate) fn random_bits(key: u64, index: u64) -> u64 {
    mix(key ^ mix(index))
}

/// A uniform number in `[0, 1)` with 24 bits.
#[inline(always)]
#[must_use]
pub fn uniform(key: u64, index: u64) -> f32 {
    unit_f32(random_bits(key, index))
}

/// A standard normal number, by the Box-Muller transform.
#[must_use]
pub fn normal(key: u64, index: u64) -> f32 {
    let bits = |index: u64| unit_f64(random_bits(key, index));
    let radius = (-2.0 * (1.0 - bits(2 * index)).ln()).sqrt();
    (radius * (std::f64::consts::TAU * bits(2 * index + 1)).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    // What the first published version drew: adapters and masks of older runs follow from these bits.
    #[test]
    fn numbers_are_those_of_older_runs() {
        assert_eq!(DropoutKey::new(&[7, 1, 2, 3], 0.25).key, 0x489f_3f00_b4b0_6529);
        assert_eq!(random_bits(5, 9), 0x019b_757c_d93c_cfc1);
        assert_eq!(key_of(3, "lora_A"), 0xa5d8_2e3e_d8f1_c134);
        assert_eq!(uniform(5, 9).to_bits(), 0x3bcdba80);
    }

    #[test]
    fn a_mask_keeps_the_mean_and_repeats() {
        let key = DropoutKey::new(&[7, 1, 2, 3], 0.25);
        let factors: Vec<f32> = (0..40_000).map(|index| key.factor(index)).collect();
        let mean = factors.iter().sum::<f32>() / factors.len() as f32;
        let dropped = factors.iter().filter(|factor| **factor == 0.0).count();
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!((9_600..10_400).contains(&dropped), "dropped {dropped}");
        assert_eq!(factors[17], DropoutKey::new(&[7, 1, 2, 3], 0.25).factor(17));
        assert_ne!(DropoutKey::new(&[7, 1, 2, 3], 0.25).key, DropoutKey::new(&[7, 1, 3, 2], 0.25).key);
    }

    #[test]
    fn normal_numbers_have_unit_variance() {
        let key = key_of(3, "lora_A");
        let values: Vec<f32> = (0..40_000).map(|index| normal(key, index)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean} variance {variance}");
    }
}
