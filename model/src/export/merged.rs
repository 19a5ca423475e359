//! Owns the sum `W + scale · B · A` for rows of any tensor of a base. Knows the flat layout of an adapter; knows no file
//! format.
//!
//! Modules read and write rows as transformers has them; the head of a tied model is its embedding, which has no
//! adapter (they are refused when an adapter is read), so nothing can come apart.

use std::collections::HashMap;

use crate::adapter::Adapter;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::kernels::cpu::product::{Cores, Into, Matrix, multiply};

/// A base, and what an adapter adds to it.
pub struct Merged<'a> {
    checkpoint: &'a Checkpoint,
    deltas: HashMap<String, Delta<'a>>,
}

/// The adapter of one linear.
struct Delta<'a> {
    /// `[rank, columns]`.
    a: &'a [f32],
    /// `[rows, rank]`.
    b: &'a [f32],
    rank: usize,
    columns: usize,
    scale: f32,
}

impl<'a> Merged<'a> {
    /// A base with an adapter, or as it is.
    pub fn new(checkpoint: &'a Checkpoint, adapter: Option<&'a Adapter>) -> Result<Self> {
        let mut deltas: HashMap<String, Delta<'a>> = HashMap::new();
        if let Some(adapter) = adapter {
            let scale = adapter.layout.scale();
            for matrix in adapter.layout.matrices() {
                let values = &adapter.values[matrix.range];
                let delta = deltas.entry(format!("{}.weight", matrix.module)).or_insert(Delta {
                    a: &[],
                    b: &[],
                    rank: 0,
                    columns: 0,
                    scale,
                });
                match matrix.matrix {
                    "lora_A" => (delta.a, delta.rank, delta.columns) = (values, matrix.shape[0], matrix.shape[1]),
                    _ => delta.b = values,
                }
            }
        }
        if let Some(absent) = deltas.keys().find(|name| !checkpoint.contains(name)) {
            return Err(Error::MissingTensor { path: checkpoint.path().to_path_buf(), name: absent.clone() });
        }
        Ok(Merged { checkpoint, deltas })
    }

    /// The base.
    #[must_use]
    pub fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// Number of linears that an adapter changes.
    #[must_use]
    pub fn num_adapted(&self) -> usize {
        self.deltas.len()
    }

    /// Whether an adapter changes a tensor.
    pub(crate) fn changes(&self, name: &str) -> bool {
        self.deltas.contains_key(name)
    }

    /// Adds the adapter to rows `first..` of a tensor.
    ///
    /// # Shapes
    /// - rows `[n, columns]`, row-major
    pub(crate) fn add(&self, name: &str, first: usize, rows: &mut [f32]) {
        let Some(delta) = self.deltas.get(name) else { return };
        let count = rows.len() / delta.columns;
        let b = &delta.b[first * delta.rank..(first + count) * delta.rank];
        let b = Matrix::new(b, count, delta.rank, delta.rank);
        let a = Matrix::new(delta.a, delta.rank, delta.columns, delta.columns);
        multiply(rows, delta.columns, Into::Add, delta.scale, b, a, Cores::Here);
    }
}
