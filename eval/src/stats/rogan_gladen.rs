//! The true rate behind a judge that errs, from its measured sensitivity and specificity (Rogan and Gladen 1978).
//! Knows nothing about prompts of judges; the audit that measured the judge is labelled blind to the arm.

use serde::{Deserialize, Serialize};

use super::quantile;
use crate::Error;

/// Below this sum of sensitivity and specificity minus 1, a judge says too little to be corrected.
pub const MIN_YOUDEN: f64 = 0.3;

/// What an audit against people measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Share of answers that people call good which the judge calls good.
    pub sensitivity: f64,
    /// Answers that people call good.
    pub num_positive: usize,
    /// Share of answers that people call bad which the judge calls bad.
    pub specificity: f64,
    /// Answers that people call bad.
    pub num_negative: usize,
}

/// A corrected rate or difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// The corrected value, cut at the ends of its scale.
    pub value: f64,
    /// Its standard error by the delta method, errors of the audit included.
    pub standard_error: f64,
    /// Whether the value had to be cut: then the audit and the judged set do not fit each other well, and this must be said.
    pub clipped: bool,
}

impl Corrected {
    /// The normal interval, cut at `low` and `high`, the ends of the scale.
    pub fn interval(&self, level: f64, low: f64, high: f64) -> (f64, f64) {
        let half = quantile::normal(0.5 + level / 2.0) * self.standard_error;
        ((self.value - half).max(low), (self.value + half).min(high))
    }
}

impl Audit {
    /// The true share of good answers, when the judge calls the share `judged` of `n` answers good.
    ///
    /// # Errors
    /// When the judge is too weak ([`MIN_YOUDEN`]), the audit lacks good or bad answers, or a number is no share.
    pub fn rate(&self, judged: f64, n: usize) -> Result<Corrected, Error> {
        let youden = self.youden()?;
        if n == 0 || !(0.0..=1.0).contains(&judged) {
            return Err(bad("the judged share must be between 0 and 1, of at least one answer"));
        }
        let rate = (judged + self.specificity - 1.0) / youden;
        let variance = judged * (1.0 - judged) / n as f64 + self.variance(rate * rate, (1.0 - rate).powi(2));
        Ok(corrected(rate, variance.sqrt() / youden, 0.0))
    }

    /// The true difference of two arms that the same judge judged on the same rows, from the judged difference and its standard error.
    ///
    /// The judge's false alarms cancel, its blindness does not: the judged difference is too small by the factor of [`Audit::youden`].
    ///
    /// # Errors
    /// As [`Audit::rate`].
    pub fn difference(&self, judged: f64, standard_error: f64) -> Result<Corrected, Error> {
        let youden = self.youden()?;
        if !((-1.0..=1.0).contains(&judged) && standard_error >= 0.0) {
            return Err(bad("the judged difference must be between -1 and 1, with its standard error"));
        }
        let difference = judged / youden;
        let square = difference * difference;
        let variance = standard_error * standard_error + self.variance(square, square);
        Ok(corrected(difference, variance.sqrt() / youden, -1.0))
    }

    /// Sensitivity + specificity − 1.
    ///
    /// # Errors
    /// When it is below [`MIN_YOUDEN`], the audit lacks good or bad answers, or a number is no share.
    pub fn youden(&self) -> Result<f64, Error> {
        let shares = [self.sensitivity, self.specificity];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || self.num_positive == 0 || self.num_negative == 0 {
            return Err(bad("the audit needs good and bad answers, and shares between 0 and 1"));
        }
        let youden = self.sensitivity + self.specificity - 1.0;
        if youden < MIN_YOUDEN {
            return Err(bad("the judge is too weak to be corrected: sensitivity + specificity - 1 is below 0.3"));
        }
        Ok(youden)
    }

    /// What the audit's own errors add; a judge without an error in the audit is not a judge without errors.
    fn variance(&self, of_sensitivity: f64, of_specificity: f64) -> f64 {
        let part = |share: f64, n: usize| share * (1.0 - share) / n as f64;
        of_sensitivity * part(self.sensitivity, self.num_positive)
            + of_specificity * part(self.specificity, self.num_negative)
    }
}

fn corrected(value: f64, standard_error: f64, low: f64) -> Corrected {
    let cut = value.clamp(low, 1.0);
    Corrected { value: cut, standard_error, clipped: cut != value }
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "correction for the judge's errors", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const AUDIT: Audit = Audit { sensitivity: 0.92, num_positive: 100, specificity: 0.85, num_negative: 100 };

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // `rogan gladen` in oracles/reference_values.json.
    #[test]
    fn the_rate_equals_the_reference() {
        let found = AUDIT.rate(0.82, 500).unwrap();
        close(found.value, 0.870_129_870_129_87);
        close(found.standard_error, 0.038_393_028_309_727_33);
        assert!(!found.clipped);
        let (low, high) = found.interval(0.95, 0.0, 1.0);
        close(high - found.value, found.value - low);
    }

    #[test]
    fn a_rate_beyond_the_scale_is_cut_and_says_so() {
        let found = AUDIT.rate(0.99, 500).unwrap();
        assert_eq!((found.value, found.clipped), (1.0, true));
        assert_eq!(found.interval(0.95, 0.0, 1.0).1, 1.0);
    }

    #[test]
    fn the_difference_is_that_of_the_rates() {
        let (new, old) = (AUDIT.rate(0.6, 500).unwrap(), AUDIT.rate(0.5, 500).unwrap());
        let found = AUDIT.difference(0.1, 0.0).unwrap();
        close(found.value, new.value - old.value);
        assert!(found.standard_error > 0.0 && !found.clipped);
        close(AUDIT.difference(0.0, 0.02).unwrap().standard_error, 0.02 / 0.77);
    }

    #[test]
    fn a_weak_judge_and_an_empty_audit_are_refused() {
        let weak = Audit { sensitivity: 0.6, specificity: 0.65, ..AUDIT };
        assert!(weak.rate(0.5, 100).unwrap_err().to_string().contains("too weak"));
        assert!(Audit { num_negative: 0, ..AUDIT }.rate(0.5, 100).is_err());
        assert!(
            AUDIT.rate(1.2, 100).is_err() && AUDIT.rate(0.5, 0).is_err() && AUDIT.difference(0.1, f64::NAN).is_err()
        );
    }
}
