//! Owns the learning rate of every step: a rise in a straight line, then a fall. Pure numbers.
//! Knows nothing about optimisers, rows or time.

use std::f64::consts::PI;

use anyhow::{Result, bail};

use crate::config::raw::{Decay, RawTrain};

/// The warm-up of a run of a hundred steps or more whose config names none; a shorter run has a tenth of its steps.
const LONGEST_DEFAULT_WARMUP: u64 = 10;

/// What the learning rate follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The learning rate at its peak.
    pub peak: f64,
    /// Steps over which it rises.
    pub warmup_steps: u64,
    /// How it falls.
    pub decay: Decay,
    /// Where the fall ends, as a share of the peak.
    pub min_share: f64,
}

impl Settings {
    /// The settings of a config for a run of `total` steps. A warm-up that the config does not name fits any run.
    #[must_use]
    pub fn of(train: &RawTrain, total: u64) -> Settings {
        Settings {
            peak: train.learning_rate,
            warmup_steps: train.warmup_steps.unwrap_or((total / 10).min(LONGEST_DEFAULT_WARMUP)),
            decay: train.schedule,
            min_share: train.min_learning_rate_share,
        }
    }
}

/// Refuses a warm-up that a run of `total_steps` would never leave.
pub fn check(train: &RawTrain, total_steps: u64) -> Result<()> {
    let warmup = Settings::of(train, total_steps).warmup_steps;
    if warmup >= total_steps {
        bail!(
            "train.warmup_steps is {warmup}, and the run has {total_steps} steps\n\
             hint: --set train.warmup_steps={}, or leave it out for one that fits the run, or train more epochs",
            total_steps / 10
        );
    }
    Ok(())
}

/// The learning rate of a step, counted from 0, of a run of `total` steps.
///
/// The rise is `(step + 1) / (warmup + 1)`, so the first step already learns and the step after the warm-up is the
/// first at the peak; the fall ends just above its end on the last step, so no step is without effect.
#[must_use]
pub fn learning_rate(step: u64, total: u64, settings: &Settings) -> f64 {
    let warmup = settings.warmup_steps;
    if step < warmup {
        return settings.peak * (step + 1) as f64 / (warmup + 1) as f64;
    }
    let done = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    let done = done.min(1.0);
    let left = match settings.decay {
        Decay::Linear => 1.0 - done,
        Decay::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        Decay::Constant => 1.0,
    };
    settings.peak * (settings.min_share + (1.0 - settings.min_share) * left)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(decay: Decay, min_share: f64) -> Settings {
        Settings { peak: 2.0, warmup_steps: 3, decay, min_share }
    }

    fn rates(decay: Decay, min_share: f64) -> Vec<f64> {
        (0..11).map(|step| learning_rate(step, 11, &settings(decay, min_share))).collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn the_rate_rises_in_a_line_and_falls_as_the_formulas_say() {
        // Eight steps after the warm-up: 2 x (1 - k/8), and 1 + cos(k pi / 8).
        near(&rates(Decay::Linear, 0.0), &[0.5, 1.0, 1.5, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]);
        let cosine: Vec<f64> = (0..8).map(|k| 1.0 + (f64::from(k) * PI / 8.0).cos()).collect();
        near(&rates(Decay::Cosine, 0.0)[3..], &cosine);
        near(&[rates(Decay::Cosine, 0.0)[7]], &[1.0]);
        near(&rates(Decay::Constant, 0.0)[3..], &[2.0; 8]);
    }

    #[test]
    fn the_fall_ends_at_the_share() {
        let last = rates(Decay::Linear, 0.25)[10];
        near(&[last], &[2.0 * (0.25 + 0.75 / 8.0)]);
        near(&[learning_rate(50, 11, &settings(Decay::Cosine, 0.25))], &[0.5]);
    }

    #[test]
    fn no_step_is_without_effect() {
        for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
            assert!(rates(decay, 0.0).iter().all(|rate| *rate > 0.0));
            let no_warmup = Settings { warmup_steps: 0, ..settings(decay, 0.0) };
            near(&[learning_rate(0, 5, &no_warmup)], &[2.0]);
        }
    }

    #[test]
    fn a_warm_up_as_long_as_the_run_is_refused() {
        let train = RawTrain { warmup_steps: Some(3), ..RawTrain::default() };
        assert!(check(&train, 4).is_ok());
        let error = check(&train, 3).unwrap_err().to_string();
        assert!(error.contains("hint: --set train.warmup_steps=0"), "{error}");
    }

    #[test]
    fn a_warm_up_that_nobody_named_fits_any_run() {
        let train = RawTrain::default();
        let warmup = |total| Settings::of(&train, total).warmup_steps;
        // Ten steps are what the defaults make of 160 rows.
        assert_eq!([1, 2, 9, 10, 55, 99, 100, 1_000_000].map(warmup), [0, 0, 0, 1, 5, 9, 10, 10]);
        for total in 1..300 {
            assert!(check(&train, total).is_ok(), "{total}");
            assert!((0..total).all(|step| learning_rate(step, total, &Settings::of(&train, total)) > 0.0), "{total}");
        }
        // What is named is taken as it is.
        let named = RawTrain { warmup_steps: Some(7), ..RawTrain::default() };
        assert_eq!(Settings::of(&named, 8).warmup_steps, 7);
    }
}
