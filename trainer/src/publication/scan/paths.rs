//! Absolute paths: of any machine by their form, of this one by what lies at its root.
//! Knows nothing about files of a run. An address on the web is no path.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::super::fault::Fault;
use super::text::Views;
use super::{Scanned, place};

/// Folders at the root of the machines people train on.
const ROOTS: [&str; 30] = [
    "home",
    "root",
    "Users",
    "tmp",
    "var",
    "mnt",
    "opt",
    "srv",
    "data",
    "work",
    "workspace",
    "media",
    "private",
    "etc",
    "usr",
    "scratch",
    "nfs",
    "lustre",
    "gpfs",
    "efs",
    "content",
    "kaggle",
    "Volumes",
    "run",
    "storage",
    "shared",
    "project",
    "projects",
    "datasets",
    "models",
];
/// Letters before which a path begins; the slash of an address follows a letter or another slash.
const BEFORE: &str = "\"'`=([{,;|> \t\r\n:";

static WINDOWS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?:^|[\s"'`=(,;|])(?:[A-Za-z]:\\[^\\\s"'<>|]+(?:\\|["'\s]|$)|\\\\[A-Za-z0-9._-]+\\[A-Za-z0-9$._-]+\\)"#,
    )
    .ok()
});

/// Where this machine keeps things.
#[derive(Debug, Clone, Default)]
pub struct Places {
    roots: BTreeSet<String>,
    /// Paths that are told wherever they stand.
    exact: Vec<String>,
}

impl Places {
    /// The roots of this machine, and paths that belong to the run.
    pub fn of<'a>(root: &Path, exact: impl IntoIterator<Item = &'a Path>) -> Self {
        let listed = std::fs::read_dir(root).into_iter().flatten().flatten();
        let names =
            listed.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok());
        let mut roots: BTreeSet<String> = ROOTS.iter().map(|root| (*root).to_owned()).collect();
        roots.extend(names);
        let exact = exact.into_iter().map(|path| path.display().to_string()).filter(|path| path.len() > 5);
        Self { roots, exact: exact.collect() }
    }
}

/// The first absolute path of a file.
pub(super) fn find(file: &Scanned<'_>, views: &Views, places: &Places) -> Option<Fault> {
    let found = views.all().enumerate().find_map(|(view, text)| {
        let found = unix(text, places).or_else(|| windows(text)).or_else(|| exact(text, places));
        found.map(|(at, path)| (place(file.path, text.as_bytes(), at, view == 0), path))
    });
    found.map(|(place, path)| {
        let shown: String = path.chars().take(60).collect();
        Fault::new(
            place,
            format!("holds the absolute path {shown}"),
            "replace it by a name or a relative path where it comes from",
        )
    })
}

fn unix(text: &str, places: &Places) -> Option<(usize, String)> {
    let begins = |at: usize| text[..at].chars().next_back().is_none_or(|before| BEFORE.contains(before));
    let mut slashes = text.match_indices('/').filter(|(at, _)| begins(*at) || text[..*at].ends_with("file://"));
    slashes.find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let (root, after) = rest.split_once('/')?;
        let known = places.roots.contains(root);
        let goes_on = after.chars().next().is_some_and(|next| next.is_alphanumeric() || "._~-$".contains(next));
        (known && goes_on).then(|| (at, whole(&text[at..])))
    })
}

fn windows(text: &str) -> Option<(usize, String)> {
    let found = WINDOWS.as_ref()?.find(text)?;
    Some((found.start(), found.as_str().trim_start().trim_matches(['"', '\'']).to_owned()))
}

fn exact(text: &str, places: &Places) -> Option<(usize, String)> {
    places.exact.iter().find_map(|path| text.find(path.as_str()).map(|at| (at, path.clone())))
}

fn whole(text: &str) -> String {
    let end = text.find(|c: char| c.is_whitespace() || "\"'`<>,;)]}|".contains(c)).unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<String> {
        let file = Scanned { path: "a.md", bytes: text.as_bytes(), of_the_base: false };
        let places =
            Places { roots: ROOTS.iter().map(|root| (*root).to_owned()).collect(), exact: vec!["firm-share".into()] };
        find(&file, &Views::of("a.md", text.as_bytes()), &places)
            .map(|fault| fault.what.replace("holds the absolute path ", ""))
    }

    #[test]
    fn paths_are_found_however_they_are_written() {
        let home = concat!("/ho", "me/roe/legal.toml");
        for (text, expect) in [
            (format!("see {home} there"), home.to_owned()),
            (format!("{{\"base\":\"{}\"}}", home.replace('/', "\\/")), home.to_owned()),
            (format!("a={home}"), home.to_owned()),
            (format!("file://{home}"), home.to_owned()),
            ("'C:\\Users\\roe\\a.toml'".to_owned(), "C:\\Users\\".to_owned()),
            ("\\\\server\\share\\a".to_owned(), "\\\\server\\share\\".to_owned()),
            ("on firm-share".to_owned(), "firm-share".to_owned()),
        ] {
            assert_eq!(check(&text), Some(expect), "{text}");
        }
    }

    #[test]
    fn addresses_fractions_and_relative_paths_are_none() {
        for text in [
            "https://example.org/home/roe/x",
            "runs/legal/eval and ./data/x",
            "1/2 or and/or /v1/chat/completions",
            "</home></tmp>",
            "api/models/x/commit/main",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }
}
