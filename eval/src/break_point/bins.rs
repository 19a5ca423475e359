//! Bins of a covariate, made from the inputs alone: never from scores, so that the edges cannot be chosen to pass.
//! Knows nothing about answers.

use crate::Error;
use crate::stats::Clusters;
use crate::stats::power::{Sides, items_needed};

/// Rows that a bin needs to prove an equal candidate with this power; `variance` is that of a row's difference.
pub fn rows_needed(variance: f64, margin: f64, alpha: f64, power: f64) -> usize {
    items_needed(variance, margin, 0.0, alpha, power, Sides::One).ceil() as usize
}

/// Upper edges, inclusive and growing, of as many bins as hold at least `min_rows` rows and `min_clusters` groups each.
///
/// Rows with the same value are never split. What is left at the hard end joins the last bin; too few rows make one bin.
///
/// # Errors
/// When there are no rows, a value is not finite, or there are not as many values as rows.
pub fn merged(values: &[f64], clusters: &Clusters, min_rows: usize, min_clusters: usize) -> Result<Vec<f64>, Error> {
    if values.len() != clusters.num_rows() || values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        let problem = "bins need one finite value for each row".to_owned();
        return Err(Error::BadEvidence { problem });
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut edges = Vec::new();
    // The bin in which a group was last seen, so that groups are counted without a set.
    let mut seen = vec![usize::MAX; clusters.num_clusters()];
    let (mut rows, mut groups) = (0, 0);
    for (rank, &row) in order.iter().enumerate() {
        let group = clusters.of_row()[row];
        rows += 1;
        groups += usize::from(std::mem::replace(&mut seen[group], edges.len()) != edges.len());
        let tied = order.get(rank + 1).is_some_and(|&next| values[next] == values[row]);
        if !tied && rows >= min_rows && groups >= min_clusters {
            edges.push(values[row]);
            (rows, groups) = (0, 0);
        }
    }
    if rows > 0 {
        edges.pop();
        edges.extend(order.last().map(|&row| values[row]));
    }
    Ok(edges)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alone(n: usize) -> Clusters {
        Clusters::new(vec![None; n])
    }

    #[test]
    fn bins_are_filled_from_the_easy_end_and_the_rest_joins_the_last() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(merged(&values, &alone(10), 3, 1).unwrap(), [3.0, 6.0, 10.0]);
        assert_eq!(merged(&values, &alone(10), 5, 1).unwrap(), [5.0, 10.0]);
        assert_eq!(merged(&values, &alone(10), 50, 1).unwrap(), [10.0]);
        assert!(merged(&[], &alone(0), 5, 1).is_err());
        assert!(merged(&[f64::NAN], &alone(1), 1, 1).is_err());
    }

    #[test]
    fn the_power_formula_gives_the_size() {
        assert_eq!(rows_needed(0.16, 0.03, 0.05, 0.8), 1100);
    }

    proptest! {
        #[test]
        fn every_bin_has_its_rows_and_groups_and_ties_stay_together(
            rows in prop::collection::vec((0_u8..20, 0_u8..15), 1..200),
            min_rows in 1_usize..60,
            min_clusters in 1_usize..10,
        ) {
            let values: Vec<f64> = rows.iter().map(|&(value, _)| f64::from(value)).collect();
            let names: Vec<String> = rows.iter().map(|&(_, group)| group.to_string()).collect();
            let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
            let edges = merged(&values, &clusters, min_rows, min_clusters).unwrap();
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(edges.last().copied(), values.iter().copied().reduce(f64::max));
            let mut above = f64::NEG_INFINITY;
            for &edge in &edges {
                let inside: Vec<usize> = (0..values.len()).filter(|&r| values[r] > above && values[r] <= edge).collect();
                let groups: std::collections::HashSet<&String> = inside.iter().map(|&row| &names[row]).collect();
                prop_assert!(edges.len() == 1 || (inside.len() >= min_rows && groups.len() >= min_clusters));
                above = edge;
            }
        }
    }
}
