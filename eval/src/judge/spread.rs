//! How much a judge differs from itself when it is asked the same again, and means that say what missing judgements could be.
//! Knows nothing about what was judged.

use serde::{Deserialize, Serialize};

/// How far repeated judgements of the same rows lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Rows with at least two judgements; the figures are about these.
    pub rows: usize,
    /// Rows whose judgements are not all the same.
    pub differing: usize,
    /// The square root of the mean variance within a row (n - 1).
    pub within_row_sd: f64,
    /// The lowest mean score that one repeat gives, over rows that every repeat judged.
    pub lowest_mean: Option<f64>,
    /// The highest one.
    pub highest_mean: Option<f64>,
}

impl Spread {
    /// The spread of `scores`, one list of repeats for each row.
    pub fn of(scores: &[Vec<Option<f64>>]) -> Self {
        let judged: Vec<Vec<f64>> = scores.iter().map(|row| row.iter().flatten().copied().collect()).collect();
        let repeated: Vec<&Vec<f64>> = judged.iter().filter(|row| row.len() > 1).collect();
        let variance: f64 = repeated.iter().map(|row| variance(row)).sum::<f64>();
        let differing = repeated.iter().filter(|row| row.iter().any(|score| score != &row[0])).count();
        let whole: Vec<&Vec<f64>> =
            judged.iter().zip(scores).filter(|(row, all)| row.len() == all.len()).map(|(row, _)| row).collect();
        let num_repeats = whole.iter().map(|row| row.len()).min().unwrap_or(0);
        let means: Vec<f64> = (0..num_repeats)
            .map(|repeat| whole.iter().map(|row| row[repeat]).sum::<f64>() / whole.len() as f64)
            .collect();
        Self {
            rows: repeated.len(),
            differing,
            within_row_sd: if repeated.is_empty() { 0.0 } else { (variance / repeated.len() as f64).sqrt() },
            lowest_mean: means.iter().copied().reduce(f64::min),
            highest_mean: means.iter().copied().reduce(f64::max),
        }
    }
}

/// The mean of the judgements there are; none when there is none.
pub fn mean(repeats: &[Option<f64>]) -> Option<f64> {
    let judged: Vec<f64> = repeats.iter().flatten().copied().collect();
    (!judged.is_empty()).then(|| judged.iter().sum::<f64>() / judged.len() as f64)
}

/// The mean with `instead` for every missing judgement: 0 for a candidate and 1 for a baseline is the worst case of a swap.
pub fn mean_with(repeats: &[Option<f64>], instead: f64) -> f64 {
    if repeats.is_empty() {
        return instead;
    }
    repeats.iter().map(|score| score.unwrap_or(instead)).sum::<f64>() / repeats.len() as f64
}

fn variance(scores: &[f64]) -> f64 {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (scores.len() as f64 - 1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_judged_once_say_nothing_about_the_spread() {
        let scores = [vec![Some(0.0), Some(1.0)], vec![Some(1.0), Some(1.0)], vec![Some(0.5), None], vec![None, None]];
        let spread = Spread::of(&scores);
        assert_eq!((spread.rows, spread.differing), (2, 1));
        assert!((spread.within_row_sd - 0.5).abs() < 1e-12);
        assert_eq!((spread.lowest_mean, spread.highest_mean), (Some(0.5), Some(1.0)));
        assert_eq!(Spread::of(&[]).lowest_mean, None);
    }

    #[test]
    fn a_missing_judgement_takes_the_worst_value_of_its_side() {
        let repeats = [Some(1.0), None];
        assert_eq!((mean(&repeats), mean_with(&repeats, 0.0), mean_with(&repeats, 1.0)), (Some(1.0), 0.5, 1.0));
        assert_eq!((mean(&[None]), mean_with(&[], 1.0)), (None, 1.0));
    }
}
