//! Whether probabilities mean what they say: Brier score, log loss, expected calibration error, and how well they rank.
//! Knows nothing about labels: each row is a probability and whether it came true.

use super::rank;
use crate::Error;

/// A probability and whether it came true.
pub type Forecast = (f64, bool);

/// How probabilities are put in bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bins {
    /// As many rows in each, the first bins having one more where it does not divide.
    EqualMass(usize),
    /// As wide as each other between 0 and 1.
    EqualWidth(usize),
}

/// The mean squared distance (Brier 1950).
///
/// # Errors
/// Without a row, or when a probability is not between 0 and 1; so for every function here.
pub fn brier(rows: &[Forecast]) -> Result<f64, Error> {
    check(rows)?;
    Ok(mean(rows.iter().map(|&(p, came_true)| (p - f64::from(came_true)).powi(2))))
}

/// The mean negative log-likelihood in nats; probabilities are kept off 0 and 1 by the rounding error of a number, as scikit-learn does.
///
/// # Errors
/// As [`brier`].
pub fn log_loss(rows: &[Forecast]) -> Result<f64, Error> {
    check(rows)?;
    Ok(mean(rows.iter().map(|&(p, came_true)| {
        let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -(if came_true { p } else { 1.0 - p }).ln()
    })))
}

/// The expected calibration error (Naeini et al. 2015; Guo et al. 2017): biased upwards for few rows, so it is for display only.
///
/// # Errors
/// As [`brier`], and without a bin.
pub fn expected_calibration_error(rows: &[Forecast], bins: Bins) -> Result<f64, Error> {
    check(rows)?;
    let (Bins::EqualMass(num_bins) | Bins::EqualWidth(num_bins)) = bins;
    if num_bins == 0 {
        return Err(bad("needs at least one bin"));
    }
    let mut sorted = rows.to_vec();
    // A stable sort: rows with equal probabilities stay in their order.
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let gap = |bin: &[Forecast]| (bin.iter().map(|&(p, came_true)| p - f64::from(came_true)).sum::<f64>()).abs();
    let width_bin = |row: &Forecast| ((row.0 * num_bins as f64) as usize).min(num_bins - 1);
    let total: f64 = match bins {
        Bins::EqualWidth(_) => sorted.chunk_by(|a, b| width_bin(a) == width_bin(b)).map(gap).sum(),
        Bins::EqualMass(_) => {
            let (size, larger) = (sorted.len() / num_bins, sorted.len() % num_bins);
            let start = |bin: usize| bin * size + bin.min(larger);
            (0..num_bins).map(|bin| gap(&sorted[start(bin)..start(bin + 1)])).sum()
        }
    };
    Ok(total / rows.len() as f64)
}

/// The probability that a row that came true ranks above one that did not, ties counting half; none without both kinds.
///
/// # Errors
/// As [`brier`].
pub fn roc_auc(rows: &[Forecast]) -> Result<Option<f64>, Error> {
    check(rows)?;
    let side = |wanted: bool| rows.iter().filter(|row| row.1 == wanted).map(|row| row.0).collect::<Vec<_>>();
    let (came_true, did_not) = (side(true), side(false));
    if came_true.is_empty() || did_not.is_empty() {
        return Ok(None);
    }
    let pairs = (came_true.len() * did_not.len()) as f64;
    Ok(Some(rank::mann_whitney(&came_true, &did_not)?.statistic / pairs))
}

/// The mean precision over the rows that came true, ranked by probability, equal probabilities being one step; none when nothing came true.
///
/// # Errors
/// As [`brier`].
pub fn average_precision(rows: &[Forecast]) -> Result<Option<f64>, Error> {
    check(rows)?;
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut found, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for step in sorted.chunk_by(|a, b| a.0 == b.0) {
        let new = step.iter().filter(|row| row.1).count() as f64;
        found += new;
        seen += step.len() as f64;
        sum += new * found / seen;
    }
    Ok((found > 0.0).then(|| sum / found))
}

fn check(rows: &[Forecast]) -> Result<(), Error> {
    if rows.is_empty() || rows.iter().any(|(p, _)| !(0.0..=1.0).contains(p)) {
        return Err(bad("needs rows, each with a probability between 0 and 1"));
    }
    Ok(())
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "calibration", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `calib` in oracles/statistics.json.
    fn oracle() -> Vec<Forecast> {
        let p = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.35, 0.2, 0.1, 0.05];
        let y = [1, 1, 0, 1, 1, 0, 0, 1, 0, 0];
        p.into_iter().zip(y.map(|y| y == 1)).collect()
    }

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    #[test]
    fn scores_and_ranks_equal_scikit_learn() {
        let rows = oracle();
        close(brier(&rows).unwrap(), 0.183_75);
        close(log_loss(&rows).unwrap(), 0.534_883_975_815_750_4);
        close(roc_auc(&rows).unwrap().unwrap(), 0.8);
        close(average_precision(&rows).unwrap().unwrap(), 0.835);
    }

    // `ece 4 equal mass` and `ece 4 equal width` in oracles/reference_values.json.
    #[test]
    fn calibration_errors_equal_the_reference() {
        close(expected_calibration_error(&oracle(), Bins::EqualMass(4)).unwrap(), 0.155);
        close(expected_calibration_error(&oracle(), Bins::EqualWidth(4)).unwrap(), 0.185);
        // More bins than rows leave some empty.
        assert!(expected_calibration_error(&oracle(), Bins::EqualMass(15)).unwrap() > 0.3);
        assert!(expected_calibration_error(&[(1.0, true)], Bins::EqualWidth(3)).unwrap() == 0.0);
    }

    #[test]
    fn certainty_that_is_wrong_costs_much_and_not_infinitely_much() {
        assert!((30.0..40.0).contains(&log_loss(&[(1.0, false)]).unwrap()));
    }

    #[test]
    fn one_kind_of_outcome_cannot_be_ranked_and_no_probability_is_refused() {
        assert_eq!(roc_auc(&[(0.5, true)]).unwrap(), None);
        assert_eq!(average_precision(&[(0.5, false)]).unwrap(), None);
        assert!(brier(&[]).is_err() && brier(&[(1.1, true)]).is_err() && log_loss(&[(f64::NAN, true)]).is_err());
        assert!(expected_calibration_error(&oracle(), Bins::EqualMass(0)).is_err());
    }
}
