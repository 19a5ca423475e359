//! Owns the decoder: packed linears, one layer forward and backward, the whole stack.
//! Knows no file, no optimiser and no text.

pub mod decoder;
pub mod kv_cache;
pub mod layer;
pub mod linear;

pub use decoder::{Decoder, Keep};
pub use kv_cache::KvCache;
pub use layer::{Layer, LayerGradients};
pub use linear::{Group, Linear};
