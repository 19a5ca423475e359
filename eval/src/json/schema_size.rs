//! How large a JSON Schema is once every reference in it is written out: a schema of forty lines may stand for a billion.
//! Knows nothing about what a schema means; a cycle of references ends where it comes back.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// Parts of a schema that is used.
pub(crate) const MOST_PARTS: u64 = 100_000;

/// The number of parts of a schema with its references written out.
pub(crate) fn unfolded(schema: &Value) -> u64 {
    let mut names = HashMap::new();
    collect_names(schema, &mut names);
    let mut count = Count { root: schema, names, known: HashMap::new(), open: HashSet::new() };
    count.of(schema)
}

/// The number of values in a value.
pub(crate) fn num_values(value: &Value) -> u64 {
    match value {
        Value::Array(list) => 1 + list.iter().map(num_values).sum::<u64>(),
        Value::Object(object) => 1 + object.values().map(num_values).sum::<u64>(),
        _ => 1,
    }
}

/// Schemas that have a name of their own, by that name.
fn collect_names<'a>(schema: &'a Value, names: &mut HashMap<&'a str, &'a Value>) {
    match schema {
        Value::Object(object) => {
            for key in ["$id", "id", "$anchor", "$dynamicAnchor"] {
                if let Some(name) = object.get(key).and_then(Value::as_str) {
                    names.insert(name.trim_end_matches('#'), schema);
                }
            }
            object.values().for_each(|value| collect_names(value, names));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_names(value, names)),
        _ => {}
    }
}

struct Count<'a> {
    root: &'a Value,
    names: HashMap<&'a str, &'a Value>,
    /// Sizes of what was referred to, by reference.
    known: HashMap<&'a str, u64>,
    open: HashSet<&'a str>,
}

impl<'a> Count<'a> {
    fn of(&mut self, schema: &'a Value) -> u64 {
        match schema {
            Value::Array(list) => list.iter().fold(1, |sum, value| sum.saturating_add(self.of(value))),
            Value::Object(object) => object.iter().fold(1, |sum, (key, value)| {
                let inside = match (key.as_str(), value) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => self.referred(reference),
                    _ => self.of(value),
                };
                sum.saturating_add(inside)
            }),
            _ => 1,
        }
    }

    fn referred(&mut self, reference: &'a str) -> u64 {
        if let Some(known) = self.known.get(reference) {
            return *known;
        }
        if !self.open.insert(reference) {
            return 1;
        }
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let found = self.names.get(base).copied().or_else(|| base.is_empty().then_some(self.root));
        let found = match fragment {
            "" => found,
            pointer if pointer.starts_with('/') => found.and_then(|found| found.pointer(&unescaped(pointer))),
            name => self.names.get(name).copied(),
        };
        // What cannot be found here may be anything in it.
        let size = self.of(found.unwrap_or(self.root));
        self.open.remove(reference);
        self.known.insert(reference, size);
        size
    }
}

/// A pointer without the escapes of an address.
fn unescaped(pointer: &str) -> String {
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_counted_where_they_stand() {
        assert_eq!(unfolded(&json!({"type": "string"})), 2);
        let twice = json!({"$defs": {"a b": {"type": "string"}}, "allOf": [{"$ref": "#/$defs/a%20b"}, {"$ref": "#/$defs/a%20b"}]});
        assert_eq!(unfolded(&twice), 1 + 3 + 1 + 2 * 3);
        let named = json!({"$defs": {"a": {"$anchor": "x", "type": "string"}}, "$ref": "#x"});
        assert_eq!(unfolded(&named), 1 + 4 + 3);
        assert_eq!(num_values(&json!({"a": [1, {}], "b": null})), 5);
    }

    #[test]
    fn a_schema_that_doubles_at_each_level_is_seen_without_being_written_out() {
        let level = |at: usize| json!({"allOf": [{"$ref": format!("#/$defs/l{}", at + 1)}, {"$ref": format!("#/$defs/l{}", at + 1)}]});
        let mut levels: serde_json::Map<String, Value> = (0..60).map(|at| (format!("l{at}"), level(at))).collect();
        levels.insert("l60".to_owned(), json!({"type": "string"}));
        assert!(unfolded(&json!({"$defs": levels, "$ref": "#/$defs/l0"})) > 1 << 60);
    }

    #[test]
    fn a_schema_that_holds_itself_is_small() {
        let tree = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
        assert!(unfolded(&tree) < 20);
        let chain = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
        assert!(unfolded(&chain) < 20);
    }
}
