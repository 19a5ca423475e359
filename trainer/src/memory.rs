//! Owns reading how much memory this process and this machine have, where the system tells it in files.
//! Knows no device.

use std::path::Path;

use ground::read::{self, Kind};

/// Bytes this process holds now.
#[must_use]
pub fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// The most bytes this process ever held.
#[must_use]
pub fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Bytes of the machine.
#[must_use]
pub fn total() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// Bytes that could be had without swapping.
#[must_use]
pub fn available() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = read::text(Path::new(path), Kind::System).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
