//! What stands in the way of a publication: the place, what is wrong, and what to do. Knows nothing about how it was found.

use anyhow::{Error, anyhow};

/// One reason not to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file of the run or of the publication, with a line where there is one.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(place: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), hint: hint.into() }
    }
}

/// All faults in one error, each with its hint.
pub fn error(faults: &[Fault]) -> Error {
    let lines: Vec<String> =
        faults.iter().map(|fault| format!("{}: {}\nhint: {}", fault.place, fault.what, fault.hint)).collect();
    let count = match faults.len() {
        1 => "one thing stands".to_owned(),
        more => format!("{more} things stand"),
    };
    anyhow!("nothing was published or written, {count} in the way\n{}", lines.join("\n"))
}
