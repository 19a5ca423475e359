//! Owns `--set key.path=value`: putting a value into the table of a config before it is checked, and how an override is
//! shown. Knows nothing about what a value may be; it is checked like one from the file.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::error::{Fault, Place};
use super::keys;
use super::schema::{Key, SECTIONS};
use super::shape::Shape;
use super::{shown, synonyms};
use crate::secret;

/// Puts every override into the table and returns what was typed for each key, or what is wrong.
///
/// A value is read as TOML and else taken as a text; an empty value takes the key out, as if it were not in the file.
/// A later override of the same key wins.
pub(super) fn apply(table: &mut Table, overrides: &[String]) -> (BTreeMap<String, String>, Vec<Fault>) {
    let mut typed = BTreeMap::new();
    let mut faults = Vec::new();
    for text in overrides {
        match split(text) {
            Ok((key, value)) => {
                put(table, key, value);
                typed.insert(key.path(), as_shown(text));
            }
            Err((what, hint)) => faults.push(Fault { place: Place::Override(as_shown(text)), what, hint }),
        }
    }
    (typed, faults)
}

/// An override as an error repeats it: its key, and its value only where that is a number or a flag. What else was typed
/// may be a key in the wrong place.
fn as_shown(text: &str) -> String {
    let (path, value) = text.split_once('=').unwrap_or((text, ""));
    let (path, value) = (path.trim(), value.trim());
    let plain = value.len() <= 24 && (value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok());
    let path = shown_path(path);
    if plain && !secret::smells(&path) { format!("{path}={value}") } else { path }
}

/// What was typed before the `=`, if it may have been meant as a key.
fn shown_path(path: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '_' | '-');
    if path.chars().all(plain) { shown::name(path).into_owned() } else { secret::NOT_SHOWN.to_owned() }
}

fn split(text: &str) -> Result<(&'static Key, &str), (String, String)> {
    let Some((path, value)) = text.split_once('=') else {
        return Err(("no value".to_owned(), "write --set key=value, such as --set train.epochs=2".to_owned()));
    };
    let path = path.trim();
    if let Some(key) = Key::find(path) {
        return Ok((key, value.trim()));
    }
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    if let Some(synonym) = synonyms::of_key(section, name) {
        return Err((format!("unknown key `{}`", shown_path(path)), synonym.hint()));
    }
    if let Some(hint) = synonyms::not_here(name) {
        return Err((format!("unknown key `{}`", shown_path(path)), hint.to_owned()));
    }
    if Key::find(section).is_some_and(|key| matches!(key.field.shape, Shape::Named { .. })) {
        let hint = format!("write the whole table, such as --set '{section}={{ {} = VALUE }}'", shown::name(name));
        return Err((format!("`{}` is one of several under `{section}`", shown_path(path)), hint));
    }
    let section = match keys::nearest_word(section, &SECTIONS).first() {
        Some(near) => near.clone(),
        None => section.to_owned(),
    };
    let near = keys::nearest(&section, name);
    let hint = keys::did_you_mean(&near, || format!("sections are: {}", SECTIONS.join(", ")));
    Err((format!("unknown key `{}`", shown_path(path)), hint))
}

fn put(table: &mut Table, key: &Key, text: &str) {
    let table = match key.section.as_str() {
        "" => table,
        section => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            match entry {
                Value::Table(table) => table,
                // A section that is no table is reported where it stands.
                _ => return,
            }
        }
    };
    if text.is_empty() {
        table.remove(&key.field.name);
    } else {
        table.insert(key.field.name.clone(), value_of(text, &key.field.shape));
    }
}

fn value_of(text: &str, shape: &Shape) -> Value {
    let as_text = || Value::String(text.to_owned());
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    match (parsed, shape) {
        (Some(value), Shape::Text(_)) if !value.is_str() => as_text(),
        (Some(value), _) => value,
        (None, _) => as_text(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn applied(overrides: &[&str]) -> (Table, Vec<Fault>) {
        let mut table: Table = "name = \"a\"\n[data]\nset = \"x\"\n".parse().unwrap();
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let (_, faults) = apply(&mut table, &overrides);
        (table, faults)
    }

    #[test]
    fn values_are_toml_or_else_texts_and_the_last_one_wins() {
        let (table, faults) = applied(&[
            "train.epochs=2",
            "train.epochs=0.5",
            "name=2024",
            "model.base=smollm2-135m-instruct",
            "eval.labels=[\"a=b\", \"c\"]",
            "data.set=",
        ]);
        assert_eq!(faults, []);
        assert_eq!(table["train"]["epochs"].as_float(), Some(0.5));
        assert_eq!(table["name"].as_str(), Some("2024"));
        assert_eq!(table["model"]["base"].as_str(), Some("smollm2-135m-instruct"));
        assert_eq!(table["eval"]["labels"][0].as_str(), Some("a=b"));
        assert!(table["data"].get("set").is_none());
    }

    #[test]
    fn an_unknown_path_is_refused_with_the_nearest_one() {
        let (_, faults) = applied(&["trian.epoch=2", "learning_rate=1", "train.epochs", "nonsense.here=1"]);
        let hints: Vec<&str> = faults.iter().map(|fault| fault.hint.as_str()).collect();
        assert_eq!(hints[0], "did you mean `train.epochs`?");
        assert_eq!(hints[1], "did you mean `train.learning_rate`?");
        assert!(hints[2].contains("key=value"));
        assert!(hints[3].starts_with("sections are"));
    }

    #[test]
    fn words_of_other_programs_and_names_in_a_table_are_told_as_they_are_here() {
        for (typed, told) in [
            ("train.lr=1", "`train.learning_rate`"),
            ("lora.alpha=2", "`lora.lora_alpha`"),
            ("batch_size=3", "`train.rows_per_step`"),
            ("model.template.enable_thinking=false", "'model.template={ enable_thinking = VALUE }'"),
        ] {
            let (_, faults) = applied(&[typed]);
            assert!(faults[0].hint.contains(told), "{faults:?}");
        }
    }

    #[test]
    fn an_override_shows_its_key_and_of_its_value_only_a_number_or_a_flag() {
        for (text, expected) in [
            ("lora.r=0", "lora.r=0"),
            ("eval.enabled=false", "eval.enabled=false"),
            ("train.epochs", "train.epochs"),
            ("data.system=be brief", "data.system"),
            ("eval.api_key=sk-live-NOTAKEY0123456789", "eval.api_key"),
            ("eval.api_key=123456", "eval.api_key"),
            ("sk-live-NOTAKEY0123456789", "[not shown]"),
            ("hunter2!", "[not shown]"),
            ("https://a:b@c=1", "[not shown]=1"),
        ] {
            assert_eq!(as_shown(text), expected);
            let (_, faults) = applied(&[text]);
            assert!(faults.iter().all(|fault| !format!("{fault:?}").contains("NOTAKEY")), "{faults:?}");
        }
    }
}
