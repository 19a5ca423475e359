//! The `tojson` filter of transformers, which is Python's `json.dumps` and not Jinja's: nothing is escaped for HTML.

use minijinja::value::{Rest, ValueKind};
use minijinja::{Error, Value};

use super::meter;
use super::methods::bind;
use super::number::{invalid, kind_of, real_of, whole_of};
use super::order::sorted;
use super::show;
use super::value::{Kind, List, items, keep, weigh};

/// The widest indentation.
const WIDEST: usize = 64;

/// How a value is written; the arguments of `json.dumps` that templates can give.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
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
pub fn to_json(value: Value, rest: Rest<Value>) -> Result<Value, Error> {
    let given = bind(["ensure_ascii", "indent", "separators", "sort_keys"], &rest)?;
    let [ensure_ascii, indent, separators, sort_keys] = given.map(|given| given.filter(|value| !value.is_none()));
    let indent = match indent.as_ref().map(|indent| (indent.as_str(), whole_of(indent))) {
        None => None,
        Some((Some(text), _)) => Some(text.to_owned()),
        // Lines without an indentation.
        Some((None, Some(width))) if width < 0 => Some(String::new()),
        Some((None, Some(width))) => match usize::try_from(width) {
            Ok(width) if width <= WIDEST => Some(" ".repeat(width)),
            _ => return Err(too_wide()),
        },
        Some(_) => return Err(invalid("tojson indents by a number of spaces or by a text")),
    };
    if indent.as_ref().is_some_and(|indent| indent.len() > WIDEST) {
        return Err(too_wide());
    }
    let bytes = weigh(&value)?.bytes;
    meter::work(bytes / 4)?;
    let (item, key) = match separators {
        Some(pair) => {
            meter::read(weigh(&pair)?.bytes)?;
            let parts = items(&pair)?;
            match parts.iter().map(Value::as_str).collect::<Option<Vec<&str>>>().as_deref() {
                Some([item, key]) => ((*item).to_owned(), (*key).to_owned()),
                _ => return Err(invalid("separators are two texts")),
            }
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
    let mut out = String::new();
    style.write(&value, 0, &mut out)?;
    meter::room(out.len() as u64)?;
    meter::read(out.len() as u64)?;
    keep(Value::from(out))
}

fn too_wide() -> Error {
    meter::refuse(&format!("it indents JSON by more than {WIDEST} spaces"))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        // What one value adds is a part of what was weighed, or an indentation or separator that is short of this.
        if out.len() > self.most {
            meter::room(u64::MAX)?;
        }
        if let Some(text) = value.as_str() {
            self.write_text(text, out);
            return Ok(());
        }
        if let Some(plain) = plain(value) {
            out.push_str(&plain);
            return Ok(());
        }
        let list = value.downcast_object_ref::<List>();
        let list = list.filter(|list| matches!(list.kind(), Kind::List | Kind::Tuple | Kind::Group | Kind::Map));
        let list =
            list.ok_or_else(|| invalid(format!("Object of type {} is not JSON serializable", kind_of(value))))?;
        let (open, close) = if list.kind() == Kind::Map { ('{', '}') } else { ('[', ']') };
        out.push(open);
        if list.items().is_empty() {
            out.push(close);
            return Ok(());
        }
        if list.kind() == Kind::Map {
            let mut entries: Vec<(&Value, &Value)> = list.pairs().collect();
            if self.sort_keys {
                let keyed = entries.iter().enumerate().map(|(at, (key, _))| ((*key).clone(), Value::from(at)));
                let order = sorted(keyed.collect(), false)?;
                let places = order.iter().filter_map(|(_, at)| at.as_usize());
                entries = places.filter_map(|at| entries.get(at).copied()).collect();
            }
            for (at, (key, one)) in entries.into_iter().enumerate() {
                self.begin(at, depth + 1, out);
                match key.as_str() {
                    Some(text) => self.write_text(text, out),
                    None => {
                        let key = plain(key);
                        let key = key.ok_or_else(|| invalid("keys of JSON are texts, numbers, truths or none"))?;
                        self.write_text(&key, out);
                    }
                }
                out.push_str(&self.key);
                self.write(one, depth + 1, out)?;
            }
        } else {
            for (at, one) in list.items().iter().enumerate() {
                self.begin(at, depth + 1, out);
                self.write(one, depth + 1, out)?;
            }
        }
        self.line(depth, out);
        out.push(close);
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
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
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
                _ if self.ensure_ascii && !matches!(letter, ' '..='~') => {
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

/// What has no parts, as JSON has it; nothing for texts and for what JSON does not have.
fn plain(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::None => Some("null".to_owned()),
        ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Some(match (whole_of(value), real_of(value)) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(real)) if real.is_nan() => "NaN".to_owned(),
            (None, Some(real)) if real.is_infinite() => if real > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            (None, Some(real)) => show::float(real),
            (None, None) => value.to_string(),
        }),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use crate::tests::{chat, render};

    // What Python's json.dumps gives for the same arguments.
    #[test]
    fn values_are_written_as_python_writes_them() {
        let value = "{'b': [1, 2.5, true, none], 'a': '<é\"\n😀\x7f>', 'c': {}, 'd': []}";
        for (expression, expected) in [
            ("v | tojson", "{\"b\": [1, 2.5, true, null], \"a\": \"<é\\\"\\n😀\u{7f}>\", \"c\": {}, \"d\": []}"),
            ("v.a | tojson(ensure_ascii=true)", r#""<\u00e9\"\n\ud83d\ude00\u007f>""#),
            (
                "v | tojson(true, sort_keys=true, separators=[',', ':'])",
                r#"{"a":"<\u00e9\"\n\ud83d\ude00\u007f>","b":[1,2.5,true,null],"c":{},"d":[]}"#,
            ),
            ("v.b | tojson(indent=2)", "[\n  1,\n  2.5,\n  true,\n  null\n]"),
            ("[1] | tojson(indent='--')", "[\n--1\n]"),
            ("{1: 1e20, none: -0.5} | tojson", r#"{"1": 1e+20, "null": -0.5}"#),
            ("(1, [2], ()) | tojson", "[1, [2], []]"),
        ] {
            let source = format!("{{% set v = {value} %}}{{{{ {expression} }}}}");
            assert_eq!(render(&chat(&source).unwrap(), &[]).unwrap(), expected, "{expression}");
        }
        for wrong in ["1 | tojson(colour=2)", "nothing | tojson", "range(3) | tojson", "{'a': nothing} | tojson"] {
            assert!(render(&chat(&format!("{{{{ {wrong} }}}}")).unwrap(), &[]).is_err(), "{wrong}");
        }
    }
}
