//! Owns the proof that attention equals a naive form in f64. Knows the shapes that matter: groups, windows, ragged documents.

use super::*;
use crate::testing::{client, close, numbers, read, stored, tolerance};

#[derive(Clone)]
struct Naive {
    heads: Packed,
    window: Option<usize>,
    bounds: Vec<usize>,
}

impl Naive {
    fn tokens(&self) -> usize {
        self.bounds.last().copied().unwrap_or(0)
    }

    fn width(&self) -> usize {
        self.heads.all() * self.heads.head_dim
    }

    /// Output, log-sum-exp and the gradient of qkv.
    fn run(&self, qkv: &[f32], d_output: &[f32]) -> [Vec<f64>; 3] {
        let (heads, size, width) = (self.heads, self.heads.head_dim, self.width());
        let scale = 1.0 / (size as f64).sqrt();
        let [first, _] = Sight::rows(&self.bounds, self.window);
        let mut output = vec![0.0; self.tokens() * heads.query * size];
        let mut sums = vec![0.0; self.tokens() * heads.query];
        let mut d_qkv = vec![0.0; qkv.len()];
        let at = |row: usize, head: usize, i: usize| f64::from(qkv[row * width + head * size + i]);
        for row in 0..self.tokens() {
            for head in 0..heads.query {
                let key_head = heads.query + head / (heads.query / heads.key_value);
                let value_head = key_head + heads.key_value;
                let keys = first[row] as usize..row + 1;
                let score =
                    |key: usize| (0..size).map(|i| at(row, head, i) * at(key, key_head, i)).sum::<f64>() * scale;
                let scores: Vec<f64> = keys.clone().map(score).collect();
                let peak = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum = scores.iter().map(|s| (s - peak).exp()).sum::<f64>().ln() + peak;
                sums[row * heads.query + head] = sum;
                let place = (row * heads.query + head) * size;
                let d_o = |i: usize| f64::from(d_output[place + i]);
                for (key, score) in keys.clone().zip(&scores) {
                    let share = (score - sum).exp();
                    (0..size).for_each(|i| output[place + i] += share * at(key, value_head, i));
                }
                let delta: f64 = (0..size).map(|i| d_o(i) * output[place + i]).sum();
                for (key, score) in keys.zip(&scores) {
                    let share = (score - sum).exp();
                    let through: f64 = (0..size).map(|i| d_o(i) * at(key, value_head, i)).sum();
                    let change = share * (through - delta) * scale;
                    for i in 0..size {
                        d_qkv[row * width + head * size + i] += change * at(key, key_head, i);
                        d_qkv[key * width + key_head * size + i] += change * at(row, head, i);
                        d_qkv[key * width + value_head * size + i] += share * d_o(i);
                    }
                }
            }
        }
        [output, sums, d_qkv]
    }
}

fn shapes() -> Vec<Naive> {
    let naive = |query, key_value, head_dim, window, bounds: &[usize]| Naive {
        heads: Packed { query, key_value, head_dim },
        window,
        bounds: bounds.to_vec(),
    };
    vec![
        naive(4, 2, 16, None, &[0, 13, 34]),
        naive(3, 1, 64, None, &[0, 1, 130, 200]),
        naive(2, 2, 80, None, &[0, 65]),
        naive(4, 1, 8, Some(6), &[0, 21, 90]),
        naive(2, 1, 96, Some(64), &[0, 128, 129]),
        naive(2, 1, 128, None, &[0, 90, 200]),
        naive(8, 2, 64, None, &[0, 256]),
    ]
}

/// The formats of a device, with what rounding to them costs: probabilities are rounded too.
fn formats() -> Vec<(ElemType, f64)> {
    crate::testing::formats().into_iter().map(|dtype| (dtype, 1.4 * tolerance(dtype, 1.5e-5))).collect()
}

/// An array in a format, and the numbers it holds after rounding.
fn rounded(shape: [usize; 2], seed: u64, factor: f32, dtype: ElemType) -> (Array, Vec<f32>) {
    let values: Vec<f32> = numbers(shape[0] * shape[1], seed).into_iter().map(|value| value * factor).collect();
    stored(shape, &values, dtype)
}

#[test]
fn attention_equals_its_naive_form() {
    if !crate::testing::asked() {
        return;
    }
    for (dtype, tolerance) in formats() {
        // Larger numbers make peaks that grow by more than is left to them.
        for (naive, factor) in shapes().into_iter().flat_map(|naive| [(naive.clone(), 1.0), (naive, 3.0)]) {
            let tokens = naive.tokens();
            let (qkv, values) = rounded([tokens, naive.width()], 1, factor, dtype);
            let (d_output, changes) = rounded([tokens, naive.heads.query * naive.heads.head_dim], 2, 1.0, dtype);
            let [output, sums, d_qkv] = naive.run(&values, &changes);
            let sight = Sight::new(&client(), &naive.bounds, naive.window);
            let (got, got_sums) = forward(&qkv, naive.heads, &sight);
            let tolerance = tolerance * f64::from(factor);
            close(&read(&got), &output, tolerance);
            close(&read(&got_sums), &sums, 1e-5);
            close(&read(&backward(&d_output, &qkv, &got, &got_sums, naive.heads, &sight)), &d_qkv, 2.0 * tolerance);
        }
    }
}

#[test]
fn cached_attention_equals_attention_of_all() {
    if !crate::testing::asked() {
        return;
    }
    for ((dtype, tolerance), naive) in formats().into_iter().flat_map(|of| shapes().into_iter().map(move |it| (of, it)))
    {
        let (first, tokens, capacity) = (17, 60, 64);
        let naive = Naive { bounds: vec![0, tokens], ..naive };
        let (_, qkv) = rounded([tokens, naive.width()], 3, 1.0, dtype);
        let size = naive.heads.query * naive.heads.head_dim;
        let [output, ..] = naive.run(&qkv, &vec![0.0; tokens * size]);
        let width = naive.heads.key_value * naive.heads.head_dim;
        let keys = crate::elementwise::zeros(&client(), [3 * capacity, width], dtype);
        let values = crate::elementwise::zeros(&client(), [3 * capacity, width], dtype);
        let window = naive.window.map_or(u32::MAX, |window| window as u32);
        let mut got = Vec::new();
        for (from, to) in [(0, first), (first, tokens)] {
            let places: Vec<u32> = (from..to).flat_map(|_| [1, from as u32, 0, window]).collect();
            let places = Array::from_u32(&client(), &places);
            let rows = &qkv[from * naive.width()..to * naive.width()];
            let (new, _) = stored([to - from, naive.width()], rows, dtype);
            let cache = Cache { keys: &keys, values: &values, capacity, places: &places };
            got.extend(read(&cached(&new, &cache, naive.heads)));
            append(&new, &cache, naive.heads);
        }
        close(&got, &output, tolerance);
    }
}
