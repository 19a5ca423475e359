//! Owns the comparison of a device's custom operations with their plain twins on the CPU, over shapes.
//! Knows the list of operations; knows nothing of how a device makes them.
//!
//! Nothing is computed on a value's way to an operation: values are made and rounded on the host and sent as bytes of their
//! format. A framework stores more formats than it computes in: SPIR-V has no arithmetic on bf16, and what a driver makes of
//! it is garbage. What was sent is read back, and has to be the same, bit for bit.

mod operations;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

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
    /// What makes the comparison void, where something does: an input that came back changed, a value that is not finite.
    pub fault: Option<String>,
}

impl Row {
    /// Whether the difference is within its bound. What is not a number is not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.fault.is_none() && self.difference <= self.bound
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { operation, shape, difference, bound, fault } = self;
        write!(f, "| {operation} | {shape} | {difference:.1e} | {bound:.0e} | ")?;
        match fault {
            Some(fault) => write!(f, "DIFFERENT: {fault} |"),
            None if self.holds() => f.write_str("equal |"),
            None => f.write_str("DIFFERENT |"),
        }
    }
}

/// Compares every custom operation of a device with its plain twin on the CPU, on the same values.
pub(crate) fn kernels(device: &TensorDevice) -> Vec<Row> {
    let processor = TensorDevice::cpu();
    operations::all().into_iter().map(|case| compare(device, &processor, case)).collect()
}

fn compare(device: &TensorDevice, processor: &TensorDevice, (operation, shape, run): operations::Case) -> Row {
    let changed = RefCell::new(None);
    let place = Place { device: &device.device, dtype: device.dtype, rounded: device.dtype, changed: &changed };
    let twin = Place { device: &processor.device, dtype: DType::F32, ..place };
    let (fast, plain) = (run(device.kernels, place), run(&Plain, twin));
    let difference = fast.iter().zip(&plain).fold(0.0, |worst: f64, (a, b)| {
        let difference = f64::from((a - b).abs()) / (1.0 + f64::from(b.abs()));
        // A comparison with what is not a number would be lost in a maximum.
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    });
    let fault = changed.take().or_else(|| void(&fast, &plain));
    Row { operation, shape, difference, bound: bound(device), fault }
}

/// Why two results cannot be compared, if they cannot.
fn void(fast: &[f32], plain: &[f32]) -> Option<String> {
    let odd = |values: &[f32]| values.iter().position(|value| !value.is_finite());
    if fast.len() != plain.len() {
        return Some(format!("{} values, and {} of the twin", fast.len(), plain.len()));
    }
    if plain.is_empty() {
        return Some("there is no value".to_owned());
    }
    match (odd(plain), odd(fast)) {
        (Some(at), _) => Some(format!("value {at} of the twin is {}", plain[at])),
        (None, Some(at)) => Some(format!("value {at} is {}", fast[at])),
        (None, None) => None,
    }
}

/// What differences may be. f32 differs by the order of sums. In sixteen bits the product with A is rounded before that with B, so
/// values of size ten with relative errors of 2^-11 (f16) or 2^-8 (bf16) are summed over the ranks: some hundredths, and eight times
/// as much.
fn bound(device: &TensorDevice) -> f64 {
    match device.dtype {
        DType::BF16 => 1.6e-1,
        DType::F16 => 2e-2,
        // As many bits of a product as f16 has.
        _ if device.tf32 => 2e-2,
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
    /// The first input that came back otherwise than it was sent.
    changed: &'a RefCell<Option<String>>,
}

impl Place<'_> {
    /// Values of weights and activations.
    fn values<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        self.scaled_values(name, shape, 1.0)
    }

    /// [`Place::values`] times a factor, rounded after it.
    fn scaled_values<const D: usize>(&self, name: &str, shape: [usize; D], factor: f32) -> Tensor<D> {
        self.send(name, &self.drawn(name, 0..shape.iter().product(), factor), shape, self.dtype)
    }

    /// Some rows of the matrix that [`Place::values`] gives.
    fn rows(&self, name: &str, rows: Range<usize>, width: usize) -> Tensor<2> {
        let values = self.drawn(name, rows.start * width..rows.end * width, 1.0);
        self.send(name, &values, [rows.len(), width], self.dtype)
    }

    /// Values of what is f32 on every device.
    fn stream<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        self.scaled_stream(name, shape, 1.0)
    }

    /// [`Place::stream`] times a factor.
    fn scaled_stream<const D: usize>(&self, name: &str, shape: [usize; D], factor: f32) -> Tensor<D> {
        self.send(name, &self.drawn(name, 0..shape.iter().product(), factor), shape, DType::F32)
    }

    fn drawn(&self, name: &str, places: Range<usize>, factor: f32) -> Vec<f32> {
        let key = key_of(11, name);
        places.map(|place| self.round(factor * normal(key, place as u64))).collect()
    }

    fn round(&self, value: f32) -> f32 {
        match self.rounded {
            DType::F16 => half::f16::from_f32(value).to_f32(),
            DType::BF16 => half::bf16::from_f32(value).to_f32(),
            _ => value,
        }
    }

    /// Values that are rounded already, as bytes of a format, and back again to see that they arrived.
    fn send<const D: usize>(&self, name: &str, values: &[f32], shape: [usize; D], dtype: DType) -> Tensor<D> {
        let data = match dtype {
            DType::F16 => TensorData::new(values.iter().map(|v| half::f16::from_f32(*v)).collect::<Vec<_>>(), shape),
            DType::BF16 => TensorData::new(values.iter().map(|v| half::bf16::from_f32(*v)).collect::<Vec<_>>(), shape),
            _ => TensorData::new(values.to_vec(), shape),
        };
        let tensor = Tensor::from_data(data, (self.device, dtype));
        if let Some(what) = altered(values, &host(&tensor)) {
            self.changed.borrow_mut().get_or_insert(format!("input {name}: {what}"));
        }
        tensor
    }
}

/// What is wrong with values that were sent and came back, if anything is.
fn altered(sent: &[f32], back: &[f32]) -> Option<String> {
    if sent.len() != back.len() {
        return Some(format!("{} values were sent and {} came back", sent.len(), back.len()));
    }
    if let Some(at) = sent.iter().position(|value| !value.is_finite()) {
        return Some(format!("value {at} is {}", sent[at]));
    }
    let at = sent.iter().zip(back).position(|(sent, back)| sent.to_bits() != back.to_bits())?;
    Some(format!("value {at} was sent as {} and came back as {}", sent[at], back[at]))
}

/// All values of a result on the host.
fn host<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data_dtype(DType::F32).iter::<f32>().collect()
}

/// A run of one operation with some kernels on values in some place.
type Run = Box<dyn Fn(&dyn Kernels, Place<'_>) -> Vec<f32>>;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A device whose activation gives a value that the twin does not give.
    struct Odd(f32);

    impl Kernels for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        fn swiglu(&self, gate_up: &Tensor<2>) -> Tensor<2> {
            let mut values = host(&crate::kernels::swiglu::plain(gate_up));
            values[0] = self.0;
            let shape = [gate_up.dims()[0], gate_up.dims()[1] / 2];
            Tensor::from_data(TensorData::new(values, shape), &gate_up.device())
        }
    }

    fn swiglu(kernels: &'static dyn Kernels) -> Row {
        let case = operations::all().into_iter().find(|(operation, ..)| *operation == "swiglu").unwrap();
        compare(&TensorDevice { kernels, ..TensorDevice::cpu() }, &TensorDevice::cpu(), case)
    }

    #[test]
    fn what_is_not_finite_or_too_far_off_is_told_and_does_not_hold() {
        assert!(swiglu(&Plain).holds());
        let far = swiglu(&Odd(1e3));
        assert!(!far.holds() && far.fault.is_none() && far.to_string().ends_with("| DIFFERENT |"), "{far}");
        let none = swiglu(&Odd(f32::NAN));
        assert!(!none.holds() && none.to_string().ends_with("| DIFFERENT: value 0 is NaN |"), "{none}");
        let endless = swiglu(&Odd(f32::INFINITY));
        assert_eq!(endless.fault.as_deref(), Some("value 0 is inf"));
    }

    #[test]
    fn results_that_cannot_be_compared_say_why() {
        assert_eq!(void(&[1.0], &[1.0]), None);
        assert_eq!(void(&[], &[]).unwrap(), "there is no value");
        assert_eq!(void(&[1.0], &[1.0, 2.0]).unwrap(), "1 values, and 2 of the twin");
        assert_eq!(void(&[1.0], &[f32::NAN]).unwrap(), "value 0 of the twin is NaN");
    }

    #[test]
    fn an_input_that_is_not_what_was_sent_is_told() {
        assert_eq!(altered(&[1.0, -0.0], &[1.0, -0.0]), None);
        assert_eq!(altered(&[1.0, 2.0], &[1.0, 2.5]).unwrap(), "value 1 was sent as 2 and came back as 2.5");
        assert_eq!(altered(&[1.0], &[f32::NAN]).unwrap(), "value 0 was sent as 1 and came back as NaN");
        assert_eq!(altered(&[f32::NAN], &[f32::NAN]).unwrap(), "value 0 is NaN");
        assert_eq!(altered(&[1.0], &[]).unwrap(), "1 values were sent and 0 came back");
    }

    #[test]
    fn values_are_drawn_in_the_format_of_the_device_and_a_part_is_a_part_of_the_whole() {
        let (processor, changed) = (TensorDevice::cpu(), RefCell::new(None));
        for rounded in [DType::F32, DType::F16, DType::BF16] {
            let place = Place { device: &processor.device, dtype: rounded, rounded, changed: &changed };
            let whole = host(&place.values("x", [6, 5]));
            assert_eq!(host(&place.rows("x", 2..4, 5)), whole[10..20]);
            let smaller: Vec<f32> = (0..30).map(|at| place.round(0.3 * normal(key_of(11, "x"), at))).collect();
            assert_eq!(host(&place.scaled_values("x", [6, 5], 0.3)), smaller);
            assert_eq!(place.values("x", [6, 5]).dtype(), rounded);
            assert_eq!(place.stream("x", [6, 5]).dtype(), DType::F32);
        }
        assert_eq!(changed.take(), None);
    }
}
