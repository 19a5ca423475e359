//! Owns the one source of what a config may say: the JSON Schema of the raw structs, with the doc comment, the default and
//! the range of every key. Keys, suggestions, checks, the command line and `configs/README.md` are read from it.
//! Knows nothing about a config that was written.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawConfig;
use super::shape::{Field, Range, Shape};

/// The JSON Schema of a config file.
#[must_use]
pub fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<RawConfig>().to_value()
}

/// The same as what a config is checked against.
pub static FILE: LazyLock<Vec<Field>> = LazyLock::new(|| match Shape::of(&schema()) {
    Shape::Table(fields) => fields,
    // A test holds that it is a table.
    _ => Vec::new(),
});

/// Every key of a section or of the top, in the order of the file.
pub static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let of = |section: &str, fields: &'static [Field]| -> Vec<Key> {
        let section = section.to_owned();
        fields.iter().map(|field| Key { section: section.clone(), field }).collect()
    };
    let mut keys = Vec::new();
    for field in FILE.iter() {
        match &field.shape {
            Shape::Table(fields) => keys.extend(of(&field.name, fields)),
            _ => keys.push(Key { section: String::new(), field }),
        }
    }
    keys
});

/// The sections of the file, in its order.
pub static SECTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    FILE.iter().filter(|field| matches!(field.shape, Shape::Table(_))).map(|field| field.name.as_str()).collect()
});

/// One key of the config file.
#[derive(Debug, Clone)]
pub struct Key {
    /// The section, empty for the top of the file.
    pub section: String,
    /// What it is called, what it takes and what it means.
    pub field: &'static Field,
}

impl Key {
    /// The key with its section, as `--set` takes it.
    #[must_use]
    pub fn path(&self) -> String {
        path(&self.section, &self.field.name)
    }

    /// Finds a key by its path.
    #[must_use]
    pub fn find(wanted: &str) -> Option<&'static Key> {
        let (section, name) = wanted.rsplit_once('.').unwrap_or(("", wanted));
        KEYS.iter().find(|key| key.section == section && key.field.name == name)
    }
}

/// A key with its section.
#[must_use]
pub fn path(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// The range of a number by its path, also within the tables of a list: `lora.r`, `eval.arm.temperature`. None where there
/// is no such number.
#[must_use]
pub fn range(path: &str) -> Option<Range> {
    let (mut fields, mut found): (&'static [Field], _) = (&FILE, None);
    for name in path.split('.') {
        let field = fields.iter().find(|field| field.name == name)?;
        (fields, found) = (field.shape.fields(), Some(field));
    }
    match found?.shape {
        Shape::Whole(range) | Shape::Number(range) => Some(range),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Everything in a shape, with its path.
    fn walk<'a>(path: &str, shape: &'a Shape, all: &mut Vec<(String, &'a Shape)>) {
        all.push((path.to_owned(), shape));
        match shape {
            Shape::Table(fields) => {
                fields.iter().for_each(|field| walk(&format!("{path}.{}", field.name), &field.shape, all));
            }
            Shape::Tagged { kinds, .. } => kinds.iter().for_each(|kind| {
                kind.fields.iter().for_each(|field| {
                    walk(&format!("{path}.{}.{}", kind.word, field.name), &field.shape, all);
                });
            }),
            Shape::List { of, .. } | Shape::Named { of, .. } => walk(path, of, all),
            Shape::Either(shapes) => shapes.iter().for_each(|shape| walk(path, shape, all)),
            _ => {}
        }
    }

    fn everything() -> Vec<(String, &'static Shape)> {
        let mut all = Vec::new();
        FILE.iter().for_each(|field| walk(&field.name, &field.shape, &mut all));
        all
    }

    #[test]
    fn the_whole_schema_is_understood_and_only_fields_of_a_request_are_free() {
        assert!(FILE.len() > 10 && KEYS.len() > 70 && SECTIONS.len() == 10);
        let free: Vec<String> =
            everything().into_iter().filter(|(_, shape)| matches!(shape, Shape::Free)).map(|(path, _)| path).collect();
        assert_eq!(free, ["eval.arm.extra"]);
    }

    #[test]
    fn every_number_has_a_range_with_two_ends_and_every_list_an_end() {
        for (path, shape) in everything() {
            match shape {
                Shape::Whole(range) | Shape::Number(range) => {
                    let starts = range.least.is_some() || range.above.is_some();
                    let ends = range.most.is_some() || range.below.is_some() || path == "train.seed";
                    assert!(starts && ends, "{path} has no end: {}", range.words());
                }
                Shape::List { most, .. } | Shape::Named { most, .. } => assert!(*most < 1 << 20, "{path} has no end"),
                _ => {}
            }
        }
    }

    #[test]
    fn every_key_says_what_it_means() {
        for key in KEYS.iter() {
            assert!(!key.field.doc.is_empty(), "{} has no doc comment", key.path());
            let inner = key.field.shape.fields().iter();
            inner.for_each(|field| assert!(!field.doc.is_empty(), "{}.{} has none", key.path(), field.name));
        }
    }

    #[test]
    fn a_range_is_found_by_its_path() {
        assert!(range("lora.r").unwrap().contains_whole(16));
        assert!(range("eval.arm.temperature").unwrap().contains(0.7));
        assert!(range("lora").is_none() && range("lora.target_modules").is_none() && range("x.y").is_none());
    }
}
