//! `cargo xtask bench`: speed and memory of training on a GPU beside the peers', row by row in one call, and single kernels
//! against the floor that bytes and operations set.
//!
//! Owns the rows, who is a peer in each, and the table. Knows the programs by what they print; measures nothing itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Outcome;

/// One shape of model and batch: ours, and the peers that train the same. The fastest known peer comes first.
struct Row {
    model: &'static str,
    rows: usize,
    length: usize,
    ours: &'static [&'static str],
    peers: &'static [&'static [&'static str]],
}

impl Row {
    fn name(&self) -> String {
        let ours = if self.ours.is_empty() { String::new() } else { format!(" {}", self.ours.join(" ")) };
        format!("{} {} x {}{ours}", self.model, self.rows, self.length)
    }
}

const COMPILE: &[&str] = &["--compile"];
const LIGER: &[&str] = &["--liger"];
const PLAIN: &[&str] = &[];
const RECOMPUTED: &[&str] = &["--recompute", "always"];

/// Every row. In the last one a row of text has few tokens and only the last of them are learnt, as in labelling.
const ROWS: [Row; 9] = [
    Row { model: "llama3-8b", rows: 2, length: 2048, ours: &[], peers: &[COMPILE, LIGER, PLAIN] },
    Row { model: "llama3-8b", rows: 4, length: 2048, ours: &[], peers: &[COMPILE, &["--liger", "--compile"]] },
    Row { model: "llama3-8b", rows: 4, length: 2048, ours: RECOMPUTED, peers: &[&["--ckpt", "--liger"], &["--ckpt"]] },
    Row { model: "llama3-8b", rows: 2, length: 4096, ours: &[], peers: &[LIGER] },
    Row { model: "qwen2.5-7b", rows: 2, length: 2048, ours: &[], peers: &[COMPILE, LIGER] },
    Row { model: "mistral-7b", rows: 2, length: 2048, ours: &[], peers: &[COMPILE] },
    Row { model: "llama3.2-1b", rows: 4, length: 1024, ours: &[], peers: &[COMPILE, PLAIN] },
    Row { model: "smollm2-135m", rows: 8, length: 2048, ours: &[], peers: &[COMPILE, PLAIN, LIGER] },
    Row { model: "smollm2-135m", rows: 16, length: 190, ours: &["--supervised", "5"], peers: &[PLAIN] },
];

const PEER: &str = include_str!("../../tests/oracles/peft_gpu_speed.py");
const USAGE: &str = "[--only WORDS] [--best] [--programs FOLDER] [--python P]";

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Rows whose names contain this; `kernels` is the table of kernels.
    only: Option<String>,
    /// The first peer of each row only.
    best: bool,
    /// Where `training_speed` and `kernel_speed` lie; without it they are built.
    programs: Option<PathBuf>,
    python: String,
}

fn parse(arguments: &[String], from_environment: Option<String>) -> Result<Options> {
    let python = from_environment.filter(|name| !name.is_empty()).unwrap_or_else(|| "python3".to_owned());
    let mut options = Options { python, ..Options::default() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = |what: &str| words.next().cloned().with_context(|| format!("`{word}` needs {what}"));
        match word.as_str() {
            "--only" => options.only = Some(value("words of a row's name")?),
            "--best" => options.best = true,
            "--programs" => options.programs = Some(value("a folder")?.into()),
            "--python" => options.python = value("a program")?,
            other => bail!("unknown option `{other}` of `bench`\nhint: {USAGE}"),
        }
    }
    Ok(options)
}

/// Prints the tables.
pub(crate) fn run(root: impl FnOnce() -> Result<PathBuf>, arguments: &[String]) -> Result<Outcome> {
    let options = parse(arguments, std::env::var("PYTHON").ok())?;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|words| name.contains(words.as_str()));
    let rows: Vec<&Row> = ROWS.iter().filter(|row| wanted(&row.name())).collect();
    if rows.is_empty() && !wanted("kernels") {
        let names: Vec<String> = ROWS.iter().map(Row::name).chain(["kernels".to_owned()]).collect();
        bail!("no row has these words in its name\nhint: rows are {}", names.join(", "));
    }
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build(&root()?)?,
    };
    let script = std::env::temp_dir().join(format!("peft_gpu_speed_{}.py", std::process::id()));
    std::fs::write(&script, PEER).with_context(|| format!("cannot write {}", script.display()))?;
    if !rows.is_empty() {
        println!("{HEAD}");
    }
    for row in rows {
        let shape = [row.model.to_owned(), row.rows.to_string(), row.length.to_string()];
        let ours = measure(Command::new(programs.join("training_speed")).args(&shape).args(row.ours))?;
        println!("{}", line(row, "this one", &ours, None));
        for peer in row.peers.iter().take(if options.best { 1 } else { row.peers.len() }) {
            let name = ["PEFT"].iter().chain(*peer).map(|word| word.trim_start_matches('-')).collect::<Vec<_>>();
            let theirs = measure(Command::new(&options.python).arg(&script).args(&shape).args(*peer));
            match theirs {
                Ok(theirs) => println!("{}", line(row, &name.join(" + "), &theirs, Some(&ours))),
                // A peer that is not installed is said so, and the others go on.
                Err(error) => println!("| {} | {} | not measured: {error} |", row.name(), name.join(" + ")),
            }
        }
    }
    std::fs::remove_file(&script).ok();
    if wanted("kernels") {
        println!();
        let status = Command::new(programs.join("kernel_speed")).status().context("cannot start kernel_speed")?;
        if !status.success() {
            bail!("kernel_speed failed ({status})");
        }
    }
    Ok(Outcome::Good)
}

const HEAD: &str = "\
| row | trainer | tokens/s | in flow | peak GiB | useful TFLOP/s | ours / theirs |
|---|---|---|---|---|---|---|";

/// A line of the table. A peer's has the ratio of our speed to its.
fn line(row: &Row, who: &str, measured: &Value, ours: Option<&Value>) -> String {
    let number = |value: &Value, name: &str| value[name].as_f64();
    let cell = |name: &str, digits: usize| {
        number(measured, name).map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
    };
    let ratio = ours.and_then(|ours| Some(number(ours, "tok_s")? / number(measured, "tok_s")?));
    format!(
        "| {} | {who} | {} | {} | {} | {} | {} |",
        row.name(),
        cell("tok_s", 0),
        cell("tok_s_flowing", 0),
        cell("peak_gib", 2),
        cell("useful_tflops", 1),
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
    )
}

/// Runs a program whose last line is its measurement.
fn measure(command: &mut Command) -> Result<Value> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().last().map(serde_json::from_str) {
        Some(Ok(value)) if output.status.success() => {
            eprintln!("{value}");
            Ok(value)
        }
        _ => bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end().lines().last().unwrap_or("it failed")),
    }
}

/// Builds the programs that measure.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--workspace", "--example", "training_speed", "--example", "kernel_speed"];
    let status = Command::new(cargo).current_dir(root).args(arguments).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the programs that measure do not build ({status})");
    }
    Ok(root.join("target/release/examples"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), None)
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options = parsed("--only smollm2 --best --programs here --python p").unwrap();
        assert_eq!((options.only.as_deref(), options.best, options.python.as_str()), (Some("smollm2"), true, "p"));
        assert!(parsed("--bset").unwrap_err().to_string().contains("hint: [--only WORDS]"));
        assert!(parsed("--only").unwrap_err().to_string().contains("`--only` needs words"));
        assert!(
            run(|| bail!("no root"), &["--only".into(), "gpt".into()]).unwrap_err().to_string().contains("kernels")
        );
    }

    #[test]
    fn a_peer_stands_with_the_ratio_of_our_speed_to_its() {
        let ours = json!({"tok_s": 300.0, "tok_s_flowing": 310.4, "peak_gib": 28.034, "useful_tflops": 9.0});
        let theirs = json!({"tok_s": 200, "peak_gib": 38.2});
        let row = &ROWS[2];
        let name = "llama3-8b 4 x 2048 --recompute always";
        assert_eq!(line(row, "this one", &ours, None), format!("| {name} | this one | 300 | 310 | 28.03 | 9.0 | - |"));
        assert_eq!(line(row, "PEFT", &theirs, Some(&ours)), format!("| {name} | PEFT | 200 | - | 38.20 | - | 1.500 |"));
    }
}
