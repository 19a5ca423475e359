//! Rotary frequencies: the plain ones and the four ways of stretching them, computed as transformers computes them.
//! Knows no position and no tensor; the formulas are those of `modeling_rope_utils` in transformers 5.

use std::f64::consts::PI;
use std::path::Path;

use crate::error::{Error, Result};

/// How rotary frequencies are stretched for contexts longer than those of pre-training.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by one factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: slow frequencies divided, fast ones kept, a smooth step between.
    Llama3 {
        /// The divisor of slow frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context of pre-training.
        original_max_position_embeddings: usize,
    },
    /// YaRN: a ramp over the dimensions, and a factor on cosine and sine.
    Yarn {
        /// The stretch.
        factor: f64,
        /// Context of pre-training.
        original_max_position_embeddings: usize,
        /// Factor on cosine and sine; from `factor` and the two `mscale` if absent.
        attention_factor: Option<f64>,
        /// Rotations above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which a dimension is stretched fully.
        beta_slow: f64,
        /// Numerator of the inferred attention factor.
        mscale: Option<f64>,
        /// Denominator of the inferred attention factor.
        mscale_all_dim: Option<f64>,
        /// Whole dimensions as the ends of the ramp.
        truncate: bool,
    },
    /// One divisor for each frequency, as GGUF files carry them in `rope_freqs.weight`.
    Factors {
        /// The divisors, `head_dim / 2` of them.
        divisors: Vec<f32>,
    },
}

impl RopeScaling {
    /// Inverse frequencies (`head_dim / 2`), and the factor on cosine and sine.
    pub(super) fn inverse_frequencies(&self, theta: f64, head_dim: usize) -> (Vec<f32>, f32) {
        // In f32 throughout, because the reference is.
        let plain = (0..head_dim / 2).map(|pair| 1.0 / (theta as f32).powf((2 * pair) as f32 / head_dim as f32));
        match self {
            Self::None => (plain.collect(), 1.0),
            Self::Linear { factor } => (plain.map(|one| one / *factor as f32).collect(), 1.0),
            Self::Factors { divisors } => (plain.zip(divisors).map(|(one, divisor)| one / divisor).collect(), 1.0),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let (context, factor) = (*original_max_position_embeddings as f32, *factor as f32);
                let (low, high) = (*low_freq_factor as f32, *high_freq_factor as f32);
                let stretch = |one: f32| {
                    let wavelength = 2.0 * std::f32::consts::PI / one;
                    if wavelength < context / high {
                        one
                    } else if wavelength > context / low {
                        one / factor
                    } else {
                        let smooth = (context / wavelength - low) / (high - low);
                        (1.0 - smooth) * one / factor + smooth * one
                    }
                };
                (plain.map(stretch).collect(), 1.0)
            }
            Self::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } => {
                let context = *original_max_position_embeddings as f64;
                let dimension =
                    |rotations: f64| head_dim as f64 * (context / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
                let (mut low, mut high) = (dimension(*beta_fast), dimension(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretch = |(pair, one): (usize, f32)| {
                    let ramp = ((pair as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    one / *factor as f32 * ramp + one * (1.0 - ramp)
                };
                (plain.enumerate().map(stretch).collect(), self.attention_factor())
            }
        }
    }

    /// The factor on cosine and sine.
    fn attention_factor(&self) -> f32 {
        let Self::Yarn { factor, attention_factor, mscale, mscale_all_dim, .. } = self else { return 1.0 };
        let scale = |strength: f64| if *factor <= 1.0 { 1.0 } else { 0.1 * strength * factor.ln() + 1.0 };
        let inferred = || match (mscale, mscale_all_dim) {
            // Zero means unset, as in the reference.
            (Some(above), Some(below)) if *above != 0.0 && *below != 0.0 => scale(*above) / scale(*below),
            _ => scale(1.0),
        };
        attention_factor.unwrap_or_else(inferred) as f32
    }

    /// Refuses settings that make no sense.
    pub(super) fn validate(&self, path: &Path, head_dim: usize) -> Result<()> {
        let bad = |what: String| Err(Error::malformed(path, format!("rope scaling: {what}")));
        let positive = |value: f64| value > 0.0 && value < 1e9;
        match self {
            Self::None => Ok(()),
            Self::Linear { factor } if !positive(*factor) => bad(format!("factor is {factor}")),
            Self::Linear { .. } => Ok(()),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                if !positive(*factor) || !positive(*low_freq_factor) || high_freq_factor <= low_freq_factor {
                    return bad(format!(
                        "factor {factor}, low_freq_factor {low_freq_factor}, high_freq_factor {high_freq_factor}"
                    ));
                }
                if *original_max_position_embeddings == 0 {
                    return bad("original_max_position_embeddings is 0".to_string());
                }
                Ok(())
            }
            Self::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, .. } => {
                if !positive(*factor) || !positive(*beta_slow) || beta_fast < beta_slow {
                    return bad(format!("factor {factor}, beta_fast {beta_fast}, beta_slow {beta_slow}"));
                }
                if *original_max_position_embeddings == 0 {
                    return bad("original_max_position_embeddings is 0".to_string());
                }
                Ok(())
            }
            Self::Factors { divisors } => {
                if divisors.len() != head_dim / 2 {
                    return bad(format!("{} frequency factors for {} pairs", divisors.len(), head_dim / 2));
                }
                match divisors.iter().find(|one| !positive(f64::from(**one))) {
                    Some(one) => bad(format!("a frequency factor is {one}")),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `LlamaRotaryEmbedding(LlamaConfig(hidden_size=32, num_attention_heads=4, rope_parameters=…)).inv_freq`
    // of transformers 5.23; the checkpoints of tests/golden/generate.py prove the same through the logits.
    #[test]
    fn frequencies_are_those_of_transformers() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 32,
        };
        for (scaling, expected, scale) in [
            (RopeScaling::None, [1.0, 0.1, 0.01, 0.001], 1.0),
            (RopeScaling::Linear { factor: 4.0 }, [0.25, 0.025, 0.0025, 0.00025], 1.0),
            (llama3, [1.0, 0.0125, 0.00125, 0.000_125], 1.0),
            (yarn(None, None), [1.0, 0.0625, 0.0025, 0.00025], 1.138_629_4),
            (yarn(Some(0.7), None), [1.0, 0.0625, 0.0025, 0.00025], 0.7),
            (yarn(None, Some((0.9, 0.5))), [1.0, 0.0625, 0.0025, 0.00025], 1.051_857_3),
        ] {
            let (found, found_scale) = scaling.inverse_frequencies(10_000.0, 8);
            for (one, two) in found.iter().zip(expected) {
                assert!((one / two - 1.0_f32).abs() < 2e-7, "{scaling:?}: {found:?}");
            }
            assert_eq!((found.len(), found_scale), (4, scale), "{scaling:?}");
        }
    }

    fn yarn(attention_factor: Option<f64>, mscales: Option<(f64, f64)>) -> RopeScaling {
        RopeScaling::Yarn {
            factor: 4.0,
            original_max_position_embeddings: 64,
            attention_factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: mscales.map(|pair| pair.0),
            mscale_all_dim: mscales.map(|pair| pair.1),
            truncate: true,
        }
    }
}
