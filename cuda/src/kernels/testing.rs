//! Owns what tests of kernels share: a device, matrices with known random values on it, and comparison.
//! Knows no kernel.
#![allow(clippy::unwrap_used)]

use half::bf16;

use crate::device::Device;
use crate::memory::{Block, Matrix, Span};

/// A GPU where one answers, else the emulator.
pub(crate) fn device() -> Device {
    if Device::count() > 0 { Device::open(0, None).unwrap() } else { Device::emulated(false).unwrap() }
}

/// A source of values that differ from matrix to matrix and are the same each time.
pub(crate) struct Case<'a> {
    device: &'a Device,
    state: u64,
}

/// A matrix of bfloat16 on the device, and its values on the host.
pub(crate) struct Known {
    device: Device,
    block: Block,
    values: Vec<f64>,
    shape: [usize; 3],
}

impl<'a> Case<'a> {
    pub(crate) fn new(device: &'a Device) -> Self {
        Case { device, state: 1 }
    }

    /// A number in -1..1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Random values around zero with a standard deviation near one, rounded as the device holds them. What lies between
    /// the rows is NaN, so that a kernel that reads it shows.
    pub(crate) fn random(&mut self, name: &str, rows: usize, columns: usize, pitch: usize) -> Known {
        self.scaled(name, [rows, columns, pitch], 1.0)
    }

    /// Random values as those of [`Case::random`], times `scale`.
    pub(crate) fn scaled(&mut self, name: &str, shape: [usize; 3], scale: f64) -> Known {
        let [rows, columns, pitch] = shape;
        self.state ^= name.bytes().fold(self.state, |state, byte| state.rotate_left(7) ^ u64::from(byte));
        let mut stored = vec![bf16::NAN; rows * pitch];
        let mut values = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                let value = bf16::from_f64(scale * (0..3).map(|_| self.uniform()).sum::<f64>());
                stored[row * pitch + column] = value;
                values.push(value.to_f64());
            }
        }
        let block = self.device.allocate(2 * rows * pitch).unwrap();
        self.device.upload(block.span(0, rows * pitch), &stored).unwrap();
        Known { device: self.device.clone(), block, values, shape: [rows, columns, pitch] }
    }

    /// A matrix that nothing was written to.
    pub(crate) fn empty(&mut self, rows: usize, columns: usize, pitch: usize) -> Known {
        let block = self.device.allocate(2 * rows * pitch).unwrap();
        self.device.upload(block.span(0, rows * pitch), &vec![bf16::NAN; rows * pitch]).unwrap();
        Known { device: self.device.clone(), block, values: Vec::new(), shape: [rows, columns, pitch] }
    }

    /// Values of any type on the device.
    pub(crate) fn upload<T: crate::memory::Element>(&self, values: &[T]) -> (Block, Span<T>) {
        let block = self.device.allocate(size_of_val(values)).unwrap();
        let span = block.span(0, values.len());
        self.device.upload(span, values).unwrap();
        (block, span)
    }
}

impl Known {
    pub(crate) fn matrix(&self) -> Matrix<bf16> {
        let [rows, columns, pitch] = self.shape;
        self.block.span(0, rows * pitch).matrix(rows, columns, pitch)
    }

    pub(crate) fn span(&self) -> Span<bf16> {
        self.block.span(0, self.shape[0] * self.shape[2])
    }

    /// What was put in.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.shape[1]..][..self.shape[1]]
    }

    /// What the device holds now. What lies between the rows must still be what it was.
    pub(crate) fn read(&self) -> Vec<f64> {
        let [_, columns, pitch] = self.shape;
        for row in self.device.download(self.span()).unwrap().chunks(pitch) {
            assert!(
                row[columns..].iter().all(|value| value.to_bits() == bf16::NAN.to_bits()),
                "written between the rows"
            );
        }
        self.read_rows()
    }

    /// What the rows hold now, where a kernel writes behind them on purpose.
    pub(crate) fn read_rows(&self) -> Vec<f64> {
        self.device.download_matrix(self.matrix()).unwrap().iter().map(|value| value.to_f64()).collect()
    }
}

/// Compares by the norm of the difference over the norm of what is expected, and fails on any NaN.
pub(crate) fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let size = norm(&mut expected.iter().copied()).max(1e-30);
    assert!(difference / size <= tolerance, "{what}: relative difference {}", difference / size);
}
