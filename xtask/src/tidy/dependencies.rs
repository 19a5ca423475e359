//! The borders between crates: what each member must not depend on, directly or at all.
//!
//! Owns the table of rules. What the dependencies are is cargo's answer, not ours.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Finding;

/// What a member must not have. A name that ends with `*` stands for every name that starts so.
struct Rule {
    member: &'static str,
    /// In its whole tree.
    never: &'static [&'static str],
    /// In its own manifest.
    not_itself: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 7] = [
    Rule {
        member: "cuda",
        never: &["burn*", "cubecl*", "tokio", "axum", "datasets", "eval", "model", "trainer"],
        not_itself: &["anyhow"],
        why: "the kernels know nothing about models, records or the network",
    },
    Rule {
        member: "datasets",
        never: &["burn*", "cubecl*", "tokio", "axum", "model", "eval", "trainer"],
        not_itself: &["anyhow"],
        why: "records know nothing about tensors, models or the network",
    },
    Rule {
        member: "eval",
        never: &["burn*", "cubecl*", "tokio", "axum", "model", "trainer"],
        not_itself: &["anyhow"],
        why: "evaluation is text in, scores out",
    },
    Rule {
        member: "ground",
        never: &[
            "burn*", "cubecl*", "tokio", "axum", "anyhow", "clap", "cube", "cuda", "datasets", "eval", "model",
            "template", "trainer",
        ],
        not_itself: &["hf-hub", "reqwest", "rusqlite", "serde*", "ureq"],
        why: "every member stands on the ground, and it stands on none: no format, no model, no network",
    },
    Rule {
        member: "model",
        never: &["clap", "ratatui", "tokio", "axum", "datasets", "eval", "trainer"],
        not_itself: &["anyhow", "cudarc"],
        why: "the model knows nothing about command lines, records or the network",
    },
    Rule {
        member: "template",
        never: &[
            "burn*", "cubecl*", "tokio", "axum", "anyhow", "clap", "cube", "cuda", "datasets", "eval", "model",
            "trainer",
        ],
        not_itself: &["hf-hub", "reqwest", "rusqlite", "ureq"],
        why: "a template is text of a stranger: it knows no message, no model, no file and no network",
    },
    Rule {
        member: "trainer",
        never: &[],
        not_itself: &["burn*", "cubecl*", "cuda*", "tokio", "axum"],
        why: "the trainer names no tensor, no driver and no asynchronous runtime",
    },
];

/// The dependencies of one member.
pub(super) struct Tree {
    member: String,
    all: Vec<String>,
    direct: Vec<String>,
}

/// Asks cargo for the trees of all members that have rules.
pub(super) fn trees(root: &Path) -> Result<Vec<Tree>> {
    RULES
        .iter()
        .map(|rule| {
            let ask = |more: &[&str]| -> Result<Vec<String>> {
                Ok(names(&cargo_tree(root, rule.member, more)?, rule.member))
            };
            Ok(Tree { member: rule.member.to_owned(), all: ask(&[])?, direct: ask(&["--depth", "1"])? })
        })
        .collect()
}

/// Compares the trees with the rules.
pub(super) fn check(trees: &[Tree]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tree in trees {
        for rule in RULES.iter().filter(|rule| rule.member == tree.member) {
            let mut find = |names: &[String], forbidden: &[&str], how: &str| {
                for name in names.iter().filter(|name| forbidden.iter().any(|pattern| matches(pattern, name))) {
                    findings.push(Finding {
                        path: format!("{}/Cargo.toml", rule.member),
                        line: 0,
                        what: format!(
                            "{how} `{name}`: {}\nhint: cargo tree -p {} -e normal -i {name}",
                            rule.why, rule.member
                        ),
                        warning: false,
                    });
                }
            };
            find(&tree.all, rule.never, "depends on");
            find(&tree.direct, rule.not_itself, "names");
        }
    }
    findings
}

fn cargo_tree(root: &Path, member: &str, more: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .current_dir(root)
        .args(["tree", "--locked", "-p", member, "-e", "normal", "--prefix", "none", "-f", "{p}"])
        .args(more)
        .output()
        .context("cannot start cargo tree")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("cargo tree -p {member} failed: {}\nhint: is Cargo.lock up to date?", words.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Package names in the output of `cargo tree`, without the member itself.
fn names(output: &str, member: &str) -> Vec<String> {
    let mut names: Vec<String> =
        output.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.retain(|name| name != member);
    names
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    fn tree(member: &str, all: &str, direct: &str) -> Tree {
        Tree { member: member.to_owned(), all: names(all, member), direct: names(direct, member) }
    }

    #[test]
    fn the_output_of_cargo_is_read_as_names() {
        let output = "eval v0.1.0 (path)\nserde v1.0.0\nserde v1.0.0 (*)\nargmin v0.11.0\n";
        assert_eq!(names(output, "eval"), ["argmin", "serde"]);
    }

    #[test]
    fn a_tensor_crate_anywhere_below_evaluation_is_found() {
        let found = lines(&check(&[tree("eval", "serde v1\nburn-tensor v0.22\n", "serde v1\n")]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("eval/Cargo.toml: depends on `burn-tensor`: evaluation is text in"), "{found:?}");
    }

    #[test]
    fn a_crate_that_is_only_forbidden_directly_may_be_deeper() {
        assert!(check(&[tree("model", "anyhow v1\nburn v0.22\n", "burn v0.22\n")]).is_empty());
        assert_eq!(check(&[tree("model", "anyhow v1\n", "anyhow v1\n")]).len(), 1);
        assert!(check(&[tree("trainer", "burn v0.22\ntokio v1\n", "model v0.1\n")]).is_empty());
        assert_eq!(check(&[tree("trainer", "burn v0.22\n", "burn v0.22\n")]).len(), 1);
    }

    #[test]
    fn the_ground_stands_on_nothing_of_ours() {
        for planted in ["datasets v0.1", "cuda v0.1", "anyhow v1", "tokio v1", "burn-tensor v0.22"] {
            assert_eq!(check(&[tree("ground", planted, "")]).len(), 1, "{planted}");
        }
        assert_eq!(check(&[tree("ground", "", "serde_json v1")]).len(), 1);
        assert!(check(&[tree("ground", "libc v0.2\ntempfile v3\nrand_xoshiro v0.7", "libc v0.2")]).is_empty());
    }

    #[test]
    fn members_do_not_meet_where_they_must_not() {
        assert_eq!(check(&[tree("model", "datasets v0.1\n", "datasets v0.1\n")]).len(), 1);
        assert_eq!(check(&[tree("eval", "model v0.1\n", "model v0.1\n")]).len(), 1);
    }
}
