//! Owns in which config keys several runs differ. Knows the text of configs; knows none of their keys.

use std::collections::{BTreeMap, BTreeSet};

/// Keys with different values, each with the value in every config; a key that one does not have is a dash there.
#[must_use]
pub fn differing(configs: &[String]) -> Vec<(String, Vec<String>)> {
    let flat: Vec<BTreeMap<String, String>> = configs.iter().map(|text| keys(text)).collect();
    let all: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let values = |key: &str| -> Vec<String> {
        flat.iter().map(|config| config.get(key).cloned().unwrap_or_else(|| "-".to_owned())).collect()
    };
    let rows = all.into_iter().map(|key| (key.clone(), values(key)));
    rows.filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}

/// Every key with its value. A text that is no config has none.
fn keys(text: &str) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        table.into_iter().for_each(|(key, value)| flatten(&key, value, &mut flat));
    }
    flat
}

fn flatten(path: &str, value: toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            table.into_iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, flat));
        }
        toml::Value::String(text) => drop(flat.insert(path.to_owned(), text)),
        other => drop(flat.insert(path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_differ_are_told() {
        let one = "name = \"a\"\n[train]\nseed = 1\nlearning_rate = 1e-3\n[lora]\nr = 4\n";
        let two = "name = \"b\"\n[train]\nseed = 1\nlearning_rate = 5e-3\n";
        let found = differing(&[one.to_owned(), two.to_owned()]);
        let expected = [("lora.r", ["4", "-"]), ("name", ["a", "b"]), ("train.learning_rate", ["0.001", "0.005"])];
        let expected: Vec<(String, Vec<String>)> =
            expected.map(|(key, values)| (key.to_owned(), values.map(str::to_owned).to_vec())).to_vec();
        assert_eq!(found, expected);
        assert!(differing(&["no config at all".to_owned(), String::new()]).is_empty());
    }
}
