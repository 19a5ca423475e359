//! Owns the list of commands and what they share: where configs lie.
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

use anyhow::Result;

use crate::cli::{Cli, Command};
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
