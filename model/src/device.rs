//! Owns the choice of a device: the one file that names a backend. Knows what is compiled in and what answers here.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use burn::tensor::{DType, Device, DeviceKind};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::engine::cuda::CudaEngine;
use crate::engine::tensor::TensorEngine;
use crate::engine::{Model, TrainingShape};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, Plain, cpu::Cpu, gpu::Gpu};
use crate::lora::LoraLayout;
use crate::plan::{self, MemoryPlan};
use crate::weights;

/// A device as a user names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA if a device answers, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// A GPU through Vulkan, by index.
    Vulkan(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, index) = text.split_once(':').unwrap_or((text, "0"));
        let refused = |what: &str| Error::Device { what: format!("\"{text}\": {what}") };
        let index: usize = index.parse().map_err(|_| refused("the part after ':' is no number"))?;
        match (kind, text.contains(':')) {
            ("auto", false) => Ok(DeviceChoice::Auto),
            ("cpu", false) => Ok(DeviceChoice::Cpu),
            ("cuda", _) => Ok(DeviceChoice::Cuda(index)),
            ("vulkan", _) => Ok(DeviceChoice::Vulkan(index)),
            ("metal", _) => Err(refused("training through wgpu is not ready in this version")),
            _ => Err(refused("no such device")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(index) => write!(f, "cuda:{index}"),
            DeviceChoice::Vulkan(index) => write!(f, "vulkan:{index}"),
        }
    }
}

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
    Cuda(cuda::Device),
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
    pub fn open(choice: DeviceChoice, kernel_cache: Option<&Path>) -> Result<Self> {
        match choice {
            DeviceChoice::Auto if cuda::Device::count() > 0 => cuda(0, kernel_cache),
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok(cpu()),
            DeviceChoice::Vulkan(index) => Ok(vulkan(index)),
            DeviceChoice::Cuda(index) => {
                let count = cuda::Device::count();
                if index < count {
                    return cuda(index, kernel_cache);
                }
                Err(Error::Device { what: format!("cuda:{index} was asked for, and {count} CUDA devices answer here") })
            }
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
            Backend::Cuda(device) => Box::new(CudaEngine::load(checkpoint, device, options, progress)?),
        }))
    }

    /// A base of the true shape with random weights, for timing: speed does not depend on the values.
    pub fn random(&self, config: &ModelConfig, options: LoadOptions<'_>) -> Result<Model> {
        Ok(Model::new(match &self.backend {
            Backend::Tensors(device) => Box::new(TensorEngine::new(weights::random(config, device, options.positions))),
            Backend::Cuda(device) => Box::new(CudaEngine::random(config, device, options)?),
        }))
    }

    /// Every custom operation of the device beside its plain twin on the CPU. `None` where the device has an engine of its own.
    #[must_use]
    pub fn parity(&self) -> Option<Vec<crate::parity::Row>> {
        match &self.backend {
            Backend::Tensors(device) => Some(crate::parity::kernels(device)),
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

/// What is here, one line each, for `doctor`. Opens each device.
#[must_use]
pub fn inventory() -> Vec<String> {
    let mut lines = vec![cpu().description];
    match cuda::Device::count() {
        0 => lines.push("cuda: compiled in, no device answers".to_owned()),
        count => lines.extend((0..count).map(|index| match cuda(index, None) {
            Ok(device) => device.warning.unwrap_or(device.description),
            Err(error) => format!("cuda:{index}: {}", error.to_string().lines().next().unwrap_or_default()),
        })),
    }
    lines.push("vulkan: compiled in, training through it is not ready in this version".to_owned());
    lines
}

fn cpu() -> OpenDevice {
    let threads = rayon::current_num_threads();
    OpenDevice {
        backend: Backend::Tensors(TensorDevice::cpu()),
        description: format!("cpu ({threads} threads, {}, f32)", vectors()),
        warning: None,
    }
}

fn vulkan(index: usize) -> OpenDevice {
    let software = std::env::var_os("TRAINER_SOFTWARE").is_some();
    let kind = if software { DeviceKind::Cpu } else { DeviceKind::DiscreteGpu(index) };
    let dtype = match std::env::var("TRAINER_FORMAT").as_deref() {
        Ok("bf16") => DType::BF16,
        Ok("f32") => DType::F32,
        _ if software => DType::F32,
        _ => DType::F16,
    };
    let plain = std::env::var_os("TRAINER_PLAIN").is_some();
    let kernels: &'static dyn Kernels = if plain { &Plain } else { &Gpu };
    let device = TensorDevice { device: Device::vulkan(kind), dtype, kernels, largest_binding: 2 << 30 };
    OpenDevice { backend: Backend::Tensors(device), description: format!("vulkan:{index} ({dtype:?})"), warning: None }
}

/// Our own engine where its libraries are here, else the framework's operations: right, but slow.
fn cuda(index: usize, kernel_cache: Option<&Path>) -> Result<OpenDevice> {
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
    let device = TensorDevice { device: Device::cuda(index), dtype: DType::BF16, kernels: &Plain, largest_binding: u64::MAX };
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
