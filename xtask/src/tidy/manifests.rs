//! Rules on crate manifests and crate roots: nothing is published, and libraries are documented.
//!
//! Reads lines, not TOML: the rules are about single lines.

use super::{Finding, TextFile};

const PUBLISH: [&str; 2] = ["publish = false", "publish.workspace = true"];

/// Checks every `Cargo.toml` and every `lib.rs` of a member.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.name() == "Cargo.toml" {
            findings.extend(publish(file));
        }
        let is_member = file.path.strip_suffix("/src/lib.rs").is_some_and(|member| !member.contains('/'));
        if is_member {
            findings.extend(documented(file));
        }
    }
    findings
}

/// The root says `publish = false` once; members say it themselves or take it from there.
fn publish(file: &TextFile) -> Option<Finding> {
    let is_root = file.path == "Cargo.toml";
    let section = if is_root { "[workspace.package]" } else { "[package]" };
    let said = lines_of_section(&file.text, section).any(|line| {
        let line = line.split('#').next().unwrap_or(line).trim();
        line == PUBLISH[0] || !is_root && line == PUBLISH[1]
    });
    (!said).then(|| file.finding(0, format!("{section} has no `{}`", PUBLISH[0])))
}

fn documented(file: &TextFile) -> Option<Finding> {
    let said = file.text.lines().any(|line| {
        let line = line.trim();
        ["warn", "deny", "forbid"].iter().any(|level| line == format!("#![{level}(missing_docs)]"))
    });
    (!said).then(|| file.finding(0, "a library without `#![warn(missing_docs)]`"))
}

fn lines_of_section<'a>(text: &'a str, section: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .map(str::trim)
        .skip_while(move |line| *line != section)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::super::{file, lines};
    use super::*;

    #[test]
    fn a_crate_that_could_be_published_is_found() {
        let bad = file("eval/Cargo.toml", "[package]\nname = \"eval\"\n[dependencies]\npublish = false\n");
        assert_eq!(lines(&check(&[bad])), ["eval/Cargo.toml: [package] has no `publish = false`"]);
        let good = file("eval/Cargo.toml", "[package]\npublish.workspace = true\n");
        assert!(check(&[good]).is_empty());
        let root = file("Cargo.toml", "[workspace.package]\npublish = true\n");
        assert_eq!(check(&[root]).len(), 1);
    }

    #[test]
    fn a_library_that_need_not_be_documented_is_found() {
        assert_eq!(check(&[file("eval/src/lib.rs", "//! Owns.\n")]).len(), 1);
        assert!(check(&[file("eval/src/lib.rs", "//! Owns.\n#![warn(missing_docs)]\n")]).is_empty());
        assert!(check(&[file("vendor/x/src/lib.rs", "//! Owns.\n")]).is_empty());
    }
}
