//! Owns the choice of a device: with its folder the one place that names a backend. Knows what is compiled in and what
//! answers here.
//!
//! | file | owns |
//! |---|---|
//! | `choice` | devices and number formats as they are typed |
//! | `adapters` | which adapter is taken: a rule over a list |
//! | `gpu` | listing and opening GPUs through wgpu |
//! | `limits` | what a GPU can do, and the path that leads to |
//! | `failure`, `panics`, `read` | what goes wrong on a GPU, as an error |

mod adapters;
mod choice;
pub(crate) mod failure;
mod gpu;
mod limits;
pub(crate) mod panics;
pub(crate) mod read;
#[cfg(test)]
mod tests;

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
    Cuda(cuda::Device),
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
            Backend::Tensors(_) | Backend::Cuda(_) => None,
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
            Backend::Cuda(device) => Box::new(CudaEngine::load(checkpoint, device, options, progress)?),
        }))
    }

    /// A base of the true shape with random weights, for timing: speed does not depend on the values.
    pub fn random(&self, config: &ModelConfig, options: LoadOptions<'_>) -> Result<Model> {
        Ok(Model::new(match &self.backend {
            Backend::Tensors(device) => Box::new(TensorEngine::new(weights::random(config, device, options.positions))),
            Backend::Gpu(gpu) => gpu.guarded(|| Ok(weights::random(config, &gpu.tensors, options.positions)))?,
            Backend::Cuda(device) => Box::new(CudaEngine::random(config, device, options)?),
        }))
    }

    /// Every custom operation of the device beside its plain twin on the CPU. `None` where the device has an engine of its own.
    #[must_use]
    pub fn parity(&self) -> Option<Vec<crate::parity::Row>> {
        match &self.backend {
            Backend::Tensors(device) => Some(crate::parity::kernels(device)),
            Backend::Gpu(gpu) => Some(crate::parity::kernels(&gpu.tensors)),
            Backend::Cuda(_) => None,
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
            Backend::Cuda(device) => crate::engine::cuda::check(config, layout, device, positions, shape),
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
            Backend::Cuda(device) => Ok(crate::engine::cuda::plan(config, layout, device, positions, shape)?),
        }
    }
}

impl TensorDevice {
    /// The processor with the fast operations for it.
    pub(crate) fn cpu() -> Self {
        TensorDevice { device: Device::flex(), dtype: DType::F32, kernels: &Cpu, largest_binding: u64::MAX }
    }

    /// The processor with framework operations only: slow, for proofs.
    #[cfg(test)]
    pub(crate) fn plain_cpu() -> Self {
        TensorDevice { kernels: &Plain, ..Self::cpu() }
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
        description: format!("cpu ({threads} threads, {}, f32)", vectors()),
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
    let tensors =
        TensorDevice { device, dtype: dtype_of(format), kernels: &Gpu, largest_binding: limits.largest_binding_bytes };
    Ok(OpenDevice {
        description: format!("{name} {} ({})", adapter.name, limits.summary(format, &adapter.driver)),
        backend: Backend::Gpu(Box::new(GpuDevice { name, tensors, limits })),
        warning: None,
    })
}

fn dtype_of(format: Format) -> DType {
    match format {
        Format::F32 => DType::F32,
        Format::F16 => DType::F16,
        Format::Bf16 => DType::BF16,
    }
}

fn format_of(dtype: DType) -> Format {
    match dtype {
        DType::F16 => Format::F16,
        DType::BF16 => Format::Bf16,
        _ => Format::F32,
    }
}

/// Our own engine where its libraries are here, else the framework's operations: right, but slow.
fn cuda(index: usize, precision: Precision, kernel_cache: Option<&Path>) -> Result<OpenDevice> {
    precision.only(&format!("cuda:{index}"), Format::Bf16)?;
    let opened = cuda::Device::open(index, kernel_cache.map(Path::to_path_buf));
    let missing = match opened {
        Ok(device) if device.info().compute_capability >= (8, 0) => {
            let cuda::DeviceInfo { name, memory_bytes, .. } = device.info();
            let description = format!("cuda:{index} ({name}, {:.0} GB, bf16)", *memory_bytes as f64 / 1e9);
            return Ok(OpenDevice { backend: Backend::Cuda(device), description, warning: None });
        }
        Ok(device) => format!("{} has no bfloat16 matrix unit (compute capability below 8.0)", device.info().name),
        Err(cuda::Error::LibraryMissing { library: library @ "libcublasLt", hint }) => {
            format!("{library} was not found{hint}")
        }
        Err(error) => return Err(error.into()),
    };
    let device =
        TensorDevice { device: Device::cuda(index), dtype: DType::BF16, kernels: &Plain, largest_binding: u64::MAX };
    Ok(OpenDevice {
        backend: Backend::Tensors(device),
        description: format!("cuda:{index} (bf16, framework operations)"),
        warning: Some(format!("cuda:{index} runs on framework operations, many times slower: {missing}")),
    })
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::arch::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    std::env::consts::ARCH
}
