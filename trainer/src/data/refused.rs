//! Owns the error that names rows: the first of them with what is wrong, and how many there are.
//! Knows nothing about why a row is wrong.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// Rows that one error lists; the rest is a count.
const SHOWN: usize = 10;

/// Rows that stop a run.
#[derive(Debug, Default)]
pub(super) struct RowFaults {
    shown: Vec<(String, String, String)>,
    total: usize,
}

impl RowFaults {
    /// Adds a row.
    pub(super) fn add(&mut self, id: &str, what: &str, hint: &str) {
        self.total += 1;
        if self.shown.len() < SHOWN {
            self.shown.push((id.to_owned(), what.to_owned(), hint.to_owned()));
        }
    }

    /// An error if there are any. A hint follows the last row it is for.
    pub(super) fn into_result(self, rows: usize) -> Result<()> {
        if self.total == 0 {
            return Ok(());
        }
        let mut text = format!("{} of {rows} rows cannot be used", self.total);
        for (at, (id, what, hint)) in self.shown.iter().enumerate() {
            // Writing into a `String` cannot fail.
            let _ = write!(text, "\n  row `{id}`: {what}");
            if !self.shown[at + 1..].iter().any(|(_, _, later)| later == hint) {
                let _ = write!(text, "\n  hint: {hint}");
            }
        }
        if self.total > self.shown.len() {
            let _ = write!(text, "\n  and {} more", self.total - self.shown.len());
        }
        bail!(text)
    }
}
