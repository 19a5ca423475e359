//! Owns what a `dataset.toml` may say: every fault of a manifest in words, with its hint. What reaches another program or
//! a path is one word of a known grammar. Knows no file.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use ground::name::{is_file_name, is_package, is_path_inside, is_sha256, is_version};
use ground::terminal::shown_in_line;

use super::{Files, Manifest, Source, Wheel};
use crate::error::short;
use crate::recipe::Recipe;
use crate::split::Rule;

/// Patterns of members: each is held against each name of the wheel.
const MOST_MEMBERS: usize = 200;
/// Faults that one error lists; the rest is a count.
const MOST_FAULTS: usize = 20;
/// Lines of the parser's words that an error repeats, and the longest word that is held against the known keys.
const MOST_LINES: usize = 12;
const LONGEST_KEY: usize = 64;
/// What is written beside the built set.
const TAKEN: [&str; 3] = ["ATTRIBUTION.txt", "dataset.toml", "pulled.json"];

pub(super) fn faults(manifest: &Manifest) -> Vec<String> {
    let mut faults = Vec::new();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=100).contains(&manifest.name.len()) || !manifest.name.chars().all(plain) {
        let name = said(&manifest.name);
        faults.push(format!("name is `{name}`\nhint: lower-case letters, digits and `-`, as its folder"));
    }
    for (key, value) in [("licence", &manifest.licence), ("attribution", &manifest.attribution)] {
        if value.trim().is_empty() {
            faults.push(format!("{key} is empty\nhint: say under what terms the rows may be used"));
        }
    }
    let mut seen = BTreeSet::new();
    for label in &manifest.labels {
        if label.trim().is_empty() || !seen.insert(label) {
            faults.push(format!("labels has `{}` twice or empty\nhint: each label stands once", said(label)));
        }
    }
    if let Some(schema) = &manifest.schema {
        if !is_file_name(schema) {
            faults.push(format!("schema is `{}`\nhint: the name of a file beside dataset.toml", said(schema)));
        }
        if !manifest.labels.is_empty() {
            faults.push("`labels` and `schema`\nhint: a target is a label or an object, keep one".to_string());
        }
    }
    if manifest.group_name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        faults.push("group_name is empty\nhint: say what a group is, in the plural, or leave it out".to_string());
    }
    match &manifest.source {
        Source::Wheel(wheel) => wheel_faults(manifest, wheel, &mut faults),
        Source::Files(files) => file_faults(manifest, files, &mut faults),
    }
    faults.extend(manifest.split.iter().flat_map(Rule::faults));
    faults.extend(manifest.overlap.faults());
    let more = faults.len().saturating_sub(MOST_FAULTS);
    if more > 0 {
        faults.truncate(MOST_FAULTS);
        faults.push(format!("and {more} more"));
    }
    faults
}

fn wheel_faults(manifest: &Manifest, wheel: &Wheel, faults: &mut Vec<String>) {
    if !is_package(&wheel.package) {
        let hint = "the name of one package: letters, digits, `.`, `_` and `-`";
        faults.push(format!("source.package is `{}`\nhint: {hint}", said(&wheel.package)));
    }
    if !is_version(&wheel.version) {
        let hint = "one exact version, such as 1.0.2";
        faults.push(format!("source.version is `{}`\nhint: {hint}", said(&wheel.version)));
    }
    check_sha256("source.sha256", &wheel.sha256, faults);
    if wheel.members.is_empty() {
        faults.push("source.members is empty\nhint: name the files the recipe reads".to_string());
    }
    if wheel.members.len() > MOST_MEMBERS {
        let found = wheel.members.len();
        faults.push(format!("source.members has {found} entries\nhint: one `*` stands for many names"));
    }
    for pattern in wheel.members.iter().take(MOST_MEMBERS) {
        if pattern.matches('*').count() > 1 {
            faults.push(format!("source.members has `{}`\nhint: one `*` at most", said(pattern)));
        }
        if !is_path_inside(pattern) {
            let hint = "names of files in the wheel, with `/` between folders";
            faults.push(format!("source.members has `{}`\nhint: {hint}", said(pattern)));
        }
    }
    if manifest.recipe.is_none() {
        let names = Recipe::ALL.map(Recipe::name).join(", ");
        faults.push(format!("a wheel without a recipe\nhint: `recipe` is one of: {names}"));
    }
    if manifest.split.is_none() {
        faults.push("no [split]\nhint: modulus = 5 puts one group in five into test".to_string());
    }
    match &manifest.output {
        None => faults.push("a wheel without [output]\nhint: file, sha256 and rows of the built set".to_string()),
        Some(output) => {
            check_sha256("output.sha256", &output.sha256, faults);
            if !is_file_name(&output.file) || TAKEN.iter().any(|taken| output.file.eq_ignore_ascii_case(taken)) {
                let hint = "a file name without a folder, such as rows.jsonl";
                faults.push(format!("output.file is `{}`\nhint: {hint}", said(&output.file)));
            }
        }
    }
}

fn file_faults(manifest: &Manifest, files: &Files, faults: &mut Vec<String>) {
    if manifest.recipe.is_some() || manifest.output.is_some() {
        faults.push("`recipe` and [output] are for a wheel\nhint: remove them, files are read as they are".to_string());
    }
    let named = [("rows", &files.rows), ("train", &files.train), ("valid", &files.valid), ("test", &files.test)];
    for (key, path) in named {
        if let Some(path) = path.as_deref().filter(|path| !stays_inside(path)) {
            let hint = "a file in the folder of dataset.toml; data.train of a config takes any path";
            faults.push(format!("source.{key} is `{}`\nhint: {hint}", said(&path.display().to_string())));
        }
    }
    let parts = files.train.is_some() || files.valid.is_some() || files.test.is_some();
    match (files.rows.is_some(), parts) {
        (true, true) => {
            faults.push("source has `rows` and files for splits\nhint: keep one of the two".to_string());
        }
        (false, _) if files.train.is_none() || files.test.is_none() => {
            faults
                .push("source needs `rows`, or `train` and `test`\nhint: name files in the dataset folder".to_string());
        }
        (true, false) if manifest.split.is_none() => {
            faults.push("no [split]\nhint: modulus = 5 puts one group in five into test".to_string());
        }
        (false, true) if manifest.split.is_some() => {
            faults.push("[split] for files that are divided already\nhint: remove it".to_string());
        }
        _ => {}
    }
}

/// Whether a path, put behind that of a folder, names something below it.
fn stays_inside(path: &Path) -> bool {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.as_os_str().is_empty() && path.components().all(inside)
}

/// A value as an error repeats it: on one line, and not all of it.
fn said(value: &str) -> String {
    short(&shown_in_line(value))
}

fn check_sha256(key: &str, value: &str, faults: &mut Vec<String>) {
    if !is_sha256(value) || value.contains(|sign: char| sign.is_ascii_uppercase()) {
        let hint = "64 lower-case hexadecimal digits, as sha256sum prints them";
        faults.push(format!("{key} is `{}`\nhint: {hint}", said(value)));
    }
}

/// The place and words of the parser, with the nearest right key where one was misspelt.
pub(super) fn toml_fault(error: &toml::de::Error) -> String {
    let text = error.to_string();
    // The parser repeats the line it stopped at, which may be all of the file.
    let text = text.trim_end().lines().take(MOST_LINES).map(short).collect::<Vec<_>>().join("\n");
    // The parser says: unknown field `licens`, expected one of `version`, `name`.
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    let wrong = quoted.next().unwrap_or_default();
    if !error.message().starts_with("unknown") || wrong.len() > LONGEST_KEY {
        return text;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(wrong, known);
    match quoted.min_by_key(|known| distance(known)).filter(|known| distance(known) <= 1 + known.len() / 3) {
        Some(near) => format!("{text}\nhint: did you mean `{near}`?"),
        None => text,
    }
}
