//! Owns how names and values that somebody typed are shown in an error: never one that may be a secret, never a long one.
//! Knows nothing about what a value may be.

use std::borrow::Cow;

use toml::Value;

use crate::secret;

/// Letters of a name or value that an error shows at most.
const MOST_SHOWN: usize = 60;

/// A name that somebody typed (of a key, an arm, a label), as an error shows it.
#[must_use]
pub fn name(name: &str) -> Cow<'_, str> {
    if secret::looks_like(name) {
        return Cow::Borrowed(secret::NOT_SHOWN);
    }
    match name.char_indices().nth(MOST_SHOWN) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}… ({} letters)", &name[..end], name.chars().count())),
    }
}

/// A value of a key as the file writes it; only its kind where it is long, or may be a secret.
#[must_use]
pub fn value(key: &str, value: &Value) -> String {
    if value.is_table() {
        return kind(value).to_owned();
    }
    if secret::smells(key) {
        return format!("{}, {}", kind(value), secret::NOT_SHOWN);
    }
    let too_long = |length: usize| length > MOST_SHOWN;
    let text = match value {
        // A list may be as long as the file: it is not written out to find that.
        Value::Array(list) if too_long(list.len()) => return "a list".to_owned(),
        Value::String(text) if too_long(text.len()) => return "a text".to_owned(),
        // Not in three hundred digits.
        Value::Float(number) if number.is_finite() => format!("{number:?}"),
        other => other.to_string(),
    };
    match value {
        _ if too_long(text.chars().count()) => kind(value).to_owned(),
        Value::String(_) | Value::Array(_) if secret::looks_like(&text) => {
            format!("{}, {}", kind(value), secret::NOT_SHOWN)
        }
        _ => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Integer(_) | Value::Float(_) => "a number",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_unless_it_is_long_or_may_be_a_secret() {
        let shown = |key: &str, text: &str| value(key, &format!("v = {text}").parse::<toml::Table>().unwrap()["v"]);
        assert_eq!(shown("train.epochs", "\"two\""), "\"two\"");
        assert_eq!(shown("train.epochs", "[1, 2]"), "[1, 2]");
        assert_eq!(shown("train.epochs", "{ a = 1 }"), "a table");
        assert_eq!(shown("train.epochs", "\"sk-live-NOTAKEY0123456789\""), "a text, [not shown]");
        assert_eq!(shown("train.epochs", "[\"NOTAKEY0123456789\"]"), "a list, [not shown]");
        assert_eq!(shown("eval.api_key", "\"hunter2\""), "a text, [not shown]");
        assert_eq!(shown("data.system", &format!("\"{}\"", "a ".repeat(99))), "a text");
        assert_eq!(name("learning_rte"), "learning_rte");
        assert_eq!(name("sk-live-NOTAKEY0123456789"), "[not shown]");
        assert_eq!(name(&"é".repeat(100)), format!("{}… (100 letters)", "é".repeat(60)));
    }
}
