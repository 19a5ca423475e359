//! Owns softmax and cross-entropy over logits that come in pieces of the vocabulary. Knows neither masks nor the head that made
//! the logits: every row has a target.
//!
//! One launch a piece reads it once, keeping for each row the peak, the sum of exponentials under it and the target's logit; one
//! launch a piece turns its logits into gradients or log-probabilities. With one piece that is two launches.

use cubecl::client::Client;
use cubecl::frontend::Array as Registers;
use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::vector::{Sharing, lane_of, row_max, row_of, row_sum, vector_size};

/// Units of one row, where the device allows: few rows must keep a large device busy.
const UNITS: usize = 1024;
/// Vectors that a unit loads before it uses the first.
const DEPTH: usize = 4;
/// Below every logit, and finite: its difference to itself is a number.
const LOWEST: f32 = f32::MIN;

/// What is known of rows of logits from the pieces read so far.
#[derive(Clone)]
pub struct Softmax {
    /// f32 `[rows, 3]`: peak, sum of exponentials under it, logit of the target (zero without targets).
    state: Array,
    /// f32 `[rows, 1]`: `log(sum(exp(logits))) - logits[target]`, or without targets the log-sum-exp, once all pieces were read.
    pub losses: Array,
    /// Columns read so far.
    read: usize,
}

/// Logarithm of the sum of exponentials of each row, f32 `[rows, 1]`.
///
/// # Shapes
/// - pieces `[rows, V_p]`, consecutive ranges of the vocabulary
#[must_use]
pub fn log_sum_exp(pieces: &[Array]) -> Array {
    Softmax::of(pieces, None).losses
}

/// f32 logits become log-probabilities in place.
///
/// # Shapes
/// - pieces `[rows, V_p]`, consecutive ranges of the vocabulary
pub fn log_softmax(pieces: &[Array]) {
    let softmax = Softmax::of(pieces, None);
    pieces.iter().for_each(|piece| softmax.turn(piece, None, 1.0));
}

impl Softmax {
    /// Before the first piece.
    #[must_use]
    pub fn new(client: &Client, rows: usize) -> Self {
        let kind = f32::elem_type_native();
        Softmax { state: Array::empty(client, [rows, 3], kind), losses: Array::empty(client, [rows, 1], kind), read: 0 }
    }

    /// Of all pieces; with targets its losses are those of cross-entropy.
    ///
    /// # Shapes
    /// - pieces `[rows, V_p]`, at least one, consecutive ranges of the vocabulary; targets u32 `[1, rows]`
    #[must_use]
    pub fn of(pieces: &[Array], targets: Option<&Array>) -> Self {
        let mut softmax = Softmax::new(&pieces[0].client, pieces[0].shape[0]);
        pieces.iter().for_each(|piece| softmax.add(piece, targets));
        softmax
    }

    /// Reads the next piece, for callers that have them one after another.
    pub fn add(&mut self, piece: &Array, targets: Option<&Array>) {
        let [rows, width] = piece.shape;
        let (first, offset) = (self.read == 0, self.read);
        self.read += width;
        if piece.length() == 0 {
            return;
        }
        let client = &piece.client;
        let size = vector_size(client, &[piece.dtype], &[width]);
        let sharing = Sharing::of(client, width / size, UNITS);
        add_kernel::launch(
            client,
            sharing.grid(client, rows),
            sharing.dim(),
            size,
            piece.vectors(size),
            targets.map_or_else(|| piece.arg_as(u32::elem_type_native()), Array::arg),
            self.state.arg(),
            self.losses.arg(),
            rows,
            offset as u32,
            first,
            targets.is_some(),
            sharing,
            piece.dtype,
        );
    }

    /// Logits of a piece become `(softmax - onehot(target)) * scale` in place, once all pieces were read. `offset` is the number
    /// of columns before it.
    pub fn gradient(&self, piece: &Array, offset: usize, targets: &Array, scale: f32) {
        self.turn(piece, Some((targets, offset)), scale);
    }

    fn turn(&self, piece: &Array, targets: Option<(&Array, usize)>, scale: f32) {
        if piece.length() == 0 {
            return;
        }
        let (client, width) = (&piece.client, piece.shape[1]);
        let size = vector_size(client, &[piece.dtype], &[width]);
        let units = piece.length() / size;
        let (count, dim) = spread(client, units);
        turn_kernel::launch(
            client,
            count,
            dim,
            size,
            piece.vectors(size),
            targets.map_or_else(|| self.state.arg_as(u32::elem_type_native()), |(targets, _)| targets.arg()),
            self.state.arg(),
            units,
            targets.map_or(0, |(_, offset)| offset as u32),
            scale,
            targets.is_some(),
            width / size,
            piece.dtype,
        );
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn add_kernel<F: Float, N: Size>(
    piece: &[Vector<F, N>],
    targets: &[u32],
    state: &mut [f32],
    losses: &mut [f32],
    rows: usize,
    offset: u32,
    #[comptime] first: bool,
    #[comptime] targeted: bool,
    #[comptime] sharing: Sharing,
    #[define(F)] _dtype: ElemType,
) {
    let (vectors, lanes, size) = (comptime!(sharing.vectors), comptime!(sharing.lanes), N::value());
    let (row, lane) = (row_of(sharing), lane_of(sharing));
    // Units beyond the last row take part in the sums of one that exists: all of a workgroup must meet there.
    let start = min(row, rows - 1) * vectors;
    let mut peaks = Vector::<f32, N>::new(LOWEST);
    let mut sums = Vector::<f32, N>::new(0.0);
    let mut plain = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, vectors, comptime!(lanes * DEPTH)) {
        let mut values = Registers::<Vector<f32, N>>::new(DEPTH);
        let mut next = peaks;
        #[unroll]
        for i in 0..DEPTH {
            let place = at + comptime!(i * lanes);
            let value = Vector::<f32, N>::cast_from(piece[start + min(place, vectors - 1)]);
            plain += value;
            values[i] = select(place < vectors, value, Vector::new(LOWEST));
            next = max(next, values[i]);
        }
        sums *= Vector::exp(peaks - next);
        #[unroll]
        for i in 0..DEPTH {
            sums += Vector::exp(values[i] - next);
        }
        peaks = next;
    }
    let mut peak = peaks.extract(0usize);
    #[unroll]
    for i in 1..size {
        peak = max(peak, peaks.extract(i));
    }
    let sum = (sums * Vector::exp(peaks - Vector::new(peak))).vector_sum();
    let mut top = row_max(peak, sharing);
    let mut whole = row_sum(sum * f32::exp(peak - top), sharing);
    // Not on every device is the exponential or the logarithm of what is no number no number: the plain sum stands in, so that
    // the loss tells.
    let plain = row_sum(plain.vector_sum(), sharing);
    whole = select(plain <= f32::MAX, whole, plain);
    if row < rows && lane == 0 {
        let mut chosen = 0.0f32;
        if comptime!(!first) {
            let before = state[row * 3];
            let both = max(top, before);
            whole = whole * f32::exp(top - both) + state[row * 3 + 1] * f32::exp(before - both);
            top = both;
            chosen = state[row * 3 + 2];
        }
        if comptime!(targeted) {
            let target = targets[row];
            if target >= offset {
                let column = (target - offset) as usize;
                if column < comptime!(vectors * size) {
                    let vector = Vector::<f32, N>::cast_from(piece[start + column / size]);
                    chosen = component(vector, column % size);
                }
            }
        }
        state[row * 3] = top;
        state[row * 3 + 1] = whole;
        state[row * 3 + 2] = chosen;
        losses[row] = select(whole <= f32::MAX, f32::ln(whole) - (chosen - top), whole);
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn turn_kernel<F: Float, N: Size>(
    piece: &mut [Vector<F, N>],
    targets: &[u32],
    state: &[f32],
    units: usize,
    offset: u32,
    scale: f32,
    #[comptime] targeted: bool,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let size = N::value();
        let row = ABSOLUTE_POS / width;
        let value = Vector::<f32, N>::cast_from(piece[ABSOLUTE_POS]) - Vector::new(state[row * 3]);
        if comptime!(targeted) {
            let mut slope = Vector::exp(value) * Vector::new(scale / state[row * 3 + 1]);
            let first = (ABSOLUTE_POS % width * size) as u32 + offset;
            let target = targets[row];
            if target >= first && target - first < size as u32 {
                #[unroll]
                for i in 0..size {
                    if target - first == i as u32 {
                        slope.insert(i, slope.extract(i) - scale);
                    }
                }
            }
            piece[ABSOLUTE_POS] = Vector::cast_from(slope);
        } else {
            piece[ABSOLUTE_POS] = Vector::cast_from(value - Vector::new(f32::ln(state[row * 3 + 1])));
        }
    }
}

/// A value of a vector by a number that is known at run time.
#[cube]
fn component<N: Size>(vector: Vector<f32, N>, index: usize) -> f32 {
    let mut value = vector.extract(0usize);
    let size = N::value();
    #[unroll]
    for i in 1..size {
        if index == i {
            value = vector.extract(i);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{array, client, close, formats, numbers, read, stored, tolerance};

    /// Logits, their pieces as ranges of columns, and targets.
    fn case([rows, width]: [usize; 2], pieces: usize) -> (Vec<f32>, Vec<std::ops::Range<usize>>, Vec<u32>) {
        let mut logits = numbers(rows * width, 1);
        logits.iter_mut().for_each(|x| *x = *x * 15.0 + 40.0);
        let height = width.div_ceil(pieces);
        let ranges = (0..pieces).map(|i| (i * height).min(width)..((i + 1) * height).min(width)).collect();
        (logits, ranges, (0..rows).map(|row| (row * 37 % width) as u32).collect())
    }

    fn values(logits: &[f32], width: usize, range: &std::ops::Range<usize>) -> Vec<f32> {
        logits.chunks(width).flat_map(|row| row[range.clone()].to_vec()).collect()
    }

    fn cut(logits: &[f32], width: usize, range: &std::ops::Range<usize>) -> Array {
        array([logits.len() / width, range.len()], &values(logits, width, range))
    }

    fn log_sum(row: &[f32]) -> f64 {
        let peak = row.iter().copied().fold(f32::MIN, f32::max);
        f64::from(peak) + row.iter().map(|&x| f64::from(x - peak).exp()).sum::<f64>().ln()
    }

    const CASES: [([usize; 2], usize); 8] = [
        ([1, 7], 1),
        ([33, 64], 1),
        ([70, 130], 1),
        ([70, 130], 3),
        ([5, 5003], 1),
        ([5, 20_000], 1),
        ([9, 5003], 4),
        ([300, 12], 2),
    ];

    #[test]
    fn losses_and_gradients_equal_those_of_the_host() {
        if !crate::testing::asked() {
            return;
        }
        for (dtype, (shape, pieces)) in formats().into_iter().flat_map(|dtype| CASES.map(|case| (dtype, case))) {
            let [rows, width] = shape;
            let (logits, ranges, targets) = case(shape, pieces);
            let (_, logits) = stored(shape, &logits, dtype);
            let part =
                |range: &std::ops::Range<usize>| stored([rows, range.len()], &values(&logits, width, range), dtype).0;
            let parts: Vec<Array> = ranges.iter().map(part).collect();
            let places = Array::from_u32(&client(), &targets);
            let softmax = Softmax::of(&parts, Some(&places));
            let lines = || logits.chunks(width).zip(&targets);
            let want: Vec<f64> = lines().map(|(row, &at)| log_sum(row) - f64::from(row[at as usize])).collect();
            close(&read(&softmax.losses), &want, 1e-5);
            assert_eq!(softmax.losses.shape, [rows, 1]);
            let scale = 0.37_f32;
            for (part, range) in parts.iter().zip(&ranges) {
                softmax.gradient(part, range.start, &places, scale);
                let want: Vec<f64> = lines()
                    .flat_map(|(row, &at)| {
                        let log_sum = log_sum(row);
                        let hit = move |column: usize| if column == at as usize { 1.0 } else { 0.0 };
                        let slope = move |column: usize| (f64::from(row[column]) - log_sum).exp() - hit(column);
                        range.clone().map(move |column| slope(column) * f64::from(scale))
                    })
                    .collect();
                close(&read(part), &want, tolerance(dtype, 1e-5));
            }
        }
    }

    #[test]
    fn log_probabilities_equal_those_of_the_host() {
        if !crate::testing::asked() {
            return;
        }
        for (shape, pieces) in CASES {
            let (logits, ranges, _) = case(shape, pieces);
            let parts: Vec<Array> = ranges.iter().map(|range| cut(&logits, shape[1], range)).collect();
            let sums: Vec<f64> = logits.chunks(shape[1]).map(log_sum).collect();
            close(&read(&log_sum_exp(&parts)), &sums, 1e-5);
            log_softmax(&parts);
            for (part, range) in parts.iter().zip(&ranges) {
                let rows = logits.chunks(shape[1]).zip(&sums);
                let want: Vec<f64> =
                    rows.flat_map(|(row, sum)| row[range.clone()].iter().map(move |&x| f64::from(x) - sum)).collect();
                close(&read(part), &want, 1e-5);
            }
        }
    }

    #[test]
    fn logits_of_minus_infinity_count_nothing_and_no_rows_are_allowed() {
        if !crate::testing::asked() {
            return;
        }
        let mut logits = numbers(3 * 64, 1);
        logits.iter_mut().step_by(3).for_each(|x| *x = f32::NEG_INFINITY);
        let want: Vec<f64> = logits.chunks(64).map(log_sum).collect();
        close(&read(&log_sum_exp(&[array([3, 64], &logits)])), &want, 1e-5);
        assert_eq!(log_sum_exp(&[array([0, 64], &[])]).shape, [0, 1]);
    }

    #[test]
    fn a_logit_that_is_not_a_number_is_seen() {
        if !crate::testing::asked() {
            return;
        }
        for odd in [f32::NAN, f32::INFINITY] {
            let mut logits = numbers(64, 1);
            logits[9] = odd;
            let split = [array([1, 32], &logits[..32]), array([1, 32], &logits[32..])];
            assert!(!read(&log_sum_exp(&[array([1, 64], &logits)]))[0].is_finite());
            assert!(!read(&log_sum_exp(&split))[0].is_finite());
        }
    }
}
