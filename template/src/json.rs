//! The `tojson` filter of transformers, which is Python's `json.dumps` and not Jinja's: nothing is escaped for HTML.

use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, ErrorKind, Value};

use super::meter;
use super::value::{keep, weigh};

/// The widest indentation.
const WIDEST: usize = 64;

/// How a value is written; the arguments of `json.dumps` that templates can give.
struct Style {
    ensure_ascii: bool,
    indent: Option<usize>,
    item: String,
    key: String,
    sort_keys: bool,
    /// The longest text that may come out.
    most: usize,
}

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
///
/// # Errors
/// For arguments that it does not know, values that are no JSON, and texts that are too long.
pub fn to_json(value: Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if positional.len() > names.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let argument = |at: usize| -> Result<Option<Value>, Error> {
        let given = match positional.get(at) {
            Some(value) => Some(value.clone()),
            None => named.get::<Option<Value>>(names[at])?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let (ensure_ascii, indent, separators, sort_keys) = (argument(0)?, argument(1)?, argument(2)?, argument(3)?);
    named.assert_all_used()?;
    let indent = indent.map(usize::try_from).transpose()?;
    if indent.is_some_and(|indent| indent > WIDEST) {
        return Err(meter::refuse(&format!("it indents JSON by more than {WIDEST} spaces")));
    }
    let bytes = weigh(&value)?.bytes;
    meter::work(bytes / 4)?;
    let (item, key) = match separators {
        Some(pair) => {
            meter::read(weigh(&pair)?.bytes)?;
            (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string())
        }
        None if indent.is_some() => (",".to_string(), ": ".to_string()),
        None => (", ".to_string(), ": ".to_string()),
    };
    let style = Style {
        ensure_ascii: ensure_ascii.is_some_and(|value| value.is_true()),
        indent,
        item,
        key,
        sort_keys: sort_keys.is_some_and(|value| value.is_true()),
        most: usize::try_from(meter::largest()).unwrap_or(usize::MAX),
    };
    let json = serde_json::to_value(&value).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "value cannot be written as JSON").with_source(error)
    })?;
    let mut out = String::new();
    style.write(&json, 0, &mut out)?;
    meter::room(out.len() as u64)?;
    meter::read(out.len() as u64)?;
    keep(Value::from(out))
}

impl Style {
    fn write(&self, value: &serde_json::Value, depth: usize, out: &mut String) -> Result<(), Error> {
        use serde_json::Value as Json;
        // What one value adds is a part of what was weighed, or an indentation or separator that is short of this.
        if out.len() > self.most {
            meter::room(u64::MAX)?;
        }
        match value {
            Json::Null | Json::Bool(_) | Json::Number(_) => *out += &value.to_string(),
            Json::String(text) => self.write_text(text, out),
            Json::Array(items) if items.is_empty() => out.push_str("[]"),
            Json::Object(map) if map.is_empty() => out.push_str("{}"),
            Json::Array(items) => {
                out.push('[');
                for (at, one) in items.iter().enumerate() {
                    self.begin(at, depth + 1, out);
                    self.write(one, depth + 1, out)?;
                }
                self.line(depth, out);
                out.push(']');
            }
            Json::Object(map) => {
                let mut entries: Vec<(&String, &Json)> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                out.push('{');
                for (at, (key, one)) in entries.into_iter().enumerate() {
                    self.begin(at, depth + 1, out);
                    self.write_text(key, out);
                    out.push_str(&self.key);
                    self.write(one, depth + 1, out)?;
                }
                self.line(depth, out);
                out.push('}');
            }
        }
        Ok(())
    }

    /// What stands before an item.
    fn begin(&self, at: usize, depth: usize, out: &mut String) {
        if at > 0 {
            out.push_str(&self.item);
        }
        self.line(depth, out);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    }

    fn write_text(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            // The caller refuses what is too long; here it only must not grow on.
            if out.len() > self.most {
                return;
            }
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..'\u{20}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
                _ if self.ensure_ascii && !letter.is_ascii() => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => out.push(letter),
            }
        }
        out.push('"');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    // What Python's json.dumps gives for the same arguments.
    #[test]
    fn values_are_written_as_python_writes_them() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let value: serde_json::Value =
            serde_json::from_str(r#"{"b": [1, 2.5, true, null], "a": "<é\"\n😀>", "c": {}, "d": []}"#).unwrap();
        for (expression, expected) in [
            ("v | tojson", r#"{"b": [1, 2.5, true, null], "a": "<é\"\n😀>", "c": {}, "d": []}"#),
            ("v.a | tojson(ensure_ascii=true)", r#""<\u00e9\"\n\ud83d\ude00>""#),
            (
                "v | tojson(separators=[',', ':'], sort_keys=true)",
                r#"{"a":"<é\"\n😀>","b":[1,2.5,true,null],"c":{},"d":[]}"#,
            ),
            ("v.b | tojson(indent=2)", "[\n  1,\n  2.5,\n  true,\n  null\n]"),
        ] {
            let rendered = environment
                .render_str(&format!("{{{{ {expression} }}}}"), context! { v => Value::from_serialize(&value) });
            assert_eq!(rendered.unwrap(), expected);
        }
        assert!(environment.render_str("{{ 1 | tojson(colour=2) }}", ()).is_err());
    }
}
