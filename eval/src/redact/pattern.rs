//! A pattern of the user's own, with the label that its values get.
//! Knows nothing about what the pattern means; it runs in linear time whatever it says.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::Kind;
use crate::Error;

/// How large a compiled pattern may be; what people write takes some kilobytes.
const MOST_COMPILED_BYTES: usize = 1 << 20;

/// Finds what a regular expression matches in the folded text.
#[derive(Debug)]
pub struct Pattern {
    label: String,
    regex: Regex,
}

impl Pattern {
    /// A pattern whose values become `[LABEL_1]`, `[LABEL_2]` and so on.
    ///
    /// # Errors
    /// When the label is not small letters, digits and underscores, the pattern is no regular expression, or it matches the
    /// empty text.
    pub fn new(label: &str, pattern: &str) -> Result<Self, Error> {
        let bad = |problem: String| Error::BadPattern { label: label.to_owned(), pattern: pattern.to_owned(), problem };
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !label.starts_with(|c: char| c.is_ascii_lowercase()) || !label.chars().all(fits) || label.ends_with('_') {
            return Err(bad("a label is small letters, digits and underscores, such as case_number".to_owned()));
        }
        let regex = RegexBuilder::new(pattern).size_limit(MOST_COMPILED_BYTES).build();
        let regex = regex.map_err(|error| bad(error.to_string()))?;
        if regex.is_match("") {
            return Err(bad("it matches the empty text, so it would hide nothing; say what must be there".to_owned()));
        }
        Ok(Self { label: label.to_owned(), regex })
    }
}

impl Kind for Pattern {
    fn name(&self) -> &str {
        &self.label
    }

    fn policy(&self) -> &str {
        self.regex.as_str()
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        self.regex.find_iter(text).map(|found| found.range()).filter(|range| !range.is_empty()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_pattern_is_refused_with_what_to_type() {
        for (label, pattern, expect) in [
            ("case", "[0-9", "unclosed character class"),
            ("case", "[0-9]*", "it matches the empty text"),
            ("Case", "[0-9]", "a label is small letters"),
            ("case_", "[0-9]", "a label is small letters"),
            ("case", r"(?=x)", "look-around"),
            ("case", r"(\w{500}){3}", "size limit"),
        ] {
            let message = Pattern::new(label, pattern).unwrap_err().to_string();
            assert!(message.contains(expect) && message.contains("hint: "), "{message}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_elsewhere_is_linear_here() {
        let pattern = Pattern::new("evil", "(a+)+b").unwrap();
        assert!(pattern.find(&"a".repeat(200_000)).is_empty());
    }
}
