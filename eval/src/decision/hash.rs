//! One text for one value: canonical JSON, and which keys of two values differ.
//! Knows nothing about decisions.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::Error;

/// JSON with keys sorted by their bytes and no white space; numbers as `serde_json` writes them, the shortest text that reads back the same.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let parts =
                entries.into_iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// The paths of every leaf that differs or exists on one side only, such as `gates.min_clusters` or `slices.names[1]`, in sorted order.
pub fn differing_keys(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", Some(left), Some(right), &mut found);
    found.sort();
    found
}

/// Refuses another version before any other key is looked at, so that the message is about the version.
pub(crate) fn require_version(text: &str, known: RangeInclusive<u32>) -> Result<(), Error> {
    let value: Value = serde_json::from_str(text)?;
    let (oldest, newest) = (u64::from(*known.start()), u64::from(*known.end()));
    match value.get("version").and_then(Value::as_u64) {
        Some(found) if !(oldest..=newest).contains(&found) => Err(Error::UnknownVersion { found, expected: newest }),
        _ => Ok(()),
    }
}

fn walk(path: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<String>) {
    match (left, right) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&below, a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(&format!("{path}[{index}]"), a.get(index), b.get(index), found);
            }
        }
        (left, right) if left == right => {}
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_text_does_not_depend_on_order_or_white_space() {
        let value: Value =
            serde_json::from_str("{ \"b\": [1, 2.50, \"x\\ny\"], \"a\": {\"d\": null, \"c\": true} }").unwrap();
        assert_eq!(canonical(&value), "{\"a\":{\"c\":true,\"d\":null},\"b\":[1,2.5,\"x\\ny\"]}");
    }

    #[test]
    fn every_leaf_that_differs_is_named() {
        let left = json!({"a": 1, "b": {"c": [1, 2], "d": 0.5}, "e": null});
        let right = json!({"a": 1, "b": {"c": [1, 3, 4], "d": 0.6}, "f": 1});
        assert_eq!(differing_keys(&left, &right), ["b.c[1]", "b.c[2]", "b.d", "e", "f"]);
        assert!(differing_keys(&left, &left).is_empty());
    }
}
