//! `trainer doctor`: what is here that runs depend on. Fetches nothing and changes nothing.

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
    let pip = crate::pull::Pip::find(&std::env::var_os("PATH").unwrap_or_default());
    let memory = crate::memory::total();
    if arguments.json {
        let value = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "devices": devices.iter().map(|device| &device.description).collect::<Vec<_>>(),
            "adapters": devices.iter().filter_map(adapter).collect::<Vec<_>>(),
            "memory_bytes": memory,
            "cache": cache.root(),
            "pip": pip.is_ok(),
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
        Ok(_) => print("pip     found; wheels can be pulled where the hub does not answer")?,
        Err(error) => print(&format!("pip     {}", error.to_string().lines().next().unwrap_or_default()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a GPU through Vulkan or Metal can do.
fn adapter(device: &Found) -> Option<serde_json::Value> {
    let limits = device.limits.as_ref()?;
    Some(serde_json::json!({ "device": device.description, "limits": limits, "details": device.details }))
}
