//! Owns a checkpoint folder and everything that touches tensors: architectures, LoRA, kernels, the optimiser,
//! tokenizer, chat template and generation. Knows no config file, no command line, no training loop and no network.
#![warn(missing_docs)]

pub mod adapter;
pub mod arch;
pub mod chat_template;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod dropout;
pub mod engine;
pub mod error;
pub mod export;
mod foreign;
pub mod generate;
pub mod kernels;
pub mod lora;
pub mod nn;
pub mod parity;
pub mod plan;
pub mod sampler;
pub mod tokenizer;
pub mod train;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use device::{DeviceChoice, LoadOptions, OpenDevice, Precision};
pub use engine::Model;
pub use error::{Error, Result};
