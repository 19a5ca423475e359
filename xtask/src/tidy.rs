//! `cargo xtask tidy`: what neither compiler nor lints can see.
//!
//! Owns the list of checks, reading the tree, and the report. Each check is a pure function over text.

mod borders;
mod code;
mod dependencies;
mod lists;
mod manifests;
mod sources;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Outcome;

/// Folders that are not ours or not text. `cubecl-spirv` is the code of others as they published it, with one repair.
const SKIPPED: [&str; 6] = [".git", "target", "runs", "oracle-venv", "__pycache__", "cubecl-spirv"];
/// Endings of the files that people read.
const TEXT: [&str; 13] = ["rs", "toml", "md", "py", "sh", "yml", "yaml", "jinja", "txt", "cu", "cuh", "cpp", "h"];

/// A text file of the repository.
#[derive(Debug, Clone)]
struct TextFile {
    /// Path from the root, with `/` on every system.
    path: String,
    text: String,
}

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from one; 0 for the whole file.
    line: usize,
    what: String,
    /// A warning is shown and does not fail.
    warning: bool,
}

/// Runs every check and prints every finding.
pub(crate) fn run(root: &Path) -> Result<Outcome> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut findings = sources::check(&files);
    findings.extend(borders::check(&files));
    findings.extend(borders::stale(&files));
    findings.extend(lists::check(&files));
    findings.extend(manifests::check(&files));
    findings.extend(dependencies::check(&dependencies::trees(root)?));
    for finding in &findings {
        println!("{}", finding.line());
    }
    let num_warnings = findings.iter().filter(|finding| finding.warning).count();
    let num_errors = findings.len() - num_warnings;
    println!("tidy: {} files, {num_errors} findings, {num_warnings} warnings", files.len());
    Ok(if num_errors == 0 { Outcome::Good } else { Outcome::Found })
}

impl TextFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The sources of GPU kernels, their headers, and what plays a GPU in tests.
    fn is_kernel(&self) -> bool {
        [".cu", ".cuh", ".cpp", ".h"].iter().any(|ending| self.path.ends_with(ending))
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into(), warning: false }
    }
}

impl Finding {
    fn line(&self) -> String {
        let kind = if self.warning { "warning: " } else { "" };
        match self.line {
            0 => format!("{}: {kind}{}", self.path, self.what),
            line => format!("{}:{line}: {kind}{}", self.path, self.what),
        }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<TextFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
            continue;
        }
        let is_text = path.extension().is_some_and(|ending| TEXT.iter().any(|known| ending == *known));
        // A link would be read twice or lead outside.
        if !kind.is_file() || !is_text && name != "run" {
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        match fs::read_to_string(&path) {
            Ok(text) => files.push(TextFile { path: relative, text }),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    Ok(())
}

#[cfg(test)]
fn file(path: &str, text: &str) -> TextFile {
    TextFile { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(Finding::line).collect()
}
