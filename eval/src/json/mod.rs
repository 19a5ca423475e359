//! Values as models write them: strict JSON, paths to leaves, comparisons of leaves and of whole records; and how our own files are laid out.
//! Knows nothing about answers, rows or scores; the scorers of JSON and of numbers are built on it.

pub mod assignment;
pub mod comparator;
pub(crate) mod layout;
mod list_match;
pub mod money;
pub mod parse;
pub mod path;
pub mod record;
pub(crate) mod schema_size;
pub mod written_number;

pub use comparator::Comparator;
pub use parse::{parse, without_fence};
pub use path::Path;
pub use record::{ListRule, Rule};
pub use written_number::NumberFormat;
