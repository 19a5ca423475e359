//! Rank tests, for numbers such as latencies whose mean a few slow calls would decide: Mann and Whitney for different rows, Wilcoxon for the same rows.
//! Knows nothing about units; a timeout is plus infinity and ranks last, it is never dropped.

use super::quantile;
use crate::Error;

/// Up to this many differences Wilcoxon's distribution is counted out.
const EXACT_DIFFERENCES: usize = 50;

/// A rank test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTest {
    /// U of the first sample, or the smaller signed-rank sum.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p_value: f64,
    /// Whether the distribution was counted out rather than approximated.
    pub exact: bool,
}

/// The test of Mann and Whitney (1947) with the normal approximation, the correction for ties and that for continuity.
///
/// # Errors
/// Without a value on either side or with one that is not a number.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Result<RankTest, Error> {
    if first.is_empty() || second.is_empty() || first.iter().chain(second).any(|value| value.is_nan()) {
        return Err(bad("both sides need values, and each must be a number"));
    }
    let (ranks, ties) = mid_ranks(&first.iter().chain(second).copied().collect::<Vec<_>>());
    let (n1, n2) = (first.len() as f64, second.len() as f64);
    let n = n1 + n2;
    let statistic = ranks[..first.len()].iter().sum::<f64>() - n1 * (n1 + 1.0) / 2.0;
    let variance = n1 * n2 / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    let larger = statistic.max(n1 * n2 - statistic);
    // All values equal: nothing speaks for a difference.
    let p_value = if variance <= 0.0 {
        1.0
    } else {
        (2.0 * quantile::normal_upper_tail((larger - n1 * n2 / 2.0 - 0.5) / variance.sqrt())).min(1.0)
    };
    Ok(RankTest { statistic, p_value, exact: false })
}

/// The signed-rank test of Wilcoxon (1945) on pairs; pairs without a difference are left out, as Wilcoxon does.
///
/// Exact, ties included, up to 50 differences; above, the normal approximation with the correction for ties.
/// Two timeouts of the same row are no difference.
///
/// # Errors
/// When the sides differ in length or a value is not a number.
pub fn wilcoxon_signed_rank(first: &[f64], second: &[f64]) -> Result<RankTest, Error> {
    if first.len() != second.len() || first.iter().chain(second).any(|value| value.is_nan()) {
        return Err(bad("both sides need the same rows, and each value must be a number"));
    }
    let moved: Vec<f64> = first.iter().zip(second).filter(|(a, b)| a != b).map(|(a, b)| a - b).collect();
    let (ranks, ties) = mid_ranks(&moved.iter().map(|difference| difference.abs()).collect::<Vec<_>>());
    let sum_where = |positive: bool| {
        let chosen = moved.iter().zip(&ranks).filter(|(difference, _)| (**difference > 0.0) == positive);
        chosen.map(|(_, rank)| rank).sum::<f64>()
    };
    let statistic = sum_where(true).min(sum_where(false));
    let n = moved.len() as f64;
    if moved.len() <= EXACT_DIFFERENCES {
        return Ok(RankTest { statistic, p_value: counted(&ranks, statistic), exact: true });
    }
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (statistic - n * (n + 1.0) / 4.0) / variance.sqrt();
    Ok(RankTest { statistic, p_value: (2.0 * quantile::normal_cdf(z)).min(1.0), exact: false })
}

/// Twice the share of all sign patterns whose sum of ranks is at most `statistic`.
fn counted(ranks: &[f64], statistic: f64) -> f64 {
    // Doubled ranks are whole numbers, ties included.
    let doubled: Vec<usize> = ranks.iter().map(|rank| (2.0 * rank).round() as usize).collect();
    let mut share = vec![0.0; doubled.iter().sum::<usize>() + 1];
    share[0] = 1.0;
    for rank in doubled {
        for sum in (0..share.len()).rev() {
            let with = if sum >= rank { share[sum - rank] } else { 0.0 };
            share[sum] = 0.5 * (share[sum] + with);
        }
    }
    let tail: f64 = share.iter().take((2.0 * statistic).round() as usize + 1).sum();
    (2.0 * tail).min(1.0)
}

/// Ranks from 1, equal values sharing the mean of theirs, and the sum of t³ − t over the ties.
fn mid_ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let (mut ranks, mut ties) = (vec![0.0; values.len()], 0.0);
    let mut rest = order.as_slice();
    let mut before = 0.0;
    while let Some(&first) = rest.first() {
        let count = rest.iter().take_while(|&&index| values[index] == values[first]).count();
        let (tied, others) = rest.split_at(count);
        let size = count as f64;
        for &index in tied {
            ranks[index] = before + (size + 1.0) / 2.0;
        }
        ties += size * size * size - size;
        before += size;
        rest = others;
    }
    (ranks, ties)
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "rank test", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const X: [f64; 9] = [1.83, 0.5, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.3];
    #[expect(clippy::approx_constant, reason = "a measured value of the oracle that only looks like pi")]
    const Y: [f64; 9] = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // scipy 1.17.1, `mannwhitney` in oracles/statistics.json.
    #[test]
    fn mann_whitney_equals_scipy() {
        let found = mann_whitney(&X, &Y).unwrap();
        assert_eq!(found.statistic, 58.0);
        close(found.p_value, 0.132_919_458_185_318_92);
    }

    // scipy 1.17.1, `wilcoxon_signed` in oracles/statistics.json.
    #[test]
    fn wilcoxon_equals_scipy() {
        let found = wilcoxon_signed_rank(&X, &Y).unwrap();
        assert_eq!((found.statistic, found.exact), (5.0, true));
        close(found.p_value, 0.039_062_5);
    }

    // scipy.stats.mannwhitneyu([1, 2, 2, 3, inf], [2, 4, 5, 5, 7, 8], method="asymptotic").
    #[test]
    fn a_timeout_is_the_slowest_call() {
        let found = mann_whitney(&[1.0, 2.0, 2.0, 3.0, f64::INFINITY], &[2.0, 4.0, 5.0, 5.0, 7.0, 8.0]).unwrap();
        assert_eq!(found.statistic, 8.0);
        close(found.p_value, 0.229_963_800_685_730_08);
        let (late, fine) = ([f64::INFINITY, f64::INFINITY, 2.0], [f64::INFINITY, 1.0, 1.0]);
        // The row with two timeouts leaves no difference, and two pairs can never be significant.
        assert_eq!(wilcoxon_signed_rank(&late, &fine).unwrap().p_value, 0.5);
    }

    // The plain twin: all sign patterns of tied differences, one by one.
    #[test]
    fn tied_differences_are_counted_out() {
        let differences = [1.0, -1.0, 2.0, 2.0, 3.0, -0.5, 2.0];
        let (ranks, _) = mid_ranks(&differences.map(f64::abs));
        let sum = |signs: u32| (0..7).filter(|i| signs >> i & 1 == 1).map(|i| ranks[i]).sum::<f64>();
        let observed = 1.0 + 2.5;
        let share = (0..128).filter(|&signs| sum(signs) <= observed).count() as f64 / 128.0;
        let found = wilcoxon_signed_rank(&differences, &[0.0; 7]).unwrap();
        assert_eq!(found.statistic, observed);
        close(found.p_value, 2.0 * share);
    }

    #[test]
    fn no_difference_has_p_one_and_what_is_no_number_is_refused() {
        assert_eq!(mann_whitney(&[1.0; 4], &[1.0; 3]).unwrap().p_value, 1.0);
        assert_eq!(wilcoxon_signed_rank(&X, &X).unwrap().p_value, 1.0);
        assert!(mann_whitney(&[], &X).is_err() && mann_whitney(&[f64::NAN], &X).is_err());
        assert!(wilcoxon_signed_rank(&X, &Y[1..]).is_err());
    }
}
