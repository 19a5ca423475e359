//! Owns where in a file, or on the command line, each key stands. Knows nothing about what is wrong there.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::{Fault, Place};

/// Where each key stands, by its path; an entry of a list by its number: `eval.arm[2].model`.
#[derive(Debug, Default)]
pub(super) struct Places {
    lines: BTreeMap<String, usize>,
    overrides: BTreeMap<String, String>,
}

impl Places {
    /// The places of the keys of a text.
    pub(super) fn of_text(text: &str) -> Self {
        let mut places = Self::default();
        if let Ok(document) = DeTable::parse(text) {
            places.add("", document.get_ref(), &LineStarts::of(text));
        }
        places
    }

    /// What was typed on the command line for some keys, as it may be shown.
    pub(super) fn overridden(&mut self, typed: BTreeMap<String, String>) {
        self.overrides = typed;
    }

    fn add(&mut self, path: &str, table: &DeTable<'_>, starts: &LineStarts) {
        for (key, value) in table {
            let path = super::schema::path(path, key.get_ref());
            self.lines.insert(path.clone(), starts.line(key.span().start));
            self.add_value(&path, value.get_ref(), starts);
        }
    }

    fn add_value(&mut self, path: &str, value: &DeValue<'_>, starts: &LineStarts) {
        match value {
            DeValue::Table(inner) => self.add(path, inner, starts),
            DeValue::Array(items) => {
                let tables = items.iter().enumerate().filter(|(_, item)| matches!(item.get_ref(), DeValue::Table(_)));
                for (at, item) in tables {
                    let path = format!("{path}[{}]", at + 1);
                    self.lines.insert(path.clone(), starts.line(item.span().start));
                    self.add_value(&path, item.get_ref(), starts);
                }
            }
            _ => {}
        }
    }

    /// The place of a key, else of what it stands in. What was typed on the command line took the place of all that the
    /// file has below it.
    pub(super) fn of(&self, key: &str) -> Place {
        if let Some(text) = above(key).find_map(|key| self.overrides.get(key)) {
            return Place::Override(text.clone());
        }
        above(key).find_map(|key| self.lines.get(key)).map_or(Place::File, |line| Place::Line(*line))
    }

    /// The place of the first of some keys that stands anywhere.
    pub(super) fn of_any(&self, keys: &[&str]) -> Place {
        let typed = keys.iter().find(|key| self.overrides.contains_key(**key) || self.lines.contains_key(**key));
        typed.or(keys.first()).map_or(Place::File, |key| self.of(key))
    }

    /// A fault at a key.
    pub(super) fn fault(&self, key: &str, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { place: self.of(key), what: what.into(), hint: hint.into() }
    }
}

/// A key and all that it stands in, from the inside.
fn above(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end]))
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Where lines start, to find the line of any byte without reading what is before it.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect())
    }

    fn line(&self, at: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line_and_one_that_is_not_there_that_of_its_table() {
        let text = "a = 1\n\n[b]\nc = 2\n[[b.d]]\ne = 1\n[[b.d]]\ne = 2\n[f]\ng = [{ h = 1 },\n{ h = 2 }]\n";
        let places = Places::of_text(text);
        for (key, line) in [
            ("a", 1),
            ("b", 3),
            ("b.c", 4),
            ("b.d[1].e", 6),
            ("b.d[2].e", 8),
            ("b.d[2].x", 7),
            ("b.x", 3),
            ("f.g[2].h", 11),
        ] {
            assert_eq!(places.of(key), Place::Line(line), "{key}");
        }
        assert_eq!(places.of("x.y"), Place::File);
        let mut overridden = Places::of_text(text);
        overridden.overridden(BTreeMap::from([("b.d".to_owned(), "b.d".to_owned())]));
        assert_eq!(overridden.of("b.d[1].e"), Place::Override("b.d".to_owned()));
        assert_eq!(overridden.of("b.c"), Place::Line(4));
        for at in 0..text.len() {
            assert_eq!(LineStarts::of(text).line(at), line_of(text, at));
        }
    }
}
