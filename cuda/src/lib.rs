//! Owns one NVIDIA GPU: its memory, its stream of work, our kernels and the matrix products of cuBLASLt. The only crate
//! that names `cudarc` and the only one with `unsafe` code for a device. Knows shapes and addresses; knows no layer, no
//! adapter and no file but the cache of compiled kernels.
#![warn(missing_docs)]

pub mod device;
mod driver;
pub mod error;
pub mod kernels;
pub mod launch;
pub mod memory;
pub mod product;
pub mod source;

pub use device::{Device, DeviceInfo};
pub use error::{Error, Result};
pub use memory::{Block, Element, Matrix, Span};
pub use product::{Operand, Product, Target};
