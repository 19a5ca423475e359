//! Statistics on plain numbers: which rows belong together, how sure a number is, and how two arms on the same rows differ.
//! Knows nothing about models, labels or reports; everything here is a pure function and every random number comes from a seed.

pub mod agreement;
pub mod binomial;
pub mod bootstrap;
pub mod calibration;
pub mod classification;
pub mod interval;
pub mod isotonic;
pub mod mcnemar;
pub mod multiplicity;
pub mod newcombe;
pub mod non_inferiority;
pub mod order_statistics;
pub mod paired;
pub mod power;
pub mod prediction_powered;
pub mod proportion;
pub mod quantile;
pub mod random;
#[cfg(test)]
mod random_cases;
pub mod randomisation;
pub mod rank;
pub mod repeats;
pub mod rogan_gladen;
pub mod routing;
mod score_floor;
pub mod sequential;
pub mod tail_share;
pub mod tango;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The two-sided level of every interval that is shown.
pub const LEVEL: f64 = 0.95;

/// Which method gave an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Wilson's score interval of a proportion of independent rows.
    Wilson,
    /// Wilson's interval with the groups as the only evidence: all rows agree, so that the spread between groups is zero and says nothing.
    WilsonOverGroups,
    /// Mean and standard error of independent rows, Student t.
    StudentT,
    /// Mean and cluster-robust standard error with C/(C-1), Student t with C-1 degrees of freedom, cut at the ends of the scale.
    ClusteredT,
    /// Tango's score interval of a difference between paired proportions of independent rows.
    Tango,
    /// Tango's interval with the groups as the only evidence: all differences agree.
    TangoOverGroups,
    /// Percentile interval of 10 000 draws of whole groups.
    ClusterBootstrap,
    /// One group says nothing about others: the whole scale.
    Undetermined,
}

/// A number that says how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The value on all rows.
    pub value: f64,
    /// Rows in the denominator, unscored ones included.
    pub n: usize,
    /// Groups they belong to; equal to `n` when rows are independent.
    pub groups: usize,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// How the interval was made.
    pub method: Method,
}

/// Which rows are not independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clusters {
    of_row: Vec<usize>,
    sizes: Vec<usize>,
}

impl Clusters {
    /// Rows with the same group form one cluster; a row without a group is a cluster of its own.
    pub fn new<'a>(groups: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut known: HashMap<&str, usize> = HashMap::new();
        let (mut of_row, mut sizes) = (Vec::new(), Vec::new());
        for group in groups {
            let fresh = sizes.len();
            let index = group.map_or(fresh, |name| *known.entry(name).or_insert(fresh));
            if index == fresh {
                sizes.push(0);
            }
            sizes[index] += 1;
            of_row.push(index);
        }
        Self { of_row, sizes }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.of_row.len()
    }

    /// Number of clusters.
    pub fn num_clusters(&self) -> usize {
        self.sizes.len()
    }

    /// Whether each row is a cluster of its own.
    pub fn independent(&self) -> bool {
        self.num_clusters() == self.num_rows()
    }

    /// The clusters of some rows.
    pub fn subset(&self, rows: &[usize]) -> Self {
        let names: Vec<String> = rows.iter().filter_map(|&row| self.of_row.get(row)).map(usize::to_string).collect();
        Self::new(names.iter().map(|name| Some(name.as_str())))
    }

    /// The cluster of each row.
    pub fn of_row(&self) -> &[usize] {
        &self.of_row
    }

    /// The sum of `values` in each cluster, in one pass.
    pub fn sums(&self, values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut sums = vec![0.0; self.num_clusters()];
        for (value, &cluster) in values.into_iter().zip(&self.of_row) {
            sums[cluster] += value;
        }
        sums
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_group_stand_alone() {
        let clusters = Clusters::new([Some("a"), None, Some("b"), None, Some("a")]);
        assert_eq!(clusters.of_row(), [0, 1, 2, 3, 0]);
        assert_eq!((clusters.num_rows(), clusters.num_clusters()), (5, 4));
        assert!(!clusters.independent());
        assert!(Clusters::new([Some("a"), None]).independent());
        assert_eq!(clusters.sums([1.0, 2.0, 3.0, 4.0, 5.0]), [6.0, 2.0, 3.0, 4.0]);
    }
}
