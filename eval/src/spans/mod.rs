//! Spans of a text with a type: how they are written, where they lie, and how two sets of them are compared.
//! Knows nothing about answers, rows or scores.

pub mod align;
pub mod matching;
pub mod read;
pub mod tags;

pub use matching::Mode;
pub use tags::Decoding;

/// A typed stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first Unicode scalar value, or the first token of a tag sequence, counted from 0.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// The type, such as `PER`.
    pub kind: String,
}
