//! Owns the list of commands and what they share: where configs lie, what a path or a name means.
//! Each command has a file; none knows another.

mod check;
mod check_adapter;
mod compare;
mod doctor;
mod eval;
mod export;
mod fit;
mod generate;
mod interrupt;
mod merge;
mod opened;
mod plan;
mod publish;
mod pull;
mod score;
mod show;
mod verify;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::{Cli, Command};
use crate::model_source::nearest;
use crate::terminal_lines::{PullLine, WriteLine, note, print};

/// Runs what was typed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Fit(arguments) => fit::run(arguments),
        Command::Watch(arguments) => watch::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Score(arguments) => score::run(arguments),
        Command::Merge(arguments) => merge::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::CheckAdapter(arguments) => check_adapter::run(arguments),
        Command::Publish(arguments) => publish::run(arguments),
        Command::Pull(arguments) => pull::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
    }
}

/// Where runs lie unless a config says otherwise.
pub const RUNS: &str = "runs";

/// What lies at a path, or the run of that name under `runs/`.
#[must_use]
pub fn there(named: &Path) -> Option<PathBuf> {
    let run = Path::new(RUNS).join(named);
    let is_named = !named.as_os_str().is_empty();
    [named, run.as_path()].into_iter().find(|path| is_named && path.exists()).map(Path::to_path_buf)
}

/// The error for what is neither there nor a run.
pub fn nothing_there(named: &Path) -> anyhow::Error {
    let entries = std::fs::read_dir(RUNS).into_iter().flatten().flatten();
    let runs: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let hint = match nearest(&named.to_string_lossy(), runs.iter().map(String::as_str)) {
        Some(run) => format!("did you mean {RUNS}/{run}?"),
        None => format!("a path from the current folder, or the name of a run in {RUNS}/, which trainer watch lists"),
    };
    anyhow::anyhow!("{}: no such file, folder or run\nhint: {hint}", named.display())
}

/// The file of an evaluation that is named by itself, by its folder, or by the run that holds it.
pub fn of_evaluation(named: &Path, file: &str) -> Result<PathBuf> {
    let found = there(named).ok_or_else(|| nothing_there(named))?;
    if !found.is_dir() {
        return Ok(found);
    }
    let places = [found.join(file), found.join("eval").join(file)];
    match places.into_iter().find(|place| place.symlink_metadata().is_ok()) {
        Some(place) => Ok(place),
        None => bail!(
            "{}: no {file}, neither in it nor in its eval/\nhint: trainer eval CONFIG --run RUN writes one",
            found.display()
        ),
    }
}

/// The folder that holds `models/`: beside the config, or `configs` where the command runs.
#[must_use]
pub fn configs_root(config: Option<&Path>) -> PathBuf {
    let beside = config.and_then(Path::parent).map(Path::to_path_buf);
    match beside {
        Some(folder) if folder.join("models").is_dir() => folder,
        _ => PathBuf::from("configs"),
    }
}

/// The folder of the sets: beside the configs.
#[must_use]
pub fn datasets_root(configs_root: &Path) -> PathBuf {
    let beside = configs_root.parent().unwrap_or(Path::new(".")).join("datasets");
    if beside.is_dir() { beside } else { PathBuf::from("datasets") }
}
