//! Owns the way to the GPUs of a machine through wgpu: what is here, opening one without a panic, and what it can do.
//! Knows the framework's runtime; knows no model.

use std::sync::{Mutex, OnceLock, PoisonError};

use burn::tensor::Device;
use burn_dispatch::DispatchDevice;
use burn_dispatch::devices::WgpuDeviceKind;
use burn_dispatch::devices::wgpu::{AutoGraphicsApi, RuntimeOptions, WgpuDevice, WgpuInitError, WgpuSetup, wgpu};
use burn_dispatch::devices::wgpu::{WgpuBackend, try_init_setup};
use cube::product::Path;
use cubecl::features::TypeUsage;
use cubecl::ir::{DeviceProperties, ElemType, FloatKind};

use super::adapters::{Adapter, AdapterKind, Interface};
use super::choice::Format;
use super::limits::{Limits, MatrixShape};
use super::{panics, read};
use crate::error::{Error, Result};

/// A GPU that was opened.
#[derive(Clone)]
pub(super) struct Gpu {
    /// The framework's handle.
    pub(super) device: Device,
    /// What it can do.
    pub(super) limits: Limits,
    /// To break it in tests.
    #[cfg(test)]
    pub(super) setup: WgpuSetup,
}

/// The adapters of an interface, in the order of the driver's loader. Asked once; empty where there is no loader.
pub(super) fn found(interface: Interface) -> &'static [Adapter] {
    static VULKAN: OnceLock<Vec<Adapter>> = OnceLock::new();
    static METAL: OnceLock<Vec<Adapter>> = OnceLock::new();
    let list = match interface {
        Interface::Vulkan => &VULKAN,
        Interface::Metal => &METAL,
    };
    list.get_or_init(|| panics::caught(|| ask(interface)).unwrap_or_default())
}

fn ask(interface: Interface) -> Vec<Adapter> {
    let backends = wgpu::Backends::from(backend(interface));
    if !wgpu::Instance::enabled_backend_features().contains(backends) {
        return Vec::new();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = read::wait(instance.enumerate_adapters(backends)).unwrap_or_default();
    let found = adapters.iter().map(|adapter| described(&adapter.get_info())).collect();
    // The loader of Vulkan crashes where instances come and go on several threads, so this one stays.
    std::mem::forget((instance, adapters));
    found
}

fn described(info: &wgpu::AdapterInfo) -> Adapter {
    let driver = [&info.driver, &info.driver_info].into_iter().filter(|text| !text.is_empty());
    Adapter {
        name: info.name.clone(),
        driver: driver.map(String::as_str).collect::<Vec<_>>().join(" "),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        bus: info.device_pci_bus_id.clone(),
    }
}

/// Opens the adapter of a number that [`found`] has. A device is opened once in a process and then shared.
pub(super) fn open(interface: Interface, index: usize) -> Result<Gpu> {
    static OPENED: Mutex<Vec<(Interface, usize, Gpu)>> = Mutex::new(Vec::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., gpu)) = opened.iter().find(|(one, at, _)| (*one, *at) == (interface, index)) {
        return Ok(gpu.clone());
    }
    let name = format!("{}:{index}", interface.word());
    let gpu = panics::caught(|| initialised(interface, index, &name)).map_err(|failure| failure.on(&name))??;
    opened.push((interface, index, gpu.clone()));
    Ok(gpu)
}

fn initialised(interface: Interface, index: usize, name: &str) -> Result<Gpu> {
    // Only a read that is awaited can be given up where the device is lost.
    burn_std::set_runtime_kind(burn_std::RuntimeKind::Async);
    let adapters = found(interface);
    let unavailable = |what: String| Error::DeviceUnavailable {
        what: format!("{name} cannot be opened: {what}"),
        hint: "look at the driver of the GPU (vulkaninfo --summary), or take another device; trainer doctor lists them"
            .to_owned(),
    };
    let Some(kind) = selector(adapters, index) else {
        return Err(unavailable("only the first software adapter can be opened".to_owned()));
    };
    let api = match interface {
        Interface::Vulkan => WgpuBackend::Vulkan,
        Interface::Metal => WgpuBackend::Metal,
    };
    let selected = WgpuDevice::new(kind).on(api);
    let setup = RuntimeOptions::try_default().and_then(|options| try_init_setup::<AutoGraphicsApi>(&selected, options));
    let setup: WgpuSetup = setup.map_err(|error| unavailable(in_words(&error)))?;
    let info = setup.adapter.get_info();
    if adapters.get(index).is_none_or(|adapter| adapter.name != info.name) {
        return Err(unavailable(format!("{} answers in its place", info.name)));
    }
    let device = Device::from(selected);
    let DispatchDevice::Cube(handle) = device.as_dispatch() else {
        return Err(unavailable("the framework has another device in its place".to_owned()));
    };
    let client = handle.client();
    let native = !client.name().contains("wgsl");
    let limits = limits(client.properties(), described(&info).kind, native);
    Ok(Gpu {
        device,
        limits,
        #[cfg(test)]
        setup,
    })
}

fn backend(interface: Interface) -> wgpu::Backend {
    match interface {
        Interface::Vulkan => wgpu::Backend::Vulkan,
        Interface::Metal => wgpu::Backend::Metal,
    }
}

/// How the framework names an adapter: each kind counts from zero on its own, and of software it knows only the first.
fn selector(adapters: &[Adapter], index: usize) -> Option<WgpuDeviceKind> {
    let kind = adapters.get(index)?.kind;
    let before = adapters.iter().take(index).filter(|adapter| adapter.kind == kind).count();
    match kind {
        AdapterKind::Discrete => Some(WgpuDeviceKind::DiscreteGpu(before)),
        AdapterKind::Integrated => Some(WgpuDeviceKind::IntegratedGpu(before)),
        AdapterKind::Virtual => Some(WgpuDeviceKind::VirtualGpu(before)),
        AdapterKind::Other => Some(WgpuDeviceKind::Other(before)),
        AdapterKind::Software => (before == 0).then_some(WgpuDeviceKind::Cpu),
    }
}

fn in_words(error: &WgpuInitError) -> String {
    super::failure::DeviceFailure::told(&error.to_string()).reason
}

fn limits(properties: &DeviceProperties, kind: AdapterKind, native: bool) -> Limits {
    let usage = |kind| properties.type_usage(ElemType::Float(kind));
    let plane = properties.features.matmul.cmma.iter().filter_map(|shape| {
        let format = product(shape.a_type, shape.b_type, shape.cd_type)?;
        Some(MatrixShape { format, m: shape.m, n: shape.n, k: shape.k })
    });
    let mut plane_matrices: Vec<MatrixShape> = plane.collect();
    plane_matrices.sort_unstable();
    plane_matrices.dedup();
    let sixteen = [(FloatKind::F16, Format::F16), (FloatKind::BF16, Format::Bf16)];
    let used = sixteen.into_iter().filter(|(kind, _)| Path::of(properties, ElemType::Float(*kind)) == Path::Plane);
    let hardware = &properties.hardware;
    let (x, y, z) = hardware.max_cube_count;
    Limits {
        kind,
        memory_bytes: properties.memory.max_memory(),
        largest_binding_bytes: properties.memory.max_page_size,
        buffers_per_kernel: hardware.max_bindings,
        workgroups_per_axis: x.min(y).min(z),
        units_per_workgroup: hardware.max_units_per_cube,
        shared_memory_bytes: hardware.max_shared_memory_size as u64,
        plane_units: (hardware.plane_size_min, hardware.plane_size_max),
        f16: usage(FloatKind::F16).is_superset(TypeUsage::Buffer | TypeUsage::Conversion | TypeUsage::Arithmetic),
        bf16: usage(FloatKind::BF16).is_superset(TypeUsage::Buffer | TypeUsage::Conversion),
        plane_matrices,
        used_matrices: used.map(|(_, format)| format).collect(),
        native,
    }
}

/// The format of the factors, of products whose sums are f32.
fn product(a: ElemType, b: ElemType, sum: ElemType) -> Option<Format> {
    let format = match a {
        ElemType::Float(FloatKind::F16) => Format::F16,
        ElemType::Float(FloatKind::BF16) => Format::Bf16,
        _ => return None,
    };
    (a == b && sum == ElemType::Float(FloatKind::F32)).then_some(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_adapter_counts_on_its_own() {
        use AdapterKind::{Discrete, Integrated, Other, Software};
        let adapter = |kind| Adapter { name: String::new(), driver: String::new(), kind, bus: String::new() };
        let list = [Software, Discrete, Integrated, Discrete, Other, Software].map(adapter);
        assert_eq!(selector(&list, 0), Some(WgpuDeviceKind::Cpu));
        assert_eq!(selector(&list, 1), Some(WgpuDeviceKind::DiscreteGpu(0)));
        assert_eq!(selector(&list, 2), Some(WgpuDeviceKind::IntegratedGpu(0)));
        assert_eq!(selector(&list, 3), Some(WgpuDeviceKind::DiscreteGpu(1)));
        assert_eq!(selector(&list, 4), Some(WgpuDeviceKind::Other(0)));
        assert_eq!(selector(&list, 5), None);
        assert_eq!(selector(&list, 6), None);
    }
}
