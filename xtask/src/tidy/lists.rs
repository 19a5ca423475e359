//! The list rule: each file stands in the list of its folder, because the compiler reads no file that is in none.
//!
//! Knows nothing about what is in the files beside `mod` lines.

use super::{Finding, TextFile};

/// Checks that every file below a `src` folder is declared by the file above it, and every kernel is compiled by one.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = modules(files);
    findings.extend(kernels(files));
    findings
}

/// A kernel that no Rust file takes in is never compiled.
fn kernels(files: &[TextFile]) -> Vec<Finding> {
    let of_the_gpu = files.iter().filter(|file| file.is_kernel() && file.path.contains("/kernels/"));
    let unnamed = of_the_gpu.filter(|file| {
        let name = format!("kernels/{}\")", file.name());
        !files.iter().any(|other| other.is_rust() && other.text.contains(&name))
    });
    unnamed.map(|file| file.finding(0, "no Rust file includes it: it is never compiled")).collect()
}

fn modules(files: &[TextFile]) -> Vec<Finding> {
    let sources = files.iter().filter(|file| file.is_rust() && is_module(&file.path));
    sources
        .filter_map(|file| {
            let (folder, module) = place(&file.path)?;
            let lists: Vec<&TextFile> = lists_of(folder, files);
            let declared = lists.iter().any(|list| declaration(&list.text, module).is_some());
            let nearest = lists.first().map_or_else(|| format!("{folder}/mod.rs"), |list| list.path.clone());
            (!declared).then(|| file.finding(0, format!("is in no list: add `mod {module};` to {nearest}")))
        })
        .collect()
}

/// Whether a file holds tests only: it lies in `tests/`, or is declared under `#[cfg(test)]`, itself or from above.
pub(super) fn is_test_file(file: &TextFile, files: &[TextFile]) -> bool {
    if file.path.starts_with("tests/") || file.path.contains("/tests/") {
        return true;
    }
    let Some((folder, module)) = place(&file.path) else { return false };
    lists_of(folder, files)
        .into_iter()
        .any(|list| declaration(&list.text, module).is_some_and(|only_tests| only_tests) || is_test_file(list, files))
}

/// Crate roots and build scripts are named by the manifest.
fn is_module(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_root = ["src/lib.rs", "src/main.rs", "tests/main.rs"].iter().any(|root| path.ends_with(root));
    !is_root && name != "build.rs" && (path.contains("/src/") || path.starts_with("tests/")) && !path.contains("/bin/")
}

/// The folder whose list names a file, and the name it has there.
fn place(path: &str) -> Option<(&str, &str)> {
    if !is_module(path) {
        return None;
    }
    let (folder, name) = path.strip_suffix(".rs")?.rsplit_once('/')?;
    if name == "mod" { folder.rsplit_once('/') } else { Some((folder, name)) }
}

/// The files that may list the modules of a folder.
fn lists_of<'a>(folder: &str, files: &'a [TextFile]) -> Vec<&'a TextFile> {
    let candidates =
        [format!("{folder}/mod.rs"), format!("{folder}.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs")];
    candidates.iter().filter_map(|path| files.iter().find(|file| file.path == *path)).collect()
}

/// Whether a text declares a module; the answer inside says that it does so for tests only.
fn declaration(text: &str, module: &str) -> Option<bool> {
    let mut attributes = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
            continue;
        }
        let declared =
            line.strip_suffix(';').and_then(|line| line.rsplit_once("mod ")).is_some_and(|(before, name)| {
                let visible = before.trim();
                name.trim() == module && (visible.is_empty() || visible.starts_with("pub"))
            });
        if declared {
            return Some(attributes.contains(&"#[cfg(test)]"));
        }
        attributes.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{file, lines};
    use super::*;

    fn tree(list: &str) -> Vec<TextFile> {
        vec![
            file("model/src/lib.rs", "//! Owns.\npub mod arch;\n"),
            file("model/src/arch/mod.rs", list),
            file("model/src/arch/llama.rs", "//! Owns.\n"),
        ]
    }

    #[test]
    fn a_file_in_its_list_is_fine() {
        assert!(check(&tree("//! Owns.\nmod llama;\n")).is_empty());
        assert!(check(&tree("//! Owns.\npub(crate) mod llama;\n")).is_empty());
    }

    #[test]
    fn a_kernel_that_no_file_includes_is_found() {
        let kernel = file("cuda/kernels/rope.cu", "// Positions.\n");
        let user = file("cuda/src/lib.rs", "//! Owns.\nlet text = include_str!(\"../kernels/rope.cu\");\n");
        assert!(check(&[kernel.clone(), user]).is_empty());
        assert_eq!(check(&[kernel]).len(), 1);
    }

    #[test]
    fn a_file_in_no_list_is_found() {
        let expected = "model/src/arch/llama.rs: is in no list: add `mod llama;` to model/src/arch/mod.rs";
        assert_eq!(lines(&check(&tree("//! Owns.\nmod llama3;\n"))), [expected]);
        assert_eq!(lines(&check(&tree("//! Owns.\n// mod llama;\n"))), [expected]);
    }

    #[test]
    fn a_folder_may_have_its_list_beside_it() {
        let files = [
            file("trainer/src/main.rs", "//! Owns.\nmod commands;\n"),
            file("trainer/src/commands.rs", "//! Owns.\nmod fit;\n"),
            file("trainer/src/commands/fit.rs", "//! Owns.\n"),
            file("trainer/src/commands/evil.rs", "//! Owns.\n"),
        ];
        assert_eq!(lines(&check(&files)).len(), 1);
    }

    #[test]
    fn a_folder_without_any_list_is_found() {
        let files = [file("eval/src/lib.rs", "//! Owns.\n"), file("eval/src/metric/bleu.rs", "//! Owns.\n")];
        assert!(lines(&check(&files))[0].ends_with("add `mod bleu;` to eval/src/metric/mod.rs"));
    }

    #[test]
    fn a_module_of_a_test_module_is_a_test_file() {
        let files = [
            file("model/src/lib.rs", "//! Owns.\n#[cfg(test)]\nmod oracle;\nmod lora;\n"),
            file("model/src/oracle.rs", "//! Owns.\nmod deep;\n"),
            file("model/src/oracle/deep.rs", "//! Owns.\n"),
            file("model/src/lora.rs", "//! Owns.\n"),
        ];
        let tests: Vec<bool> = files.iter().map(|one| is_test_file(one, &files)).collect();
        assert_eq!(tests, [false, true, true, false]);
    }
}
