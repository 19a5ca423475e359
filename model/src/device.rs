//! Owns the choice of a device: the one file that names a backend. Knows what is compiled in and what answers here.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device};

use crate::error::{Error, Result};
use crate::kernels::{Kernels, Plain, cpu::Cpu};

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
            ("vulkan" | "metal", _) => Err(refused("training through wgpu is not ready in this version")),
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
        }
    }
}

/// A device that was opened.
#[derive(Clone)]
pub struct OpenDevice {
    /// The framework's handle.
    pub(crate) device: Device,
    /// The type of weights and activations on it.
    pub(crate) dtype: DType,
    /// Its operations.
    pub(crate) kernels: &'static dyn Kernels,
    /// What a user reads, such as `cpu (2 threads, avx512)`.
    pub description: String,
}

impl OpenDevice {
    /// Opens what was chosen, or says why it cannot be had.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Auto if cuda_devices() > 0 => Ok(cuda(0)),
            DeviceChoice::Auto | DeviceChoice::Cpu => Ok(cpu()),
            DeviceChoice::Cuda(index) => {
                let count = cuda_devices();
                if index < count {
                    return Ok(cuda(index));
                }
                Err(Error::Device { what: format!("cuda:{index} was asked for, and {count} CUDA devices answer here") })
            }
        }
    }

    /// The processor with framework operations only: slow, for proofs.
    #[must_use]
    pub fn plain_cpu() -> Self {
        OpenDevice { kernels: &Plain, description: "cpu, plain operations".to_owned(), ..cpu() }
    }

    /// Bytes of one weight on this device.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.dtype.size()
    }
}

/// What is here, one line each, for `doctor`.
#[must_use]
pub fn inventory() -> Vec<String> {
    let mut lines = vec![cpu().description];
    match cuda_devices() {
        0 => lines.push("cuda: compiled in, no device answers".to_owned()),
        count => lines.extend((0..count).map(|index| format!("cuda:{index}"))),
    }
    lines.push("vulkan: compiled in, training through it is not ready in this version".to_owned());
    lines
}

/// How many CUDA devices the driver reports; zero where there is no driver.
fn cuda_devices() -> usize {
    // The framework panics where the driver library is absent, so the library is looked for first.
    let driver = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"];
    let searched = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders = folders.into_iter().chain(searched.split(':').filter(|folder| !folder.is_empty()));
    if !folders.any(|folder| driver.iter().any(|name| std::path::Path::new(folder).join(name).exists())) {
        return 0;
    }
    std::panic::catch_unwind(|| Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len()).unwrap_or(0)
}

fn cpu() -> OpenDevice {
    let threads = rayon::current_num_threads();
    OpenDevice {
        device: Device::flex(),
        dtype: DType::F32,
        kernels: &Cpu,
        description: format!("cpu ({threads} threads, {}, f32)", vectors()),
    }
}

fn cuda(index: usize) -> OpenDevice {
    OpenDevice {
        device: Device::cuda(index),
        dtype: DType::BF16,
        kernels: &Plain,
        description: format!("cuda:{index} (bf16, plain operations)"),
    }
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
