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
    let values: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (rows, told): (Vec<&Value>, Vec<&Value>) = values.iter().partition(|value| value["operation"].is_string());
    let device = told.iter().find_map(|value| value["device"].as_str()).context("the device did not say its name")?;
    let exact = device.contains("(f32");
    let mut text = format!(
        "# Parity of {device}\n\ntrainer {}, {} operations beside their plain twins on the CPU, on the same values.\n\n\
         | operation | shape | difference | bound | |\n|---|---|---|---|---|\n",
        env!("CARGO_PKG_VERSION"),
        rows.len(),
    );
    let mut good = !rows.is_empty();
    for row in rows {
        let (difference, bound) = (row["difference"].as_f64(), row["bound"].as_f64().unwrap_or(0.0));
        let holds = difference.is_some_and(|difference| difference <= bound);
        good &= holds;
        let (operation, shape) = (row["operation"].as_str().unwrap_or("?"), row["shape"].as_str().unwrap_or("?"));
        let difference = difference.map_or("not a number".to_owned(), |difference| format!("{difference:.1e}"));
        writeln!(text, "| {operation} | {shape} | {difference} | {bound:.0e} | {} |", verdict(holds))?;
    }
    // Single steps of two runs in sixteen bits part; their mean may not.
    let losses = |name: &str, precision: &str| losses(root, &trainer, name, precision);
    let (there, here) = (losses(&options.device, &options.precision)?, losses("cpu", "auto")?);
    let relative = there.iter().zip(&here).map(|(there, here)| (there - here) / here).collect::<Vec<f64>>();
    let mean = relative.iter().sum::<f64>() / relative.len().max(1) as f64;
    let largest =
        relative.iter().fold(0.0, |most: f64, one| if one.is_nan() { f64::INFINITY } else { most.max(one.abs()) });
    let (what, difference, bound) = if exact {
        ("largest difference of a loss", largest, 1e-3)
    } else {
        ("mean difference of the loss", mean.abs(), 1e-2)
    };
    let holds = relative.len() == here.len() && !here.is_empty() && difference <= bound;
    good &= holds;
    writeln!(
        text,
        "\nTraining, {} steps of configs/smoke.toml beside the CPU: {what} {:.3} % (bound {:.1} %), mean {:.3} %, largest {:.3} %: {}.",
        relative.len(),
        100.0 * difference,
        100.0 * bound,
        100.0 * mean,
        100.0 * largest,
        verdict(holds)
    )?;
    match &options.out {
        Some(path) => std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(if good { Outcome::Good } else { Outcome::Found })
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
