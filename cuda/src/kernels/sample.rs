//! Owns the choice of the next token from rows of logits: greedy, or by temperature with counter-based randomness.
//! Knows no model; a choice is a function of (key, row, position), so batching does not change it.

use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Block, Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "sample", text: include_str!("../../kernels/sample.cu"), hopper: false };

/// Threads of a block.
const THREADS: usize = 256;
/// Most blocks that share a row, and how many logits are worth one.
const PARTS: usize = 16;
const PART_COLUMNS: usize = 2048;

/// What is chosen where a logit of the row is NaN.
pub const INVALID: u32 = u32::MAX;

/// How the next tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Zero for the most likely token.
    pub temperature: f32,
    /// What randomness is a function of, beside row and position.
    pub key: u64,
}

/// The kernels of the choice, and room for the winners of parts of rows.
pub struct Sample {
    parts: Function,
    pick: Function,
    scores: Block,
    tokens: Block,
    rows: usize,
}

impl Sample {
    /// Compiles them, for at most `rows` rows at once.
    pub fn new(device: &Device, rows: usize) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        // Rows are the second direction of a grid.
        assert!(rows <= 65_535, "{rows} rows to sample at once");
        Ok(Sample {
            parts: program.function("sample_parts")?,
            pick: program.function("sample_pick")?,
            scores: device.allocate(rows * PARTS * size_of::<f32>())?,
            tokens: device.allocate(rows * PARTS * size_of::<u32>())?,
            rows,
        })
    }

    /// The next token of every row: the smallest of the ids with the largest score, or [`INVALID`] where a logit is NaN.
    ///
    /// The score of token v is its logit at temperature zero, and else `logit * (1 / T) - ln(-ln(u))` (Gumbel-max), with
    /// - `u = (k + 1/2) / 2^32` where k is the upper 32 bits of `bits(bits(bits(key, row_id), position), v)`, and
    /// - `bits(key, index) = mix(key ^ mix(index))`, `mix` being the SplitMix64 step of the model crate's `dropout.rs`.
    ///
    /// `1 / T` is rounded to f32, and so is the score; a twin computes the logarithms in f64 and differs by a few f32 steps.
    ///
    /// # Shapes
    /// - logits `[B, V]`, row_ids, positions and out `[B]`, B at most the rows of [`Sample::new`]
    pub fn run(
        &self,
        logits: Matrix<f32>,
        choice: Choice,
        row_ids: Span<u32>,
        positions: Span<u32>,
        out: Span<u32>,
    ) -> Result<()> {
        let (rows, columns) = (logits.rows(), logits.columns());
        assert!(rows <= self.rows && columns > 0, "{rows} rows of {columns} logits where {} fit", self.rows);
        assert!([row_ids, positions, out].iter().all(|span| span.len() == rows), "shapes of a choice");
        let inverse = if choice.temperature > 0.0 { 1.0 / choice.temperature } else { 0.0 };
        let parts = columns.div_ceil(PART_COLUMNS).min(PARTS);
        let (scores, tokens) = (self.scores.span::<f32>(0, rows * parts), self.tokens.span::<u32>(0, rows * parts));
        launch!(
            self.parts, Grid::flat(parts, rows, THREADS);
            logits, logits.pitch(), columns, inverse, choice.key, row_ids, positions, scores, tokens,
        )?;
        launch!(self.pick, Grid::new(rows, 32); scores, tokens, parts, out)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ground::random::mix;

    use super::*;
    use crate::kernels::testing::{Case, device};

    /// Plain twin of the score of a token.
    fn score(logit: f32, choice: Choice, row: u32, position: u32, token: usize) -> f64 {
        if choice.temperature <= 0.0 {
            return f64::from(logit);
        }
        let bits = |key: u64, index: u64| mix(key ^ mix(index));
        let k = bits(bits(bits(choice.key, u64::from(row)), u64::from(position)), token as u64) >> 32;
        let u = (k as f64 + 0.5) / (1_u64 << 32) as f64;
        f64::from(logit) * f64::from(1.0 / choice.temperature) - (-u.ln()).ln()
    }

    /// Rows of logits of one width, chosen from on the device.
    fn run(device: &Device, logits: &[Vec<f32>], choice: Choice, ids: &[u32], positions: &[u32]) -> Vec<u32> {
        let case = Case::new(device);
        let (rows, columns) = (logits.len(), logits[0].len());
        let pitch = columns + 3;
        let mut stored = vec![f32::NAN; rows * pitch];
        logits.iter().enumerate().for_each(|(row, values)| stored[row * pitch..][..columns].copy_from_slice(values));
        let ((_a, z), (_b, ids), (_c, places)) = (case.upload(&stored), case.upload(ids), case.upload(positions));
        let (_d, out) = case.upload(&vec![7_u32; rows]);
        let kernels = Sample::new(device, rows + 1).unwrap();
        kernels.run(z.matrix(rows, columns, pitch), choice, ids, places, out).unwrap();
        device.download(out).unwrap()
    }

    #[test]
    fn choices_equal_their_twin() {
        let device = device();
        for (rows, columns, temperature) in
            [(1, 1, 0.0), (3, 17, 0.7), (2, 576, 0.0), (4, 5001, 1.0), (2, 5001, 0.01), (3, 33, 100.0)]
        {
            let mut case = Case::new(&device);
            let choice = Choice { temperature, key: 0xfeed_beef ^ columns as u64 };
            let logits: Vec<Vec<f32>> =
                (0..rows).map(|_| (0..columns).map(|_| (8.0 * case.uniform()) as f32).collect()).collect();
            let ids: Vec<u32> = (0..rows as u32).map(|row| 5 * row + 1).collect();
            let positions: Vec<u32> = (0..rows as u32).map(|row| 1000 * row).collect();
            let found = run(&device, &logits, choice, &ids, &positions);
            for row in 0..rows {
                let scores = |at: usize| score(logits[row][at], choice, ids[row], positions[row], at);
                let best = (0..columns).map(scores).fold(f64::NEG_INFINITY, f64::max);
                // A score this near the best one is as good: the device's are f32.
                assert!(best - scores(found[row] as usize) <= 1e-6 * best.abs(), "row {row}: {}", found[row]);
            }
        }
    }

    #[test]
    fn ties_go_to_the_smallest_and_no_number_is_seen_anywhere() {
        let device = device();
        let greedy = Choice { temperature: 0.0, key: 0 };
        let tied = |first: usize, last: usize| {
            let mut row = vec![-1.0; 4100];
            (row[first], row[last]) = (2.0, 2.0);
            row
        };
        let masked = vec![f32::NEG_INFINITY; 4100];
        let rows = [tied(3, 4), tied(100, 4099), tied(4098, 4099), masked];
        assert_eq!(run(&device, &rows, greedy, &[0; 4], &[0; 4]), [3, 100, 4098, 0]);
        for place in [0, 77, 4099] {
            let mut row = tied(5, 6);
            row[place] = f32::NAN;
            for temperature in [0.0, 1.0] {
                let choice = Choice { temperature, key: 1 };
                let found = run(&device, &[row.clone(), tied(5, 6)], choice, &[0; 2], &[0; 2]);
                assert!(found[0] == INVALID && found[1] < 4100, "{found:?}");
            }
        }
    }

    #[test]
    fn the_twin_follows_the_distribution() {
        let (logits, choice) = ([0.0, 3.0_f32.ln()], Choice { temperature: 1.0, key: 5 });
        let score = |position: u32, token: usize| score(logits[token], choice, 3, position, token);
        let ones = (0..4000).filter(|&position| score(position, 1) > score(position, 0)).count();
        assert!((2_880..3_120).contains(&ones), "{ones} of 4000");
    }
}
