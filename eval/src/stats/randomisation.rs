//! Approximate randomisation: how often two arms whose answers are swapped by coin, cluster by cluster, differ as much as they do (Noreen 1989; Riezler and Maxwell 2005).
//! Knows nothing about margins: it tests "no difference", so it never decides that a model may replace another.

use rayon::prelude::*;

use super::bootstrap::Sums;
use super::bootstrap::sums::Kinds;
use super::random::Stream;
use crate::Error;

/// With at most this many clusters every swap is tried.
pub const EXACT_CLUSTERS: usize = 16;

/// The p-value of "no difference".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Randomisation {
    /// Candidate minus baseline as observed.
    pub observed: f64,
    /// Two-sided p-value; never zero.
    pub p_value: f64,
    /// How many swaps were tried.
    pub num_swaps: usize,
    /// Whether these were all swaps there are.
    pub exact: bool,
}

/// Swaps the two arms within each cluster with probability ½ and compares the difference of `value`.
///
/// Up to [`EXACT_CLUSTERS`] clusters all 2^C swaps are tried, and p is the share that differs at least as much as observed.
/// Above, p = (1 + #{|Δ*| ≥ |Δ|}) / (1 + R) over `num_swaps` random ones (Phipson and Smyth 2010).
///
/// # Errors
/// When the arms do not have the same clusters or columns, there is no cluster, or the observed difference is not a number.
pub fn swap(
    candidate: &Sums,
    baseline: &Sums,
    value: impl Fn(&[f64]) -> f64 + Sync,
    num_swaps: usize,
    seed: u64,
) -> Result<Randomisation, Error> {
    let width = candidate.width();
    let both = candidate.beside(baseline)?;
    let num_clusters = both.num_clusters();
    if width != baseline.width() || num_clusters == 0 {
        return Err(bad("the two arms need the same columns and at least one cluster"));
    }
    let whole = both.total();
    let observed = value(&whole[..width]) - value(&whole[width..]);
    if observed.is_nan() {
        return Err(bad("the observed difference is not a number"));
    }
    let kinds = Kinds::new(&both);
    let difference = |total: &mut Vec<f64>, swapped_of: &dyn Fn(usize) -> u32| {
        total.clear();
        total.resize(2 * width, 0.0);
        for (kind, &(example, count)) in kinds.examples.iter().enumerate() {
            let swapped = swapped_of(kind);
            for &(column, entry) in both.of_cluster(example) {
                let (here, there) = (column as usize, (column as usize + width) % (2 * width));
                total[here] += f64::from(count - swapped) * entry;
                total[there] += f64::from(swapped) * entry;
            }
        }
        value(&total[..width]) - value(&total[width..])
    };
    // A value that is not a number counts against the finding, and rounding does not decide a tie.
    let as_extreme = |found: f64| found.is_nan() || found.abs() >= observed.abs() - 1e-12;
    if num_clusters <= EXACT_CLUSTERS {
        let starts = starts(&kinds, |count| count);
        let num_swaps = 1_usize << num_clusters;
        let extreme = (0..num_swaps as u64).into_par_iter().map_init(Vec::new, |total, swaps| {
            let coins = |kind: usize| (swaps >> starts[kind]) & ((1 << kinds.examples[kind].1) - 1);
            as_extreme(difference(total, &|kind| coins(kind).count_ones()))
        });
        let p_value = extreme.filter(|&extreme| extreme).count() as f64 / num_swaps as f64;
        return Ok(Randomisation { observed, p_value, num_swaps, exact: true });
    }
    // Each kind has words of its own in the stream: one coin for each of its clusters.
    let starts = starts(&kinds, |count| count.div_ceil(64));
    let extreme = (0..num_swaps as u64).into_par_iter().map_init(Vec::new, |total, replicate| {
        let stream = Stream::new(seed, replicate);
        as_extreme(difference(total, &|kind| heads(stream, starts[kind], kinds.examples[kind].1)))
    });
    let p_value = (1 + extreme.filter(|&extreme| extreme).count()) as f64 / (1 + num_swaps) as f64;
    Ok(Randomisation { observed, p_value, num_swaps, exact: false })
}

/// Where the coins of each kind start, when a kind of `count` clusters takes `length(count)` places.
fn starts(kinds: &Kinds, length: impl Fn(u32) -> u32) -> Vec<u64> {
    let mut next = 0;
    let start = |&(_, count): &(usize, u32)| {
        let here = next;
        next += u64::from(length(count));
        here
    };
    kinds.examples.iter().map(start).collect()
}

/// Heads among `count` coins.
fn heads(stream: Stream, start: u64, count: u32) -> u32 {
    let full: u32 = (0..u64::from(count / 64)).map(|word| stream.bits(start + word).count_ones()).sum();
    let rest = stream.bits(start + u64::from(count / 64)) & ((1 << (count % 64)) - 1);
    full + if count.is_multiple_of(64) { 0 } else { rest.count_ones() }
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "approximate randomisation", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::Clusters;

    fn mean_of(differences: &[f64], times: usize) -> Result<Randomisation, Error> {
        let rows = |sign: f64| {
            let part = move |d: &f64| [(sign * d).max(0.0), 1.0];
            differences.iter().cycle().take(times * differences.len()).map(part).collect::<Vec<_>>()
        };
        let clusters = Clusters::new(vec![None; times * differences.len()]);
        let (new, old) = (Sums::new(2, rows(1.0), &clusters)?, Sums::new(2, rows(-1.0), &clusters)?);
        swap(&new, &old, |total| total[0] / total[1], 20_000, 3)
    }

    // `randomisation 8 items` in oracles/reference_values.json.
    #[test]
    fn all_swaps_of_eight_items_equal_the_reference() {
        let found = mean_of(&[1.0, 1.0, 0.5, -0.5, 1.0, 0.0, 1.0, -1.0], 1).unwrap();
        assert_eq!((found.p_value, found.num_swaps, found.exact), (0.296_875, 256, true));
        assert!((found.observed - 0.375).abs() < 1e-12);
    }

    // The plain twin: sum of d with a random sign for each of 100 items against the exact binomial tail of McNemar's test.
    #[test]
    fn random_swaps_converge_to_the_exact_test() {
        let mut flips = vec![1.0; 3];
        flips.extend([-1.0, 0.0]);
        let found = mean_of(&flips, 8).unwrap();
        assert!(!found.exact);
        let exact = crate::stats::mcnemar::exact(8, 24);
        let noise = 4.0 * (exact * (1.0 - exact) / 20_000.0).sqrt();
        assert!((found.p_value - exact).abs() < noise, "{} is not {exact}", found.p_value);
    }

    #[test]
    fn rows_of_a_cluster_are_swapped_together() {
        let clusters = Clusters::new((0..30).map(|row| Some(["a", "b", "c"][row % 3])));
        let (new, old) = (Sums::new(1, [[1.0]; 30], &clusters).unwrap(), Sums::new(1, [[0.0]; 30], &clusters).unwrap());
        // Three clusters: all of one sign in two of eight swaps.
        assert_eq!(swap(&new, &old, |total| total[0], 100, 1).unwrap().p_value, 0.25);
    }

    #[test]
    fn equal_arms_have_p_one_and_a_missing_value_is_refused() {
        assert_eq!(mean_of(&[0.0], 40).unwrap().p_value, 1.0);
        let sums = Sums::new(1, [[1.0]], &Clusters::new([None])).unwrap();
        assert!(swap(&sums, &sums, |_| f64::NAN, 10, 1).is_err());
    }
}
