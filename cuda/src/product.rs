//! Owns what a matrix product is asked for: operands, transposition, scale and what is added. Knows no library.
//!
//! Everything is row-major: `target = alpha * op(a) * op(b) + beta * added (+ bias)`, f32 inside.

use half::bf16;

use crate::memory::{Matrix, Span};

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
