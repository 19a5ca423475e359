//! Owns the way from a config file and its overrides to a checked [`Config`], with every error at once.
//! Knows no run, no data and no model: only what is written and which files exist.

pub mod arm;
pub mod decision;
pub mod error;
pub mod keys;
mod overrides;
pub mod plan;
pub mod raw;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

pub use error::{ConfigErrors, Fault, Place};
pub use plan::Config;
pub use raw::RawConfig;

use keys::{KEYS, Key, SECTIONS};

/// Reads a config file, applies the overrides (`key.path=value`) and resolves it, or says everything that is wrong.
pub fn load(path: &Path, overrides: &[String]) -> Result<Config, ConfigErrors> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path, overrides),
        Err(error) => {
            let hint = "give the path of a config, such as configs/legal.toml".to_owned();
            let fault = Fault { place: Place::File, what: format!("cannot be read: {error}"), hint };
            Err(ConfigErrors::new(path.to_path_buf(), vec![fault]))
        }
    }
}

/// The same for the text of a file; `path` is what relative paths and messages refer to.
pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Config, ConfigErrors> {
    let refuse = |faults| ConfigErrors::new(path.to_path_buf(), faults);
    let mut table: Table = text.parse().map_err(|error| refuse(vec![syntax_fault(text, &error)]))?;
    let mut places = Places { lines: lines(text), overrides: BTreeMap::new() };
    // A newer file may well have keys that are unknown here, so its version is all there is to say.
    if let Some(fault) = version_fault(&table, &places) {
        return Err(refuse(vec![fault]));
    }
    let (typed, mut faults) = overrides::apply(&mut table, overrides);
    places.overrides = typed;
    let mut doubtful = BTreeSet::new();
    take_out_faulty(&mut table, &places, &mut faults, &mut doubtful);
    let raw = match complete(table) {
        Ok(raw) => raw,
        Err(error) => {
            let hint = "compare it with configs/legal.toml".to_owned();
            faults.push(Fault { place: Place::File, what: error.message().to_owned(), hint });
            return Err(refuse(faults));
        }
    };
    match plan::resolve(raw, path) {
        Ok(config) if faults.is_empty() => Ok(config),
        Ok(_) => Err(refuse(faults)),
        Err(contradictions) => {
            // What a faulty key would have said is unknown, so nothing is concluded from its absence.
            let told = contradictions.into_iter().filter(|one| !one.keys.iter().any(|key| doubtful.contains(*key)));
            faults.extend(told.map(|one| Fault { place: places.of_any(&one.keys), what: one.what, hint: one.hint }));
            Err(refuse(faults))
        }
    }
}

/// Where each key stands.
struct Places {
    lines: BTreeMap<String, usize>,
    overrides: BTreeMap<String, String>,
}

impl Places {
    fn of(&self, key: &str) -> Place {
        let section = key.split_once('.').map_or("", |(section, _)| section);
        if let Some(text) = self.overrides.get(key) {
            return Place::Override(text.clone());
        }
        match self.lines.get(key).or_else(|| self.lines.get(section)) {
            Some(line) => Place::Line(*line),
            None => Place::File,
        }
    }

    /// The place of the first of some keys that stands anywhere.
    fn of_any(&self, keys: &[&str]) -> Place {
        let typed = keys.iter().find(|key| self.overrides.contains_key(**key) || self.lines.contains_key(**key));
        typed.or(keys.first()).map_or(Place::File, |key| self.of(key))
    }

    fn fault(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { place: self.of(key), what: what.into(), hint: hint.into() }
    }
}

fn version_fault(table: &Table, places: &Places) -> Option<Fault> {
    let known = raw::VERSION;
    match table.get("version") {
        Some(Value::Integer(version)) if *version == i64::from(known) => None,
        Some(found) => Some(places.fault(
            "version",
            format!("version is {}, this program reads version {known}", keys::shown(found)),
            "use the program the file was written for, or compare its keys with configs/README.md",
        )),
        None => Some(places.fault("version", "no version", format!("add `version = {known}` at the top"))),
    }
}

/// Reports and removes every unknown key and every value of a wrong kind. `doubtful` are the keys of which the file
/// says something that could not be understood.
fn take_out_faulty(table: &mut Table, places: &Places, faults: &mut Vec<Fault>, doubtful: &mut BTreeSet<String>) {
    let sections: Vec<String> =
        table.iter().filter(|(_, value)| value.is_table()).map(|(key, _)| key.clone()).collect();
    for section in sections {
        if SECTIONS.contains(&section.as_str()) {
            if let Some(Value::Table(inner)) = table.get_mut(&section) {
                check_keys(inner, &section, places, faults, doubtful);
            }
        } else {
            let inner = table.remove(&section);
            let near = keys::nearest_word(&section, SECTIONS);
            // A table where a plain key is wanted is a fault of that key.
            if let Some(key) = KEYS.iter().find(|key| key.section.is_empty() && key.name == section) {
                faults.push(places.fault(&section, format!("{section} is a table"), "write a value"));
                doubtful.insert(key.path());
                continue;
            }
            for name in inner.iter().filter_map(Value::as_table).flat_map(Table::keys) {
                doubtful.extend(near.iter().map(|near| keys::path(near, name)));
            }
            let hint = keys::did_you_mean(&near, || format!("sections are: {}", SECTIONS.join(", ")));
            faults.push(places.fault(&section, format!("unknown section [{section}]"), hint));
        }
    }
    for section in SECTIONS {
        if table.get(*section).is_none_or(Value::is_table) {
            continue;
        }
        table.remove(*section);
        doubtful.extend(KEYS.iter().filter(|key| key.section == *section).map(Key::path));
        faults.push(places.fault(section, format!("{section} is not a section"), format!("write [{section}]")));
    }
    let mut top: Table =
        table.iter().filter(|(_, value)| !value.is_table()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let before: Vec<String> = top.keys().cloned().collect();
    check_keys(&mut top, "", places, faults, doubtful);
    for gone in before.iter().filter(|key| !top.contains_key(*key)) {
        table.remove(gone);
    }
}

fn check_keys(
    table: &mut Table,
    section: &str,
    places: &Places,
    faults: &mut Vec<Fault>,
    doubtful: &mut BTreeSet<String>,
) {
    table.retain(|name, value| {
        let path = keys::path(section, name);
        let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
            let near = keys::nearest(section, name);
            let here = || {
                let known: Vec<&str> = KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
                format!("known keys: {}", known.join(", "))
            };
            faults.push(places.fault(&path, format!("unknown key `{path}`"), keys::did_you_mean(&near, here)));
            doubtful.extend(near);
            return false;
        };
        match key.kind.refuse(value) {
            None => true,
            Some((what, hint)) => {
                faults.push(places.fault(&path, format!("{path} {what}"), hint));
                doubtful.insert(path);
                false
            }
        }
    });
}

/// The file over the defaults.
fn complete(table: Table) -> Result<RawConfig, toml::de::Error> {
    // Serialising plain structs into a table cannot fail; an empty table would be refused right below.
    let mut whole = Table::try_from(RawConfig::default()).unwrap_or_default();
    for (key, value) in table {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(defaults)), Value::Table(given)) => defaults.extend(given),
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
    whole.try_into()
}

fn syntax_fault(text: &str, error: &toml::de::Error) -> Fault {
    let place = error.span().map_or(Place::File, |span| Place::Line(line_of(text, span.start)));
    let hint = "texts are in quotes, sections in [brackets], a key stands once".to_owned();
    Fault { place, what: format!("not TOML: {}", error.message()), hint }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// The line of every section and key.
fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    let Ok(document) = DeTable::parse(text) else { return lines };
    for (key, value) in document.get_ref() {
        lines.insert(key.get_ref().to_string(), line_of(text, key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            for name in inner.keys() {
                lines.insert(format!("{}.{}", key.get_ref(), name.get_ref()), line_of(text, name.span().start));
            }
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
