//! Owns the rows of the error about targets that are not right, and how they read. Knows no scorer.

use std::fmt;

/// A target that is not right, and what its scorer says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WrongTarget {
    /// The place of the row among the held-out rows, from 1.
    pub row: usize,
    /// The id of the row.
    pub id: String,
    /// The scorer.
    pub scorer: &'static str,
    /// What it says.
    pub note: String,
}

/// The rows of an error, one a line.
pub(crate) struct Listed<'a> {
    pub(crate) shown: &'a [WrongTarget],
    pub(crate) total: usize,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for WrongTarget { row, id, scorer, note } in self.shown {
            write!(formatter, "\n  row {row} (`{id}`), {scorer}: {note}")?;
        }
        if self.total > self.shown.len() {
            write!(formatter, "\n  and {} more", self.total - self.shown.len())?;
        }
        Ok(())
    }
}
