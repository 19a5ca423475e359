//! Proofs on what answers here. A software device of Vulkan is asked where the loader finds one, as in
//! `VK_ICD_FILENAMES=icd.json cargo test -p model`; where nothing answers, that is what is proven.
#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::Tensor;

use super::*;

/// The first software adapter, if the loader finds one.
fn software() -> Option<OpenDevice> {
    let index = gpu::found(Interface::Vulkan).iter().position(|adapter| adapter.kind == AdapterKind::Software)?;
    Some(OpenDevice::open(DeviceChoice::Vulkan(Some(index)), Precision::Auto, None).unwrap())
}

/// The GPU that tests are to run on, once in every format that it has, with tables that are cut. A discrete one where
/// `TRAINER_TEST_VULKAN` is `gpu`, else one in software; none where it is not set: `cargo xtask ci` says so.
pub(crate) fn in_every_format() -> Vec<TensorDevice> {
    let Some(asked) = std::env::var_os("TRAINER_TEST_VULKAN") else { return Vec::new() };
    let kind = if asked == "gpu" { AdapterKind::Discrete } else { AdapterKind::Software };
    let index = gpu::found(Interface::Vulkan).iter().position(|adapter| adapter.kind == kind).unwrap();
    let gpu::Gpu { device, limits, .. } = gpu::open(Interface::Vulkan, index).unwrap();
    let with = |format| TensorDevice {
        device: device.clone(),
        dtype: dtype_of(format),
        kernels: &Gpu,
        largest_binding: 1 << 20,
        tf32: false,
    };
    limits.formats().into_iter().map(with).collect()
}

fn tensors(device: &OpenDevice) -> &TensorDevice {
    match &device.backend {
        Backend::Gpu(gpu) => &gpu.tensors,
        _ => panic!("no GPU through the framework"),
    }
}

#[test]
fn a_device_that_is_not_here_is_refused_with_what_to_do() {
    let open = |text: &str| OpenDevice::open(text.parse().unwrap(), Precision::Auto, None);
    let past_the_last = format!("vulkan:{}", gpu::found(Interface::Vulkan).len());
    let mut names = vec![past_the_last.as_str()];
    if !cfg!(target_os = "macos") {
        names.extend(["metal", "metal:0"]);
    }
    for name in names {
        let error = open(name).err().map(|error| error.to_string()).unwrap();
        assert!(error.contains("was asked for") && error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn a_precision_that_a_device_has_not_is_refused() {
    let error = OpenDevice::open(DeviceChoice::Cpu, Precision::Is(Format::F16), None).err().unwrap().to_string();
    assert!(error.contains("cpu computes in f32") && error.contains("hint: --set device.precision=auto"), "{error}");
}

#[test]
fn the_inventory_begins_with_the_processor_and_names_every_interface() {
    let found = inventory();
    assert!(found[0].description.starts_with("cpu ("), "{found:?}");
    for word in ["cuda", "vulkan"] {
        assert!(found.iter().any(|device| device.description.starts_with(word)), "{found:?}");
    }
    for device in found.iter().filter(|device| device.limits.is_some()) {
        assert!(device.details.iter().any(|line| line.starts_with("takes ")), "{device:?}");
    }
}

#[test]
fn the_formats_of_a_device_begin_with_the_one_it_was_opened_in_and_name_each_once() {
    let cpu = OpenDevice::open(DeviceChoice::Cpu, Precision::Auto, None).unwrap();
    assert_eq!(cpu.formats(), [Format::F32]);
    let Some(device) = software() else { return };
    let (formats, offered) = (device.formats(), device.limits().unwrap().formats());
    assert_eq!(formats[0], device.limits().unwrap().format("vulkan", Precision::Auto).unwrap());
    assert_eq!(formats.len(), offered.len());
    assert!(offered.iter().all(|format| formats.contains(format)), "{formats:?}");
}

#[test]
fn software_is_opened_by_its_number_and_shared_after_that() {
    let Some(device) = software() else { return };
    let limits = device.limits().unwrap();
    assert_eq!(limits.kind, AdapterKind::Software);
    assert!(limits.buffers_per_kernel >= 7 && limits.largest_binding_bytes >= 1 << 27, "{limits:?}");
    assert!(device.description.contains("software"), "{}", device.description);
    let again = software().unwrap();
    assert_eq!(again.description, device.description);
    let values = Tensor::<1>::from_data([1.0_f32, 2.0], &tensors(&again).device) + 1.0;
    assert_eq!(read::host(&values).unwrap(), [2.0, 3.0]);
}

#[test]
fn memory_that_is_refused_is_an_error_of_the_read_and_the_device_goes_on() {
    let Some(device) = software() else { return };
    let place = tensors(&device).device.clone();
    let outcome = panics::caught(|| {
        let absurd = Tensor::<1>::zeros([1_usize << 29], &place);
        read::host(&absurd.narrow(0, 0, 4))
    });
    let failure = match outcome {
        Ok(Err(Error::DeviceFailed(failure))) | Err(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}");
    let values = Tensor::<1>::from_data([5.0_f32], &place) * 2.0;
    assert_eq!(read::host(&values).unwrap(), [10.0]);
}

/// Alone in its process, since others share the device: `cargo test -p model -- --ignored a_device_that_is_lost`.
#[test]
#[ignore = "takes the software device away from every other test"]
fn a_device_that_is_lost_is_an_error_of_the_read_and_of_every_later_one() {
    let Some(device) = software() else { return };
    let place = tensors(&device).device.clone();
    let values = Tensor::<1>::from_data([1.0_f32, 2.0], &place) + 1.0;
    assert_eq!(read::host(&values).unwrap(), [2.0, 3.0]);
    let index = gpu::found(Interface::Vulkan).iter().position(|adapter| adapter.kind == AdapterKind::Software).unwrap();
    gpu::open(Interface::Vulkan, index).unwrap().setup.device.destroy();
    for _ in 0..2 {
        let outcome = panics::caught(|| read::host(&(values.clone() * 2.0)));
        let failure = match outcome {
            Ok(Err(Error::DeviceFailed(failure))) | Err(failure) => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(failure.kind, FailureKind::Lost, "{failure}");
    }
}
