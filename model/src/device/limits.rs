//! Owns what a GPU can do, as plain numbers, and which path that leads to. Knows no framework and opens nothing.

use std::fmt::Write;

use super::adapters::AdapterKind;
use super::choice::{Format, Precision};
use crate::error::{Error, Result};

/// What a GPU can do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// What it is.
    pub kind: AdapterKind,
    /// Memory for tensors, where the driver says it: that of a card, or the share of the machine's.
    pub memory_bytes: Option<u64>,
    /// Bytes of the largest tensor that a kernel can read or write.
    pub largest_binding_bytes: u64,
    /// Tensors that a kernel can read or write.
    pub buffers_per_kernel: u32,
    /// Workgroups along one axis.
    pub workgroups_per_axis: u32,
    /// Units of a workgroup.
    pub units_per_workgroup: u32,
    /// Memory that the units of a workgroup share.
    pub shared_memory_bytes: u64,
    /// Units that run in step, least and most.
    pub plane_units: (u32, u32),
    /// Whether values can be stored as f16 and computed with.
    pub f16: bool,
    /// Whether values can be stored as bf16 and converted.
    pub bf16: bool,
    /// Shapes of products that the units of a plane do together, with f32 sums.
    pub plane_matrices: Vec<MatrixShape>,
    /// Formats of which the kernels use them, in products and in attention.
    pub used_matrices: Vec<Format>,
    /// Whether kernels go to the driver in its own language, as everything but f32 needs.
    pub native: bool,
}

/// A product of matrices `[m, k]` and `[k, n]` in one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct MatrixShape {
    /// The format of both factors.
    pub format: Format,
    /// Rows of the product.
    pub m: u32,
    /// Columns of the product.
    pub n: u32,
    /// The length of a sum.
    pub k: u32,
}

/// How products of matrices are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// On matrix units, those of attention too.
    Matrices,
    /// Number by number.
    Plain,
}

impl Products {
    fn words(self) -> &'static str {
        match self {
            Products::Matrices => "products and attention on cooperative matrices",
            Products::Plain => "plain products",
        }
    }
}

impl Limits {
    /// The format of weights and activations, or why the one that was asked for cannot be had. `device` is its name.
    pub fn format(&self, device: &str, precision: Precision) -> Result<Format> {
        let offered = self.formats();
        match precision {
            // f16 first: drivers that know bf16 are few.
            Precision::Auto if offered.contains(&Format::F16) => Ok(Format::F16),
            Precision::Auto => Ok(Format::F32),
            Precision::Is(format) if offered.contains(&format) => Ok(format),
            Precision::Is(format) => {
                let offered: Vec<String> = offered.iter().map(Format::to_string).collect();
                Err(Error::DeviceUnavailable {
                    what: format!("{device} has no {format} storage; it has {}", offered.join(", ")),
                    hint: format!("--set device.precision=auto, or {}", offered.join(" or ")),
                })
            }
        }
    }

    /// Every format that values can be stored in.
    #[must_use]
    pub fn formats(&self) -> Vec<Format> {
        let sixteen = [(self.f16, Format::F16), (self.bf16, Format::Bf16)];
        let offered = sixteen.into_iter().filter(|(has, _)| *has).map(|(_, format)| format);
        std::iter::once(Format::F32).chain(offered).collect()
    }

    /// How products of matrices of a format are computed.
    #[must_use]
    pub fn products(&self, format: Format) -> Products {
        if self.used_matrices.contains(&format) { Products::Matrices } else { Products::Plain }
    }

    /// The path it will take with a format, in words.
    #[must_use]
    pub fn path(&self, format: Format) -> String {
        let products = self.products(format).words();
        if format == Format::F32 { format!("f32, {products}") } else { format!("{format} storage, {products}") }
    }

    /// What it can do, in one line.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = self.kind.to_string();
        if let Some(bytes) = self.memory_bytes {
            let _ = write!(text, ", {:.1} GB", bytes as f64 / 1e9);
        }
        let formats: Vec<String> = self.formats().iter().map(Format::to_string).collect();
        let _ = write!(text, ", {}", formats.join(" "));
        for format in [Format::F16, Format::Bf16] {
            let shapes = self.plane_matrices.iter().filter(|shape| shape.format == format);
            let shapes: Vec<String> = shapes.map(|MatrixShape { m, n, k, .. }| format!("{m}x{n}x{k}")).collect();
            if !shapes.is_empty() {
                let _ = write!(text, ", matrices of {format} {}", shapes.join(" "));
            }
        }
        let (least, most) = self.plane_units;
        let planes = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let largest = match self.largest_binding_bytes {
            // The driver takes any, so memory alone is the limit.
            bytes if self.memory_bytes.is_some_and(|memory| bytes >= memory) => "any size".to_owned(),
            bytes => format!("{:.2} GB", bytes as f64 / 1e9),
        };
        let shared = self.shared_memory_bytes >> 10;
        let _ = write!(text, ", planes of {planes}, {shared} KiB shared, largest tensor {largest}");
        if !self.native {
            text.push_str(", through WGSL");
        }
        text
    }

    /// What stands in brackets behind its name.
    #[must_use]
    pub fn summary(&self, format: Format, driver: &str) -> String {
        let matrices = match self.products(format) {
            Products::Matrices => ", cooperative matrices",
            Products::Plain => "",
        };
        let software = if self.kind == AdapterKind::Software { ", software" } else { "" };
        let driver = if driver.is_empty() { String::new() } else { format!(", driver {driver}") };
        format!("{format}{matrices}{software}{driver}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// A device that can do next to nothing.
    pub(crate) fn least() -> Limits {
        Limits {
            kind: AdapterKind::Software,
            memory_bytes: None,
            largest_binding_bytes: 1 << 27,
            buffers_per_kernel: 7,
            workgroups_per_axis: 65_535,
            units_per_workgroup: 256,
            shared_memory_bytes: 16 << 10,
            plane_units: (4, 4),
            f16: false,
            bf16: false,
            plane_matrices: Vec::new(),
            used_matrices: Vec::new(),
            native: true,
        }
    }

    fn card() -> Limits {
        let shape = |format| MatrixShape { format, m: 16, n: 16, k: 16 };
        Limits {
            kind: AdapterKind::Discrete,
            memory_bytes: Some(85_000_000_000),
            largest_binding_bytes: u64::MAX,
            shared_memory_bytes: 48 << 10,
            plane_units: (32, 32),
            f16: true,
            bf16: true,
            plane_matrices: vec![shape(Format::F16), shape(Format::Bf16)],
            used_matrices: vec![Format::F16, Format::Bf16],
            ..least()
        }
    }

    #[test]
    fn the_format_is_f16_where_it_is_stored_and_else_f32() {
        assert_eq!(card().format("vulkan:0", Precision::Auto).unwrap(), Format::F16);
        assert_eq!(card().format("vulkan:0", Precision::Is(Format::Bf16)).unwrap(), Format::Bf16);
        assert_eq!(card().format("vulkan:0", Precision::Is(Format::F32)).unwrap(), Format::F32);
        assert_eq!(least().format("vulkan:0", Precision::Auto).unwrap(), Format::F32);
        let only_bf16 = Limits { bf16: true, ..least() };
        assert_eq!(only_bf16.format("vulkan:0", Precision::Auto).unwrap(), Format::F32);
        let error = only_bf16.format("vulkan:0", Precision::Is(Format::F16)).unwrap_err().to_string();
        assert_eq!(
            error,
            "vulkan:0 has no f16 storage; it has f32, bf16\nhint: --set device.precision=auto, or f32 or bf16"
        );
    }

    #[test]
    fn the_path_names_format_and_products() {
        assert_eq!(card().path(Format::F16), "f16 storage, products and attention on cooperative matrices");
        assert_eq!(card().path(Format::Bf16), "bf16 storage, products and attention on cooperative matrices");
        let unsure = Limits { used_matrices: Vec::new(), ..card() };
        assert_eq!(unsure.path(Format::F16), "f16 storage, plain products");
        assert_eq!(card().path(Format::F32), "f32, plain products");
        assert_eq!(least().path(Format::F32), "f32, plain products");
    }

    #[test]
    fn what_it_can_do_is_one_line() {
        assert_eq!(
            card().words(),
            "discrete GPU, 85.0 GB, f32 f16 bf16, matrices of f16 16x16x16, matrices of bf16 16x16x16, \
             planes of 32, 48 KiB shared, largest tensor any size"
        );
        let weak = Limits { native: false, plane_units: (8, 32), ..least() };
        assert_eq!(
            weak.words(),
            "software on the processor, for tests, f32, planes of 8 to 32, 16 KiB shared, largest tensor 0.13 GB, \
             through WGSL"
        );
    }

    #[test]
    fn the_summary_says_format_matrices_and_driver() {
        assert_eq!(card().summary(Format::F16, "NVIDIA 550.54"), "f16, cooperative matrices, driver NVIDIA 550.54");
        assert_eq!(least().summary(Format::F32, ""), "f32, software");
    }
}
