//! Rules on the text of single files: heads, lengths, names, words that must not be there, and who may say what.
//!
//! Knows nothing about modules or dependencies. The forbidden words are put together here, so that this file is clean.

use super::{Finding, TextFile, lists};

/// Longer is a smell.
const LONG: usize = 400;
/// Longer is refused.
const TOO_LONG: usize = 600;
const VAGUE_NAMES: [&str; 5] = ["base.rs", "common.rs", "utils.rs", "types.rs", "core.rs"];
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED_MACROS: [&str; 2] = [concat!("to", "do!"), concat!("unimpl", "emented!")];
const MACHINE_PATHS: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
/// Names that open a socket or look a name up, by themselves or through a crate.
const SOCKET_NAMES: [&str; 8] =
    ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "ToSocketAddrs", "reqwest", "hf_hub", "ureq"];
const SOCKET_FILES: [&str; 4] =
    ["trainer/src/hub.rs", "trainer/src/hub/", "eval/src/provider.rs", "eval/src/provider/"];
const BACKENDS: [&str; 4] = ["Device::flex", "Device::cuda", "Device::vulkan", "Device::metal"];
const BACKEND_FILE: &str = "model/src/device.rs";
/// The bindings of the GPU's driver and libraries, and the one folder that calls them.
const DRIVER_CRATE: &str = "cudarc";
const DRIVER_FOLDER: &str = "cuda/src/driver/";

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
            if !file.path.starts_with("xtask/") && !lists::is_test_file(file, files) {
                findings.extend(borders(file));
            }
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

/// Who may name sockets, device backends, the driver and the tensor crates. Tests and comments are free to.
fn borders(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let may_open_sockets = SOCKET_FILES.iter().any(|place| file.path.starts_with(place));
    let is_trainer = file.path.starts_with("trainer/src/");
    for (at, line) in product_lines(&file.text) {
        if !may_open_sockets {
            for word in SOCKET_NAMES.into_iter().filter(|word| has_word(line, word)) {
                let what = format!("`{word}`: only {} open sockets", SOCKET_FILES.join(", "));
                findings.push(file.finding(at, what));
            }
        }
        if file.path != BACKEND_FILE {
            for word in BACKENDS.into_iter().filter(|word| has_word(line, word)) {
                findings.push(file.finding(at, format!("`{word}`: only {BACKEND_FILE} names a device backend")));
            }
        }
        if !file.path.starts_with(DRIVER_FOLDER) && has_word(line, DRIVER_CRATE) {
            findings.push(file.finding(at, format!("`{DRIVER_CRATE}`: only {DRIVER_FOLDER} calls the driver")));
        }
        if is_trainer {
            for word in identifiers(line).filter(|word| is_tensor_crate(word)) {
                findings.push(file.finding(at, format!("`{word}`: only the model crate names tensors")));
            }
        }
    }
    findings
}

fn is_tensor_crate(word: &str) -> bool {
    ["burn", "cubecl"]
        .iter()
        .any(|name| word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// Numbered lines without comments, up to the test module at the end of the file.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let end = (0..lines.len()).find(|at| starts_test_module(&lines[*at..])).unwrap_or(lines.len());
    lines.into_iter().take(end).enumerate().map(|(at, line)| (at + 1, without_comment(line)))
}

/// `#[cfg(test)]`, then any attributes, then `mod name {`.
fn starts_test_module(lines: &[&str]) -> bool {
    let mut rest = lines.iter().map(|line| line.trim());
    rest.next() == Some("#[cfg(test)]")
        && rest.find(|line| !line.starts_with("#[")).is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
}

fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word stands by itself.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
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
    fn sockets_are_found_outside_their_places() {
        let text = "//! Owns.\nuse std::net::TcpStream;\n";
        assert!(
            check_one("trainer/src/commands/fit.rs", text)[0].starts_with("trainer/src/commands/fit.rs:2: `TcpStream`")
        );
        assert!(check_one("trainer/src/hub.rs", text).is_empty());
        assert!(check_one("trainer/src/hub/wire.rs", text).is_empty());
        assert!(check_one("eval/src/provider/openai.rs", text).is_empty());
        assert_eq!(check_one("model/src/a.rs", "//! Owns.\nlet x = hf_hub::f();\n").len(), 1);
    }

    #[test]
    fn tests_and_comments_may_say_anything() {
        let text = "//! Owns.\n// TcpStream\n#[cfg(test)]\n#[allow(clippy::panic)]\nmod tests {\n    use std::net::TcpStream;\n}\n";
        assert!(check_one("trainer/src/a.rs", text).is_empty());
        assert!(check_one("tests/cli.rs", "//! Owns.\nuse std::net::TcpListener;\n").is_empty());
        let parent = file("trainer/src/pull/mod.rs", "//! Owns.\n#[cfg(test)]\n#[allow(x)]\nmod tests;\n");
        let child = file("trainer/src/pull/tests.rs", "//! Owns.\nuse std::net::TcpListener;\n");
        assert!(check(&[parent, child]).is_empty());
    }

    #[test]
    fn device_backends_are_found_outside_their_file() {
        let text = "//! Owns.\nlet device = Device::cuda(0);\n";
        assert!(check_one("model/src/lora.rs", text)[0].contains("only model/src/device.rs names a device backend"));
        assert!(check_one("model/src/device.rs", text).is_empty());
        assert!(check_one("model/src/lora.rs", "//! Owns.\nlet x = Device::cuda_like();\n").is_empty());
    }

    #[test]
    fn the_driver_is_called_from_one_folder_and_kernels_have_heads() {
        let text = "//! Owns.\nuse cudarc::driver::sys;\n";
        assert!(check_one("cuda/src/device.rs", text)[0].contains("only cuda/src/driver/ calls the driver"));
        assert!(check_one("cuda/src/driver/nvidia/mod.rs", text).is_empty());
        assert!(check_one("cuda/kernels/rope.cu", "#include \"prelude.cuh\"\n")[0].contains("does not open with `//`"));
        assert!(check_one("cuda/kernels/rope.cu", "// Positions.\n").is_empty());
    }

    #[test]
    fn tensor_crates_are_found_in_the_trainer() {
        for planted in ["use burn::tensor::Tensor;", "burn_flex::f();", "cubecl::g();"] {
            assert_eq!(check_one("trainer/src/fit.rs", &format!("//! Owns.\n{planted}\n")).len(), 1, "{planted}");
        }
        assert!(check_one("trainer/src/fit.rs", "//! Owns.\nlet burned = 1;\n").is_empty());
        assert!(check_one("model/src/fit.rs", "//! Owns.\nuse burn::Tensor;\n").is_empty());
    }
}
