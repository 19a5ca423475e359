//! Reading several p-values at once: Holm for claims, a fixed sequence for ordered claims, Benjamini and Hochberg for a closer look.
//! Knows nothing about what was compared.

/// Bonferroni's adjusted p-values, in the order of the input.
pub fn bonferroni(p_values: &[f64]) -> Vec<f64> {
    p_values.iter().map(|p| (p_values.len() as f64 * p).min(1.0)).collect()
}

/// Holm's adjusted p-values (1979), in the order of the input: for claims.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p_values.len()];
    let mut running = 0.0_f64;
    for (rank, index) in ascending(p_values).into_iter().enumerate() {
        running = running.max(((p_values.len() - rank) as f64 * p_values[index]).min(1.0));
        adjusted[index] = running;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values (1995), in the order of the input: to flag what deserves a closer look, never for a claim.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    step_up(p_values, 1.0)
}

/// Benjamini and Yekutieli's adjusted p-values (2001), which hold for any dependence.
pub fn benjamini_yekutieli(p_values: &[f64]) -> Vec<f64> {
    step_up(p_values, (1..=p_values.len()).map(|rank| 1.0 / rank as f64).sum())
}

/// How many leading hypotheses are rejected when they are tested in order, each at full `alpha`, and the first failure ends it.
pub fn fixed_sequence(p_values: &[f64], alpha: f64) -> usize {
    p_values.iter().take_while(|&&p| p <= alpha).count()
}

fn step_up(p_values: &[f64], penalty: f64) -> Vec<f64> {
    let mut adjusted = vec![0.0; p_values.len()];
    let mut running = 1.0_f64;
    for (rank, index) in ascending(p_values).into_iter().enumerate().rev() {
        running = running.min(penalty * p_values.len() as f64 / (rank + 1) as f64 * p_values[index]);
        adjusted[index] = running;
    }
    adjusted
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels 0.15.0, `multitest` in oracles/statistics.json; the input is turned round to test the order.
    const P: [f64; 10] = [0.216, 0.212, 0.205, 0.074, 0.06, 0.042, 0.041, 0.039, 0.008, 0.001];

    fn check(found: &[f64], expect: [f64; 10]) {
        assert_eq!(found.len(), 10);
        for (found, expect) in found.iter().zip(expect) {
            assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
        }
    }

    #[test]
    fn every_correction_equals_statsmodels_in_the_order_of_the_input() {
        check(&holm(&P), [0.615, 0.615, 0.615, 0.312, 0.312, 0.312, 0.312, 0.312, 0.072, 0.01]);
        check(&bonferroni(&P), [1.0, 1.0, 1.0, 0.74, 0.6, 0.42, 0.41, 0.39, 0.08, 0.01]);
        let seventh = 0.105_714_285_714_285_72;
        check(&benjamini_hochberg(&P), [0.216, 0.216, 0.216, seventh, 0.1, 0.084, 0.084, 0.084, 0.04, 0.01]);
        let [last, seventh, sixth, third] =
            [0.632_657_142_857_142_9, 0.309_633_786_848_072_5, 0.292_896_825_396_825_4, 0.246_033_333_333_333_33];
        let (second, first) = (0.117_158_730_158_730_14, 0.029_289_682_539_682_536);
        check(&benjamini_yekutieli(&P), [last, last, last, seventh, sixth, third, third, third, second, first]);
    }

    // `fixed sequence` in oracles/reference_values.json.
    #[test]
    fn a_fixed_sequence_stops_at_the_first_failure() {
        assert_eq!(fixed_sequence(&[0.001, 0.03, 0.049, 0.2, 0.01], 0.05), 3);
        assert_eq!(fixed_sequence(&[0.2, 0.01], 0.05), 0);
        // What is not a number is not a pass.
        assert_eq!(fixed_sequence(&[0.01, f64::NAN], 0.05), 1);
    }

    #[test]
    fn no_p_values_give_none() {
        for correct in [holm, bonferroni, benjamini_hochberg, benjamini_yekutieli] {
            assert!(correct(&[]).is_empty());
        }
    }
}
