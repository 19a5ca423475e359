//! Owns rotary positions on packed rows, with the norms of query and key heads where a model has them.
//! Knows positions as numbers; where they restart is the pack's business.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, steps};
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "rope", text: include_str!("../../kernels/rope.cu"), hopper: false };

/// Threads of a block.
const THREADS: usize = 256;

/// How a packed row `[queries | keys | values]` divides into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key heads, and as many value heads.
    pub key_value: usize,
    /// Values of a head: a multiple of sixteen, at most 256.
    pub head_dim: usize,
}

/// The angles of tokens.
///
/// # Shapes
/// - cos, sin `[P, D / 2]`, positions `[T]`, each below P
#[derive(Clone, Copy)]
pub struct Angles {
    /// Cosines.
    pub cos: Span<f32>,
    /// Sines.
    pub sin: Span<f32>,
    /// The row of each token in both.
    pub positions: Span<u32>,
}

/// The norms of heads.
#[derive(Clone, Copy)]
pub struct HeadNorms {
    /// Weight of query heads, `[D]`.
    pub q: Span<bf16>,
    /// Weight of key heads, `[D]`.
    pub k: Span<bf16>,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// The kernels of the rotation, for one shape of heads.
#[derive(Clone)]
pub struct Rope {
    forward: Function,
    backward: Function,
    heads: Heads,
}

impl Heads {
    /// Values of a packed row.
    #[must_use]
    pub fn packed_width(&self) -> usize {
        (self.query + 2 * self.key_value) * self.head_dim
    }
}

impl Rope {
    /// Compiles them.
    ///
    /// # Panics
    /// When the head size is not supported.
    pub fn new(device: &Device, heads: Heads) -> Result<Self> {
        let head_dim = heads.head_dim;
        assert!(head_dim.is_multiple_of(16) && (16..=256).contains(&head_dim), "rotation of heads of {head_dim}");
        let program = device.program(&SOURCE, &[])?;
        Ok(Rope { forward: program.function("rope")?, backward: program.function("rope_backward")?, heads })
    }

    /// Norms queries and keys of `input` where there are weights, rotates them into `output`, and copies the values.
    /// `output` may be `input`.
    ///
    /// # Shapes
    /// - input, output `[T, (heads + 2 * kv_heads) * D]`
    pub fn forward(
        &self,
        input: Matrix<bf16>,
        output: Matrix<bf16>,
        angles: Angles,
        norms: Option<HeadNorms>,
    ) -> Result<()> {
        let (tokens, half) = (input.rows(), self.heads.head_dim / 2);
        self.check(&[input, output], angles, norms);
        let rotated = self.heads.query + self.heads.key_value;
        let values = if input.address() == output.address() { 0 } else { self.heads.key_value };
        let (grid, lanes) = self.grid(tokens, rotated + values);
        launch!(
            self.forward, grid;
            input, input.pitch(), output, output.pitch(), angles.cos, angles.sin, angles.positions,
            norms.map(|norms| norms.q), norms.map(|norms| norms.k), norms.map_or(0.0, |norms| norms.epsilon),
            tokens, rotated + values, self.heads.query, rotated, half, lanes,
        )
    }

    /// The gradient `d` of queries and keys in place: rotated back and, where there are norms, taken through them.
    /// The values before the norms come with their weights. The gradient of the values stays.
    ///
    /// # Shapes
    /// - d and the values before the norms `[T, (heads + 2 * kv_heads) * D]`
    pub fn backward(&self, d: Matrix<bf16>, angles: Angles, norms: Option<(HeadNorms, Matrix<bf16>)>) -> Result<()> {
        let (tokens, half) = (d.rows(), self.heads.head_dim / 2);
        let before = norms.map_or(d, |(_, before)| before);
        let norms = norms.map(|(norms, _)| norms);
        self.check(&[d, before], angles, norms);
        let rotated = self.heads.query + self.heads.key_value;
        let (grid, lanes) = self.grid(tokens, rotated);
        launch!(
            self.backward, grid;
            d, d.pitch(), before, before.pitch(), angles.cos, angles.sin, angles.positions,
            norms.map(|norms| norms.q), norms.map(|norms| norms.k), norms.map_or(0.0, |norms| norms.epsilon),
            tokens, rotated, self.heads.query, half, lanes,
        )
    }

    fn check(&self, rows: &[Matrix<bf16>], angles: Angles, norms: Option<HeadNorms>) {
        let (tokens, head_dim) = (rows[0].rows(), self.heads.head_dim);
        let shaped = |rows: &Matrix<bf16>| rows.rows() == tokens && rows.columns() == self.heads.packed_width();
        assert!(rows.iter().all(shaped) && angles.positions.len() == tokens, "shapes of a rotation");
        assert!(angles.cos.len() == angles.sin.len(), "cosines and sines of a rotation");
        assert!(norms.is_none_or(|n| n.q.len() == head_dim && n.k.len() == head_dim), "weights of head norms");
        assert_aligned(rows);
    }

    /// The launch, and how many lanes of a warp own a head: each has sixteen values, and their number is a power of two.
    fn grid(&self, tokens: usize, heads: usize) -> (Grid, usize) {
        let lanes = (self.heads.head_dim / 16).next_power_of_two();
        let threads = tokens * heads * lanes;
        assert!(i32::try_from(threads).is_ok(), "{tokens} tokens of {heads} heads are too many for one launch");
        (Grid::new(steps(threads, THREADS), THREADS), lanes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, Known, close, device};
    use crate::memory::Block;

    fn rounded(x: f64) -> f64 {
        bf16::from_f64(x).to_f64()
    }

    /// Tables of more positions than there are tokens, on the host and on the device.
    struct Table {
        cos: Vec<f32>,
        sin: Vec<f32>,
        positions: Vec<u32>,
        _blocks: (Block, Block, Block),
        angles: Angles,
    }

    impl Table {
        fn new(case: &mut Case<'_>, tokens: usize, half: usize) -> Self {
            let length = 50;
            let angle = |at: usize| (at / half) as f32 * 10_000_f32.powf(-((at % half) as f32) / half as f32);
            let cos: Vec<f32> = (0..length * half).map(|at| 1.1 * angle(at).cos()).collect();
            let sin: Vec<f32> = (0..length * half).map(|at| 1.1 * angle(at).sin()).collect();
            let positions: Vec<u32> = (0..tokens).map(|token| (token as u32 * 7 + 3) % length as u32).collect();
            let ((a, cosines), (b, sines), (c, places)) =
                (case.upload(&cos), case.upload(&sin), case.upload(&positions));
            let angles = Angles { cos: cosines, sin: sines, positions: places };
            Table { cos, sin, positions, _blocks: (a, b, c), angles }
        }

        /// Plain twin of the rotation of one head, back with a `sign` of -1.
        fn rotate(&self, head: &[f64], token: usize, sign: f64) -> Vec<f64> {
            let half = head.len() / 2;
            let at = |i: usize| self.positions[token] as usize * half + i % half;
            let partner = |i: usize| if i < half { -head[i + half] } else { head[i - half] };
            let turned = |i: usize| {
                let (c, z) = (f64::from(self.cos[at(i)]), f64::from(self.sin[at(i)]));
                head[i] * c + sign * partner(i) * z
            };
            (0..head.len()).map(turned).collect()
        }
    }

    fn inverse_rms(x: &[f64], epsilon: f64) -> f64 {
        1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + epsilon).sqrt()
    }

    /// Plain twin of a head's norm, with its two roundings.
    fn norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
        let scale = inverse_rms(x, epsilon);
        x.iter().zip(weight).map(|(x, w)| rounded(rounded(x * scale) * w)).collect()
    }

    /// Plain twin of its gradient.
    fn norm_backward(dy: &[f64], x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
        let scale = inverse_rms(x, epsilon);
        let slopes: Vec<f64> = dy.iter().zip(weight).map(|(d, w)| d * w).collect();
        let mean = slopes.iter().zip(x).map(|(s, x)| s * x * scale).sum::<f64>() / x.len() as f64;
        slopes.iter().zip(x).map(|(s, x)| (s - x * scale * mean) * scale).collect()
    }

    /// `f` on every query and key head of every token, values as they are.
    fn over_heads(rows: &Known, tokens: usize, heads: Heads, f: impl Fn(&[f64], usize, usize) -> Vec<f64>) -> Vec<f64> {
        let mut out = Vec::new();
        for token in 0..tokens {
            for (head, values) in rows.row(token).chunks(heads.head_dim).enumerate() {
                let rotated = head < heads.query + heads.key_value;
                out.extend(if rotated { f(values, token, head) } else { values.to_vec() });
            }
        }
        out
    }

    #[test]
    fn rotations_equal_their_twins() {
        let device = device();
        let epsilon = 1e-6;
        for (query, key_value, head_dim, tokens) in [
            (1, 1, 16, 1),
            (3, 1, 32, 5),
            (4, 2, 64, 7),
            (2, 1, 80, 33),
            (9, 3, 128, 3),
            (1, 1, 240, 3),
            (2, 2, 256, 5),
        ] {
            let heads = Heads { query, key_value, head_dim };
            let (kernels, width) = (Rope::new(&device, heads).unwrap(), heads.packed_width());
            let mut case = Case::new(&device);
            let table = Table::new(&mut case, tokens, head_dim / 2);
            let [q, k] = ["q", "k"].map(|name| case.random(name, 1, head_dim, head_dim));
            let norms = HeadNorms { q: q.span(), k: k.span(), epsilon: epsilon as f32 };
            let weight = |head: usize| if head < query { q.row(0) } else { k.row(0) };

            for normed in [false, true] {
                let (x, y) = (case.random("x", tokens, width, width + 8), case.empty(tokens, width, width + 16));
                let before = |x: &[f64], head| if normed { norm(x, weight(head), epsilon) } else { x.to_vec() };
                let expected =
                    over_heads(&x, tokens, heads, |x, token, head| table.rotate(&before(x, head), token, 1.0));
                kernels.forward(x.matrix(), y.matrix(), table.angles, normed.then_some(norms)).unwrap();
                close("forward", &y.read(), &expected, 0.003);
                let d = case.random("d", tokens, width, width);
                let expected_d = over_heads(&d, tokens, heads, |d, token, head| {
                    let slopes = table.rotate(d, token, -1.0);
                    let values = &x.row(token)[head * head_dim..][..head_dim];
                    if normed { norm_backward(&slopes, values, weight(head), epsilon) } else { slopes }
                });
                kernels.backward(d.matrix(), table.angles, normed.then_some((norms, x.matrix()))).unwrap();
                close("backward", &d.read(), &expected_d, 0.003);
                kernels.forward(x.matrix(), x.matrix(), table.angles, normed.then_some(norms)).unwrap();
                assert_eq!(x.read(), y.read(), "in place");
            }
        }
    }
}
