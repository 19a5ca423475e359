//! Owns the list of commands and what they share: exit codes, where configs lie, how pulls are shown.
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

/// Ran but failed a bar the user set, or was stopped by the user before its end.
pub const EXIT_NOT_MET: u8 = 1;
/// An error.
pub const EXIT_ERROR: u8 = 2;

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

/// Writes to stdout; a closed pipe ends quietly.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a line to stderr.
pub fn note(text: &str) {
    use std::io::Write;
    // A lost note must not end a run.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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

/// Shows the progress of a pull on stderr: one rewritten line on a terminal, nothing but the end in a log.
pub struct PullLine {
    terminal: bool,
    last: Option<std::time::Instant>,
    finished: Option<String>,
}

impl PullLine {
    /// For this process's stderr.
    #[must_use]
    pub fn new() -> Self {
        use std::io::IsTerminal;
        PullLine { terminal: std::io::stderr().is_terminal(), last: None, finished: None }
    }

    /// Shows a moment, at most ten times a second on a terminal and once in five seconds elsewhere.
    pub fn show(&mut self, progress: &crate::pull::Progress) {
        use std::io::Write;
        let pause = if self.terminal { 100 } else { 5_000 };
        let due = self.last.is_none_or(|last| last.elapsed().as_millis() >= pause);
        let done = progress.total == Some(progress.bytes);
        let told = self.finished.as_ref() == Some(&progress.what);
        if told || (!due && !done) {
            return;
        }
        self.finished = done.then(|| progress.what.clone());
        self.last = Some(std::time::Instant::now());
        let mut stderr = std::io::stderr().lock();
        let end = if done || !self.terminal { "\n" } else { "" };
        let start = if self.terminal { "\r\x1b[2K" } else { "" };
        let _ = write!(stderr, "{start}{}{end}", progress.line());
    }
}
