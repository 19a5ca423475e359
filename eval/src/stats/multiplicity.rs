//! Correction for reading several p-values at once (Holm 1979).
//! Knows nothing about what was compared.

/// Holm's adjusted p-values, in the order of the input.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut running = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        running = running.max(((p_values.len() - rank) as f64 * p_values[index]).min(1.0));
        adjusted[index] = running;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels 0.15.0, `multitest` in oracles/statistics.json; the input is turned round to test the order.
    #[test]
    fn holm_equals_statsmodels_in_the_order_of_the_input() {
        let p = [0.216, 0.212, 0.205, 0.074, 0.06, 0.042, 0.041, 0.039, 0.008, 0.001];
        let expect = [0.615, 0.615, 0.615, 0.312, 0.312, 0.312, 0.312, 0.312, 0.072, 0.01];
        for (found, expect) in holm(&p).into_iter().zip(expect) {
            assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
        }
        assert!(holm(&[]).is_empty());
    }
}
