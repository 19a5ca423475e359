//! Several answers to each prompt: how much of the noise is the prompts and how much the model, and how often a model agrees with itself (Miller 2024, arXiv 2411.00640).
//! Knows nothing about clusters of prompts: for those, hand the means of the items to `interval` or `paired`.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Clusters, Estimate, interval};
use crate::Error;

/// The mean over items with K samples each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeated {
    /// The grand mean.
    pub mean: f64,
    /// ω²: variance between items; by chance below zero where the samples of an item differ as much as the items do.
    pub between_variance: f64,
    /// σ²: mean variance within an item; zero says that the model repeats itself.
    pub within_variance: f64,
    /// Variance of the grand mean: ω²/n + σ²/(nK).
    pub variance: f64,
}

/// Splits the variance of `samples`, one slice of K scores for each item.
///
/// # Errors
/// With fewer than two items, fewer than two samples, or items with unequal numbers of samples.
pub fn variance<S: AsRef<[f64]>>(samples: &[S]) -> Result<Repeated, Error> {
    let k = num_samples(samples)?;
    let (n, means) = (samples.len() as f64, item_means(samples));
    let within_variance = within(samples);
    let between_variance = variance_of(&means) - within_variance / k;
    let variance = between_variance / n + within_variance / (n * k);
    Ok(Repeated { mean: mean_of(&means), between_variance, within_variance, variance })
}

/// The paired difference of two arms that answered the same items several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepeatedDifference {
    /// Candidate minus baseline.
    pub mean: f64,
    /// ω_d²: variance of the true differences between items.
    pub between_variance: f64,
    /// σ² of the candidate within an item.
    pub candidate_within_variance: f64,
    /// σ² of the baseline within an item.
    pub baseline_within_variance: f64,
    /// Variance of the mean difference: (ω_d² + σ_A²/K_A + σ_B²/K_B)/n.
    pub variance: f64,
}

/// Splits the variance of candidate minus baseline; the arms may have different numbers of samples.
///
/// # Errors
/// As [`variance`], and when the arms have different numbers of items.
pub fn paired<S: AsRef<[f64]>>(candidate: &[S], baseline: &[S]) -> Result<RepeatedDifference, Error> {
    let (k_candidate, k_baseline) = (num_samples(candidate)?, num_samples(baseline)?);
    if candidate.len() != baseline.len() {
        return Err(bad("the arms have different numbers of items"));
    }
    let means = item_means(candidate).into_iter().zip(item_means(baseline));
    let differences: Vec<f64> = means.map(|(new, old)| new - old).collect();
    let (candidate_within_variance, baseline_within_variance) = (within(candidate), within(baseline));
    let noise = candidate_within_variance / k_candidate + baseline_within_variance / k_baseline;
    let between_variance = variance_of(&differences) - noise;
    Ok(RepeatedDifference {
        mean: mean_of(&differences),
        between_variance,
        candidate_within_variance,
        baseline_within_variance,
        variance: (between_variance + noise) / candidate.len() as f64,
    })
}

/// The share of pairs of answers to the same item that agree, as a mean over items with its interval; `clusters` are those of the items.
///
/// # Errors
/// When an item has fewer than two answers or there are more or fewer items than `clusters` has.
pub fn self_agreement<T: Eq + Hash, S: AsRef<[T]>>(answers: &[S], clusters: &Clusters) -> Result<Estimate, Error> {
    if answers.len() != clusters.num_rows() || answers.iter().any(|item| item.as_ref().len() < 2) || answers.is_empty()
    {
        return Err(bad("each item of the clusters needs at least two answers"));
    }
    let shares: Vec<f64> = answers.iter().map(|item| agreeing_pairs(item.as_ref())).collect();
    Ok(interval::mean(&shares, clusters))
}

fn agreeing_pairs<T: Eq + Hash>(answers: &[T]) -> f64 {
    let mut counts: HashMap<&T, usize> = HashMap::new();
    for answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let agreeing: usize = counts.values().map(|count| count * (count - 1)).sum();
    agreeing as f64 / (answers.len() * (answers.len() - 1)) as f64
}

fn num_samples<S: AsRef<[f64]>>(samples: &[S]) -> Result<f64, Error> {
    let k = samples.first().map_or(0, |item| item.as_ref().len());
    if samples.len() < 2 || k < 2 || samples.iter().any(|item| item.as_ref().len() != k) {
        return Err(bad("needs two items or more, and two samples or more of each, equally many"));
    }
    Ok(k as f64)
}

fn item_means<S: AsRef<[f64]>>(samples: &[S]) -> Vec<f64> {
    samples.iter().map(|item| mean_of(item.as_ref())).collect()
}

fn within<S: AsRef<[f64]>>(samples: &[S]) -> f64 {
    samples.iter().map(|item| variance_of(item.as_ref())).sum::<f64>() / samples.len() as f64
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance_of(values: &[f64]) -> f64 {
    let mean = mean_of(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "repeats", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const SAMPLES: [[f64; 3]; 4] = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]];

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // `repeated variance` in oracles/reference_values.json.
    #[test]
    fn the_split_equals_the_reference() {
        let found = variance(&SAMPLES).unwrap();
        close(found.between_variance, 0.129_629_629_629_629_6);
        close(found.within_variance, 0.166_666_666_666_666_69);
        close(found.variance, 0.046_296_296_296_296_29);
        close(found.mean, 0.5);
    }

    #[test]
    fn against_a_constant_arm_the_paired_split_is_that_of_the_other() {
        let found = paired(&SAMPLES, &[[0.0; 3]; 4]).unwrap();
        let alone = variance(&SAMPLES).unwrap();
        close(found.between_variance, alone.between_variance);
        close(found.variance, alone.variance);
        assert_eq!(found.baseline_within_variance, 0.0);
        // The noise of both arms is in the variance of the differences.
        let both = paired(&SAMPLES, &[SAMPLES[3], SAMPLES[2], SAMPLES[1], SAMPLES[0]]).unwrap();
        close(both.mean, 0.0);
        close(both.between_variance + 2.0 * alone.within_variance / 3.0, 4.0 * both.variance);
    }

    #[test]
    fn self_agreement_is_the_share_of_equal_pairs() {
        let answers = [vec!["a", "a", "b"], vec!["c", "c", "c"]];
        let found = self_agreement(&answers, &Clusters::new([None; 2])).unwrap();
        close(found.value, (1.0 / 3.0 + 1.0) / 2.0);
        assert!(self_agreement(&[vec!["a"]], &Clusters::new([None])).is_err());
    }

    #[test]
    fn too_few_or_unequal_samples_are_refused() {
        assert!(variance(&[vec![1.0, 0.0]]).is_err());
        assert!(variance(&[vec![1.0], vec![0.0]]).is_err());
        assert!(variance(&[vec![1.0, 0.0], vec![0.0, 1.0, 1.0]]).is_err());
        assert!(paired(&SAMPLES[..2], &SAMPLES[..3]).is_err());
    }
}
