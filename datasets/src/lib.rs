//! Owns a dataset folder: the record format, the rows other tools write, manifests, splits, leakage and the recipes
//! that build the sets. Knows nothing about tensors, models, tokenizers, archives or the network: a caller hands in
//! the files of a source and gets records back.
#![warn(missing_docs)]

pub mod digest;
mod error;
pub mod folder;
pub mod jsonl;
pub mod ledger;
pub mod manifest;
mod minhash;
pub mod nesting;
pub mod overlap;
pub mod prepare;
pub mod recipe;
pub mod record;
mod shape;
pub mod split;
pub mod strict;
pub mod survey;
pub mod tfidf;
mod turn;
mod weight;

pub use error::{Error, Fault, RowFault, SHOWN_ROWS};
pub use folder::Folder;
pub use ledger::Ledger;
pub use manifest::Manifest;
pub use record::{Message, Record, Role};
pub use split::{Rule, Split, Splits};
pub use tfidf::TfIdf;
pub use weight::{Weight, Weights};
