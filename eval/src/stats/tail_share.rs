//! One-sided bounds of a small share, such as the answers that come too late: Clopper and Pearson (1934),
//! on effective rows where rows share groups (Korn and Graubard 1998).
//! Knows nothing about latency.

use statrs::function::beta::beta_reg;

use super::score_floor::ScoreFloor;
use super::{Clusters, quantile};

/// A share of rows with its one-sided bounds at 1 − `alpha`; `events` are in the order of the rows of `clusters` and not empty.
pub fn bounds(events: &[bool], clusters: &Clusters, alpha: f64) -> (f64, f64) {
    let values: Vec<f64> = events.iter().map(|&event| f64::from(u8::from(event))).collect();
    let num_clusters = clusters.num_clusters();
    if clusters.independent() {
        return (
            lower(values.iter().sum(), values.len() as f64, alpha),
            upper(values.iter().sum(), values.len() as f64, alpha),
        );
    }
    if num_clusters < 2 {
        return (0.0, 1.0);
    }
    // The t quantile of few groups is larger than the normal one; Korn and Graubard take that out of the effective rows.
    let few = quantile::normal(1.0 - alpha) / quantile::student(1.0 - alpha, num_clusters as f64 - 1.0);
    let rows = ScoreFloor::new(&values, clusters).rows * few * few;
    let count = values.iter().sum::<f64>() / values.len() as f64 * rows;
    (lower(count, rows, alpha), upper(count, rows, alpha))
}

/// P(X ≤ `count`) of a binomial number of `rows` with this share.
pub(crate) fn at_most(count: f64, rows: f64, share: f64) -> f64 {
    if count >= rows { 1.0 } else { 1.0 - beta_reg(count + 1.0, rows - count, share.clamp(0.0, 1.0)) }
}

/// The upper one-sided bound at 1 − `alpha` of the share that `count` of `rows` show.
pub(crate) fn upper(count: f64, rows: f64, alpha: f64) -> f64 {
    if count >= rows {
        return 1.0;
    }
    quantile::root(|share| beta_reg(count + 1.0, rows - count, share) - (1.0 - alpha), 0.0, 1.0)
}

fn lower(count: f64, rows: f64, alpha: f64) -> f64 {
    if count <= 0.0 {
        return 0.0;
    }
    quantile::root(|share| beta_reg(count, rows - count + 1.0, share) - alpha, 0.0, 1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn events(count: usize, rows: usize) -> Vec<bool> {
        (0..rows).map(|row| row < count).collect()
    }

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-8, "{found} is not {expect}");
    }

    // `clopper pearson upper 0/300` in oracles/reference_values.json; 159/200 and 0/30 of statsmodels are two-sided 95 %.
    #[test]
    fn independent_rows_give_clopper_and_pearson() {
        let alone = |rows: usize| Clusters::new(vec![None; rows]);
        close(bounds(&events(0, 300), &alone(300), 0.05).1, 0.009_936_082_428_9);
        close(bounds(&events(0, 30), &alone(30), 0.025).1, 0.115_703_308_222_7);
        let (low, high) = bounds(&events(159, 200), &alone(200), 0.025);
        assert!((low - 0.732_346).abs() < 1e-6 && (high - 0.848_689).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn rows_of_few_groups_say_less() {
        let names: Vec<String> = (0..300).map(|row| format!("g{}", row % 30)).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let high = bounds(&events(0, 300), &clusters, 0.05).1;
        assert!(high > 0.095 && high < 0.12, "{high}");
        assert_eq!(bounds(&[true, false], &Clusters::new([Some("a"), Some("a")]), 0.05), (0.0, 1.0));
    }
}
