//! Owns what tests share: a device, its formats, numbers, and comparison with sums in f64. Knows no operation.

use cubecl::client::Client;
use cubecl::features::TypeUsage;
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

fn on_gpu() -> bool {
    std::env::var_os("TRAINER_TEST_VULKAN").is_some_and(|device| device == "gpu")
}

/// Every format that the device of the tests stores and converts.
pub(crate) fn formats() -> Vec<ElemType> {
    let client = client();
    let stored = |dtype: &ElemType| {
        client.properties().type_usage(*dtype).is_superset(TypeUsage::Buffer | TypeUsage::Conversion)
    };
    let all = [f32::elem_type_native(), half::f16::elem_type_native(), half::bf16::elem_type_native()];
    all.into_iter().filter(stored).collect()
}

/// What a result in a format may differ by: a few roundings to it, or what sums in f32 cost.
pub(crate) fn tolerance(dtype: ElemType, sums: f64) -> f64 {
    if dtype == half::f16::elem_type_native() {
        4e-3
    } else if dtype == half::bf16::elem_type_native() {
        3e-2
    } else {
        sums
    }
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

/// Numbers in a format, rounded on the host, and what they are then.
pub(crate) fn stored(shape: [usize; 2], values: &[f32], dtype: ElemType) -> (Array, Vec<f32>) {
    assert_eq!(values.len(), shape[0] * shape[1]);
    let bytes = |words: Vec<u16>| words.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (bytes, values): (Vec<u8>, Vec<f32>) = if dtype == half::f16::elem_type_native() {
        let rounded: Vec<half::f16> = values.iter().map(|value| half::f16::from_f32(*value)).collect();
        (bytes(rounded.iter().map(|value| value.to_bits()).collect()), rounded.iter().map(|v| v.to_f32()).collect())
    } else if dtype == half::bf16::elem_type_native() {
        let rounded: Vec<half::bf16> = values.iter().map(|value| half::bf16::from_f32(*value)).collect();
        (bytes(rounded.iter().map(|value| value.to_bits()).collect()), rounded.iter().map(|v| v.to_f32()).collect())
    } else {
        return (array(shape, values), values.to_vec());
    };
    let client = client();
    let array = match values.is_empty() {
        true => Array::empty(&client, shape, dtype),
        false => Array { handle: client.create_from_slice(&bytes), client, shape, dtype },
    };
    (array, values)
}

/// The values of an array, whatever its format.
pub(crate) fn read(array: &Array) -> Vec<f32> {
    if array.length() == 0 {
        return Vec::new();
    }
    let bytes = array.client.read_one(array.handle.clone()).unwrap();
    let words = || bytes.chunks_exact(2).take(array.length()).map(|word| u16::from_le_bytes([word[0], word[1]]));
    if array.dtype == half::f16::elem_type_native() {
        words().map(|word| half::f16::from_bits(word).to_f32()).collect()
    } else if array.dtype == half::bf16::elem_type_native() {
        words().map(|word| half::bf16::from_bits(word).to_f32()).collect()
    } else {
        bytemuck::cast_slice(&bytes)[..array.length()].to_vec()
    }
}

#[test]
fn what_is_stored_is_read_back_in_every_format() {
    if !asked() {
        return;
    }
    for dtype in formats() {
        for shape in [[1, 1], [1, 7], [33, 64], [0, 64]] {
            let (array, values) = stored(shape, &numbers(shape[0] * shape[1], 1), dtype);
            assert!(values.iter().all(|value| value.is_finite()));
            assert_eq!(read(&array), values, "{dtype:?}");
        }
    }
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
