//! Owns the choice of a device: with its folder the one place that names a backend. Knows what is compiled in and what
//! answers here.
//!
//! | file | owns |
//! |---|---|
//! | `choice` | devices and number formats as they are typed |
//! | `adapters` | which adapter is taken: a rule over a list |
//! | `gpu` | listing and opening GPUs through wgpu |
//! | `limits` | what a GPU can do, and the path that leads to |
//! | `nvidia` | which way a GPU of NVIDIA takes: rules over what it is |
//! | `failure`, `panics`, `read` | what goes wrong on a GPU, as an error |

mod adapters;
mod choice;
pub(crate) mod failure;
mod gpu;
mod limits;
mod nvidia;
pub(crate) mod panics;
pub(crate) mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use burn::tensor::{DType, Device};

pub use adapters::AdapterKind;
pub use choice::{DeviceChoice, Format, Precision};
pub use failure::{DeviceFailure, FailureKind};
pub use limits::{Limits, MatrixShape, Products};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::engine::cuda::CudaEngine;
use crate::engine::guarded::Guarded;
use crate::engine::tensor::TensorEngine;
use crate::engine::{Engine, Model, TrainingShape};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Plain, cpu::Cpu, gpu::Gpu};
use crate::lora::LoraLayout;
use crate::nn::Decoder;
use crate::plan::{self, MemoryPlan, Room};
use crate::weights;

use adapters::Interface;
use choice::{dtype_of, format_of};

/// A device that was opened.
#[derive(Clone)]
pub struct OpenDevice {
    backend: Backend,
    /// What a user reads, such as `cpu (2 threads, avx512)`.
    pub description: String,
    /// Why it is not the fastest that this program has for it, if it is not.
    pub warning: Option<String>,
}

#[derive(Clone)]
enum Backend {
    Tensors(TensorDevice),
    /// A GPU of any kind, on framework tensors: what fails there is told by panics, so every call has a boundary.
    Gpu(Box<GpuDevice>),
    /// A GPU of NVIDIA by its index, on our own kernels.
    Cuda(usize, cuda::Device),
}

#[derive(Clone)]
struct GpuDevice {
    /// As it is typed, such as `vulkan:0`.
    name: String,
    tensors: TensorDevice,
    limits: Limits,
}

/// A device of the framework.
#[derive(Clone)]
pub(crate) struct TensorDevice {
    /// The framework's handle.
    pub(crate) device: Device,
    /// The type of weights and activations on it.
    pub(crate) dtype: DType,
    /// Its operations.
    pub(crate) kernels: &'static dyn Kernels,
    /// Bytes of the largest tensor that an operation can read.
    pub(crate) largest_binding: u64,
    /// Whether products of f32 are made with the eleven bits of TF32.
    pub(crate) tf32: bool,
}

/// What a base is loaded for.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// The longest sequence it will see.
    pub positions: usize,
    /// The layouts of all adapters it will be asked with or trained with.
    pub adapters: &'a [&'a LoraLayout],
}

impl OpenDevice {
    /// Opens what was chosen, or says why it cannot be had. Compiled kernels are kept under `kernel_cache`.
    pub fn open(choice: DeviceChoice, precision: Precision, kernel_cache: Option<&Path>) -> Result<Self> {
        match choice {
            DeviceChoice::Auto => auto(precision, kernel_cache),
            DeviceChoice::Cpu => cpu(precision),
            DeviceChoice::Cuda(index) => {
                let count = cuda::Device::count();
                if index < count {
                    return cuda(index, precision, kernel_cache);
                }
                Err(Error::Device { what: format!("cuda:{index} was asked for, and {count} CUDA devices answer here") })
            }
            DeviceChoice::Vulkan(asked) => named(Interface::Vulkan, asked, precision),
            DeviceChoice::Metal(asked) => named(Interface::Metal, asked, precision),
        }
    }

    /// What it can do, where it is a GPU through Vulkan or Metal.
    #[must_use]
    pub fn limits(&self) -> Option<&Limits> {
        match &self.backend {
            Backend::Gpu(gpu) => Some(&gpu.limits),
            Backend::Tensors(_) | Backend::Cuda(..) => None,
        }
    }

    /// Loads a frozen base. `progress` gets layers done and in all.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        options: LoadOptions<'_>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Model> {
        Ok(Model::new(match &self.backend {
            Backend::Tensors(device) => {
                Box::new(TensorEngine::new(weights::load(checkpoint, device, options.positions, progress)?))
            }
            Backend::Gpu(gpu) => {
                gpu.guarded(|| weights::load(checkpoint, &gpu.tensors, options.positions, progress))?
            }
            Backend::Cuda(_, device) => Box::new(CudaEngine::load(checkpoint, device, options, progress)?),
        }))
    }

    /// A base of the true shape with random weights, for timing: speed does not depend on the values.
    pub fn random(&self, config: &ModelConfig, options: LoadOptions<'_>) -> Result<Model> {
        Ok(Model::new(match &self.backend {
            Backend::Tensors(device) => Box::new(TensorEngine::new(weights::random(config, device, options.positions))),
            Backend::Gpu(gpu) => gpu.guarded(|| Ok(weights::random(config, &gpu.tensors, options.positions)))?,
            Backend::Cuda(_, device) => Box::new(CudaEngine::random(config, device, options)?),
        }))
    }

    /// The formats that [`OpenDevice::parity`] can be asked in; the first is the one that this device was opened in.
    #[must_use]
    pub fn formats(&self) -> Vec<Format> {
        let (own, others) = match &self.backend {
            Backend::Tensors(device) => (format_of(device.dtype), Vec::new()),
            Backend::Gpu(gpu) => (format_of(gpu.tensors.dtype), gpu.limits.formats()),
            Backend::Cuda(..) => (Format::Bf16, vec![Format::F32, Format::F16]),
        };
        std::iter::once(own).chain(others.into_iter().filter(|other| *other != own)).collect()
    }

    /// Every custom operation of the device, in one of its formats, beside its plain twin on the CPU. Where our own CUDA engine
    /// runs, which has tests of its own, these are the framework's operations on that GPU: older ones may have to compute with
    /// them.
    #[must_use]
    pub fn parity(&self, format: Format) -> Vec<crate::parity::Row> {
        match &self.backend {
            Backend::Tensors(device) => crate::parity::kernels(device),
            Backend::Gpu(gpu) => {
                crate::parity::kernels(&TensorDevice { dtype: dtype_of(format), ..gpu.tensors.clone() })
            }
            Backend::Cuda(index, _) => crate::parity::kernels(&TensorDevice::cuda(*index, format)),
        }
    }

    /// Refuses a training that does not fit what is free now, so that nobody waits for a base to load in vain.
    pub fn check(
        &self,
        config: &ModelConfig,
        layout: &LoraLayout,
        positions: usize,
        shape: TrainingShape,
    ) -> Result<()> {
        match &self.backend {
            Backend::Tensors(_) => Ok(()),
            Backend::Gpu(gpu) => plan::check(config, layout, &gpu.room(), positions, shape),
            Backend::Cuda(_, device) => crate::engine::cuda::check(config, layout, device, positions, shape),
        }
    }

    /// The memory that training would take.
    pub fn plan(
        &self,
        config: &ModelConfig,
        layout: &LoraLayout,
        positions: usize,
        shape: TrainingShape,
    ) -> Result<MemoryPlan> {
        match &self.backend {
            Backend::Tensors(device) => Ok(plan::tensors(config, layout, device.dtype.size(), positions, shape)),
            Backend::Gpu(gpu) => Ok(plan::within(config, layout, &gpu.room(), positions, shape)),
            Backend::Cuda(_, device) => Ok(crate::engine::cuda::plan(config, layout, device, positions, shape)?),
        }
    }
}

impl TensorDevice {
    /// The processor with the fast operations for it.
    pub(crate) fn cpu() -> Self {
        let (device, dtype) = (Device::flex(), DType::F32);
        TensorDevice { device, dtype, kernels: &Cpu, largest_binding: u64::MAX, tf32: false }
    }

    /// The processor with framework operations only: slow, for proofs.
    #[cfg(test)]
    pub(crate) fn plain_cpu() -> Self {
        TensorDevice { kernels: &Plain, ..Self::cpu() }
    }

    /// A GPU of NVIDIA with framework operations only.
    pub(crate) fn cuda(index: usize, format: Format) -> Self {
        let (device, dtype) = (Device::cuda(index), dtype_of(format));
        TensorDevice { device, dtype, kernels: &Plain, largest_binding: u64::MAX, tf32: true }
    }
}

impl GpuDevice {
    /// The engine on a decoder that is made now, all of it behind a boundary.
    fn guarded(&self, decoder: impl FnOnce() -> Result<Decoder>) -> Result<Box<dyn Engine>> {
        let made = panics::caught(decoder).unwrap_or_else(|failure| Err(failure.into()));
        let decoder = made.map_err(|error| match error {
            Error::DeviceFailed(failure) => Error::from(failure.on(&self.name)),
            other => other,
        })?;
        let device = self.tensors.device.clone();
        let held = move || device.memory_pool_usage().map(|usage| usage.bytes_reserved);
        Ok(Box::new(Guarded::new(TensorEngine::new(decoder), &self.name).with_memory(self.room(), held)))
    }

    fn room(&self) -> Room {
        Room {
            element_bytes: self.tensors.dtype.size(),
            memory_bytes: self.limits.memory_bytes,
            largest_binding_bytes: self.tensors.largest_binding,
        }
    }
}

/// One device of this machine, for `doctor`.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is, or why it cannot be used.
    pub description: String,
    /// What it can do and the path it will take, each a line.
    pub details: Vec<String>,
    /// The same as numbers, where it is a GPU through Vulkan or Metal.
    pub limits: Option<Limits>,
}

/// What is here, for `doctor`. Opens each device.
#[must_use]
pub fn inventory() -> Vec<Found> {
    let line = |description: String| Found { description, details: Vec::new(), limits: None };
    let opened = |name: String, opened: Result<OpenDevice>| match opened {
        Ok(device) => line(device.warning.unwrap_or(device.description)),
        Err(error) => line(format!("{name}: {}", first_line(&error))),
    };
    let mut found = vec![opened("cpu".to_owned(), cpu(Precision::Auto))];
    match cuda::Device::count() {
        0 => found.push(line("cuda: compiled in, no device answers".to_owned())),
        count => {
            let each = |index| opened(format!("cuda:{index}"), cuda(index, Precision::Auto, None));
            found.extend((0..count).map(each));
        }
    }
    let interfaces =
        if cfg!(target_os = "macos") { &[Interface::Metal, Interface::Vulkan][..] } else { &[Interface::Vulkan] };
    for interface in interfaces {
        let adapters = gpu::found(*interface);
        if adapters.is_empty() {
            found.push(line(format!("{}: compiled in, no adapter answers", interface.word())));
        }
        found.extend((0..adapters.len()).map(|index| looked_at(*interface, index)));
    }
    found
}

fn looked_at(interface: Interface, index: usize) -> Found {
    let adapter = &gpu::found(interface)[index];
    match gpu(interface, index, Precision::Auto) {
        Err(error) => {
            let description = format!("{}:{index} {}: {}", interface.word(), adapter.name, first_line(&error));
            Found { description, details: Vec::new(), limits: None }
        }
        Ok(OpenDevice { backend: Backend::Gpu(gpu), description, .. }) => {
            let format = format_of(gpu.tensors.dtype);
            let details = vec![gpu.limits.words(), format!("takes {}", gpu.limits.path(format))];
            Found { description, details, limits: Some(gpu.limits) }
        }
        Ok(OpenDevice { description, .. }) => Found { description, details: Vec::new(), limits: None },
    }
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The fastest device that is surely faster than the processor, else the processor.
fn auto(precision: Precision, kernel_cache: Option<&Path>) -> Result<OpenDevice> {
    if cuda::Device::count() > 0 {
        return cuda(0, precision, kernel_cache);
    }
    let Some(index) = adapters::for_auto(gpu::found(Interface::Vulkan)) else { return cpu(precision) };
    match gpu(Interface::Vulkan, index, precision) {
        Ok(device) => Ok(device),
        Err(error) => {
            let device = cpu(precision)?;
            Ok(OpenDevice { warning: Some(format!("vulkan:{index} is not used: {}", first_line(&error))), ..device })
        }
    }
}

fn cpu(precision: Precision) -> Result<OpenDevice> {
    precision.only("cpu", Format::F32)?;
    let threads = rayon::current_num_threads();
    Ok(OpenDevice {
        backend: Backend::Tensors(TensorDevice::cpu()),
        description: format!("cpu ({threads} threads, {}, f32)", crate::kernels::cpu::simd::vectors()),
        warning: None,
    })
}

/// A GPU as it was typed.
fn named(interface: Interface, asked: Option<usize>, precision: Precision) -> Result<OpenDevice> {
    gpu(interface, adapters::choose(interface, asked, gpu::found(interface))?, precision)
}

fn gpu(interface: Interface, index: usize, precision: Precision) -> Result<OpenDevice> {
    let adapter = &gpu::found(interface)[index];
    let name = format!("{}:{index}", interface.word());
    let gpu::Gpu { device, limits, .. } = gpu::open(interface, index)?;
    let format = limits.format(&name, precision)?;
    let (dtype, largest_binding) = (dtype_of(format), limits.largest_binding_bytes);
    let tensors = TensorDevice { device, dtype, kernels: &Gpu, largest_binding, tf32: false };
    Ok(OpenDevice {
        description: format!("{name} {} ({})", adapter.name, limits.summary(format, &adapter.driver)),
        backend: Backend::Gpu(Box::new(GpuDevice { name, tensors, limits })),
        warning: None,
    })
}

/// Our own engine where the GPU and its libraries can, else Vulkan where it answers for the same GPU, else the framework's
/// operations on CUDA, which are right and slow.
fn cuda(index: usize, precision: Precision, kernel_cache: Option<&Path>) -> Result<OpenDevice> {
    let info = cuda::Device::look(index)?;
    let opened = cuda::Device::open(index, kernel_cache.map(Path::to_path_buf));
    let (why, error) = match (nvidia::unfit(&info, opened.as_ref().err()), opened) {
        (None, Ok(device)) => {
            precision.only(&format!("cuda:{index}"), Format::Bf16)?;
            let description = format!("cuda:{index} ({}, {:.0} GB, bf16)", info.name, info.memory_bytes as f64 / 1e9);
            return Ok(OpenDevice { backend: Backend::Cuda(index, device), description, warning: None });
        }
        (None, Err(error)) => return Err(error.into()),
        (Some(why), opened) => (why, opened.err()),
    };
    let mut why = format!("cuda:{index} ({}): {why}", info.name);
    if let Some(adapter) = nvidia::same_gpu(&info, gpu::found(Interface::Vulkan)) {
        match gpu::open(Interface::Vulkan, adapter) {
            Ok(_) => {
                let warning = Some(format!("{why}; it is used through Vulkan, as vulkan:{adapter}"));
                return Ok(OpenDevice { warning, ..gpu(Interface::Vulkan, adapter, precision)? });
            }
            Err(error) => why = format!("{why}; {}", first_line(&error)),
        }
    }
    match error {
        Some(error) if !nvidia::framework_can(Some(&error)) => Err(error.into()),
        _ => Ok(framework(index, precision, &info, &why)),
    }
}

fn framework(index: usize, precision: Precision, info: &cuda::DeviceInfo, why: &str) -> OpenDevice {
    let format = match precision {
        Precision::Auto => nvidia::framework_format(info),
        Precision::Is(format) => format,
    };
    OpenDevice {
        backend: Backend::Tensors(TensorDevice::cuda(index, format)),
        description: format!("cuda:{index} ({format}, framework operations)"),
        warning: Some(format!("{why}; it runs on framework operations, many times slower")),
    }
}
