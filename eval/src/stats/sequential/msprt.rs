//! The mixture sequential probability ratio test of other experiment platforms, for comparison with them (Johari et al. 2022, arXiv 1512.04922).
//! Knows nothing about ranges: it assumes normal data with a known variance, so it decides nothing here.

/// The log of the likelihood ratio after `n` observations, against the mean `null`, with a normal mixture of variance `tau_squared`.
pub fn log_likelihood_ratio(n: f64, mean: f64, variance: f64, null: f64, tau_squared: f64) -> f64 {
    let spread = variance + n * tau_squared;
    0.5 * (variance / spread).ln() + n * n * tau_squared * (mean - null).powi(2) / (2.0 * variance * spread)
}

/// The anytime-valid p-value after one more look: it never rises.
pub fn p_value(previous: f64, log_likelihood_ratio: f64) -> f64 {
    previous.min((-log_likelihood_ratio).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // `msprt n 500 mean .06` in oracles/reference_values.json.
    #[test]
    fn the_ratio_equals_the_reference() {
        let log = log_likelihood_ratio(500.0, 0.06, 0.25, 0.0, 0.01);
        assert!((log.exp() - 6.728_217_230_705_711).abs() < 1e-10);
        assert!((p_value(1.0, log) - 1.0 / 6.728_217_230_705_711).abs() < 1e-10);
        assert_eq!((p_value(0.01, log), p_value(1.0, -3.0)), (0.01, 1.0));
        // Far beyond what a number holds as a ratio.
        assert!(log_likelihood_ratio(1e6, 0.5, 0.25, 0.0, 0.01) > 1000.0);
    }
}
