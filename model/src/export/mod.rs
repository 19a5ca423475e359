//! A base with an adapter merged into it, written in the forms others load: a Hugging Face folder, a GGUF file, and the
//! adapter alone as a GGUF file. Knows checkpoints, adapters and formats; knows no command and no network.
//!
//! All of them are streams: rows are read, the adapter is added in f32, the sum is rounded once, and the bytes are
//! written, a few megabytes at a time. Nothing is as large as a tensor in memory.

mod config_json;
mod folder;
mod gguf_adapter;
mod gguf_header;
mod gguf_model;
mod gguf_notes;
mod gguf_type;
mod merged;
mod pipeline;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

pub use folder::{FolderOptions, write_folder};
pub use gguf_adapter::write_gguf_adapter;
pub(crate) use gguf_header::Value as GgufValue;
pub use gguf_model::{GgufOptions, write_gguf};
pub use gguf_type::GgufType;
pub use merged::Merged;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Names of the weight files, in order.
    pub files: Vec<String>,
    /// Bytes of the weight files.
    pub bytes: u64,
    /// How many tensors have each number format, in the order in which the formats are met.
    pub formats: Vec<(&'static str, usize)>,
    /// What the format cannot say as the base says it, and what was done about it.
    pub notes: Vec<String>,
}

/// A GGUF file of metadata alone.
pub(crate) fn metadata_bytes(values: &[(String, GgufValue)]) -> Vec<u8> {
    gguf_header::header(values, &[])
}

/// How far a stream is: bytes written, and bytes in all.
pub type Watch<'a> = &'a mut dyn FnMut(u64, u64);
