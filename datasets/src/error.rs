//! Owns the one error type of the crate and the words of a broken row. Knows nothing about how rows are read.

use std::fmt;
use std::path::{Path, PathBuf};

/// Broken rows that one error lists; the rest is a count.
pub const SHOWN_ROWS: usize = 20;
/// Signs of a text of a file that an error repeats; the rest is a count.
const SHOWN_SIGNS: usize = 400;

/// Everything that can go wrong in a dataset folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Rows of a JSON-lines file that cannot be used, all of them in one error.
    #[error("{} of {rows} rows in {} cannot be used{}", total, path.display(), ListedRows { path, shown, total: *total })]
    Rows {
        /// The file.
        path: PathBuf,
        /// Rows that are not blank.
        rows: usize,
        /// Broken rows in all.
        total: usize,
        /// The first [`SHOWN_ROWS`] of them.
        shown: Vec<RowFault>,
    },
    /// A row that is longer than any row may be; what follows it is not read.
    #[error(
        "{}:{line}: a row of more than {}\nhint: a row is one line, and a line break ends it: divide long texts into several rows",
        path.display(), ground::read::size(ground::read::Kind::Row.most_bytes())
    )]
    LongRow {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// One JSON array where JSON lines were expected.
    #[error(
        "{} is one JSON array, not one JSON object per line\nhint: jq -c '.[]' {} > {}",
        path.display(), path.display(), path.with_extension("lines.jsonl").display()
    )]
    JsonArray {
        /// The file.
        path: PathBuf,
    },
    /// A file without a single row.
    #[error("{} holds no rows ({blank_lines} blank lines)\nhint: write one JSON object per line", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
        /// Blank lines seen.
        blank_lines: usize,
    },
    /// Targets outside the closed list of labels.
    #[error(
        "rows of {name} with a target that is not one of its {num_labels} labels: {total}, first `{id}` with `{target}`\nhint: correct the target, or add it to `labels` in dataset.toml"
    )]
    UnknownLabel {
        /// Name of the set.
        name: String,
        /// Rows with such a target.
        total: usize,
        /// Labels in the list.
        num_labels: usize,
        /// First such row.
        id: String,
        /// Its target.
        target: String,
    },
    /// Targets that are not JSON in a set with a schema.
    #[error(
        "rows of {name} with a target that is not JSON: {total}, first `{id}`\nhint: correct the target, or take `schema` out of dataset.toml"
    )]
    NotJson {
        /// Name of the set.
        name: String,
        /// Rows with such a target.
        total: usize,
        /// First such row.
        id: String,
    },
    /// One group in two splits: the score would count what was learnt by heart.
    #[error(
        "groups that lie in two splits: {total}, first `{group}`, in {first} and in {second}\nhint: keep a group in one split: name one file and a [split] rule, or leave `group` out so that each row is its own group"
    )]
    SharedGroup {
        /// Groups in more than one split.
        total: usize,
        /// First such group.
        group: String,
        /// One split it lies in.
        first: &'static str,
        /// Another one.
        second: &'static str,
    },
    /// One id in two splits.
    #[error(
        "ids that lie in two splits: {total}, first `{id}`, in {first} and in {second}\nhint: give each row its own id, or leave `id` out"
    )]
    SharedId {
        /// Ids in more than one split.
        total: usize,
        /// First such id.
        id: String,
        /// One split it lies in.
        first: &'static str,
        /// Another one.
        second: &'static str,
    },
    /// A split that would hold nothing.
    #[error("the {split} split is empty: {why}\nhint: {hint}")]
    EmptySplit {
        /// The split.
        split: &'static str,
        /// How it came to be empty.
        why: String,
        /// What to change.
        hint: String,
    },
    /// A manifest that does not say what it should, all faults in one error.
    #[error("{} is not a dataset manifest this version reads:\n{}", path.display(), faults.join("\n"))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Each fault, with its hint.
        faults: Vec<String>,
    },
    /// A source file a recipe cannot read.
    #[error("recipe {recipe} cannot use {file}: {what}")]
    Recipe {
        /// The recipe.
        recipe: &'static str,
        /// The file inside the source.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The set has nothing to build it with.
    #[error("{name} has no recipe: its rows are files you bring\nhint: put the files named in dataset.toml beside it")]
    NoRecipe {
        /// Name of the set.
        name: String,
    },
    /// The built set is not there yet.
    #[error("{} is not built yet\nhint: trainer pull {name}", path.display())]
    NotBuilt {
        /// Name of the set.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A built set that is not the one the manifest was written for.
    #[error(
        "{name} differs from its manifest: expected {expected_rows} rows with SHA-256 {expected_sha256}, found {found_rows} rows with SHA-256 {found_sha256}\nhint: {hint}"
    )]
    BuiltDiffers {
        /// Name of the set.
        name: String,
        /// Rows the manifest states.
        expected_rows: usize,
        /// Hash the manifest states.
        expected_sha256: String,
        /// Rows found.
        found_rows: usize,
        /// Hash found.
        found_sha256: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    /// For `map_err` on a file-system call.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

/// What is wrong with one row, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Fault { what: short(&what.into()), hint: hint.into() }
    }
}

/// A text of a file as an error repeats it: a row may hold megabytes, and nobody reads them here.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_SIGNS) {
        None => text.to_string(),
        Some((end, _)) => format!("{}... ({} more bytes)", &text[..end], text.len() - end),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.what, self.hint)
    }
}

/// A fault and the line it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Line in the file, from 1, blank lines counted.
    pub line: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// Prints broken rows with their place; a hint follows the last row it is for, so that equal hints are read once.
struct ListedRows<'a> {
    path: &'a Path,
    shown: &'a [RowFault],
    total: usize,
}

impl fmt::Display for ListedRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.shown.iter().enumerate() {
            write!(f, "\n  {}:{}: {}", self.path.display(), row.line, row.fault.what)?;
            let said_again = self.shown[index + 1..].iter().any(|later| later.fault.hint == row.fault.hint);
            if !said_again {
                write!(f, "\n  hint: {}", row.fault.hint)?;
            }
        }
        if self.total > self.shown.len() {
            write!(f, "\n  and {} more", self.total - self.shown.len())?;
        }
        Ok(())
    }
}
