//! Owns what signals do to a run: Ctrl-C and a request to end stop it after saving, and a terminal that is gone does
//! nothing to it. Knows wishes; knows no run.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

use super::note;
use crate::controls::Controls;
use crate::tui::terminal;

/// The wishes of a run, set by signals: the first one asks it to save and end, the second ends the process at once.
pub fn listen() -> Result<Controls> {
    const REFUSED: &str = "cannot listen to Ctrl-C";
    let controls = Controls::default();
    let theirs = controls.clone();
    ctrlc::set_handler(move || stop(&theirs)).context(REFUSED)?;
    let theirs = controls.clone();
    let mut signals = Signals::new([SIGTERM, SIGHUP]).context(REFUSED)?;
    let named = std::thread::Builder::new().name("signals".to_owned());
    let listening = named.spawn(move || {
        for signal in signals.forever() {
            match signal {
                // Whoever closes a terminal did not ask the run to end. It goes on, and is watched from another one.
                SIGHUP => terminal::abandon(),
                _ => stop(&theirs),
            }
        }
    });
    listening.context(REFUSED)?;
    Ok(controls)
}

fn stop(controls: &Controls) {
    if controls.stops() {
        terminal::restore();
        std::process::exit(130);
    }
    controls.ask_stop();
    if !terminal::is_open() {
        note("\nstopping after this step and saving; once more to stop at once");
    }
}
