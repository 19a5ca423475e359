//! Owns what a kernel is compiled from: its text, the headers of all, and the constants it is specialised for.
//! Knows no compiler.

use sha2::{Digest, Sha256};

/// A source file.
#[derive(Debug)]
pub struct Source {
    /// Its name without the ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Whether it needs instructions of compute capability 9.0 that no later one has.
    pub hopper: bool,
}

/// The headers that sources include, by name.
pub const HEADERS: [(&str, &str); 8] = [
    ("prelude.cuh", include_str!("../kernels/prelude.cuh")),
    ("elementwise.cuh", include_str!("../kernels/elementwise.cuh")),
    ("swiglu.cuh", include_str!("../kernels/swiglu.cuh")),
    ("rotation.cuh", include_str!("../kernels/rotation.cuh")),
    ("random.cuh", include_str!("../kernels/random.cuh")),
    ("attention.cuh", include_str!("../kernels/attention.cuh")),
    ("hopper.cuh", include_str!("../kernels/hopper.cuh")),
    ("attention_hopper.cuh", include_str!("../kernels/attention_hopper.cuh")),
];

/// A constant a source is specialised for, as a preprocessor definition.
pub type Define = (&'static str, i64);

/// What identifies a compilation, whatever the device: source, headers and constants.
#[must_use]
pub fn fingerprint(source: &Source, defines: &[Define]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (name, text) in HEADERS {
        part(name.as_bytes());
        part(text.as_bytes());
    }
    part(source.name.as_bytes());
    part(source.text.as_bytes());
    for (name, value) in defines {
        part(name.as_bytes());
        part(&value.to_le_bytes());
    }
    hash.finalize().into()
}
