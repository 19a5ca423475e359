//! Owns the proof that every override of a custom operation equals its plain twin. Knows the implementations; the list of
//! operations and shapes is `parity`'s.

use burn::tensor::{DType, Device, DeviceKind};

use super::gpu::Gpu;
use crate::device::TensorDevice;
use crate::parity;

fn all_hold(device: &TensorDevice, bound: f64) {
    let wrong: Vec<String> = parity::kernels(device)
        .into_iter()
        .map(|row| parity::Row { bound: row.bound.min(bound), ..row })
        .filter(|row| !row.holds())
        .map(|row| row.to_string())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_processors_kernels_equal_their_twins() {
    all_hold(&TensorDevice::cpu(), 2e-5);
}

/// On a device in software, in f32; where there is a GPU, in every format that it has.
#[test]
fn the_gpus_kernels_equal_their_twins() {
    let Some(device) = std::env::var_os("TRAINER_TEST_VULKAN") else { return };
    let (kind, formats) = match device == "gpu" {
        true => (DeviceKind::DiscreteGpu(0), vec![DType::F32, DType::F16, DType::BF16]),
        false => (DeviceKind::Cpu, vec![DType::F32]),
    };
    for dtype in formats {
        // A small limit, so that tables are cut.
        let device =
            TensorDevice { device: Device::vulkan(kind.clone()), dtype, kernels: &Gpu, largest_binding: 1 << 20 };
        all_hold(&device, f64::INFINITY);
    }
}
