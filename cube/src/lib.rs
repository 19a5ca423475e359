//! Owns the kernels for any GPU, in CubeCL: each takes arrays of a device and launches work on it.
//! Knows shapes and number formats; knows nothing of layers, of adapters' names or of files.
//!
//! Values are stored in f32, f16 or bf16 and computed in f32. A kernel takes at most seven buffers, and no more workgroups
//! along one axis than the device allows.

#![warn(missing_docs)]
// Bodies of kernels look like Rust and are not: a format is an argument that the body does not read, beside the buffer it belongs
// to; loops count, since nothing can be iterated over; conditions do not stop early.
#![allow(
    clippy::duplicate_underscore_argument,
    clippy::needless_range_loop,
    clippy::collapsible_if,
    clippy::manual_is_multiple_of
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod array;
pub mod attention;
pub mod dropout;
pub mod elementwise;
pub mod head_norm;
pub mod launch;
pub mod lora;
pub mod loss;
pub mod norm;
pub mod optimizer;
pub mod packed;
mod planes;
pub mod product;
pub mod rotation;
pub mod rows;
pub mod swiglu;
pub mod vector;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod testing;

pub use array::Array;
pub use packed::Packed;
