//! Owns what signals do to a run. What asks it to end (Ctrl-C, SIGTERM, and SIGUSR1 or SIGUSR2 of a scheduler) has it save
//! and stop; a second Ctrl-C ends it at once. A terminal that is closed does nothing to it, and the end of a batch job,
//! which has none, is a request to end. Knows wishes; knows no run.

use std::path::Path;

use anyhow::{Context, Result};
use ground::read::Kind;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::note;
use crate::controls::Controls;
use crate::ending::{self, Ended};
use crate::tui::terminal;

/// The wishes of a run, set by signals from here on.
pub fn listen() -> Result<Controls> {
    const REFUSED: &str = "cannot listen to signals";
    let controls = Controls::default();
    // Asked now: of a terminal that was closed the system says that it is none.
    let has_terminal = terminal::is_here();
    let theirs = controls.clone();
    // A Ctrl-C is counted, so that the second one is heard however soon it comes.
    ctrlc::set_handler(move || {
        if !stop(&theirs) {
            terminal::leave(ending::AT_ONCE);
        }
    })
    .context(REFUSED)?;
    let mut kinds = vec![SIGTERM, SIGUSR1, SIGUSR2];
    if !ignores(&status(), SIGHUP) {
        kinds.push(SIGHUP);
    }
    let theirs = controls.clone();
    let mut signals = Signals::new(kinds).context(REFUSED)?;
    let named = std::thread::Builder::new().name("signals".to_owned());
    let listening = named.spawn(move || {
        for signal in signals.forever() {
            // Whoever closes a terminal did not ask the run to end. It goes on, and is watched from another one.
            if signal == SIGHUP && has_terminal {
                terminal::abandon();
            } else {
                // The second request of a scheduler is no haste: what is being saved is saved.
                stop(&theirs);
            }
        }
    });
    listening.context(REFUSED)?;
    Ok(controls)
}

/// Asks a run to save and stop; false if it was asked before. What has not begun ends here: nothing of it is on disk yet
/// that a kill could break, and loading may take longer than a scheduler waits.
fn stop(controls: &Controls) -> bool {
    if !controls.ask_stop_first() {
        return false;
    }
    if !controls.has_begun() {
        let text = "\nstopped before anything was begun\nhint: the same command starts again";
        terminal::leave(ending::tell(&Ended::Stopped(text.to_owned()).into()));
    }
    if !terminal::is_open() {
        note("\nstopping after this step and saving; Ctrl-C once more ends at once");
    }
    true
}

/// What the system says of this process, where it says it in a file.
fn status() -> String {
    ground::read::text(Path::new("/proc/self/status"), Kind::System).unwrap_or_default()
}

/// Whether this process was started with a signal ignored, as `nohup` does with SIGHUP; that stays as it is.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    (mask >> (signal - 1)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_ignored_is_found_in_what_the_system_says() {
        let status = |mask: &str| format!("Name:\ttrainer\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t01\n");
        assert!(ignores(&status("0000000000001001"), SIGHUP));
        assert!(!ignores(&status("0000000000001000"), SIGHUP));
        assert!(ignores(&status("0000000000004000"), SIGTERM));
        assert!(!ignores("", SIGHUP));
    }
}
