//! Owns telling a run to its dashboard, and to plain lines once the view is left. Never fails and never waits, whatever
//! becomes of the terminal. Knows the view as a thing that hears events.

use std::path::PathBuf;

use anyhow::Result;

use super::{Observer, Plain};
use crate::controls::Controls;
use crate::event::Event;
use crate::tui::attached::Attached;
use crate::tui::terminal;

/// A view, and lines for when it is closed.
pub struct Dashboard {
    view: Attached,
    plain: Plain,
}

impl Dashboard {
    /// Opens the view of a run in this folder. `past` is what was recorded of it before.
    pub fn open(
        controls: Controls,
        run: PathBuf,
        past: impl Iterator<Item = Event>,
        log_every_steps: u64,
    ) -> Result<Dashboard> {
        let plain = Plain::stderr_while(|| !terminal::is_open(), log_every_steps);
        Ok(Dashboard { view: Attached::open(controls, run, past)?, plain })
    }
}

impl Observer for Dashboard {
    fn on(&mut self, event: &Event) -> Result<()> {
        self.view.hear(event);
        self.plain.on(event)
    }
}
