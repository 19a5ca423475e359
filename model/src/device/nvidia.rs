//! Owns which way a GPU of NVIDIA takes: why our own engine is not for it, and which adapter of Vulkan is the same GPU. Rules
//! from values to values; opens nothing.

use cuda::DeviceInfo;

use super::adapters::{Adapter, AdapterKind};
use super::choice::Format;

/// Compute capability from which on GPUs have the matrix units and copies that our kernels are written for.
const LEAST: (u32, u32) = (8, 0);

/// Why our own engine is not for a GPU, in one line, from what became of opening it. `None` where it is, or where the error
/// has nothing to do with what GPU it is.
pub(super) fn unfit(info: &DeviceInfo, error: Option<&cuda::Error>) -> Option<String> {
    let (major, minor) = info.compute_capability;
    if info.compute_capability < LEAST {
        let (least, tenths) = LEAST;
        return Some(format!("its compute capability is {major}.{minor}, and our kernels need {least}.{tenths}"));
    }
    match error {
        Some(cuda::Error::LibraryMissing { library, hint }) => {
            let hint = hint.trim_start_matches("\nhint: ");
            Some(format!("{library} was not found; {hint}"))
        }
        _ => None,
    }
}

/// Whether the framework can compute on a GPU that our engine could not open: it needs the driver and NVRTC, and no cuBLASLt.
pub(super) fn framework_can(error: Option<&cuda::Error>) -> bool {
    matches!(error, None | Some(cuda::Error::LibraryMissing { library: "libcublasLt", .. }))
}

/// The format of weights and activations where the framework computes: what the GPU has matrix units for.
pub(super) fn framework_format(info: &DeviceInfo) -> Format {
    if info.compute_capability < LEAST { Format::F16 } else { Format::Bf16 }
}

/// The adapter that is the same GPU: by its place on the bus where both interfaces tell it, else the only one of its name.
pub(super) fn same_gpu(info: &DeviceInfo, adapters: &[Adapter]) -> Option<usize> {
    let cards = || adapters.iter().enumerate().filter(|(_, adapter)| adapter.kind != AdapterKind::Software);
    if let Some(bus) = bus(&info.bus)
        && let Some((index, _)) = cards().find(|(_, adapter)| self::bus(&adapter.bus) == Some(bus))
    {
        return Some(index);
    }
    let unknown = |adapter: &Adapter| bus(&info.bus).is_none() || bus(&adapter.bus).is_none();
    let mut named = cards().filter(|(_, adapter)| adapter.name == info.name && unknown(adapter));
    let (index, _) = named.next()?;
    named.next().is_none().then_some(index)
}

/// `domain:bus:device.function` as numbers: drivers write it with more or fewer zeros.
fn bus(text: &str) -> Option<[u32; 4]> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.split(':');
    let mut number = || u32::from_str_radix(parts.next()?, 16).ok();
    let place = [number()?, number()?, number()?, u32::from_str_radix(function, 16).ok()?];
    parts.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, compute_capability: (u32, u32), bus: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.to_owned(),
            compute_capability,
            multiprocessors: 40,
            memory_bytes: 16 << 30,
            shared_bytes: 64 << 10,
            driver_version: 13_000,
            bus: bus.to_owned(),
        }
    }

    fn adapter(name: &str, kind: AdapterKind, bus: &str) -> Adapter {
        Adapter { name: name.to_owned(), driver: String::new(), kind, bus: bus.to_owned() }
    }

    fn missing(library: &'static str) -> cuda::Error {
        cuda::Error::LibraryMissing { library, hint: "\nhint: install it" }
    }

    #[test]
    fn our_engine_is_for_capability_8_with_its_libraries_and_else_the_reason_is_one_line() {
        let (new, old) = (card("H100", (9, 0), ""), card("T4", (7, 5), ""));
        assert_eq!(unfit(&new, None), None);
        assert_eq!(unfit(&card("A100", (8, 0), ""), None), None);
        let too_old = "its compute capability is 7.5, and our kernels need 8.0";
        assert_eq!(unfit(&old, None).as_deref(), Some(too_old));
        assert_eq!(unfit(&old, Some(&missing("libcublasLt"))).as_deref(), Some(too_old));
        for library in ["libcublasLt", "libnvrtc"] {
            let reason = unfit(&new, Some(&missing(library)));
            assert_eq!(reason, Some(format!("{library} was not found; install it")));
        }
        let broken = cuda::Error::Driver { call: "cuInit", code: "CUDA_ERROR_UNKNOWN".to_owned() };
        assert_eq!(unfit(&new, Some(&broken)), None, "an error of the driver stays one");
    }

    #[test]
    fn the_framework_needs_nvrtc_and_no_cublaslt_and_takes_what_the_gpu_has_matrix_units_for() {
        assert!(framework_can(None) && framework_can(Some(&missing("libcublasLt"))));
        assert!(!framework_can(Some(&missing("libnvrtc"))));
        assert!(!framework_can(Some(&cuda::Error::Unsupported { what: "NVRTC compiles nothing for it".to_owned() })));
        assert_eq!(framework_format(&card("T4", (7, 5), "")), Format::F16);
        assert_eq!(framework_format(&card("A10", (8, 6), "")), Format::Bf16);
    }

    #[test]
    fn the_same_gpu_is_found_by_its_place_on_the_bus() {
        use AdapterKind::{Discrete, Software};
        let two = [
            adapter("llvmpipe", Software, ""),
            adapter("Tesla T4", Discrete, "0000:3b:00.0"),
            adapter("Tesla T4", Discrete, "0000:af:00.0"),
        ];
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), "0000:AF:00.0"), &two), Some(2));
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), "00000000:3B:00.0"), &two), Some(1));
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), "0000:01:00.0"), &two), None, "another one of that name");
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), ""), &two), None, "either could be it");
    }

    #[test]
    fn without_a_place_the_only_one_of_its_name_is_taken_and_never_software() {
        use AdapterKind::{Discrete, Integrated, Software};
        let found = [adapter("Iris", Integrated, "0000:00:02.0"), adapter("Tesla T4", Discrete, "")];
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), "0000:3b:00.0"), &found), Some(1));
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), ""), &found), Some(1));
        assert_eq!(same_gpu(&card("Tesla V100", (7, 0), ""), &found), None);
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), ""), &[adapter("Tesla T4", Software, "")]), None);
        assert_eq!(same_gpu(&card("Tesla T4", (7, 5), ""), &[]), None);
    }

    #[test]
    fn a_place_on_the_bus_is_four_numbers() {
        assert_eq!(bus("0000:3b:00.0"), Some([0, 0x3b, 0, 0]));
        assert_eq!(bus("00000001:AF:1f.7"), Some([1, 0xaf, 0x1f, 7]));
        for text in ["", "3b:00.0", "0000:3b:00", "0000:3b:00:00.0", "0000:xx:00.0"] {
            assert_eq!(bus(text), None, "{text}");
        }
    }
}
