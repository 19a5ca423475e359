//! Owns where the chat template of a folder comes from: four places, of which the first that has one counts, as in
//! transformers. Knows templates as text; compiles none.

use std::fs;
use std::path::Path;

use ground::read::Kind;
use serde_json::Value;

use super::side_files::CONFIG;
use crate::error::{Error, Result};
use crate::foreign;

/// A template as it is.
pub(super) const FILE: &str = "chat_template.jinja";
/// A template as processors of older versions wrote it. What reads only text does not look at it, so it must not say
/// something else.
pub(super) const JSON: &str = "chat_template.json";
/// Templates for other purposes, by the names of their files.
pub(crate) const FOLDER: &str = "additional_chat_templates";
/// The ending of a template's file.
const ENDING: &str = ".jinja";
/// The name of the template that is taken where nothing is asked for.
const DEFAULT: &str = "default";
/// Most templates of a folder.
const MOST: usize = 1000;

/// The template of a folder; `inside` is what its `tokenizer_config.json` has of one.
pub(super) fn of_folder(folder: &Path, inside: Option<Value>) -> Result<Option<String>> {
    let told = match of_files(folder)? {
        Some(found) => Some(found),
        None => among(inside, &folder.join(CONFIG))?.map(|source| (CONFIG.to_owned(), source)),
    };
    let path = folder.join(JSON);
    let legacy = match foreign::optional_json(&path, Kind::TokenizerConfig)? {
        None => None,
        Some(mut value) => match among(value.get_mut("chat_template").map(Value::take), &path)? {
            None => return Err(Error::malformed(&path, "there is no chat_template inside")),
            found => found,
        },
    };
    match (told, legacy) {
        (Some((place, source)), Some(other)) if !same(&source, &other) => Err(differ(folder, &place, JSON)),
        (Some((_, source)), _) | (None, Some(source)) => Ok(Some(source)),
        (None, None) => Ok(None),
    }
}

/// Whether a folder has a template in a file of its own.
pub(super) fn is_in(folder: &Path) -> bool {
    [FILE, JSON, FOLDER].iter().any(|name| foreign::is_there(&folder.join(name)))
}

/// Names of the files of `additional_chat_templates/`, in order; none where there is no such folder.
pub(crate) fn additional(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(FOLDER);
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&path).map_err(Error::io(&path))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ENDING)).take(MOST + 1).collect();
    if names.len() > MOST {
        return Err(Error::malformed(&path, format!("more than {MOST} templates\nhint: leave those that are needed")));
    }
    names.sort();
    Ok(names)
}

/// The template of the files that hold nothing else, with the name of its file.
fn of_files(folder: &Path) -> Result<Option<(String, String)>> {
    let own = foreign::optional_text(&folder.join(FILE), Kind::Template)?;
    let others = additional(folder)?;
    let default = format!("{DEFAULT}{ENDING}");
    if others.contains(&default) {
        let place = format!("{FOLDER}/{default}");
        let source = foreign::optional_text(&folder.join(FOLDER).join(&default), Kind::Template)?;
        return match (own, source) {
            (Some(own), Some(source)) if !same(&own, &source) => Err(differ(folder, FILE, &place)),
            (_, source) => Ok(source.map(|source| (place, source))),
        };
    }
    match own {
        Some(own) => Ok(Some((FILE.to_owned(), own))),
        None if others.is_empty() => Ok(None),
        None => Err(Error::malformed(
            &folder.join(FOLDER),
            format!(
                "there are templates for some purposes ({}) and none for all others, so transformers takes none\n\
                 hint: copy the one that is meant to {FILE}",
                others.join(", ")
            ),
        )),
    }
}

/// One template, or the one of several named ones that is the default: a text, an object of texts, or a list of objects.
fn among(value: Option<Value>, path: &Path) -> Result<Option<String>> {
    let named = |entry: &Value| -> Option<(String, String)> {
        Some((entry.get("name")?.as_str()?.to_string(), entry.get("template")?.as_str()?.to_string()))
    };
    let templates: Option<Vec<(String, String)>> = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source)),
        Some(Value::Array(list)) => list.iter().map(named).collect(),
        Some(Value::Object(map)) => {
            map.iter().map(|(name, source)| Some((name.clone(), source.as_str()?.to_owned()))).collect()
        }
        Some(_) => return Err(Error::malformed(path, "chat_template is neither a text nor a list")),
    };
    let templates =
        templates.ok_or_else(|| Error::malformed(path, "chat_template holds an entry without name and template"))?;
    match templates.iter().find(|(name, _)| name == DEFAULT) {
        Some((_, source)) => Ok(Some(source.clone())),
        None => {
            let names: Vec<&str> = templates.iter().map(|(name, _)| name.as_str()).collect();
            Err(Error::malformed(path, format!("chat_template has no entry \"default\", only {}", names.join(", "))))
        }
    }
}

/// A line break at the end of a file is not part of a template.
fn same(one: &str, two: &str) -> bool {
    fn bare(text: &str) -> &str {
        text.strip_suffix('\n').unwrap_or(text)
    }
    bare(one) == bare(two)
}

fn differ(folder: &Path, one: &str, two: &str) -> Error {
    Error::malformed(
        folder,
        format!(
            "{one} and {two} hold different chat templates\n\
             hint: find out with which of the two the model was made, and remove the other"
        ),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn found(files: &[(&str, &str)], inside: Option<Value>) -> Option<String> {
        of_folder(folder(files).path(), inside).unwrap()
    }

    fn refused(files: &[(&str, &str)], inside: Option<Value>) -> String {
        of_folder(folder(files).path(), inside).unwrap_err().to_string()
    }

    #[test]
    fn the_first_place_that_has_a_template_counts() {
        let legacy = (JSON, r#"{"chat_template": "a"}"#);
        assert_eq!(found(&[], None), None);
        assert_eq!(found(&[legacy], None).as_deref(), Some("a"));
        assert_eq!(found(&[], Some(json!("b"))).as_deref(), Some("b"));
        assert_eq!(found(&[], Some(json!({"default": "b", "rag": "c"}))).as_deref(), Some("b"));
        assert_eq!(found(&[(FILE, "d")], Some(json!("b"))).as_deref(), Some("d"));
        let purposes = ("additional_chat_templates/rag.jinja", "e");
        assert_eq!(found(&[(FILE, "d"), purposes], None).as_deref(), Some("d"));
        assert_eq!(found(&[purposes, ("additional_chat_templates/default.jinja", "f")], None).as_deref(), Some("f"));
        // Said twice and alike, but for the line break at the end of a file.
        assert_eq!(found(&[(FILE, "a\n"), legacy], None).as_deref(), Some("a\n"));
    }

    #[test]
    fn places_that_say_different_things_are_refused_by_both_names() {
        let legacy = (JSON, r#"{"chat_template": "a"}"#);
        let both = |message: String, names: [&str; 2]| {
            assert!(names.iter().all(|name| message.contains(name)) && message.contains("hint: "), "{message}");
        };
        both(refused(&[legacy, (FILE, "b")], None), [JSON, FILE]);
        both(refused(&[legacy], Some(json!("b"))), [JSON, CONFIG]);
        let default = ("additional_chat_templates/default.jinja", "c");
        both(refused(&[default, (FILE, "b")], None), [default.0, FILE]);
        let purposes = ("additional_chat_templates/rag.jinja", "e");
        both(refused(&[purposes], Some(json!("b"))), [FOLDER, "rag.jinja"]);
        assert!(refused(&[(JSON, "{}")], None).contains("no chat_template"));
        assert!(refused(&[], Some(json!(7))).contains("neither"));
    }
}
