//! Owns how a device and its number format are named by a user. Knows no machine.

use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;

use crate::error::{Error, Result};

/// A device as a user names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA if a device answers, else a discrete GPU through Vulkan, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// A GPU through Vulkan: by its place among the adapters that `trainer doctor` lists, or the best of them.
    Vulkan(Option<usize>),
    /// A GPU of a Mac, in the same way.
    Metal(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |what: &str| Error::Device { what: format!("\"{text}\": {what}") };
        let (kind, index) = match text.split_once(':') {
            None => (text, None),
            Some((kind, index)) => {
                let number = index.parse::<usize>().map_err(|_| refused("the part after ':' is no number"))?;
                (kind, Some(number))
            }
        };
        match (kind, index) {
            ("auto", None) => Ok(DeviceChoice::Auto),
            ("cpu", None) => Ok(DeviceChoice::Cpu),
            ("auto" | "cpu", Some(_)) => Err(refused("it takes no number")),
            ("cuda", index) => Ok(DeviceChoice::Cuda(index.unwrap_or(0))),
            ("vulkan", index) => Ok(DeviceChoice::Vulkan(index)),
            ("metal", index) => Ok(DeviceChoice::Metal(index)),
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
            DeviceChoice::Vulkan(None) => f.write_str("vulkan"),
            DeviceChoice::Vulkan(Some(index)) => write!(f, "vulkan:{index}"),
            DeviceChoice::Metal(None) => f.write_str("metal"),
            DeviceChoice::Metal(Some(index)) => write!(f, "metal:{index}"),
        }
    }
}

/// How weights and activations are stored. Everything is computed in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Four bytes.
    F32,
    /// Two bytes with a small range: half precision.
    F16,
    /// Two bytes with the range of f32.
    Bf16,
}

impl Format {
    /// Bytes of one value.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
        })
    }
}

/// How the framework calls a format.
pub(super) fn dtype_of(format: Format) -> DType {
    match format {
        Format::F32 => DType::F32,
        Format::F16 => DType::F16,
        Format::Bf16 => DType::BF16,
    }
}

/// The format that the framework calls so.
pub(super) fn format_of(dtype: DType) -> Format {
    match dtype {
        DType::F16 => Format::F16,
        DType::BF16 => Format::Bf16,
        _ => Format::F32,
    }
}

/// The number format that a user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// What is fast on the device.
    #[default]
    Auto,
    /// This one, or an error.
    Is(Format),
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Precision::Auto),
            "f32" => Ok(Precision::Is(Format::F32)),
            "f16" => Ok(Precision::Is(Format::F16)),
            "bf16" => Ok(Precision::Is(Format::Bf16)),
            _ => Err(Error::DeviceUnavailable {
                what: format!("precision \"{text}\" is unknown"),
                hint: "device.precision is auto, f32, f16 or bf16".to_owned(),
            }),
        }
    }
}

impl Precision {
    /// Refuses any other format than the only one that a device has.
    pub(crate) fn only(self, device: &str, format: Format) -> Result<()> {
        match self {
            Precision::Is(asked) if asked != format => Err(Error::DeviceUnavailable {
                what: format!("{device} computes in {format}, and device.precision asks for {asked}"),
                hint: "--set device.precision=auto, or another --device".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_device_is_read_and_written_back() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:1", DeviceChoice::Cuda(1)),
            ("vulkan", DeviceChoice::Vulkan(None)),
            ("vulkan:0", DeviceChoice::Vulkan(Some(0))),
            ("vulkan:12", DeviceChoice::Vulkan(Some(12))),
            ("metal", DeviceChoice::Metal(None)),
            ("metal:1", DeviceChoice::Metal(Some(1))),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
    }

    #[test]
    fn a_device_that_cannot_be_read_says_what_to_type() {
        for text in ["tpu", "", "vulkan:", "vulkan:x", "vulkan:-1", "cuda:1:2", "cpu:0", "auto:1", "Vulkan"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
            assert!(error.contains("hint: devices are auto, cpu, cuda[:N], vulkan[:N] and metal[:N]"), "{error}");
        }
    }

    #[test]
    fn every_precision_is_read_and_another_is_refused() {
        for (text, precision) in [
            ("auto", Precision::Auto),
            ("f32", Precision::Is(Format::F32)),
            ("f16", Precision::Is(Format::F16)),
            ("bf16", Precision::Is(Format::Bf16)),
        ] {
            assert_eq!(text.parse::<Precision>().unwrap(), precision);
        }
        assert!("fp16".parse::<Precision>().unwrap_err().to_string().contains("hint: device.precision is auto"));
        Precision::Auto.only("cpu", Format::F32).unwrap();
        let error = Precision::Is(Format::F16).only("cpu", Format::F32).unwrap_err().to_string();
        assert!(error.starts_with("cpu computes in f32, and device.precision asks for f16\nhint: "), "{error}");
    }
}
