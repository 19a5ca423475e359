//! `cargo xtask golden`: makes the golden values again, or compares them with those in the repository.
//!
//! Owns finding a Python that has the packages, and saying what to install. Knows nothing about the values.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::Outcome;

/// Scripts that write or compare golden values, and the packages each imports.
const SCRIPTS: [(&str, &[&str]); 3] = [
    ("tests/golden/chat_templates.py", &["jinja2"]),
    ("tests/golden/template_forms.py", &["jinja2"]),
    ("tests/golden/generate.py", &["jinja2", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers"]),
];
const REQUIREMENTS: &str = "tests/golden/requirements.txt";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    check: bool,
    python: String,
    /// For `generate.py` alone.
    passed_on: Vec<String>,
}

/// Runs the scripts with the words of the command line.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<Outcome> {
    let options = parse(arguments, std::env::var("PYTHON").ok())?;
    let missing = missing_packages(root, &options.python)?;
    if !missing.is_empty() {
        bail!("{}", advice(&options.python, &missing));
    }
    let mut outcome = Outcome::Good;
    for (script, _) in SCRIPTS {
        let mut command = Command::new(&options.python);
        command.current_dir(root).arg(script);
        if options.check {
            command.arg("--check");
        }
        if script.ends_with("generate.py") {
            command.args(&options.passed_on);
        }
        println!("golden: {script}");
        let status = command.status().with_context(|| format!("cannot start {}", options.python))?;
        match status.code() {
            Some(0) => {}
            Some(1) if options.check => outcome = Outcome::Found,
            _ => bail!("{script} failed ({status})"),
        }
    }
    if outcome == Outcome::Found {
        println!(
            "golden: values differ\nhint: `cargo xtask golden` writes them again; say in the commit why they moved"
        );
    }
    Ok(outcome)
}

fn parse(arguments: &[String], from_environment: Option<String>) -> Result<Options> {
    let python = from_environment.filter(|name| !name.is_empty()).unwrap_or_else(|| "python3".to_owned());
    let mut options = Options { check: false, python, passed_on: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--check" => options.check = true,
            "--python" => options.python = words.next().context("`--python` needs a program")?.clone(),
            "--" => options.passed_on.extend(words.by_ref().cloned()),
            other => bail!("unknown option `{other}` of `golden`\nhint: [--check] [--python P] [-- …]"),
        }
    }
    Ok(options)
}

/// Packages that this Python does not find.
fn missing_packages(root: &Path, python: &str) -> Result<Vec<String>> {
    let mut wanted: Vec<&str> = SCRIPTS.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let script = "import importlib.util, sys\n\
                  print('\\n'.join(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))";
    let output = Command::new(python)
        .current_dir(root)
        .args(["-c", script])
        .args(&wanted)
        .output()
        .with_context(|| format!("cannot start {python}\nhint: cargo xtask golden --python PROGRAM"))?;
    if !output.status.success() {
        bail!("{python} cannot look for packages: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
}

fn advice(python: &str, missing: &[String]) -> String {
    format!(
        "{python} lacks {}\n\
         hint: python3 -m venv oracle-venv && oracle-venv/bin/pip install -r {REQUIREMENTS}\n\
         hint: cargo xtask golden --python oracle-venv/bin/python",
        missing.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(line: &str, environment: Option<&str>) -> Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words, environment.map(str::to_owned))
    }

    #[test]
    fn the_python_is_the_named_one_then_that_of_the_environment() {
        assert_eq!(parsed("", None).unwrap().python, "python3");
        assert_eq!(parsed("", Some("p")).unwrap().python, "p");
        let options = parsed("--check --python q -- --case qwen3", Some("p")).unwrap();
        assert_eq!((options.check, options.python.as_str()), (true, "q"));
        assert_eq!(options.passed_on, ["--case", "qwen3"]);
    }

    #[test]
    fn an_unknown_option_is_refused() {
        assert!(parsed("--chekc", None).unwrap_err().to_string().contains("unknown option `--chekc`"));
        assert!(parsed("--python", None).is_err());
    }

    #[test]
    fn missing_packages_come_with_what_to_type() {
        let text = advice("python3", &["torch".to_owned(), "peft".to_owned()]);
        assert!(text.starts_with("python3 lacks torch, peft\nhint: python3 -m venv"), "{text}");
    }
}
