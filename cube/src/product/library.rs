//! Owns products through CubeK, with one strategy for each class of shapes and no tuning. Knows no layer.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy as Levels;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

use super::Factor;
use crate::Array;

/// `a * b` in a format.
///
/// # Panics
/// When the library refuses the shape, which is a defect: its naive strategy takes every shape.
#[must_use]
pub(super) fn product(a: Factor<'_>, b: Factor<'_>, dtype: ElemType) -> Array {
    let client = &a.array.client;
    let out = Array::empty(client, [a.shape()[0], b.shape()[1]], dtype);
    let run = |strategy: Levels| {
        let input = a.array.dtype;
        let mut types = MatmulElems::from_globals(&MatmulGlobalElems { lhs: input, rhs: input, out: dtype });
        launch_ref(
            &Strategy::MultiLevel(strategy),
            client,
            InputBinding::new(binding(a), input),
            InputBinding::new(binding(b), input),
            binding(out.plain()),
            &mut types,
        )
    };
    if run(Levels::SimpleUnit(Default::default())).is_err() {
        #[expect(clippy::expect_used, reason = "said above")]
        run(Levels::Naive).expect("the naive strategy takes every shape");
    }
    out
}

fn binding(factor: Factor<'_>) -> TensorBinding {
    let [rows, columns] = factor.array.shape;
    let strides = if factor.transposed { [1, columns] } else { [columns, 1] };
    let shape = if factor.transposed { [columns, rows] } else { [rows, columns] };
    // SAFETY: an array is made with a buffer of its length.
    #[allow(unsafe_code)]
    unsafe {
        TensorBinding::from_raw_parts(factor.array.handle.clone(), strides[..].into(), shape[..].into())
    }
}
