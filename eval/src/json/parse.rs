//! Reads one JSON value strictly: nothing before or after it, no key twice, no NaN.
//! Knows nothing about schemas or records.

use datasets::strict::Strict;
use serde_json::Value;

/// The one value that a text is, white space around it aside.
///
/// More than 128 levels and numbers beyond 64-bit floating point are refused too.
///
/// # Errors
/// What is wrong, with line and column.
pub fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Strict>(text.trim()).map(|Strict(value)| value).map_err(|error| error.to_string())
}

/// The inside of one code fence around the whole text, or the text itself.
///
/// The opening line may name a language; a fence inside other text is left alone.
pub fn without_fence(text: &str) -> &str {
    const FENCE: &str = "```";
    let text = text.trim();
    let inside = text.strip_prefix(FENCE).and_then(|rest| rest.strip_suffix(FENCE));
    let Some(inside) = inside else { return text };
    let is_language = |line: &str| line.trim().chars().all(|c| c.is_ascii_alphanumeric() || "+-_.".contains(c));
    match inside.split_once('\n') {
        Some((first, rest)) if is_language(first) => rest,
        _ => inside,
    }
    .trim()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exactly_one_value_is_read() {
        for text in ["{\"a\": [1, -2.5e3, true, null, \"\\u00e9\"]}", " 3 ", "\"x\"", "18446744073709551615", "[]"] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn whatever_is_not_exactly_one_value_is_refused() {
        let deep = "[".repeat(5000);
        for (text, expect) in [
            ("{\"a\": 1, \"a\": 1}", "key \"a\" occurs twice at line 1 column "),
            ("[{\"a\": {\"b\": 1, \"b\": 2}}]", "key \"b\" occurs twice"),
            ("NaN", "expected value"),
            ("[Infinity]", "expected value"),
            ("{} {}", "trailing characters"),
            ("{\"a\": 1,}", "trailing comma"),
            ("{'a': 1}", "key must be a string"),
            ("here: {}", "expected value"),
            ("", "EOF"),
            ("1e999", "number out of range"),
            (&deep, "recursion limit"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with(expect), "{text:.40?}: {message}");
        }
    }

    #[test]
    fn one_code_fence_around_everything_is_removed() {
        for text in ["```json\n{}\n```", "```\n{}```", " ```JSON5 \r\n {} \n``` ", "```{}```", "{}"] {
            assert_eq!(without_fence(text), "{}", "{text:?}");
        }
        for text in ["here: ```json\n{}\n```", "```json\n{}", "````"] {
            assert_eq!(without_fence(text), text, "{text:?}");
        }
        assert_eq!(without_fence("```\n```json\n{}\n```\n```"), "```json\n{}\n```");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"0-9a-z`\\\\ \n-]{0,60}|.{0,40}") {
            let value = parse(without_fence(&text));
            // Stricter than the parser below it, and never looser.
            if value.is_ok() {
                prop_assert!(serde_json::from_str::<Value>(without_fence(&text)).is_ok());
            }
        }
    }
}
