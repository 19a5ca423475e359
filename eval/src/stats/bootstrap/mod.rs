//! Bootstrap over whole clusters, for statistics that are not means (Field and Welsh 2007; Koehn 2004).
//! Knows nothing about the statistic; each draw is a pure function of (seed, replicate, draw), so that the order of work cannot change a number.

mod draws;
#[cfg(test)]
mod speed;
pub(crate) mod sums;

pub use draws::Draws;
pub use sums::{SparseRows, Sums};

use rayon::prelude::*;

use super::random::Stream;
use crate::Error;
use sums::Kinds;

/// Replicates behind every bootstrap interval.
pub const REPLICATES: usize = 10_000;

/// Below this many kinds of clusters, neighbouring draws are counted in tables of their own: an addition to the number just written would have to wait for it.
const FEW_KINDS: usize = 1024;

/// Draws clusters with replacement and computes `value` on the sums of each draw.
///
/// A draw costs one table look-up per cluster: clusters with equal sums are counted together and only the counts are multiplied.
/// `value` may return NaN where it is not defined; such draws are counted, not dropped.
///
/// # Errors
/// Without a cluster.
pub fn single(
    sums: &Sums,
    value: impl Fn(&[f64]) -> f64 + Sync,
    num_replicates: usize,
    seed: u64,
) -> Result<Draws, Error> {
    let draws = several(sums, 1, |total, values| values.fill(value(total)), num_replicates, seed)?;
    draws.into_iter().next().ok_or(Error::BadStatistic { statistic: "bootstrap", problem: "there is no statistic" })
}

/// The same for `num_values` statistics of the same sums at the price of one: `value` fills them in, and each sees the draws that [`single`] would give it.
///
/// # Errors
/// Without a cluster.
pub fn several(
    sums: &Sums,
    num_values: usize,
    value: impl Fn(&[f64], &mut [f64]) + Sync,
    num_replicates: usize,
    seed: u64,
) -> Result<Vec<Draws>, Error> {
    let num_clusters = u32::try_from(sums.num_clusters()).unwrap_or(u32::MAX);
    if num_clusters == 0 {
        return Err(Error::BadStatistic { statistic: "bootstrap", problem: "there is no cluster to draw" });
    }
    let kinds = Kinds::new(sums);
    let lanes = if kinds.len() <= FEW_KINDS { 4 } else { 1 };
    let scratch = || (vec![0_u32; lanes * kinds.len()], vec![0.0; sums.width()]);
    let mut drawn = vec![f64::NAN; num_values * num_replicates];
    let draws = drawn.par_chunks_mut(num_values.max(1)).enumerate();
    draws.for_each_init(scratch, |(counts, total), (replicate, values)| {
        counts.fill(0);
        Stream::new(seed, replicate as u64).each_below(num_clusters, num_clusters, |draw, cluster| {
            let kind = kinds.of_cluster[cluster as usize] as usize;
            counts[lanes * kind + (draw as usize & (lanes - 1))] += 1;
        });
        total.fill(0.0);
        for (kind, counts) in counts.chunks_exact(lanes).enumerate() {
            add(total, kinds.entries(kind), f64::from(counts.iter().sum::<u32>()));
        }
        value(total, values);
    });
    let whole = sums.total();
    let mut observed = vec![f64::NAN; num_values];
    value(&whole, &mut observed);
    // One value for each kind of cluster: no more of them than draws, or they would cost more than all draws together.
    let left_out = if kinds.len() <= num_replicates.max(REPLICATES) { kinds.len() } else { 0 };
    let without = leave_one_out(&kinds, left_out, num_values, &whole, &value);
    let column = |all: &[f64], at: usize| all.iter().skip(at).step_by(num_values).copied().collect::<Vec<f64>>();
    let of = |(at, &observed): (usize, &f64)| {
        let counts = kinds.examples.iter().map(|&(_, count)| count);
        let left_out: Vec<(f64, u32)> = column(&without, at).into_iter().zip(counts).collect();
        Draws::new(observed, column(&drawn, at), &left_out)
    };
    Ok(observed.iter().enumerate().map(of).collect())
}

/// Draws clusters with replacement and computes `value` of the candidate minus `value` of the baseline, both on the same draw.
///
/// # Errors
/// Without a cluster, or when the two arms do not have the same clusters.
pub fn paired(
    candidate: &Sums,
    baseline: &Sums,
    value: impl Fn(&[f64]) -> f64 + Sync,
    num_replicates: usize,
    seed: u64,
) -> Result<Draws, Error> {
    let width = candidate.width();
    let both = candidate.beside(baseline)?;
    single(&both, |total| value(&total[..width]) - value(&total[width..]), num_replicates, seed)
}

/// The values without one cluster of each of the first kinds.
fn leave_one_out(
    kinds: &Kinds,
    num_kinds: usize,
    num_values: usize,
    whole: &[f64],
    value: &(impl Fn(&[f64], &mut [f64]) + Sync),
) -> Vec<f64> {
    let mut without = vec![f64::NAN; num_values * num_kinds];
    let each = without.par_chunks_mut(num_values.max(1)).enumerate();
    each.for_each_init(Vec::new, |total: &mut Vec<f64>, (kind, values)| {
        total.clear();
        total.extend_from_slice(whole);
        add(total, kinds.entries(kind), -1.0);
        value(total, values);
    });
    without
}

fn add(total: &mut [f64], entries: &[(u32, f64)], times: f64) {
    for &(column, value) in entries {
        total[column as usize] += times * value;
    }
}

/// The values of `statistic` on draws of `num_clusters` clusters with replacement, sorted: the plain twin of [`single`], with the same draws.
///
/// `statistic` is given the clusters that were drawn. It runs on one thread and looks at every cluster of every draw.
pub fn replicates(
    num_clusters: usize,
    num_replicates: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Vec<f64> {
    let mut drawn = vec![0; num_clusters];
    let bound = u32::try_from(num_clusters).unwrap_or(u32::MAX);
    let mut values: Vec<f64> = (0..num_replicates as u64)
        .map(|replicate| {
            let stream = Stream::new(seed, replicate);
            for (draw, slot) in drawn.iter_mut().enumerate() {
                *slot = stream.below(draw as u64, bound) as usize;
            }
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The two-sided percentile bounds of sorted replicates: the k-th smallest and the k-th largest, k = floor(B·(1 − level)/2), at least 1.
pub fn percentile_bounds(sorted: &[f64], level: f64) -> Option<(f64, f64)> {
    let tail = ((sorted.len() as f64) * (1.0 - level) / 2.0 + 1e-9).floor() as usize;
    let rank = tail.max(1);
    Some((*sorted.get(rank - 1)?, *sorted.get(sorted.len().checked_sub(rank)?)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::Clusters;

    fn ratio(drawn: &[usize]) -> f64 {
        let (sums, sizes) = ([-1.0, 2.0, 0.0], [2.0, 3.0, 2.0]);
        drawn.iter().map(|&c| sums[c]).sum::<f64>() / drawn.iter().map(|&c| sizes[c]).sum::<f64>()
    }

    // The 27 equally likely draws of `bootstrap quantiles 3 clusters` in oracles/reference_values.json:
    // sorted ranks 0, 1, 13, 25 and 26 are -1/2, -1/3, 1/7, 1/2 and 2/3.
    #[test]
    fn random_draws_converge_to_the_exact_distribution() {
        let values = replicates(3, 27_000, 5, ratio);
        let at = |rank: usize| values[rank * 1000 + 500];
        for (rank, expect) in [(0, -0.5), (1, -1.0 / 3.0), (13, 1.0 / 7.0), (25, 0.5), (26, 2.0 / 3.0)] {
            assert!((at(rank) - expect).abs() < 1e-12, "rank {rank}: {}", at(rank));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_values_and_another_seed_does_not() {
        let run = |seed| {
            let mut raw = Vec::new();
            replicates(3, 50, seed, |drawn| {
                raw.extend_from_slice(drawn);
                0.0
            });
            raw
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn bounds_cut_the_same_number_of_values_at_both_ends() {
        let sorted: Vec<f64> = (1..=10_000).map(f64::from).collect();
        assert_eq!(percentile_bounds(&sorted, 0.95), Some((250.0, 9751.0)));
        assert_eq!(percentile_bounds(&[1.0, 2.0], 0.95), Some((1.0, 2.0)));
        assert_eq!(percentile_bounds(&[], 0.95), None);
    }

    fn random_rows(n: usize, width: usize, seed: u64) -> Vec<Vec<f64>> {
        let cell = |row: usize, column: usize| Stream::new(seed, row as u64).uniform(column as u64);
        (0..n).map(|row| (0..width).map(|column| (3.0 * cell(row, column)).floor()).collect()).collect()
    }

    fn grouped(n: usize, groups: usize) -> Clusters {
        let names: Vec<String> = (0..n).map(|row| format!("g{}", (row * row) % groups)).collect();
        Clusters::new(names.iter().map(|name| Some(name.as_str())))
    }

    // Half of the rows graded, so that there are many kinds, and right or wrong, so that there are few.
    #[test]
    fn the_fast_bootstrap_equals_its_plain_twin() {
        for (n, groups, graded) in [(301, 301, true), (300, 17, false), (2500, 2500, true), (1, 1, false)] {
            let clusters = if n == groups { Clusters::new(vec![None; n]) } else { grouped(n, groups) };
            let scale = |rows: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
                let part = |row: usize| if graded { 1.0 / (row as f64 + 1.0) } else { 1.0 };
                let scaled = rows.into_iter().enumerate();
                scaled.map(|(row, cells)| cells.into_iter().map(|cell| cell * part(row)).collect()).collect()
            };
            let (new, old) = (scale(random_rows(n, 3, 1)), scale(random_rows(n, 3, 2)));
            let value = |total: &[f64]| (total[0] + 2.0) / (1.0 + total[1] + total[2]);
            let (new_sums, old_sums) = (Sums::new(3, &new, &clusters).unwrap(), Sums::new(3, &old, &clusters).unwrap());
            let fast = paired(&new_sums, &old_sums, value, 60, 11).unwrap();
            let plain = replicates(clusters.num_clusters(), 60, 11, |drawn| {
                let mut totals = [[0.0; 3]; 2];
                for &cluster in drawn {
                    for (row, _) in clusters.of_row().iter().enumerate().filter(|&(_, &at)| at == cluster) {
                        for column in 0..3 {
                            totals[0][column] += new[row][column];
                            totals[1][column] += old[row][column];
                        }
                    }
                }
                value(&totals[0]) - value(&totals[1])
            });
            let both = |total: &[f64], values: &mut [f64]| values.copy_from_slice(&[value(total), total[0]]);
            let one_by_one = [single(&new_sums, value, 60, 11).unwrap(), single(&new_sums, |t| t[0], 60, 11).unwrap()];
            assert_eq!(several(&new_sums, 2, both, 60, 11).unwrap(), one_by_one);
            assert_eq!(fast.sorted.len(), plain.len());
            for (fast, plain) in fast.sorted.iter().zip(&plain) {
                assert!((fast - plain).abs() < 1e-10, "{fast} is not {plain}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let sums = Sums::new(4, random_rows(500, 4, 5), &grouped(500, 60)).unwrap();
        let run = |num_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
            pool.install(|| single(&sums, |total| total[0] / total[3].sqrt(), 200, 4).unwrap())
        };
        assert_eq!(run(1), run(5));
    }

    // scipy 1.17.1, `bca` in oracles/statistics.json: 20 000 draws of the mean of ten numbers, random to 0.02.
    #[test]
    fn bca_equals_scipy_within_the_noise_of_the_draws() {
        let x = [0.2, 0.4, 0.9, 1.3, 0.1, 2.2, 0.7, 0.8, 1.9, 0.3];
        let rows = x.map(|value| [value, 1.0]);
        let sums = Sums::new(2, rows, &Clusters::new([None; 10])).unwrap();
        let draws = single(&sums, |total| total[0] / total[1], 20_000, 0).unwrap();
        let (low, high) = draws.bca(0.95).unwrap();
        // Four million draws give 0.52 and 1.38: the means of ten such numbers lie 0.01 apart.
        assert!((low - 0.53).abs() < 0.02 && (high - 1.39).abs() < 0.02, "{low} {high}");
    }

    #[test]
    fn a_statistic_without_a_value_is_counted() {
        let sums = Sums::new(2, [[1.0, 0.0], [0.0, 1.0]], &Clusters::new([None; 2])).unwrap();
        let draws = single(&sums, |total| total[0] / if total[1] > 0.0 { total[1] } else { f64::NAN }, 400, 1).unwrap();
        assert!((60..140).contains(&draws.undefined), "{}", draws.undefined);
        assert_eq!(draws.lower(0.05), f64::NEG_INFINITY);
        let none = Sums::new(1, [[0.0]; 0], &Clusters::new([])).unwrap();
        assert!(single(&none, |_| 0.0, 10, 1).is_err());
    }
}
