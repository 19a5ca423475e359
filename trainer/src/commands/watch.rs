//! `trainer watch`: the dashboard over runs of other processes, running or finished. Changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Result, bail};

use super::{RUNS, there};
use crate::cli::Watch;
use crate::tui::session::Session;
use crate::tui::terminal::{self, Screen};
use crate::tui::theme::Theme;

/// Runs the command.
pub fn run(arguments: Watch) -> Result<ExitCode> {
    let runs = arguments.runs.iter().map(|run| found(run)).collect::<Result<Vec<PathBuf>>>()?;
    if !terminal::suits() {
        bail!("the dashboard needs a terminal\nhint: trainer show RUN prints what a run came to");
    }
    let (mut session, app) = Session::new(Theme::from_environment(), &runs, PathBuf::from(RUNS));
    terminal::show(Screen::open()?, &Mutex::new(app), &mut session)?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of a run, given by its path or by its name. One that has no record yet is watched until it has.
fn found(run: &Path) -> Result<PathBuf> {
    match there(run) {
        Some(path) => Ok(path),
        None => bail!("{}: no such run\nhint: trainer watch lists the runs in {RUNS}/", run.display()),
    }
}
