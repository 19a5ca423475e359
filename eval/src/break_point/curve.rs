//! The picture of a break point: the difference along a covariate as a fit that never rises, with a cluster-bootstrap band.
//! Knows nothing about tests; nothing is claimed from it.

use serde::{Deserialize, Serialize};

use super::Sample;
use crate::Error;
use crate::stats::bootstrap::{self, Sums};
use crate::stats::isotonic;

/// Points of a curve at most; more could not be told apart on a page.
const MAX_CELLS: usize = 48;
/// Draws behind the band.
const DRAWS: usize = 2_000;
/// The two-sided level of the band, at each point on its own.
const LEVEL: f64 = 0.95;

/// One point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// The mean of the covariate over the rows of this point.
    pub x: f64,
    /// Rows.
    pub n: usize,
    /// The fitted difference, candidate minus baseline.
    pub fit: f64,
    /// Lower end of the band.
    pub low: f64,
    /// Upper end of the band.
    pub high: f64,
}

/// The fit over cells of about equally many rows, easy to hard; rows with the same value share a cell.
///
/// # Errors
/// When the sample holds numbers that cannot be used.
pub fn non_increasing(sample: &Sample<'_>, seed: u64) -> Result<Vec<CurvePoint>, Error> {
    sample.check()?;
    let cells = cells(sample.covariate);
    let Some(num_cells) = cells.iter().max().map(|last| last + 1) else { return Ok(Vec::new()) };
    let num_clusters = sample.clusters.num_clusters();
    let (mut sum_x, mut rows) = (vec![0.0; num_cells], vec![0_usize; num_cells]);
    for (row, &cell) in cells.iter().enumerate() {
        sum_x[cell] += sample.covariate[row];
        rows[cell] += 1;
    }
    // Of each cell its rows, and behind all of those the sums of their differences.
    let of_row =
        |(row, &cell): (usize, &usize)| [(cell, 1.0), (num_cells + cell, sample.candidate[row] - sample.baseline[row])];
    let sums = Sums::sparse(2 * num_cells, cells.iter().enumerate().map(of_row), sample.clusters)?;
    let fit_of = |total: &[f64]| fit(&total[..num_cells], &total[num_cells..]);
    let whole = fit_of(&sums.total())?;
    // A fit that fails leaves its values undefined, and no draw may be lost.
    let fill = |total: &[f64], values: &mut [f64]| {
        if let Ok(found) = fit_of(total) {
            values.copy_from_slice(&found);
        }
    };
    let fits = bootstrap::several(&sums, num_cells, fill, DRAWS, seed)?;
    if fits.iter().any(|draws| draws.undefined > 0) {
        let problem = "the fit of a draw has no value".to_owned();
        return Err(Error::BadEvidence { problem });
    }
    let points = fits.iter().enumerate().map(|(cell, draws)| {
        let fit = whole[cell];
        // One group draws itself alone: a band of no width would pass for certainty.
        let (low, high) = if num_clusters < 2 { (-1.0, 1.0) } else { draws.percentile(LEVEL) };
        CurvePoint { x: sum_x[cell] / rows[cell] as f64, n: rows[cell], fit, low, high }
    });
    Ok(points.collect())
}

/// The cell of each row.
fn cells(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let size = values.len().div_ceil(MAX_CELLS).max(1);
    let mut of_row = vec![0; values.len()];
    let (mut cell, mut count) = (0, 0);
    for (rank, &row) in order.iter().enumerate() {
        let fresh = rank > 0 && values[order[rank - 1]] != values[row];
        if fresh && count >= size {
            (cell, count) = (cell + 1, 0);
        }
        of_row[row] = cell;
        count += 1;
    }
    of_row
}

/// The fit of cells of which a draw may have left some empty: an empty cell takes the value of the cell before it, or the first that is not empty.
fn fit(counts: &[f64], sums: &[f64]) -> Result<Vec<f64>, Error> {
    let filled: Vec<usize> = (0..counts.len()).filter(|&cell| counts[cell] > 0.0).collect();
    let means: Vec<f64> = filled.iter().map(|&cell| sums[cell] / counts[cell]).collect();
    let weights: Vec<f64> = filled.iter().map(|&cell| counts[cell]).collect();
    let fitted = isotonic::non_increasing(&means, &weights)?;
    let mut next = filled.iter().zip(&fitted).peekable();
    let mut value = fitted.first().copied().unwrap_or(0.0);
    let whole = (0..counts.len()).map(|cell| {
        if let Some((_, &found)) = next.next_if(|&(&filled, _)| filled == cell) {
            value = found;
        }
        value
    });
    Ok(whole.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::Clusters;

    #[test]
    fn the_curve_never_rises_and_its_band_holds_it() {
        let covariate: Vec<f64> = (0..600).map(|row| f64::from(row / 2)).collect();
        let candidate: Vec<f64> = (0..600).map(|row| f64::from(u8::from(row < 300 || row % 3 != 0))).collect();
        let names: Vec<String> = (0..600).map(|row| format!("g{}", row % 40)).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let baseline = [1.0; 600];
        let sample = Sample { covariate: &covariate, candidate: &candidate, baseline: &baseline, clusters: &clusters };
        let curve = non_increasing(&sample, 1).unwrap();
        assert!(curve.len() > 30 && curve.len() <= MAX_CELLS);
        assert!(curve.windows(2).all(|pair| pair[0].x < pair[1].x && pair[0].fit >= pair[1].fit));
        assert!(curve.iter().all(|point| point.low <= point.fit + 0.1 && point.fit <= point.high + 0.1));
        assert_eq!(curve.iter().map(|point| point.n).sum::<usize>(), 600);
        let last = curve.last().unwrap();
        assert!(last.high < 0.0 && last.low > -0.8, "{last:?}");
        assert_eq!(non_increasing(&sample, 1).unwrap(), curve);
    }

    #[test]
    fn empty_cells_of_a_draw_take_their_neighbours_value() {
        let found = fit(&[0.0, 2.0, 0.0, 1.0, 0.0], &[0.0, 1.0, 0.0, -0.5, 0.0]).unwrap();
        assert_eq!(found, [0.5, 0.5, 0.5, -0.5, -0.5]);
    }

    #[test]
    fn equal_values_share_a_cell_and_no_rows_are_no_curve() {
        assert_eq!(cells(&[5.0; 100]), [0; 100]);
        let none = Clusters::new([]);
        let sample = Sample { covariate: &[], candidate: &[], baseline: &[], clusters: &none };
        assert!(non_increasing(&sample, 1).unwrap().is_empty());
    }
}
