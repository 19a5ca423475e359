//! The list of language models that need nothing but this crate.
//! Knows nothing about checkpoints: the local model lives where tensors are known and only implements the trait.

pub mod hosted;
pub mod replay;
pub mod scripted;

pub use hosted::HostedModel;
pub use replay::Replay;
pub use scripted::Scripted;

/// The provider names a task may choose from here.
pub const ALL: [&str; 1] = [scripted::NAME];
