//! Owns the proof that every override of a custom operation equals its plain twin, and that what twins are made of is right, in
//! every format of every device that is here. Knows the implementations; the list of operations and shapes is `parity`'s.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::tests::in_every_format;
use crate::device::{Format, TensorDevice};
use crate::parity;

fn all_hold(device: &TensorDevice, bound: f64) {
    let wrong: Vec<String> = parity::kernels(device)
        .into_iter()
        .map(|row| parity::Row { bound: row.bound.min(bound), ..row })
        .filter(|row| !row.holds())
        .map(|row| row.to_string())
        .collect();
    assert!(wrong.is_empty(), "{:?}, {} differ:\n{}", device.dtype, wrong.len(), wrong.join("\n"));
}

#[test]
fn the_processors_kernels_equal_their_twins() {
    all_hold(&TensorDevice::cpu(), 2e-5);
}

/// The processor stores and computes in sixteen bits, so the list and its bounds are proven where there is no GPU.
#[test]
fn the_plain_operations_in_sixteen_bits_equal_those_in_f32() {
    for dtype in [DType::F16, DType::BF16] {
        all_hold(&TensorDevice { dtype, ..TensorDevice::plain_cpu() }, f64::INFINITY);
    }
}

/// On a device in software or on a GPU, in every format that it has.
#[test]
fn the_gpus_kernels_equal_their_twins() {
    in_every_format().iter().for_each(|device| all_hold(device, f64::INFINITY));
}

/// What a GPU of NVIDIA computes with where neither our own engine nor Vulkan can. Where one answers.
#[test]
fn the_frameworks_operations_on_cuda_equal_those_of_the_processor() {
    if cuda::Device::count() > 0 {
        for format in [Format::F32, Format::F16, Format::Bf16] {
            all_hold(&TensorDevice::cuda(0, format), f64::INFINITY);
        }
    }
}

/// Operations of the framework on values of a format, each with its name and the same in f64.
fn computed(device: &Device, dtype: DType) -> Vec<(&'static str, Vec<f32>, Vec<f64>)> {
    // Values that every format holds.
    let a: Vec<f64> = (0..65).map(|at| f64::from(at - 32) / 8.0).collect();
    let b: Vec<f64> = (0..65).map(|at| 0.5 + f64::from(at % 7) / 4.0).collect();
    let send = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        Tensor::<1>::from_data(TensorData::new(values, [65]), (device, DType::F32)).cast(dtype)
    };
    let (x, y) = (send(&a), send(&b));
    let with = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect::<Vec<f64>>();
    let host = |tensor: Tensor<1>| tensor.to_data_dtype(DType::F32).iter::<f32>().collect::<Vec<f32>>();
    vec![
        ("a", host(x.clone()), with(|a, _| a)),
        ("a * 0.3", host(x.clone() * 0.3), with(|a, _| a * 0.3)),
        ("a + b", host(x.clone() + y.clone()), with(|a, b| a + b)),
        ("a - b", host(x.clone() - y.clone()), with(|a, b| a - b)),
        ("a * b", host(x.clone() * y.clone()), with(|a, b| a * b)),
        ("a / b", host(x.clone() / y.clone()), with(|a, b| a / b)),
        ("-a", host(-x.clone()), with(|a, _| -a)),
        ("a^2", host(x.clone().powi_scalar(2)), with(|a, _| a * a)),
        ("exp(a)", host(x.clone().exp()), with(|a, _| a.exp())),
        ("log(b)", host(y.clone().log()), with(|_, b| b.ln())),
        ("sqrt(b)", host(y.clone().sqrt()), with(|_, b| b.sqrt())),
        ("max(a, b)", host(x.max_pair(y.clone())), with(f64::max)),
        ("sum(b)", host(y.sum()), vec![b.iter().sum()]),
    ]
}

/// The framework says of some formats that it stores them only; what it computes in them must be right all the same, since
/// every operation without a kernel of ours is made of that.
#[test]
fn the_framework_computes_in_every_format_that_a_device_stores() {
    let processor = TensorDevice::plain_cpu();
    let on_it = [DType::F32, DType::F16, DType::BF16].map(|dtype| TensorDevice { dtype, ..processor.clone() });
    for TensorDevice { device, dtype, .. } in on_it.into_iter().chain(in_every_format()) {
        // A number that is rounded and a result that is: twice half a unit in the last place, and as much for functions.
        let bound =
            [(DType::F32, 1e-5), (DType::F16, 2e-3)].into_iter().find(|(of, _)| *of == dtype).map_or(1.6e-2, |it| it.1);
        for (name, got, want) in computed(&device, dtype) {
            assert_eq!(got.len(), want.len(), "{name}");
            // Vulkan lets an exponential in half precision be 1 + 2|x| units in the last place off ("Precision of core
            // SPIR-V instructions" of its specification), and |x| is 4 at most here.
            let bound = if (name, dtype) == ("exp(a)", DType::F16) { 9.0 / 1024.0 } else { bound };
            for (got, want) in got.iter().zip(want) {
                let error = (f64::from(*got) - want).abs() / (1.0 + want.abs());
                assert!(error <= bound, "{name} in {dtype:?} on {device:?}: {got} for {want}");
            }
        }
    }
}
