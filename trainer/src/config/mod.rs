//! Owns the way from a config file and its overrides to a checked [`Config`], with every error at once.
//! Knows no run, no data and no model: only what is written and which files exist.

pub mod arm;
mod check;
mod choices;
pub mod decision;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod document;
pub mod error;
pub mod keys;
pub mod limits;
mod misplaced;
mod overrides;
mod places;
pub mod plan;
pub mod raw;
pub mod schema;
pub mod shape;
mod shown;
mod synonyms;
mod validate;

use std::path::Path;

use ground::read::{self, Kind};
use toml::{Table, Value};

pub use error::{ConfigErrors, Fault, Place};
pub use plan::Config;
pub use raw::{RawConfig, Variable};

use check::Found;
use places::{Places, line_of};
use plan::Use;

/// Reads a config file, applies the overrides (`key.path=value`) and resolves it, or says everything that is wrong.
pub fn load(path: &Path, overrides: &[String]) -> Result<Config, ConfigErrors> {
    load_for(path, overrides, Use::ToRun)
}

/// Reads the config of a run that is over, for the words that its adapter was trained with: rows, prices and the base may
/// lie elsewhere by now, and whoever needs one of them says so.
pub fn load_of_run(path: &Path) -> Result<Config, ConfigErrors> {
    load_for(path, &[], Use::RunIsOver)
}

fn load_for(path: &Path, overrides: &[String], usage: Use) -> Result<Config, ConfigErrors> {
    match read::text(path, Kind::Config) {
        Ok(text) => parse_for(&text, path, overrides, usage),
        Err(error) => {
            let text = error.to_string();
            let hint = "give the path of a config, such as configs/legal.toml";
            let (what, hint) = text.split_once("\nhint: ").unwrap_or((&text, hint));
            let fault = Fault { place: Place::File, what: format!("cannot be read: {what}"), hint: hint.to_owned() };
            Err(ConfigErrors::new(path.to_path_buf(), vec![fault], 0))
        }
    }
}

/// The same for the text of a file; `path` is what relative paths and messages refer to.
pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Config, ConfigErrors> {
    parse_for(text, path, overrides, Use::ToRun)
}

fn parse_for(text: &str, path: &Path, overrides: &[String], usage: Use) -> Result<Config, ConfigErrors> {
    let refuse = |faults, more| ConfigErrors::new(path.to_path_buf(), faults, more);
    if let Err(what) = datasets::nesting::check(text) {
        let hint = "compare its keys with those of configs/README.md".to_owned();
        return Err(refuse(vec![Fault { place: Place::File, what, hint }], 0));
    }
    let mut table: Table = text.parse().map_err(|error| refuse(vec![syntax_fault(text, &error)], 0))?;
    let mut places = Places::of_text(text);
    // A newer file may well have keys that are unknown here, so its version is all there is to say.
    if let Some(fault) = version_fault(&table, &places) {
        return Err(refuse(vec![fault], 0));
    }
    let (typed, mut faults) = overrides::apply(&mut table, overrides);
    places.overridden(typed);
    let Found { faults: found, more, doubtful } = check::take_out_faulty(&mut table, &places);
    faults.extend(found);
    if more > 0 {
        // What a file means of which most is not understood, nobody knows.
        return Err(refuse(faults, more));
    }
    let raw = match table.try_into::<RawConfig>() {
        Ok(raw) => raw,
        Err(error) => {
            let hint = "compare it with configs/legal.toml".to_owned();
            faults.push(Fault { place: Place::File, what: error.message().to_owned(), hint });
            return Err(refuse(faults, 0));
        }
    };
    match plan::resolve(raw, path, usage) {
        Ok(config) if faults.is_empty() => Ok(config),
        Ok(_) => Err(refuse(faults, 0)),
        Err(contradictions) => {
            // What a faulty key would have said is unknown, so nothing is concluded from its absence.
            let told = contradictions.into_iter().filter(|one| !one.keys.iter().any(|key| doubtful.contains(*key)));
            faults.extend(told.map(|one| Fault { place: places.of_any(&one.keys), what: one.what, hint: one.hint }));
            Err(refuse(faults, 0))
        }
    }
}

/// Whether a config or what overrides it says a key. Of one that is left out the default holds, which is nobody's choice.
/// For a config that loads.
#[must_use]
pub fn says(path: &Path, overrides: &[String], key: &str) -> bool {
    let Some(mut table) = read::text(path, Kind::Config).ok().and_then(|text| text.parse::<Table>().ok()) else {
        return false;
    };
    overrides::apply(&mut table, overrides);
    let table = Value::Table(table);
    key.split('.').try_fold(&table, |value, name| value.get(name)).is_some()
}

fn version_fault(table: &Table, places: &Places) -> Option<Fault> {
    let known = raw::VERSION;
    match table.get("version") {
        Some(Value::Integer(version)) if *version == i64::from(known) => None,
        Some(found) => Some(places.fault(
            "version",
            format!("version is {}, this program reads version {known}", shown::value("version", found)),
            "use the program the file was written for, or compare its keys with configs/README.md",
        )),
        None => Some(places.fault("version", "no version", format!("add `version = {known}` at the top"))),
    }
}

/// What is wrong with a text that is not TOML: the line of it and the rule, never the line itself, where a key may stand.
fn syntax_fault(text: &str, error: &toml::de::Error) -> Fault {
    let place = error.span().map_or(Place::File, |span| Place::Line(line_of(text, span.start)));
    let hint = "texts are in quotes, sections in [brackets], a key stands once".to_owned();
    Fault { place, what: format!("not TOML: {}", error.message()), hint }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod fuzz;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
