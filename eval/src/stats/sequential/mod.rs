//! Evidence that may be read at any time: each statistic here keeps its error rate however often it is looked at.
//! Knows nothing about traffic, windows or rollbacks; a caller feeds one number per step and reads a state that it can store.

pub mod asymptotic;
pub mod bernoulli;
pub mod betting;
pub mod msprt;
pub mod sample_ratio;
#[cfg(test)]
mod simulation;

pub use betting::{Betting, LowerBound};

/// The log e-value of evidence for the same null on fresh data, one after the other: the product of e-values.
pub fn in_sequence(log_e_values: &[f64]) -> f64 {
    log_e_values.iter().sum()
}

/// The log e-value of evidence that may be dependent: the mean of e-values (Vovk and Wang 2021); never their maximum. None without one.
pub fn averaged(log_e_values: &[f64]) -> Option<f64> {
    let largest = log_e_values.iter().copied().max_by(f64::total_cmp)?;
    if !largest.is_finite() {
        return Some(largest);
    }
    let sum: f64 = log_e_values.iter().map(|log_e| (log_e - largest).exp()).sum();
    Some(largest + (sum / log_e_values.len() as f64).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_values_are_multiplied_in_sequence_and_averaged_otherwise() {
        let logs = [2.0_f64.ln(), 8.0_f64.ln()];
        assert!((in_sequence(&logs) - 16.0_f64.ln()).abs() < 1e-12);
        assert!(averaged(&logs).is_some_and(|mean| (mean - 5.0_f64.ln()).abs() < 1e-12));
        // E-values far beyond what a number holds.
        assert!(averaged(&[2000.0, 0.0]).is_some_and(|mean| (mean - (2000.0 - 2.0_f64.ln())).abs() < 1e-9));
        assert_eq!(averaged(&[f64::NEG_INFINITY; 2]), Some(f64::NEG_INFINITY));
        assert_eq!(averaged(&[]), None);
    }
}
