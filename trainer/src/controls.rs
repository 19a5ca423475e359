//! Owns what a person asks of a run while it runs: stop, save, pause. Knows no keys, no signals and no loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wishes, set on one thread and granted on another between two steps.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    /// Save and end.
    pub stop: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
}

impl Controls {
    /// Asks to save and end.
    pub fn ask_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether to save and end.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
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
}
