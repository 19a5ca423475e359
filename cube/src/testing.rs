//! Owns what tests share: a device, numbers, and comparison with sums in f64. Knows no operation.

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::wgpu::{WgpuBackend, WgpuDevice, WgpuDeviceKind};

use crate::Array;

/// Whether tests are to run on a Vulkan device. Without this they would fail wherever there is none; `cargo xtask ci` says so
/// when it leaves them out.
pub(crate) fn asked() -> bool {
    std::env::var_os("TRAINER_TEST_VULKAN").is_some()
}

/// The queue of the device that tests run on: a discrete GPU where `TRAINER_TEST_VULKAN` is `gpu`, else one in software.
pub(crate) fn client() -> Client {
    let kind = if on_gpu() { WgpuDeviceKind::DiscreteGpu(0) } else { WgpuDeviceKind::Cpu };
    let mut device = WgpuDevice::new(kind);
    device.backend = WgpuBackend::Vulkan;
    cubecl::Device::Wgpu(device).client()
}

/// Whether the device of the tests has more than f32.
pub(crate) fn on_gpu() -> bool {
    std::env::var_os("TRAINER_TEST_VULKAN").is_some_and(|device| device == "gpu")
}

/// Numbers in `(-2, 2)` that are a function of a seed.
pub(crate) fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 40) as f32 / (1u64 << 24) as f32) * 4.0 - 2.0
    };
    (0..length).map(next).collect()
}

pub(crate) fn array(shape: [usize; 2], values: &[f32]) -> Array {
    assert_eq!(values.len(), shape[0] * shape[1]);
    if values.is_empty() {
        return Array::empty(&client(), shape, f32::elem_type_native());
    }
    Array::from_f32(&client(), shape, values)
}

pub(crate) fn read(array: &Array) -> Vec<f32> {
    if array.length() == 0 {
        return Vec::new();
    }
    let bytes = array.client.read_one(array.handle.clone()).unwrap();
    bytemuck::cast_slice(&bytes)[..array.length()].to_vec()
}

/// Every value within a tolerance relative to itself, or to the usual size of values where it is small.
pub(crate) fn close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let size = (want.iter().map(|x| x * x).sum::<f64>() / want.len().max(1) as f64).sqrt();
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= tolerance * want.abs().max(size), "value {at}: {got} for {want}");
    }
}
