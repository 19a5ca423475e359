//! Owns how bytes of strangers become values: files within bounds, JSON whose shape is looked at before anything is built of
//! it, and the boundary around parsers of other crates. Knows no format of a checkpoint.

use std::fmt::Display;
use std::path::Path;

use ground::read::{self, Kind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

mod once;

/// Most values of a JSON text. The largest tokenizers in use have 1.8 million; one takes up to some hundred bytes in memory,
/// in a text it may take two.
const MOST_VALUES: usize = 1 << 22;
/// Most lists and objects inside each other; the deepest in use have nine.
const MOST_DEPTH: usize = 32;
/// Letters of a value of a file that a message repeats.
const SHOWN: usize = 80;

/// A whole file of a kind.
pub(crate) fn bytes(path: &Path, kind: Kind) -> Result<Vec<u8>> {
    read::bytes(path, kind).map_err(Error::io(path))
}

/// A file that need not be there. What is there and cannot be read is an error.
pub(crate) fn optional(path: &Path, kind: Kind) -> Result<Option<Vec<u8>>> {
    read::optional(path, kind).map_err(Error::io(path))
}

/// A file of text that need not be there.
pub(crate) fn optional_text(path: &Path, kind: Kind) -> Result<Option<String>> {
    let text = |bytes| String::from_utf8(bytes).map_err(|error| Error::malformed(path, error.to_string()));
    optional(path, kind)?.map(text).transpose()
}

/// Whether there is anything of this name, be it a file or not: what opens it says what it is.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A JSON file of a kind.
pub(crate) fn json(path: &Path, kind: Kind) -> Result<Value> {
    parse(&bytes(path, kind)?, path)
}

/// A JSON file that need not be there.
pub(crate) fn optional_json(path: &Path, kind: Kind) -> Result<Option<Value>> {
    optional(path, kind)?.map(|bytes| parse(&bytes, path)).transpose()
}

/// What a JSON text says. `path` is only for messages.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    parse_text(bytes).map_err(|what| Error::malformed(path, what))
}

/// The same, with the defect in words.
pub(crate) fn parse_text<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    refuse_shape(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| format!("not valid JSON: {}", short(&error.to_string())))
}

/// The same of a text in which no key stands twice.
pub(crate) fn parse_text_once(bytes: &[u8]) -> std::result::Result<Value, String> {
    let value = parse_text(bytes)?;
    let once: std::result::Result<once::Once, _> = serde_json::from_slice(bytes);
    match once {
        Ok(_) => Ok(value),
        Err(error) => Err(format!("{error}\nhint: leave one of the two; programs differ in which they take")),
    }
}

/// Calls code of another crate on foreign input: a panic in it is an error.
pub(crate) fn caught<T, E: Display>(
    call: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    match ground::panics::caught(call) {
        Ok(outcome) => outcome.map_err(|error| short(&error.to_string())),
        Err(words) => Err(format!("its reader ended in the middle: {}", short(&words))),
    }
}

/// A text of a file as a message shows it: its first letters.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(4 * SHOWN) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text.to_owned(),
    }
}

/// A token of a file as a message shows it.
pub(crate) fn quoted(token: &str) -> String {
    match token.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}… ({} bytes)", &token[..cut], token.len()),
        None => format!("{token:?}"),
    }
}

/// Refuses a text that would become far larger in memory, or take the whole stack. Judges nothing else: what is no JSON is
/// for the reader to say.
fn refuse_shape(bytes: &[u8]) -> std::result::Result<(), String> {
    let (mut values, mut depth, mut at) = (1_usize, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(inside) = bytes.get(at).filter(|inside| **inside != b'"') {
                    at += if *inside == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => (values, depth) = (values + 1, depth + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MOST_DEPTH {
            return Err(format!("lists and objects lie more than {MOST_DEPTH} deep in each other"));
        }
        at += 1;
    }
    match values > MOST_VALUES {
        true => Err(format!("{values} values, more than the {MOST_VALUES} that are read")),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_number_of_values_are_refused_before_they_are_built() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        parse_text::<Value>(deep(MOST_DEPTH).as_bytes()).unwrap();
        assert!(parse_text::<Value>(deep(MOST_DEPTH + 1).as_bytes()).unwrap_err().contains("deep"));
        assert!(parse_text::<Value>(deep(10_000_000).as_bytes()).unwrap_err().contains("deep"));
        let wide = format!("[{}1]", "1,".repeat(MOST_VALUES));
        assert!(parse_text::<Value>(wide.as_bytes()).unwrap_err().contains("values"));
        // Brackets and quotes inside a text are its letters.
        let text = format!(r#"{{"a": "\"{}\\"}}"#, "[".repeat(100));
        parse_text::<Value>(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_panic_of_a_reader_is_an_error_in_words() {
        let failed = caught(|| -> std::result::Result<u8, String> { panic!("chunk size must not be zero") });
        assert_eq!(failed.unwrap_err(), "its reader ended in the middle: chunk size must not be zero");
        assert_eq!(caught(|| Ok::<_, String>(3)), Ok(3));
    }

    #[test]
    fn messages_do_not_repeat_megabytes() {
        let long = "x".repeat(20 << 20);
        let error = parse_text::<u8>(format!("\"{long}\"").as_bytes()).unwrap_err();
        assert!(error.len() < 500 && quoted(&long).len() < 150, "{error}");
    }
}
