//! Owns the AdamW update over flat buffers: plain twin and slice kernel.
//! Knows neither schedules nor which numbers belong to which tensor.

use burn::tensor::Tensor;

use super::same_type;

/// First and second moments, flat.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Tensor<1>,
    /// Running mean of its square.
    pub second: Tensor<1>,
}

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// What the gradient is multiplied by first (the clip factor).
    pub gradient_scale: f32,
    /// This step, counted from one.
    pub step: u32,
}

impl AdamWStep {
    /// `1 / (1 - beta^step)` for both moments, computed in f64.
    #[must_use]
    pub fn bias_corrections(&self) -> (f32, f32) {
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(self.step as i32))) as f32;
        (correction(self.beta_1), correction(self.beta_2))
    }
}

/// Plain twin of `Kernels::adamw`.
pub fn plain(moments: Moments, parameters: Tensor<1>, gradient: Tensor<1>, s: AdamWStep) -> (Moments, Tensor<1>) {
    same_type("adamw", parameters.dtype(), gradient.dtype());
    let (correct_1, correct_2) = s.bias_corrections();
    let gradient = gradient * s.gradient_scale;
    let first = moments.first * s.beta_1 + gradient.clone() * (1.0 - s.beta_1);
    let second = moments.second * s.beta_2 + gradient.powi_scalar(2) * (1.0 - s.beta_2);
    let denominator = (second.clone() * correct_2).sqrt() + s.epsilon;
    let decayed = parameters * (1.0 - s.learning_rate * s.weight_decay);
    let parameters = decayed - first.clone() * (s.learning_rate * correct_1) / denominator;
    (Moments { first, second }, parameters)
}

/// The update on slices, in place.
#[inline(always)]
pub(super) fn slices(first: &mut [f32], second: &mut [f32], parameters: &mut [f32], gradient: &[f32], s: AdamWStep) {
    let (correct_1, correct_2) = s.bias_corrections();
    let decay = 1.0 - s.learning_rate * s.weight_decay;
    let rate = s.learning_rate * correct_1;
    for (((m, v), p), g) in first.iter_mut().zip(second).zip(parameters).zip(gradient) {
        let g = g * s.gradient_scale;
        *m = s.beta_1 * *m + (1.0 - s.beta_1) * g;
        *v = s.beta_2 * *v + (1.0 - s.beta_2) * g * g;
        *p = *p * decay - rate * *m / ((*v * correct_2).sqrt() + s.epsilon);
    }
}
