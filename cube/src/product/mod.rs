//! Owns matrix products: which path a device takes for them, and the one form every caller uses. Knows no layer.
//!
//! | path | needs | products of |
//! |---|---|---|
//! | plane | cooperative matrices of a subgroup, 16 x 16 x 16 | f16, bf16 |
//! | unit | nothing | any |
//!
//! Nothing is tuned at run time: each path has one configuration for each class of shapes.

mod combine;
mod library;
mod plane;

use cubecl::ir::{DeviceProperties, ElemType};
use cubecl::prelude::*;

use crate::Array;

/// How products are made on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// On matrix units.
    Plane,
    /// Without them.
    Unit,
}

impl Path {
    /// The path of a device for values of a format.
    #[must_use]
    pub fn of(properties: &DeviceProperties, dtype: ElemType) -> Self {
        if plane::is_offered(properties, dtype) { Path::Plane } else { Path::Unit }
    }
}

/// A factor of a product: an array as it lies in memory, or its transpose.
#[derive(Clone, Copy)]
pub struct Factor<'a> {
    /// The values.
    pub array: &'a Array,
    /// Whether the product reads the transpose.
    pub transposed: bool,
}

impl Array {
    /// As a factor of a product.
    #[must_use]
    pub fn plain(&self) -> Factor<'_> {
        Factor { array: self, transposed: false }
    }

    /// The transpose as a factor of a product.
    #[must_use]
    pub fn transposed(&self) -> Factor<'_> {
        Factor { array: self, transposed: true }
    }
}

impl Factor<'_> {
    /// Rows and columns as the product sees them.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        let [rows, columns] = self.array.shape;
        if self.transposed { [columns, rows] } else { [rows, columns] }
    }
}

/// A large product with what is added to it: `residual + a * b + c * d + bias`.
pub struct Product<'a> {
    /// The product.
    pub main: [Factor<'a>; 2],
    /// A second one of the same shape, with a short inner dimension.
    pub beside: Option<[Factor<'a>; 2]>,
    /// A row added to every row.
    pub bias: Option<&'a Array>,
    /// Added, in f32.
    pub residual: Option<&'a Array>,
}

impl<'a> Product<'a> {
    /// `a * b`.
    #[must_use]
    pub fn of(a: Factor<'a>, b: Factor<'a>) -> Self {
        Product { main: [a, b], beside: None, bias: None, residual: None }
    }

    /// The sum in a format.
    #[must_use]
    pub fn run(&self, dtype: ElemType) -> Array {
        let [a, b] = self.main;
        let wide = f32::elem_type_native();
        let path = Path::of(a.array.client.properties(), a.array.dtype);
        let added = self.bias.is_some() || self.residual.is_some();
        let [c, d] = self.beside.unwrap_or(self.main);
        let shape = [a.shape()[0], b.shape()[1]];
        if path == Path::Plane && plane::takes(&[a, b, c, d], shape[1]) {
            return plane::product(self, shape, dtype);
        }
        if !added && self.beside.is_none() {
            return library::product(a, b, dtype);
        }
        let second = self.beside.map(|[c, d]| library::product(c, d, wide));
        combine::sum(&library::product(a, b, wide), second.as_ref(), self.bias, self.residual, dtype)
    }
}

/// A product with few columns, as adapters need: `[m, n]` for a small n, cut along the inner dimension into parts that are
/// still to be summed, so that the whole device works on it.
pub struct Narrow {
    parts: Array,
    splits: usize,
}

impl Narrow {
    /// `a * b`.
    #[must_use]
    pub fn of(a: Factor<'_>, b: Factor<'_>) -> Self {
        if Path::of(a.array.client.properties(), a.array.dtype) == Path::Plane && plane::takes(&[a, b], b.shape()[1]) {
            let (parts, splits) = plane::narrow(a, b);
            return Narrow { parts, splits };
        }
        Narrow { parts: library::product(a, b, f32::elem_type_native()), splits: 1 }
    }

    /// The parts, `[splits * m, n]` in f32.
    #[must_use]
    pub fn parts(&self) -> &Array {
        &self.parts
    }

    /// How many parts there are.
    #[must_use]
    pub fn splits(&self) -> usize {
        self.splits
    }

    /// The product in a format.
    #[must_use]
    pub fn whole(&self, dtype: ElemType) -> Array {
        combine::parts(&self.parts, self.splits, dtype)
    }
}
