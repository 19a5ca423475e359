//! Bootstrap over whole clusters, for statistics that are not means.
//! Knows nothing about the statistic; each draw is a pure function of (seed, replicate, draw), so that the order of work cannot change a number.

/// Replicates behind every bootstrap interval.
pub const REPLICATES: usize = 10_000;

/// The values of `statistic` on draws of `num_clusters` clusters with replacement, sorted.
///
/// `statistic` is given the clusters that were drawn; keep sufficient statistics per cluster so that it costs little.
pub fn replicates(
    num_clusters: usize,
    num_replicates: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Vec<f64> {
    let mut drawn = vec![0; num_clusters];
    let mut values: Vec<f64> = (0..num_replicates as u64)
        .map(|replicate| {
            for (draw, slot) in drawn.iter_mut().enumerate() {
                *slot = below(num_clusters, seed, replicate, draw as u64);
            }
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Sums of sufficient statistics, cluster after cluster.
pub struct Sums {
    width: usize,
    per_cluster: Vec<f64>,
}

impl Sums {
    /// Sums the rows, each `width` long, over their clusters.
    pub fn new(width: usize, rows: &[f64], clusters: &super::Clusters) -> Self {
        let mut per_cluster = vec![0.0; width * clusters.num_clusters()];
        for (row, &cluster) in rows.chunks_exact(width.max(1)).zip(clusters.of_row()) {
            for (slot, value) in per_cluster[width * cluster..].iter_mut().zip(row) {
                *slot += value;
            }
        }
        Self { width, per_cluster }
    }

    /// The sums over all clusters.
    pub fn total(&self) -> Vec<f64> {
        let all: Vec<usize> = (0..self.per_cluster.len() / self.width.max(1)).collect();
        self.of(&all)
    }

    fn of(&self, drawn: &[usize]) -> Vec<f64> {
        let mut total = vec![0.0; self.width];
        for &cluster in drawn {
            for (slot, value) in total.iter_mut().zip(&self.per_cluster[self.width * cluster..]) {
                *slot += value;
            }
        }
        total
    }
}

/// Sorted draws of one arm.
pub fn single(sums: &Sums, value: impl Fn(&[f64]) -> f64, num_replicates: usize, seed: u64) -> Vec<f64> {
    replicates(sums.per_cluster.len() / sums.width.max(1), num_replicates, seed, |drawn| value(&sums.of(drawn)))
}

/// Sorted draws of the difference of two arms.
pub fn paired(
    candidate: &Sums,
    baseline: &Sums,
    value: impl Fn(&[f64]) -> f64,
    num_replicates: usize,
    seed: u64,
) -> Vec<f64> {
    replicates(candidate.per_cluster.len() / candidate.width.max(1), num_replicates, seed, |drawn| {
        value(&candidate.of(drawn)) - value(&baseline.of(drawn))
    })
}

/// The two-sided percentile bounds of sorted replicates: the k-th smallest and the k-th largest, k = floor(B·(1 − level)/2), at least 1.
pub fn percentile_bounds(sorted: &[f64], level: f64) -> Option<(f64, f64)> {
    let tail = ((sorted.len() as f64) * (1.0 - level) / 2.0 + 1e-9).floor() as usize;
    let rank = tail.max(1);
    Some((*sorted.get(rank - 1)?, *sorted.get(sorted.len().checked_sub(rank)?)?))
}

/// A number below `bound` from the counter (seed, replicate, draw).
fn below(bound: usize, seed: u64, replicate: u64, draw: u64) -> usize {
    let bits = mix(mix(mix(seed).wrapping_add(replicate)).wrapping_add(draw));
    ((u128::from(bits) * bound as u128) >> 64) as usize
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

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
}
