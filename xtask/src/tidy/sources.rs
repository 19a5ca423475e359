//! Rules on the text of single files: heads, lengths, names, and words that must not be there.
//!
//! Knows nothing about modules or dependencies. The forbidden words are put together here, so that this file is clean.

use super::code::{has_word, is_word};
use super::{Finding, TextFile};

/// Longer is a smell.
const LONG: usize = 400;
/// Longer is refused.
const TOO_LONG: usize = 600;
const VAGUE_NAMES: [&str; 5] = ["base.rs", "common.rs", "utils.rs", "types.rs", "core.rs"];
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED_MACROS: [&str; 2] = [concat!("to", "do!"), concat!("unimpl", "emented!")];
const MACHINE_PATHS: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Checks every file.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(forbidden_text(file));
        if file.is_kernel() {
            findings.extend(head(file, "//"));
            findings.extend(length(file));
        }
        if file.is_rust() {
            findings.extend(head(file, "//!"));
            findings.extend(length(file));
            findings.extend(name(file));
        }
    }
    findings
}

fn head(file: &TextFile, start: &str) -> Option<Finding> {
    let what = format!("the file does not open with `{start}`: say what it owns and what it does not know");
    (!file.text.starts_with(start)).then(|| file.finding(1, what))
}

fn length(file: &TextFile) -> Option<Finding> {
    let num_lines = file.text.lines().count();
    if num_lines > TOO_LONG {
        return Some(file.finding(0, format!("{num_lines} lines, at most {TOO_LONG}: split the file")));
    }
    let warning = Finding { warning: true, ..file.finding(0, format!("{num_lines} lines, above {LONG}")) };
    (num_lines > LONG).then_some(warning)
}

fn name(file: &TextFile) -> Option<Finding> {
    let vague = VAGUE_NAMES.contains(&file.name());
    vague.then(|| file.finding(0, format!("`{}` says nothing: name the file after what it owns", file.name())))
}

fn forbidden_text(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for word in UNFINISHED_WORDS {
            if has_word(line, word) {
                findings.push(file.finding(at + 1, format!("`{word}`: finish it or file an issue")));
            }
        }
        for call in UNFINISHED_MACROS {
            if has_start(line, call) {
                findings.push(file.finding(at + 1, format!("`{call}`: finish it")));
            }
        }
        for path in MACHINE_PATHS {
            if has_absolute_path(line, path) {
                findings.push(file.finding(at + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
    findings
}

fn has_start(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| !line[..at].ends_with(is_word))
}

/// The path starts there: it is not the middle of an address or of a longer path.
fn has_absolute_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|c: char| is_word(c) || "./-*~})]>$".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::super::{file, lines};
    use super::*;

    fn check_one(path: &str, text: &str) -> Vec<String> {
        lines(&check(&[file(path, text)]))
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert!(check_one("model/src/lora.rs", "//! Owns.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        let found = check_one("model/src/lora.rs", "fn f() {}\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("model/src/lora.rs:1: the file does not open with `//!`"));
    }

    #[test]
    fn long_files_warn_and_then_fail() {
        let text = |num_lines: usize| format!("//! Owns.\n{}", "x\n".repeat(num_lines - 1));
        assert!(check_one("model/src/a.rs", &text(400)).is_empty());
        assert_eq!(check_one("model/src/a.rs", &text(401)), ["model/src/a.rs: warning: 401 lines, above 400"]);
        assert_eq!(check_one("model/src/a.rs", &text(601)), ["model/src/a.rs: 601 lines, at most 600: split the file"]);
    }

    #[test]
    fn vague_names_are_found() {
        assert!(check_one("model/src/utils.rs", "//! Owns.\n")[0].contains("`utils.rs` says nothing"));
        assert!(check_one("tests/util.rs", "//! Owns.\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_words() {
        for planted in [concat!("// TO", "DO later"), concat!("    to", "do!()"), concat!("unimpl", "emented!()")] {
            assert_eq!(check_one("model/src/a.rs", &format!("//! Owns.\n{planted}\n")).len(), 1, "{planted}");
        }
        assert_eq!(check_one("README.md", concat!("FIX", "ME\n")).len(), 1);
        assert!(check_one("README.md", concat!("MASTO", "DON\n")).is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_and_addresses_are_not() {
        assert_eq!(check_one("README.md", concat!("see /ho", "me/me/x\n")).len(), 1);
        assert_eq!(check_one("configs/a.toml", concat!("path = \"/wo", "rk/x\"\n")).len(), 1);
        assert!(check_one("README.md", concat!("https://example.org/wo", "rk/x\n")).is_empty());
    }

    #[test]
    fn kernels_have_heads() {
        assert!(check_one("cuda/kernels/rope.cu", "#include \"prelude.cuh\"\n")[0].contains("does not open with `//`"));
        assert!(check_one("cuda/kernels/rope.cu", "// Positions.\n").is_empty());
    }
}
