//! Owns what is wrong with a config: every fault with its place and a hint, all printed at once.
//! Knows nothing about how faults are found.

use std::fmt;
use std::path::PathBuf;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Somewhere in the file, where nothing stands that could be pointed at.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// An override, as it was typed.
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
}

impl ConfigErrors {
    /// Sorts the faults by place.
    #[must_use]
    pub fn new(file: PathBuf, mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        ConfigErrors { file, faults }
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
                Place::Override(text) => write!(f, "--set {text}: ")?,
            }
            write!(f, "{}\nhint: {}", fault.what, fault.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
