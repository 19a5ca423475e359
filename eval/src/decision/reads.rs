//! How often results were read against the same sealed rows: an append-only log, one JSON line a read.
//! Knows nothing about files; a line that a kill cut short is counted as a read, since somebody may have seen the result.

use serde::{Deserialize, Serialize};

use super::hash;
use crate::Error;

/// The version of the format of a line.
pub const VERSION: u32 = 1;

/// One reading of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The version of this format.
    pub version: u32,
    /// When, RFC 3339.
    pub at: String,
    /// SHA-256 of the sealed set.
    pub set_sha256: String,
    /// The hash of the decision under which it was read.
    pub registered_sha256: String,
    /// The arm that was judged.
    pub candidate: String,
}

impl Read {
    /// Its line, with the line end.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn line(&self) -> Result<String, Error> {
        Ok(format!("{}\n", hash::canonical(&serde_json::to_value(self)?)))
    }
}

/// All readings so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Whole lines, oldest first.
    pub reads: Vec<Read>,
    /// Lines that a kill cut short.
    pub torn: usize,
}

impl Reads {
    /// Reads a log.
    ///
    /// A cut line is one that JSON ends too early in, wherever it stands: the next append puts a line end behind it.
    ///
    /// # Errors
    /// With the number of the line, counted from 1, and what is wrong, when a line is something else.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut found = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let version = hash::require_version(line, VERSION..=VERSION);
            match version.and_then(|()| Ok(serde_json::from_str::<Read>(line)?)) {
                Ok(read) => found.reads.push(read),
                Err(Error::Json { source }) if source.is_eof() => found.torn += 1,
                Err(error) => return Err((index + 1, error.to_string())),
            }
        }
        Ok(found)
    }

    /// How often results were read against this set; a cut line counts, because nobody knows which set it was.
    pub fn count(&self, set_sha256: &str) -> usize {
        self.reads.iter().filter(|read| read.set_sha256 == set_sha256).count() + self.torn
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn read(set: &str) -> Read {
        Read {
            version: VERSION,
            at: "2026-03-01T12:00:00Z".to_owned(),
            set_sha256: set.repeat(64),
            registered_sha256: "d".repeat(64),
            candidate: "tuned".to_owned(),
        }
    }

    #[test]
    fn reads_are_counted_by_set_and_a_cut_line_counts_for_every_set() {
        let (a, b) = (read("a").line().unwrap(), read("b").line().unwrap());
        let text = format!("{a}{b}{}\n{a}", &b[..40]);
        let found = Reads::parse(&text).unwrap();
        assert_eq!((found.reads.len(), found.torn), (3, 1));
        assert_eq!((found.count(&"a".repeat(64)), found.count(&"b".repeat(64)), found.count("c")), (3, 2, 1));
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        let good = read("a").line().unwrap();
        let (line, problem) = Reads::parse(&format!("{good}{}", good.replace("\"at\"", "\"when\""))).unwrap_err();
        assert!(line == 2 && problem.contains("when"), "{problem}");
        assert!(Reads::parse(&good.replace("\"version\":1", "\"version\":7")).is_err());
        assert_eq!(Reads::parse("").unwrap(), Reads::default());
    }
}
