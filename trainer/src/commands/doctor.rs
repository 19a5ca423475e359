//! `trainer doctor`: what is here that runs depend on. Fetches nothing, changes nothing, and starts no other program:
//! even `pip --version` opens a socket.

use std::ffi::OsStr;
use std::process::ExitCode;

use anyhow::Result;
use model::device::Found;

use super::print;
use crate::cli::Doctor;
use crate::pull::Cache;

/// Runs the command.
pub fn run(arguments: Doctor) -> Result<ExitCode> {
    let devices = model::device::inventory();
    let cache = Cache::open()?;
    let pip = pip(&std::env::var_os("PATH").unwrap_or_default());
    let memory = crate::memory::total();
    if arguments.json {
        let value = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "devices": devices.iter().map(|device| &device.description).collect::<Vec<_>>(),
            "adapters": devices.iter().filter_map(adapter).collect::<Vec<_>>(),
            "memory_bytes": memory,
            "cache": cache.root(),
            "pip": pip.is_some(),
        });
        print(&serde_json::to_string(&value)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("trainer {}", env!("CARGO_PKG_VERSION")))?;
    for device in devices {
        print(&format!("device  {}", device.description))?;
        for line in device.details {
            print(&format!("        {line}"))?;
        }
    }
    if let Some(bytes) = memory {
        print(&format!("memory  {}", crate::pull::progress::bytes_words(bytes)))?;
    }
    print(&format!("cache   {}", cache.root().display()))?;
    match pip {
        Some("python3") => {
            print("pip     python3 found; if it has pip, wheels can be pulled where the hub does not answer")?
        }
        Some(name) => print(&format!("pip     {name} found; wheels can be pulled where the hub does not answer"))?,
        None => print("pip     no pip on this machine: looked for pip, pip3 and python3")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The first program on this search path that is pip or can have it; looked at and not started.
fn pip(search_path: &OsStr) -> Option<&'static str> {
    let is_there = |name: &&str| std::env::split_paths(search_path).any(|folder| folder.join(name).is_file());
    ["pip", "pip3", "python3"].into_iter().find(is_there)
}

/// What a GPU through Vulkan or Metal can do.
fn adapter(device: &Found) -> Option<serde_json::Value> {
    let limits = device.limits.as_ref()?;
    Some(serde_json::json!({ "device": device.description, "limits": limits, "details": device.details }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pip_is_looked_for_and_not_started() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pip(folder.path().as_os_str()), None);
        // A file that no system starts is as good.
        std::fs::write(folder.path().join("python3"), "").unwrap();
        assert_eq!(pip(folder.path().as_os_str()), Some("python3"));
        std::fs::write(folder.path().join("pip"), "").unwrap();
        assert_eq!(pip(folder.path().as_os_str()), Some("pip"));
    }
}
