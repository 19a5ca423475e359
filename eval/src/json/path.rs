//! Paths to the leaves of a record without indices: `parties[].name`.
//! Knows nothing about values.

use std::fmt;

/// A path from the root of a record; all items of a list share one path.
///
/// Written as keys with points between them, `[]` for "each item", and `$` for the root itself.
/// A key that is empty or holds one of `.[]"$` is written as a JSON string: `"a.b".c`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(String);

/// The longest path that a task may write, in bytes: building one takes the square of its parts.
const MOST_BYTES: usize = 4_096;

impl Path {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Bytes of the path as it is written.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of this key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let point = if self.0.is_empty() { "" } else { "." };
        let is_plain = !key.is_empty() && !key.contains(['.', '[', ']', '"', '$']);
        let key = if is_plain { key.to_owned() } else { serde_json::Value::from(key).to_string() };
        Self(format!("{}{point}{key}", self.0))
    }

    /// Each item of the list.
    #[must_use]
    pub fn items(&self) -> Self {
        Self(format!("{}[]", self.0))
    }

    /// Reads a path as a task writes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("it has {} bytes, and a path has at most {MOST_BYTES}", text.len()));
        }
        if text == "$" {
            return Ok(Self::root());
        }
        let mut path = Self::root();
        let mut rest = text;
        loop {
            let is_start = rest.len() == text.len();
            if let Some(after) = rest.strip_prefix("[]") {
                path = path.items();
                rest = after;
            } else if is_start || rest.starts_with('.') {
                let (key, after) = first_key(if is_start { rest } else { &rest[1..] })?;
                path = path.key(&key);
                rest = after;
            } else {
                return Err(format!("a point or `[]` is missing before `{rest}`"));
            }
            if rest.is_empty() {
                return Ok(path);
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "$" } else { &self.0 })
    }
}

fn first_key(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let key = strings.next().and_then(Result::ok).ok_or_else(|| format!("`{text}` has no closing quote"))?;
        return Ok((key, &text[strings.byte_offset()..]));
    }
    let end = text.find(['.', '[', ']', '"', '$']).unwrap_or(text.len());
    match &text[..end] {
        "" => Err("a key is empty; write it as `\"\"` if it is meant".to_owned()),
        key => Ok((key.to_owned(), &text[end..])),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read_as_they_are_shown() {
        for text in ["$", "name", "parties[].name", "[]", "[].a", "rows[][].x", "\"a.b\".c", "a.\"\"", "\"\\\"\"[]"] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Path::parse("\"plain\"").unwrap(), Path::root().key("plain"));
    }

    #[test]
    fn a_path_without_end_is_refused_before_it_is_built() {
        assert!(Path::parse(&format!("{}b", "a[].".repeat(240_000))).unwrap_err().contains("at most 4096"));
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        for text in ["", ".", "a.", "a..b", "a[", "a[0].b", "a[]b", "\"a", "$.a"] {
            assert!(Path::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_keys_make_a_path_that_is_read_back(keys in proptest::collection::vec(".{0,6}", 1..4)) {
            let path = keys.iter().fold(Path::root(), |path, key| path.key(key).items());
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a.\\[\\]\"$\\\\]{0,12}|.{0,20}") {
            let _ = Path::parse(&text);
        }
    }
}
