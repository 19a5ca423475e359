//! The check of the traffic split: an e-value against the planned shares (Lindon and Malek 2022, arXiv 2011.03567).
//! Knows nothing about what the arms answer; with a broken split no number about them can be trusted.

use statrs::function::gamma::ln_gamma;

use crate::Error;

/// How strongly the alternative is drawn to the planned split.
pub const CONCENTRATION: f64 = 100.0;

/// The error rate of the check.
pub const ALPHA: f64 = 0.001;

/// The log e-value of the counts of each arm against the planned shares; at ln(1/[`ALPHA`]) or more the split is broken.
///
/// # Errors
/// When the shares are not above 0 and of sum 1, or there are more or fewer counts than shares.
pub fn log_e_value(counts: &[u64], planned: &[f64]) -> Result<f64, Error> {
    let sum: f64 = planned.iter().sum();
    let usable = planned.iter().all(|share| *share > 0.0) && (sum - 1.0).abs() < 1e-9;
    if !usable || counts.len() != planned.len() {
        let problem = "needs one count for each planned share, all shares above 0 and 1 in sum";
        return Err(Error::BadStatistic { statistic: "sample-ratio check", problem });
    }
    let n = counts.iter().sum::<u64>() as f64;
    let mut log_e = ln_gamma(CONCENTRATION) - ln_gamma(CONCENTRATION + n);
    for (&count, share) in counts.iter().zip(planned) {
        let (count, prior) = (count as f64, CONCENTRATION * share);
        log_e += ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln();
    }
    Ok(log_e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `sample ratio 850,150` and `sample ratio 900,100` in oracles/reference_values.json.
    #[test]
    fn the_e_value_equals_the_reference() {
        let broken = log_e_value(&[850, 150], &[0.9, 0.1]).unwrap();
        assert!((broken - 9.867_116_863_294_711).abs() < 1e-9, "{broken}");
        assert!(broken > (1.0 / ALPHA).ln());
        let kept = log_e_value(&[900, 100], &[0.9, 0.1]).unwrap();
        assert!((kept + 1.206_604_800_214_165_6).abs() < 1e-9, "{kept}");
        assert!(log_e_value(&[0, 0], &[0.9, 0.1]).unwrap().abs() < 1e-12);
    }

    #[test]
    fn shares_that_are_no_split_are_refused() {
        assert!(log_e_value(&[1, 2], &[0.5, 0.6]).is_err());
        assert!(log_e_value(&[1], &[0.5, 0.5]).is_err());
        assert!(log_e_value(&[1, 2], &[1.0, 0.0]).is_err());
    }
}
