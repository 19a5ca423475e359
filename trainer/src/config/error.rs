//! Owns what is wrong with a config: every fault with its place and a hint, the first of them printed at once. What has the
//! form of a secret is never among the words. Knows nothing about how faults are found.

use std::fmt;
use std::path::PathBuf;

use crate::secret;

/// Letters of a message: what a file says may be as long as the file.
const MOST_LETTERS: usize = 2000;

/// Faults that are told; of more only their number. Every key of a config could be misspelt at once.
pub const MOST_TOLD: usize = 100;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Somewhere in the file, where nothing stands that could be pointed at.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// An override, as far as it may be shown.
    Override(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to type instead.
    pub hint: String,
}

/// Everything that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, in the order of the file.
    pub faults: Vec<Fault>,
    /// How many more faults there are.
    pub more: usize,
}

impl ConfigErrors {
    /// Sorts the faults by place and keeps the first; `more` were found and not kept.
    #[must_use]
    pub fn new(file: PathBuf, mut faults: Vec<Fault>, more: usize) -> Self {
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        let more = more + faults.len().saturating_sub(MOST_TOLD);
        faults.truncate(MOST_TOLD);
        ConfigErrors { file, faults, more }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &fault.place {
                Place::File => write!(f, "{file}: ")?,
                Place::Line(line) => write!(f, "{file}:{line}: ")?,
                Place::Override(text) => write!(f, "--set {}: ", secret::hidden(text))?,
            }
            write!(f, "{}\nhint: {}", said(&fault.what), said(&fault.hint))?;
        }
        if self.more > 0 {
            write!(f, "\n{file}: at least {} more faults\nhint: correct the ones above first", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A message without what has the form of a secret, and its length where it is cut.
fn said(text: &str) -> String {
    let text = secret::hidden(text);
    match text.char_indices().nth(MOST_LETTERS) {
        None => text.into_owned(),
        Some((end, _)) => format!("{}… ({} letters)", &text[..end], text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_faults_are_told_and_the_rest_counted_and_no_secret_is_among_them() {
        let fault =
            |line| Fault { place: Place::Line(line), what: "x is sk-live-NOTAKEY0123456789".into(), hint: "y".into() };
        let errors = ConfigErrors::new("a.toml".into(), (0..250).rev().map(fault).collect(), 7).to_string();
        assert_eq!(errors.lines().count(), 2 * MOST_TOLD + 2);
        assert!(errors.starts_with("a.toml:0: x is [not shown]\nhint: y\na.toml:1: "), "{errors}");
        assert!(errors.contains("a.toml: at least 157 more faults\nhint: ") && !errors.contains("NOTAKEY"), "{errors}");
        let long = Fault { place: Place::File, what: "é ".repeat(1 << 20), hint: "y".into() };
        let errors = ConfigErrors::new("a.toml".into(), vec![long], 0).to_string();
        assert!(errors.len() < 9000 && errors.contains("… (2097152 letters)"));
    }
}
