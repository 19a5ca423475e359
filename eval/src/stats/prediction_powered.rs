//! A mean over many judged rows, made right by a few rows that people labelled (Angelopoulos et al. 2023, arXiv 2301.09633 and 2311.01453).
//! Knows nothing about judges; for a paired comparison both the judgements and the labels are differences of the two arms.

use super::{Clusters, interval};
use crate::Error;

/// Judgements and labels; the labelled rows are not among the judged ones.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Judgements of the rows without labels.
    pub unlabelled: &'a [f64],
    /// Which of those belong together.
    pub unlabelled_clusters: &'a Clusters,
    /// Judgements of the labelled rows.
    pub labelled: &'a [f64],
    /// What people said about the same rows.
    pub labels: &'a [f64],
    /// Which of those belong together.
    pub labelled_clusters: &'a Clusters,
}

/// A corrected mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Powered {
    /// The mean.
    pub value: f64,
    /// Its standard error, clustered where rows belong together.
    pub standard_error: f64,
    /// How much weight the judgements have: 1 in the plain form, between 0 and 1 in the tuned form.
    pub weight: f64,
}

impl Judged<'_> {
    /// The mean of the judgements plus the mean error of the judge.
    ///
    /// # Errors
    /// When a side has fewer than two clusters, a number is not finite, or numbers and clusters do not fit.
    pub fn plain(&self) -> Result<Powered, Error> {
        self.weighted(1.0)
    }

    /// The same with the weight of the judgements that makes the interval shortest: λ = Cov(Y, f) / ((1 + n/N)·Var f), cut to [0, 1].
    ///
    /// A judge without use gets the weight 0, and the value is the mean of the labels.
    ///
    /// # Errors
    /// As [`Judged::plain`].
    pub fn tuned(&self) -> Result<Powered, Error> {
        self.check()?;
        let (n, big_n) = (self.labels.len() as f64, self.unlabelled.len() as f64);
        let all: Vec<f64> = self.labelled.iter().chain(self.unlabelled).copied().collect();
        let covariance = covariance(self.labels, self.labelled);
        let variance = self::covariance(&all, &all);
        let weight = if variance > 0.0 { covariance / ((1.0 + n / big_n) * variance) } else { 0.0 };
        self.weighted(weight.clamp(0.0, 1.0))
    }

    fn weighted(&self, weight: f64) -> Result<Powered, Error> {
        self.check()?;
        let rest: Vec<f64> =
            self.labels.iter().zip(self.labelled).map(|(label, judged)| label - weight * judged).collect();
        let judged: Vec<f64> = self.unlabelled.iter().map(|judged| weight * judged).collect();
        let errors = [(&judged, self.unlabelled_clusters), (&rest, self.labelled_clusters)]
            .map(|(values, clusters)| interval::clustered_standard_error(values, clusters));
        let [Some(of_judged), Some(of_rest)] = errors else {
            return Err(bad("needs at least two clusters of judged and of labelled rows"));
        };
        Ok(Powered { value: mean(&judged) + mean(&rest), standard_error: of_judged.hypot(of_rest), weight })
    }

    fn check(&self) -> Result<(), Error> {
        let fit = self.unlabelled.len() == self.unlabelled_clusters.num_rows()
            && self.labelled.len() == self.labelled_clusters.num_rows()
            && self.labels.len() == self.labelled.len();
        let finite = [self.unlabelled, self.labelled, self.labels].into_iter().flatten().all(|value| value.is_finite());
        if fit && finite {
            Ok(())
        } else {
            Err(bad("each row needs one finite judgement, and each labelled row one label"))
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(first: &[f64], second: &[f64]) -> f64 {
    let (mean_first, mean_second) = (mean(first), mean(second));
    let products = first.iter().zip(second).map(|(a, b)| (a - mean_first) * (b - mean_second));
    products.sum::<f64>() / (first.len() as f64 - 1.0)
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "prediction-powered mean", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn run(unlabelled: &[f64], labelled: &[f64], labels: &[f64], tuned: bool) -> Result<Powered, Error> {
        let (unlabelled_clusters, labelled_clusters) =
            (&Clusters::new(vec![None; unlabelled.len()]), &Clusters::new(vec![None; labelled.len()]));
        let judged = Judged { unlabelled, unlabelled_clusters, labelled, labels, labelled_clusters };
        if tuned { judged.tuned() } else { judged.plain() }
    }

    const ALL: [f64; 8] = [1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // `prediction powered` in oracles/reference_values.json.
    #[test]
    fn the_plain_form_equals_the_reference() {
        let found = run(&ALL, &[1.0, 0.0, 1.0, 1.0], &[1.0, 0.0, 0.0, 1.0], false).unwrap();
        close(found.value, 0.5);
        close(found.standard_error, 0.298_807_152_333_598_4);
    }

    // By hand: Cov(Y, f) = 1/6; f has nine ones and three zeros.
    #[test]
    fn the_tuned_form_weighs_the_judge() {
        let found = run(&ALL, &[1.0, 0.0, 1.0, 1.0], &[1.0, 0.0, 0.0, 1.0], true).unwrap();
        close(found.weight, (1.0 / 6.0) / (1.5 * (9.0 * 3.0 / 12.0 / 11.0)));
        let plain = run(&ALL, &[1.0, 0.0, 1.0, 1.0], &[1.0, 0.0, 0.0, 1.0], false).unwrap();
        assert!(found.standard_error < plain.standard_error);
    }

    #[test]
    fn a_useless_judge_is_not_listened_to() {
        let labels = [1.0, 0.0, 0.0, 1.0];
        let found = run(&[1.0; 8], &[1.0; 4], &labels, true).unwrap();
        assert_eq!((found.weight, found.value), (0.0, 0.5));
        close(found.standard_error, (1.0_f64 / 3.0 / 4.0).sqrt());
        // A judge who says the opposite of people is not trusted the other way round.
        assert_eq!(run(&ALL, &[0.0, 1.0, 1.0, 0.0], &labels, true).unwrap().weight, 0.0);
    }

    #[test]
    fn a_few_labels_in_one_cluster_or_a_missing_label_are_refused() {
        assert!(run(&ALL, &[1.0], &[1.0], false).is_err());
        assert!(run(&ALL, &[1.0, 0.0], &[1.0], false).is_err());
        assert!(run(&ALL, &[1.0, f64::NAN], &[1.0, 1.0], true).is_err());
    }
}
