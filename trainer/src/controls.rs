//! Owns what a person asks of a run while it runs: stop, save, pause. Knows no keys, no signals and no loop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wishes, set on one thread and granted on another between two steps.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    /// Save and end.
    pub stop: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    begun: Arc<AtomicBool>,
}

/// Why work ended before its end: it was asked to stop.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped, as it was asked to")
    }
}

impl std::error::Error for Stopped {}

/// Whether an error is an end that was asked for.
#[must_use]
pub fn is_stop(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Stopped>())
}

impl Controls {
    /// Asks to save and end.
    pub fn ask_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The same; true for whoever asks first.
    #[must_use]
    pub fn ask_stop_first(&self) -> bool {
        !self.stop.swap(true, Ordering::SeqCst)
    }

    /// Whether to save and end.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Says that there is something to save from now on: whoever asks to stop is granted it between two steps.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether there is something to save.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Asks to save a checkpoint after the step under way.
    pub fn ask_save(&self) {
        self.save.store(true, Ordering::SeqCst);
    }

    /// Whether to save; asking is over with it.
    #[must_use]
    pub fn take_save(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }

    /// Asks to wait after the step under way, or to go on.
    pub fn toggle_pause(&self) {
        self.pause.fetch_xor(true, Ordering::SeqCst);
    }

    /// Whether to wait.
    #[must_use]
    pub fn pauses(&self) -> bool {
        self.pause.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_save_is_granted_once_and_a_pause_is_taken_back() {
        let controls = Controls::default();
        controls.clone().ask_save();
        assert_eq!([controls.take_save(), controls.take_save()], [true, false]);
        controls.toggle_pause();
        assert!(controls.pauses());
        controls.toggle_pause();
        assert!(!controls.pauses() && !controls.stops());
    }

    #[test]
    fn only_the_first_to_ask_is_told_so_and_a_stop_is_found_in_an_error() {
        let controls = Controls::default();
        assert_eq!([controls.ask_stop_first(), controls.clone().ask_stop_first()], [true, false]);
        assert!(controls.stops() && !controls.has_begun());
        let of_the_model = eval::Error::Model { model: "base".to_owned(), source: Stopped.into() };
        assert!(is_stop(&anyhow::Error::from(of_the_model).context("cannot evaluate base")));
        assert!(!is_stop(&anyhow::anyhow!("stopped")));
    }
}
