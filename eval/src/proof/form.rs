//! Whether the text of a proof is the one text that this program writes for what it says.
//! Knows nothing about numbers that follow from others. A key that stands twice, is left out or is ignored by one reader may be read by another.

use std::io;

use super::verify::{LEVELS, Proof, Tampered};
use crate::Error;
use crate::json::layout;

/// Characters that are shown of a line that differs.
const SHOWN_CHARS: usize = 200;

/// The first line that would be written otherwise.
///
/// # Errors
/// When the proof cannot be written as JSON.
pub(super) fn check(text: &str, proof: &Proof) -> Result<Option<Tampered>, Error> {
    let mut lines = Lines { found: text.split('\n'), written: Vec::new(), number: 0, difference: None };
    layout::write(proof, LEVELS, &mut lines)?;
    // Behind the last line break there is nothing.
    lines.end_of_line();
    if lines.found.next().is_some() {
        lines.number += 1;
        lines.difference("more text", "nothing");
    }
    Ok(lines.difference)
}

/// Compares what is written into it with lines that are there already.
struct Lines<'a> {
    found: std::str::Split<'a, char>,
    written: Vec<u8>,
    number: usize,
    difference: Option<Tampered>,
}

impl Lines<'_> {
    fn end_of_line(&mut self) {
        self.number += 1;
        let written = std::mem::take(&mut self.written);
        // The serializer writes nothing but UTF-8.
        let written_text = std::str::from_utf8(&written).unwrap_or_default();
        match self.found.next() {
            Some(found) if found == written_text => {}
            Some(found) => self.difference(found, written_text),
            None => self.difference("nothing", written_text),
        }
        self.written = written;
        self.written.clear();
    }

    fn difference(&mut self, found: &str, computed: &str) {
        let shown = |line: &str| line.trim().chars().take(SHOWN_CHARS).collect::<String>();
        let path = format!("line {} as it is written", self.number);
        let difference = || Tampered { path, found: shown(found), computed: shown(computed) };
        self.difference.get_or_insert_with(difference);
    }
}

impl io::Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (at, part) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if at > 0 {
                self.end_of_line();
            }
            self.written.extend_from_slice(part);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
