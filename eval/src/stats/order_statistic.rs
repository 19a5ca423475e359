//! Which order statistics bound a quantile.
//! Knows nothing about what was measured.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The ranks, counted from 1, between which the `q` quantile of `n` values lies at this level; 0 or `n + 1` bounds nothing.
pub fn ranks(n: usize, q: f64, level: f64) -> (usize, usize) {
    let Ok(binomial) = Binomial::new(q, n as u64) else { return (0, n + 1) };
    let least = |share: f64| (0..=n as u64).collect::<Vec<_>>().partition_point(|&count| binomial.cdf(count) < share);
    (least((1.0 - level) / 2.0), least(0.5 + level / 2.0) + 1)
}
