//! Owns reading and writing files with errors that name the path. How it is done is `ground`'s business: regular files of
//! bounded size are read, and what is written takes its place in one move.

use std::path::Path;

use anyhow::{Context, Result};
use ground::read::{self, Kind};
use ground::write::{self, Access};
use serde::de::DeserializeOwned;

/// Reads a whole file of a kind.
pub fn bytes(path: &Path, kind: Kind) -> Result<Vec<u8>> {
    read::bytes(path, kind).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a whole file of text of a kind.
pub fn text(path: &Path, kind: Kind) -> Result<String> {
    read::text(path, kind).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a JSON file of a kind.
pub fn json<T: DeserializeOwned>(path: &Path, kind: Kind) -> Result<T> {
    serde_json::from_slice(&bytes(path, kind)?).with_context(|| format!("{} is broken", path.display()))
}

/// Writes a file beside its place, syncs it and renames it.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<()> {
    write::file(path, content, access).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that is in no place yet, inside a folder that is renamed later.
pub fn write_new(path: &Path, content: &[u8], access: Access) -> Result<()> {
    write::new_file(path, content, access).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder in one move: `fill` writes into a folder beside it, which is synced and then takes its name. If
/// anything fails, nothing is left of it and a folder that was there before stays as it was.
pub fn folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    write::folder(path, fill).with_context(|| format!("cannot make {}", path.display()))
}
