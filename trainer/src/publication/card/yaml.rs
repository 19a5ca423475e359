//! JSON values as the YAML that stands at the head of a card. Knows nothing about cards.
//!
//! Every text is quoted; numbers are written without an exponent, which readers of YAML take for text.

use eval::report::escape::quoted;
use serde_json::Value;

/// The lines of an object, without a frame around them.
pub(super) fn block(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                out.push_str(&format!("{indent}{}:", name(key)));
                nested(value, depth + 1, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut text = String::new();
                match item {
                    Value::Object(_) | Value::Array(_) => write(item, depth + 1, &mut text),
                    scalar => text = format!("{indent}  {}\n", plain(scalar)),
                }
                // The first line of an item carries its mark.
                out.push_str(&format!("{indent}- {}", text.get(2 * depth + 2..).unwrap_or_default()));
            }
        }
        scalar => out.push_str(&format!("{indent}{}\n", plain(scalar))),
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write(value, depth, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, depth - 1, out);
        }
        other => out.push_str(&format!(" {}\n", plain(other))),
    }
}

/// A key, quoted unless it is a plain word.
fn name(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    if plain { key.to_owned() } else { quoted(key) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Number(number) if number.is_f64() => {
            let text = number.as_f64().unwrap_or_default().to_string();
            if text.contains('.') { text } else { format!("{text}.0") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_lists_and_numbers_are_written_as_yaml_reads_them() {
        let value = json!({
            "license": "mit",
            "tags": ["lora", "a: b"],
            "model-index": [{"name": "x", "results": [{"metrics": [{"value": 0.000_01, "n": 3, "args": {"low": 1.0}}]}]}],
            "none": [],
            "a: b\nc": "\u{2028}\u{1b}\n---\nlicense: x",
        });
        let expect = r#"license: "mit"
tags:
- "lora"
- "a: b"
model-index:
- name: "x"
  results:
  - metrics:
    - value: 0.00001
      n: 3
      args:
        low: 1.0
none: []
"a: b\nc": "\u2028\x1b\n---\nlicense: x"
"#;
        assert_eq!(block(&value), expect);
    }
}
