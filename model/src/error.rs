//! The one error type of this crate: what was wrong, in which file, and what to type next.
//! Knows nothing about who reads it; the messages stand alone on a terminal.

use std::path::{Path, PathBuf};

use crate::device::{DeviceFailure, FailureKind};

/// What can go wrong between a checkpoint on disk and a trained adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the operating system.
        #[source]
        source: std::io::Error,
    },
    /// A file is broken or contradicts itself.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The defect, with its place.
        what: String,
    },
    /// A tensor that the configuration asks for is not in the weights.
    #[error(
        "{}: tensor {name} is missing\nhint: the configuration asks for it; download the checkpoint again",
        path.display()
    )]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The Hugging Face name of the tensor.
        name: String,
    },
    /// The weights hold tensors that this architecture does not use.
    #[error(
        "{}: tensor {name} is not part of {model_type} ({count} such tensors)\nhint: the checkpoint has a feature that is not implemented, and would be computed wrongly without it",
        path.display()
    )]
    UnknownTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The first such tensor in name order.
        name: String,
        /// The architecture.
        model_type: String,
        /// How many such tensors there are.
        count: usize,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// The Hugging Face name of the tensor.
        name: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The architecture is not one of ours.
    #[error("architecture \"{model_type}\" is not supported\nhint: known architectures are {known}")]
    UnsupportedArchitecture {
        /// The name in the file.
        model_type: String,
        /// The names that would have been accepted.
        known: String,
    },
    /// A known architecture with a feature that we do not compute.
    #[error("{}: {what} is not supported", path.display())]
    UnsupportedFeature {
        /// The file that asks for the feature.
        path: PathBuf,
        /// The feature, by the name the file gives it.
        what: String,
    },
    /// An adapter cannot be read, or does not fit the base.
    #[error("{}: {what}", path.display())]
    Adapter {
        /// The adapter folder or file.
        path: PathBuf,
        /// The defect.
        what: String,
    },
    /// A chat template failed.
    #[error("chat template: {what}")]
    Template {
        /// The message of the template or of its engine.
        what: String,
    },
    /// A tokenizer failed.
    #[error("tokenizer: {what}")]
    Tokenizer {
        /// The defect.
        what: String,
    },
    /// A sequence does not fit.
    #[error("{tokens} tokens, the limit is {limit}")]
    TooLong {
        /// The length of the sequence.
        tokens: usize,
        /// The longest that is accepted.
        limit: usize,
    },
    /// A device that was asked for cannot be had.
    #[error(
        "device {what}\nhint: devices are auto, cpu, cuda[:N], vulkan[:N] and metal[:N]; trainer doctor lists what answers here"
    )]
    Device {
        /// The choice and the reason.
        what: String,
    },
    /// A device that was asked for is not here, or not as it was asked for.
    #[error("{what}\nhint: {hint}")]
    DeviceUnavailable {
        /// What was asked for and what is here.
        what: String,
        /// What to type or install.
        hint: String,
    },
    /// A device failed while it was used.
    #[error(transparent)]
    DeviceFailed(#[from] DeviceFailure),
    /// A tensor that cannot be divided is larger than the device lets a kernel read.
    #[error("{what} would take {:.2} GB, the largest tensor of the device is {:.2} GB{}", *bytes as f64 / 1e9, *limit_bytes as f64 / 1e9, .hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    BufferTooLarge {
        /// The tensor.
        what: String,
        /// Its size.
        bytes: u64,
        /// The largest that can be.
        limit_bytes: u64,
        /// Tokens of the largest micro-batch that fits, where that is the matter.
        tokens_that_fit: Option<usize>,
        /// What to type where it is not.
        hint: Option<String>,
    },
    /// A token id for which the embedding has no row. Every engine would read some other memory in its place.
    #[error(
        "token id {id} for an embedding of {rows} rows\nhint: tokenizer and weights are of different models; take both from one place"
    )]
    IdBeyond {
        /// The id.
        id: u32,
        /// Rows of the embedding, which are also those of the head.
        rows: usize,
    },
    /// A batch without a supervised token would give no gradient.
    #[error("a batch of {tokens} tokens has no supervised token")]
    NothingSupervised {
        /// Tokens of the batch.
        tokens: usize,
    },
    /// A GPU, its driver or its libraries.
    #[error(transparent)]
    Cuda(#[from] cuda::Error),
    /// Training does not fit the memory of the device.
    #[error("{:.1} GB are needed, {:.1} GB of the device can be had", *needed_bytes as f64 / 1e9, *free_bytes as f64 / 1e9)]
    DoesNotFit {
        /// Bytes of the whole run.
        needed_bytes: u64,
        /// Bytes that could be had for it.
        free_bytes: u64,
        /// Tokens of the largest micro-batch that fits with the settings as they are; `None` if none does.
        tokens_that_fit: Option<usize>,
        /// The same with every layer computed twice.
        tokens_that_fit_recomputed: Option<usize>,
    },
    /// A defect of the caller: steps come after training has begun.
    #[error("no adapter is in training")]
    NothingInTraining,
    /// A weight, or what was computed from weights that do not change, is infinite or not a number.
    #[error("{what} is not finite")]
    NonFinite {
        /// The quantity.
        what: String,
    },
    /// Training made a number infinite or not a number.
    #[error("{what} is not finite")]
    Diverged {
        /// The quantity.
        what: String,
    },
}

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the memory of the device did not suffice, as foretold by a plan or as met on the way.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Error::DoesNotFit { .. } | Error::Cuda(cuda::Error::OutOfMemory { .. }) => true,
            Error::DeviceFailed(failure) => failure.kind == FailureKind::OutOfMemory,
            Error::BufferTooLarge { tokens_that_fit, .. } => tokens_that_fit.is_some(),
            _ => false,
        }
    }

    /// A broken file.
    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_path_buf(), what: what.into() }
    }

    /// A feature that is refused by name.
    pub(crate) fn feature(path: &Path, what: impl Into<String>) -> Self {
        Self::UnsupportedFeature { path: path.to_path_buf(), what: what.into() }
    }

    /// A defect of a chat template.
    pub(crate) fn template(what: impl Into<String>) -> Self {
        Self::Template { what: what.into() }
    }

    /// A defect of a tokenizer.
    pub(crate) fn tokenizer(what: impl Into<String>) -> Self {
        Self::Tokenizer { what: what.into() }
    }

    /// Attaches a path to a failure of the operating system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}
