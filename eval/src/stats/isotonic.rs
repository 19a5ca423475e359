//! The best fit that never rises: how quality falls as prompts get harder.
//! Knows nothing about tests; the curve is a picture, the claim is made by a fixed sequence of tests.

use crate::Error;

/// The weighted least-squares fit of `values` that never increases, by pooling adjacent violators (Ayer et al. 1955).
///
/// # Errors
/// When there are more or fewer weights than values, a weight is not above 0, or a number is not finite.
pub fn non_increasing(values: &[f64], weights: &[f64]) -> Result<Vec<f64>, Error> {
    let usable =
        weights.iter().all(|weight| weight.is_finite() && *weight > 0.0) && values.iter().all(|v| v.is_finite());
    if values.len() != weights.len() || !usable {
        let problem = "needs a finite value and a weight above 0 for each bin";
        return Err(Error::BadStatistic { statistic: "isotonic fit", problem });
    }
    // Blocks of equal fit: mean, weight, number of values.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&value, &weight) in values.iter().zip(weights) {
        let mut block = (value, weight, 1);
        while let Some(before) = blocks.pop_if(|before| before.0 < block.0) {
            let weight = before.1 + block.1;
            block = ((before.0 * before.1 + block.0 * block.1) / weight, weight, before.2 + block.2);
        }
        blocks.push(block);
    }
    Ok(blocks.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `isotonic` in oracles/reference_values.json.
    #[test]
    fn the_fit_equals_the_reference() {
        let found = non_increasing(&[0.02, 0.01, 0.03, -0.05, -0.04], &[100.0, 100.0, 50.0, 80.0, 80.0]).unwrap();
        let expect = [0.02, 0.016_666_666_666_666_666, 0.016_666_666_666_666_666, -0.045, -0.045];
        for (found, expect) in found.iter().zip(expect) {
            assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
        }
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn falling_values_stay_and_rising_values_become_their_mean() {
        assert_eq!(non_increasing(&[3.0, 2.0, 1.0], &[1.0; 3]).unwrap(), [3.0, 2.0, 1.0]);
        assert_eq!(non_increasing(&[1.0, 2.0, 6.0], &[1.0, 1.0, 2.0]).unwrap(), [3.75; 3]);
        assert!(non_increasing(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn empty_bins_and_missing_weights_are_refused() {
        assert!(non_increasing(&[1.0, 2.0], &[1.0]).is_err());
        assert!(non_increasing(&[1.0], &[0.0]).is_err());
        assert!(non_increasing(&[f64::NAN], &[1.0]).is_err());
    }
}
