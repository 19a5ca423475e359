//! Owns what a matrix product is asked for: operands, transposition, scale and what is added. Knows no library.
//!
//! Everything is row-major: `target = alpha * op(a) * op(b) + beta * added (+ bias)`, f32 inside.

use half::bf16;

use crate::memory::{Matrix, Span};

/// Rows and columns of the tiles that the library's kernels for large products work in.
const TILE: [usize; 2] = [128, 256];
/// Sums of this length are worth splitting.
const LONG: usize = 8192;

/// Rows whose tiles keep every multiprocessor busy to the end, where at most half of them would be busy in a last round.
fn whole_rounds(rows: usize, columns: usize, multiprocessors: usize) -> Option<usize> {
    let across = columns.div_ceil(TILE[1]);
    let tiles = rows.div_ceil(TILE[0]) * across;
    let left = tiles % multiprocessors;
    let first = (tiles - left).checked_div(across)? * TILE[0];
    (left > 0 && 2 * left <= multiprocessors && first > 0 && first < rows).then_some(first)
}

/// A bfloat16 operand and whether it is read transposed.
#[derive(Clone, Copy)]
pub struct Operand {
    /// As it is stored.
    pub matrix: Matrix<bf16>,
    /// Whether rows and columns change places.
    pub transposed: bool,
}

impl Operand {
    /// Read as it is stored.
    #[must_use]
    pub fn plain(matrix: Matrix<bf16>) -> Self {
        Operand { matrix, transposed: false }
    }

    /// Read with rows and columns changed, without a copy.
    #[must_use]
    pub fn transposed(matrix: Matrix<bf16>) -> Self {
        Operand { matrix, transposed: true }
    }

    /// Rows and columns as they are read.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        let stored = [self.matrix.rows(), self.matrix.columns()];
        if self.transposed { [stored[1], stored[0]] } else { stored }
    }
}

/// Where a product goes, and the type it is rounded to.
#[derive(Clone, Copy)]
pub enum Target {
    /// Rounded to bfloat16.
    Bf16(Matrix<bf16>),
    /// As it was summed.
    F32(Matrix<f32>),
}

impl Target {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Target::Bf16(matrix) => [matrix.rows(), matrix.columns()],
            Target::F32(matrix) => [matrix.rows(), matrix.columns()],
        }
    }
}

/// A product. `added` has the type of the target, may be the target itself, and is read where `beta` is not zero.
#[derive(Clone, Copy)]
pub struct Product {
    /// `[m, k]` as read.
    pub a: Operand,
    /// `[k, n]` as read.
    pub b: Operand,
    /// `[m, n]`.
    pub target: Target,
    /// What the product is multiplied by.
    pub alpha: f32,
    /// What `added` is multiplied by.
    pub beta: f32,
    /// `[m, n]`; none stands for the target itself.
    pub added: Option<Target>,
    /// `[n]`, added to every row.
    pub bias: Option<Span<bf16>>,
}

impl Product {
    /// `target = a * b`.
    #[must_use]
    pub fn new(a: Operand, b: Operand, target: Target) -> Self {
        Product { a, b, target, alpha: 1.0, beta: 0.0, added: None, bias: None }
    }

    /// Multiplied by `alpha`.
    #[must_use]
    pub fn scaled(self, alpha: f32) -> Self {
        Product { alpha, ..self }
    }

    /// With `added` on top.
    #[must_use]
    pub fn plus(self, added: Target) -> Self {
        Product { beta: 1.0, added: Some(added), ..self }
    }

    /// On top of what the target holds.
    #[must_use]
    pub fn accumulated(self) -> Self {
        Product { beta: 1.0, added: None, ..self }
    }

    /// With `bias` added to every row.
    #[must_use]
    pub fn biased(self, bias: Option<Span<bf16>>) -> Self {
        Product { bias, ..self }
    }

    /// Whether it comes to the same however often it is computed: nothing is added, or something that is not the target.
    #[must_use]
    pub fn can_repeat(&self) -> bool {
        let address = |target: Target| match target {
            Target::Bf16(matrix) => matrix.address(),
            Target::F32(matrix) => matrix.address(),
        };
        self.beta == 0.0 || self.added.is_some_and(|added| address(added) != address(self.target))
    }

    /// The product as one or two with some of the rows each. A multiprocessor computes a tile of the target at a time, so
    /// where little is left for the last round of tiles, most of the chip is idle in it. Where the sums are long, those rows
    /// are a product of their own, for which the library splits the sums. Depends on the shape and the device alone.
    #[must_use]
    pub fn parts(&self, multiprocessors: usize) -> [Option<Product>; 2] {
        let [m, n, k] = self.shape();
        match whole_rounds(m, n, multiprocessors).filter(|_| k >= LONG && !self.a.transposed) {
            Some(first) => [Some(self.row_range(0, first)), Some(self.row_range(first, m - first))],
            None => [Some(*self), None],
        }
    }

    /// The same for some rows of the target.
    fn row_range(&self, start: usize, rows: usize) -> Self {
        let part = |target: Target| match target {
            Target::Bf16(matrix) => Target::Bf16(matrix.row_range(start, rows)),
            Target::F32(matrix) => Target::F32(matrix.row_range(start, rows)),
        };
        let a = Operand::plain(self.a.matrix.row_range(start, rows));
        Product { a, target: part(self.target), added: self.added.map(part), ..*self }
    }

    /// Rows, columns and the length of the sums.
    ///
    /// # Panics
    /// When the shapes do not fit, which is a defect of the caller.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        let ([m, k], [inner, n]) = (self.a.shape(), self.b.shape());
        assert!(
            k == inner && self.target.shape() == [m, n],
            "[{m}, {k}] x [{inner}, {n}] -> {:?}",
            self.target.shape()
        );
        if let Some(added) = &self.added {
            assert_eq!(added.shape(), [m, n], "what is added to a product");
        }
        if let Some(bias) = &self.bias {
            assert_eq!(bias.len(), n, "the bias of a product");
        }
        [m, n, k]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    #[test]
    fn a_short_last_round_is_a_product_of_its_own() {
        // 448 tiles, three rounds of 132 and 52: 28 of 32 rows of tiles fill them.
        assert_eq!(whole_rounds(4096, 3584, 132), Some(3584));
        // 3.9 rounds, exactly two, less than one.
        assert_eq!(whole_rounds(4096, 4096, 132), None);
        assert_eq!(whole_rounds(1024, 512, 8), None);
        assert_eq!(whole_rounds(512, 256, 132), None);
        assert_eq!(whole_rounds(0, 0, 132), None);
    }

    #[test]
    fn the_parts_of_a_product_are_the_product() {
        let device = device();
        let mut case = Case::new(&device);
        let (a, b) = (case.random("a", 300, LONG, LONG), case.random("b", 24, LONG, LONG));
        let [whole, target, added] = [0; 3].map(|_| case.empty(300, 24, 24));
        let [a, b] = [Operand::plain(a.matrix()), Operand::transposed(b.matrix())];
        let product = |target| Product::new(a, b, Target::Bf16(target)).plus(Target::Bf16(added.matrix()));
        let parts = product(target.matrix()).parts(2);
        let rows = parts.map(|part| part.map_or(0, |part| part.shape()[0]));
        assert_eq!(rows, [256, 44]);
        assert!(product(target.matrix()).parts(3)[1].is_none());
        device.zero_matrix(added.matrix()).unwrap();
        device.product(&product(whole.matrix())).unwrap();
        for part in parts.iter().flatten() {
            device.product(part).unwrap();
        }
        // As close as another order of a long sum lets them be.
        close("parts", &target.read(), &whole.read(), 0.02);
    }
}
