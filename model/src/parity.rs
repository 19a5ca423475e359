//! Owns the comparison of a device's custom operations with their plain twins on the CPU, over shapes.
//! Knows the list of operations; knows nothing of how a device makes them.

mod operations;

use std::fmt;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::TensorDevice;
use crate::dropout::{key_of, normal};
use crate::kernels::{Kernels, Plain};

/// What one comparison came to.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// The operation.
    pub operation: &'static str,
    /// Of which size.
    pub shape: String,
    /// Largest difference to the twin, over one plus the size of the twin's value.
    pub difference: f64,
    /// What it may be.
    pub bound: f64,
}

impl Row {
    /// Whether the difference is within its bound. What is not a number is not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.difference <= self.bound
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "equal" } else { "DIFFERENT" };
        write!(f, "| {} | {} | {:.1e} | {:.0e} | {verdict} |", self.operation, self.shape, self.difference, self.bound)
    }
}

/// Compares every custom operation of a device with its plain twin on the CPU, on the same values.
pub(crate) fn kernels(device: &TensorDevice) -> Vec<Row> {
    let place = Place { device: &device.device, dtype: device.dtype, rounded: device.dtype };
    let processor = TensorDevice::cpu();
    let twin = Place { device: &processor.device, dtype: DType::F32, rounded: device.dtype };
    let bound = bound(device.dtype);
    let compare = |(operation, shape, run): operations::Case| {
        let (fast, plain) = (run(device.kernels, place), run(&Plain, twin));
        let difference = fast.iter().zip(&plain).fold(0.0, |worst: f64, (a, b)| {
            let difference = f64::from((a - b).abs()) / (1.0 + f64::from(b.abs()));
            // A comparison with what is not a number would be lost in a maximum.
            if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
        });
        let difference = if fast.len() == plain.len() { difference } else { f64::INFINITY };
        Row { operation, shape, difference, bound }
    };
    operations::all().into_iter().map(compare).collect()
}

/// What differences may be. f32 differs by the order of sums. In sixteen bits the product with A is rounded before that with B, so
/// values of size ten with relative errors of 2^-11 (f16) or 2^-8 (bf16) are summed over the ranks: some hundredths, and eight times
/// as much.
fn bound(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2e-2,
        DType::BF16 => 1.6e-1,
        _ => 1e-4,
    }
}

/// Where the inputs of an operation are put.
#[derive(Clone, Copy)]
struct Place<'a> {
    device: &'a Device,
    dtype: DType,
    /// The format that values are rounded to first, so that both sides see the same.
    rounded: DType,
}

impl Place<'_> {
    /// Values of weights and activations. They are rounded on the host already, so the cast changes none.
    fn values<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        self.stream(name, shape).cast(self.dtype)
    }

    /// Values of what is f32 on every device.
    fn stream<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let key = key_of(11, name);
        let values = (0..shape.iter().product::<usize>()).map(|i| self.round(normal(key, i as u64)));
        Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), shape), (self.device, DType::F32))
    }

    fn round(&self, value: f32) -> f32 {
        match self.rounded {
            DType::F16 => half::f16::from_f32(value).to_f32(),
            DType::BF16 => half::bf16::from_f32(value).to_f32(),
            _ => value,
        }
    }
}

/// All values of a result on the host.
fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data_dtype(DType::F32).iter::<f32>().collect()
}

/// A run of one operation with some kernels on values in some place.
type Run = Box<dyn Fn(&dyn Kernels, Place<'_>) -> Vec<f32>>;
