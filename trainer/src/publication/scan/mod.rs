//! Looks through everything that would be published for what must not leave: secrets, rows, paths of this machine.
//! Owns the order and how a file is read as text; each kind of finding has a file. Knows nothing about the hub.

mod paths;
mod rows;
mod secrets;
mod text;

pub use paths::Places;
pub use rows::Texts;
pub use secrets::Known;

use super::fault::Fault;
use text::Views;

/// A file that would be published.
#[derive(Clone, Copy)]
pub struct Scanned<'a> {
    /// Its path in the publication.
    pub path: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
    /// Whether its words are those of the base model, byte for byte: then paths and phrases in it are not this run's.
    pub of_the_base: bool,
}

/// Everything found in some files, in their order.
pub fn scan(files: &[Scanned<'_>], known: &Known, places: &Places, texts: &Texts) -> Vec<Fault> {
    let views: Vec<Views> = files.iter().map(|file| Views::of(file.path, file.bytes)).collect();
    let mut faults = Vec::new();
    for (file, views) in files.iter().zip(&views) {
        faults.extend(secrets::find(file, views, known));
        if !file.of_the_base {
            faults.extend(paths::find(file, views, places));
        }
    }
    let own: Vec<(&str, &Views)> = files
        .iter()
        .zip(&views)
        .filter(|(file, _)| !file.of_the_base)
        .map(|(file, views)| (file.path, views))
        .collect();
    faults.extend(rows::find(&own, texts));
    faults
}

/// The line of a byte, counted from 1.
fn line(bytes: &[u8], at: usize) -> usize {
    1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// Where something was found; a place behind an escape has no line of the file.
fn place(path: &str, bytes: &[u8], at: usize, raw: bool) -> String {
    if raw && bytes.iter().take(at).all(|byte| *byte != 0) {
        format!("{path}:{}", line(bytes, at))
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
