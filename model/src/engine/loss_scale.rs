//! Owns the factor that keeps gradients inside the range of f16: what it starts at, when it falls and when it grows.
//! Knows no tensor. Where gradients have the range of f32 it is one and stays so.
//!
//! A micro-batch whose gradient overflows is computed again with half the factor, so that no step is lost to it.

use burn::tensor::DType;

/// Micro-batches without an overflow after which a larger factor is tried.
const PATIENCE: u32 = 500;

/// What the losses of a micro-batch are multiplied by before the backward pass, and its gradient divided by after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LossScale {
    factor: f32,
    good: u32,
    dynamic: bool,
}

impl LossScale {
    /// The factor to start with for activations of a format.
    pub(super) fn new(dtype: DType) -> Self {
        let dynamic = dtype == DType::F16;
        LossScale { factor: if dynamic { 65_536.0 } else { 1.0 }, good: 0, dynamic }
    }

    /// The factor, a power of two.
    pub(super) fn factor(self) -> f32 {
        self.factor
    }

    /// A gradient with this factor was finite.
    pub(super) fn held(&mut self) {
        self.good += 1;
        if self.dynamic && self.good >= PATIENCE && self.factor < 16_777_216.0 {
            (self.factor, self.good) = (self.factor * 2.0, 0);
        }
    }

    /// A gradient with this factor was not finite. Whether a smaller one is worth a try.
    pub(super) fn overflowed(&mut self) -> bool {
        let again = self.dynamic && self.factor > 1.0;
        if again {
            (self.factor, self.good) = (self.factor / 2.0, 0);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_at_an_overflow_and_grows_after_many_good_ones() {
        let mut scale = LossScale::new(DType::F16);
        assert!(scale.overflowed());
        assert_eq!(scale.factor(), 32_768.0);
        (0..PATIENCE).for_each(|_| scale.held());
        assert_eq!(scale.factor(), 65_536.0);
        while scale.overflowed() {}
        assert_eq!(scale.factor(), 1.0, "at one the overflow is the model's own");
    }

    #[test]
    fn is_one_where_gradients_have_the_range_of_f32() {
        let mut scale = LossScale::new(DType::F32);
        assert!(!scale.overflowed());
        (0..10 * PATIENCE).for_each(|_| scale.held());
        assert_eq!(scale.factor(), 1.0);
    }
}
