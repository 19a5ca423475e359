//! Owns which adapter of a graphics interface is taken: a rule over the list of what is here, from values to values.
//! Knows names and kinds; opens nothing.

use std::fmt;

use crate::error::{Error, Result};

/// The graphics interface an adapter is reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// On Linux and Windows.
    Vulkan,
    /// On macOS.
    Metal,
}

impl Interface {
    /// As it is typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Interface::Vulkan => "vulkan",
            Interface::Metal => "metal",
        }
    }
}

/// What an adapter is, as its driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// A part of the processor; its memory is that of the machine.
    Integrated,
    /// A share of a GPU in a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// A program on the processor. Right, and for tests only.
    Software,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Other => "GPU of unknown kind",
            AdapterKind::Software => "software on the processor, for tests",
        })
    }
}

/// One adapter, in the order of the driver's loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adapter {
    /// As the driver names it.
    pub(crate) name: String,
    /// Name and version of the driver.
    pub(crate) driver: String,
    /// What it is.
    pub(crate) kind: AdapterKind,
    /// Its place on the bus, such as `0000:3b:00.0`, where the driver tells it.
    pub(crate) bus: String,
}

/// The adapter that `auto` may take: only a card of its own is surely faster than the processor.
pub(crate) fn for_auto(adapters: &[Adapter]) -> Option<usize> {
    adapters.iter().position(|adapter| adapter.kind == AdapterKind::Discrete)
}

/// The adapter that was asked for: by its number, or the best that is no software.
pub(crate) fn choose(interface: Interface, asked: Option<usize>, adapters: &[Adapter]) -> Result<usize> {
    let word = interface.word();
    if adapters.is_empty() {
        return Err(none_answers(interface));
    }
    let unavailable = |what: String, hint: String| Err(Error::DeviceUnavailable { what, hint });
    if let Some(index) = asked {
        return match adapters.get(index) {
            Some(_) => Ok(index),
            None => unavailable(
                format!(
                    "{word}:{index} was asked for, and {} here: {}",
                    counted(adapters.len()),
                    listed(word, adapters)
                ),
                format!("--device {word}:0 is the first; trainer doctor lists all"),
            ),
        };
    }
    let best = [AdapterKind::Discrete, AdapterKind::Integrated, AdapterKind::Virtual, AdapterKind::Other];
    let found = best.iter().find_map(|kind| adapters.iter().position(|adapter| adapter.kind == *kind));
    match found {
        Some(index) => Ok(index),
        None => unavailable(
            format!("{word} was asked for, and only software answers here: {}", listed(word, adapters)),
            format!("install the {word} driver of the GPU; --device {word}:0 runs on the software, for tests"),
        ),
    }
}

fn none_answers(interface: Interface) -> Error {
    let what = format!("{} was asked for, and no adapter answers here", interface.word());
    let hint = match interface {
        Interface::Vulkan => {
            "install the Vulkan loader (libvulkan.so.1) and the driver of the GPU, and in a container pass both in; \
             vulkaninfo --summary shows what is seen; --device cpu needs neither"
        }
        Interface::Metal if cfg!(target_os = "macos") => "--device cpu needs no GPU",
        Interface::Metal => "metal is for macOS; here it is --device vulkan, cuda or cpu",
    };
    Error::DeviceUnavailable { what, hint: hint.to_owned() }
}

fn counted(number: usize) -> String {
    if number == 1 { "1 adapter answers".to_owned() } else { format!("{number} adapters answer") }
}

fn listed(word: &str, adapters: &[Adapter]) -> String {
    let name = |(index, adapter): (usize, &Adapter)| format!("{word}:{index} {}", adapter.name);
    adapters.iter().enumerate().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn adapters(kinds: &[AdapterKind]) -> Vec<Adapter> {
        let adapter = |kind: &AdapterKind| Adapter {
            name: format!("a {kind:?}"),
            driver: String::new(),
            kind: *kind,
            bus: String::new(),
        };
        kinds.iter().map(adapter).collect()
    }

    #[test]
    fn auto_takes_a_discrete_gpu_and_nothing_else() {
        use AdapterKind::{Discrete, Integrated, Other, Software, Virtual};
        assert_eq!(for_auto(&adapters(&[Software, Integrated, Discrete, Discrete])), Some(2));
        assert_eq!(for_auto(&adapters(&[Software, Integrated, Virtual, Other])), None);
        assert_eq!(for_auto(&[]), None);
    }

    #[test]
    fn a_plain_name_takes_the_best_and_never_software() {
        use AdapterKind::{Discrete, Integrated, Other, Software, Virtual};
        let plain = |kinds: &[AdapterKind]| choose(Interface::Vulkan, None, &adapters(kinds));
        assert_eq!(plain(&[Integrated, Software, Discrete, Discrete]).unwrap(), 2);
        assert_eq!(plain(&[Software, Virtual, Integrated]).unwrap(), 2);
        assert_eq!(plain(&[Software, Other]).unwrap(), 1);
        let error = plain(&[Software]).unwrap_err().to_string();
        assert!(
            error.starts_with("vulkan was asked for, and only software answers here: vulkan:0 a Software\n"),
            "{error}"
        );
        assert!(error.contains("hint: ") && error.contains("--device vulkan:0"), "{error}");
    }

    #[test]
    fn a_number_names_any_adapter_software_too() {
        use AdapterKind::{Discrete, Software};
        let found = adapters(&[Software, Discrete]);
        assert_eq!(choose(Interface::Vulkan, Some(0), &found).unwrap(), 0);
        assert_eq!(choose(Interface::Vulkan, Some(1), &found).unwrap(), 1);
        let error = choose(Interface::Vulkan, Some(2), &found).unwrap_err().to_string();
        assert!(error.contains("2 adapters answer here: vulkan:0 a Software, vulkan:1 a Discrete"), "{error}");
        assert!(error.contains("hint: --device vulkan:0"), "{error}");
    }

    #[test]
    fn without_any_adapter_it_is_said_what_is_missing() {
        let error = choose(Interface::Vulkan, Some(0), &[]).unwrap_err().to_string();
        assert!(error.contains("no adapter answers here\nhint: install the Vulkan loader"), "{error}");
        let error = choose(Interface::Metal, None, &[]).unwrap_err().to_string();
        assert!(error.contains("metal was asked for") && error.contains("hint: "), "{error}");
    }
}
