//! `cargo xtask parity`: compares a device with the CPU, operation by operation and over a short training, and writes a table that
//! can be attached to a report.
//!
//! Owns the table. Knows no operation: the program `parity` and `trainer fit` do the work.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Outcome;

/// Steps of the training that is compared.
const STEPS: &str = "50";

struct Options {
    device: String,
    precision: String,
    /// Where `trainer` and `parity` lie; without it they are built.
    programs: Option<PathBuf>,
    out: Option<PathBuf>,
}

/// Runs the comparison with the words of the command line.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<Outcome> {
    let options = parse(arguments)?;
    let [trainer, parity] = programs(root, options.programs.as_deref())?;
    let output = Command::new(&parity).args([&options.device, &options.precision]).output();
    let output = output.with_context(|| format!("cannot start {}", parity.display()))?;
    if !output.status.success() {
        bail!("{} failed:\n{}", parity.display(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let tables = tables(&lines);
    let device = tables.first().and_then(|table| table.device.as_deref()).context("the device did not say its name")?;
    let mut text =
        format!("# Parity of {device}\n\ntrainer {}, each format that was asked for.\n", env!("CARGO_PKG_VERSION"));
    let mut good = true;
    let here = losses(root, &trainer, "cpu", "auto")?;
    // What is listed of CUDA are the framework's operations, in several formats; training there is our own engine's, in one.
    let own_engine = options.device.starts_with("cuda");
    for (at, table) in tables.iter().enumerate() {
        good &= table.write(&mut text)?;
        if own_engine && at > 0 {
            continue;
        }
        let precision = if own_engine { "auto" } else { table.format.as_str() };
        let there = losses(root, &trainer, &options.device, precision)?;
        let (line, holds) = trained(&there, &here, precision == "f32");
        good &= holds;
        text.push_str(&line);
    }
    match &options.out {
        Some(path) => std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(if good { Outcome::Good } else { Outcome::Found })
}

/// What was found in one format.
struct Table {
    rows: Vec<Value>,
    device: Option<String>,
    format: String,
}

/// The tables of what the program `parity` printed: rows, and after those of a format a line that names it and the device.
fn tables(lines: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut rows = Vec::new();
    for value in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if value["operation"].is_string() {
            rows.push(value);
        } else if let Some(format) = value["format"].as_str() {
            let device = value["device"].as_str().map(str::to_owned);
            tables.push(Table { rows: std::mem::take(&mut rows), device, format: format.to_owned() });
        }
    }
    tables
}

impl Table {
    /// Whether all rows hold.
    fn write(&self, text: &mut String) -> Result<bool> {
        writeln!(
            text,
            "\n## {}\n\n{} operations beside their plain twins on the CPU, on the same values.\n\n\
             | operation | shape | difference | bound | |\n|---|---|---|---|---|",
            self.format,
            self.rows.len(),
        )?;
        let mut good = !self.rows.is_empty();
        for row in &self.rows {
            let (difference, bound) = (row["difference"].as_f64(), row["bound"].as_f64().unwrap_or(0.0));
            let fault = row["fault"].as_str();
            let holds = fault.is_none() && difference.is_some_and(|difference| difference <= bound);
            good &= holds;
            let (operation, shape) = (row["operation"].as_str().unwrap_or("?"), row["shape"].as_str().unwrap_or("?"));
            let difference = difference.map_or("not a number".to_owned(), |difference| format!("{difference:.1e}"));
            let fault = fault.map_or_else(String::new, |fault| format!(": {fault}"));
            writeln!(text, "| {operation} | {shape} | {difference} | {bound:.0e} | {}{fault} |", verdict(holds))?;
        }
        Ok(good)
    }
}

/// What two runs came to in one line, and whether they hold. Single steps of two runs in sixteen bits part; their mean may not.
fn trained(there: &[f64], here: &[f64], exact: bool) -> (String, bool) {
    let relative = there.iter().zip(here).map(|(there, here)| (there - here) / here).collect::<Vec<f64>>();
    let mean = relative.iter().sum::<f64>() / relative.len().max(1) as f64;
    let largest =
        relative.iter().fold(0.0, |most: f64, one| if one.is_nan() { f64::INFINITY } else { most.max(one.abs()) });
    let (what, difference, bound) = if exact {
        ("largest difference of a loss", largest, 1e-3)
    } else {
        ("mean difference of the loss", mean.abs(), 1e-2)
    };
    let holds = relative.len() == here.len() && !here.is_empty() && difference <= bound;
    let line = format!(
        "\nTraining, {} steps of configs/smoke.toml beside the CPU: {what} {:.3} % (bound {:.1} %), mean {:.3} %, largest {:.3} %: {}.\n",
        relative.len(),
        100.0 * difference,
        100.0 * bound,
        100.0 * mean,
        100.0 * largest,
        verdict(holds)
    );
    (line, holds)
}

fn verdict(holds: bool) -> &'static str {
    if holds { "equal" } else { "**DIFFERENT**" }
}

/// The loss of every step of a short run.
fn losses(root: &Path, trainer: &Path, device: &str, precision: &str) -> Result<Vec<f64>> {
    let folder = std::env::temp_dir().join(format!("parity-{}-{}", std::process::id(), device.replace(':', "-")));
    let mut command = Command::new(trainer);
    command.current_dir(root).args(["fit", "configs/smoke.toml", "--plain", "--device", device, "--max-steps", STEPS]);
    command.args(["--set", "train.epochs=50", "--set", "eval.enabled=false"]);
    command.args(["--set", &format!("device.precision={precision}"), "--out"]).arg(&folder);
    let output = command.output().with_context(|| format!("cannot start {}", trainer.display()))?;
    if !output.status.success() {
        bail!("the run on {device} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let events = std::fs::read_to_string(folder.join("events.jsonl"))?;
    std::fs::remove_dir_all(&folder)?;
    let steps = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(steps.filter(|event| event["event"] == "step").filter_map(|event| event["loss"].as_f64()).collect())
}

fn programs(root: &Path, folder: Option<&Path>) -> Result<[PathBuf; 2]> {
    if let Some(folder) = folder {
        return Ok([folder.join("trainer"), folder.join("parity")]);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--workspace", "--bin", "trainer", "--example", "parity"];
    if !Command::new(cargo).current_dir(root).args(arguments).status().context("cannot start cargo")?.success() {
        bail!("the programs do not build");
    }
    let target = root.join("target/release");
    Ok([target.join("trainer"), target.join("examples/parity")])
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options { device: String::new(), precision: "auto".to_owned(), programs: None, out: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--device" => options.device.clone_from(value),
            "--precision" => options.precision.clone_from(value),
            "--programs" => options.programs = Some(value.into()),
            "--out" => options.out = Some(value.into()),
            other => bail!("{other} is no option of parity\nhint: --device, --precision, --programs, --out"),
        }
    }
    if options.device.is_empty() {
        bail!("parity wants a device\nhint: cargo xtask parity --device vulkan:0");
    }
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_format_has_a_table_and_a_fault_is_written_into_it() {
        let row = |fault: &str, difference: &str| {
            format!(r#"{{"operation":"embed","shape":"1 x 8","difference":{difference},"bound":0.16,"fault":{fault}}}"#)
        };
        let end = |format: &str| format!(r#"{{"device":"vulkan:0 X (f16)","format":"{format}"}}"#);
        let lines =
            [row("null", "0.01"), end("f16"), row("\"value 3 is NaN\"", "null"), row("null", "0.2"), end("bf16")];
        let tables = tables(&lines.join("\n"));
        let names: Vec<(&str, usize)> = tables.iter().map(|table| (table.format.as_str(), table.rows.len())).collect();
        assert_eq!(names, [("f16", 1), ("bf16", 2)]);
        assert_eq!(tables[0].device.as_deref(), Some("vulkan:0 X (f16)"));
        let mut text = String::new();
        assert!(tables[0].write(&mut text).unwrap());
        assert!(!tables[1].write(&mut text).unwrap());
        assert!(text.contains("| embed | 1 x 8 | 1.0e-2 | 2e-1 | equal |"), "{text}");
        assert!(text.contains("| not a number | 2e-1 | **DIFFERENT**: value 3 is NaN |"), "{text}");
        assert!(text.contains("| 2.0e-1 | 2e-1 | **DIFFERENT** |"), "{text}");
        assert!(!Table { rows: Vec::new(), device: None, format: "f32".to_owned() }.write(&mut text).unwrap());
    }

    #[test]
    fn a_run_that_stops_early_or_is_no_number_is_different() {
        assert!(trained(&[1.0, 2.0], &[1.0, 2.0], true).1);
        assert!(!trained(&[1.0], &[1.0, 2.0], true).1);
        assert!(!trained(&[1.0, 2.01], &[1.0, 2.0], true).1);
        assert!(trained(&[1.01, 1.99], &[1.0, 2.0], false).1);
        assert!(!trained(&[f64::NAN, 2.0], &[1.0, 2.0], false).1);
        assert!(!trained(&[], &[], false).1);
    }

    #[test]
    fn a_device_is_asked_for_and_what_is_misspelt_is_told() {
        let options = parse(&words("--device vulkan:1 --precision bf16")).unwrap();
        assert_eq!((options.device.as_str(), options.precision.as_str()), ("vulkan:1", "bf16"));
        for (given, said) in
            [("--devise cpu", "--devise is no option"), ("--device", "wants a value"), ("--out x", "wants a device")]
        {
            assert!(parse(&words(given)).err().unwrap().to_string().contains(said));
        }
    }
}
