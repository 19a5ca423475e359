//! Owns the view inside the process of a run: it hears events at once and hands keys to the run, on a thread of its own.
//! Nothing that becomes of the terminal reaches the run. Knows the wishes of a person; knows no loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};

use super::app::{App, Request, Role};
use super::terminal::{self, Driver, Next, Screen, hold};
use super::theme::Theme;
use crate::controls::Controls;
use crate::event::Event;

/// How long the end of a run waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// A view that is open, or was.
pub struct Attached {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

struct Shared {
    app: Mutex<App>,
    changed: AtomicBool,
    over: AtomicBool,
}

impl Attached {
    /// Opens the view of a run. `run` is the folder that is named when the view is left, `past` what was recorded
    /// before.
    pub fn open(controls: Controls, run: PathBuf, past: impl Iterator<Item = Event>) -> Result<Attached> {
        let screen = Screen::open()?;
        let mut app = App::new(Theme::from_environment(), Role::Running, 1);
        past.for_each(|event| app.update(&event));
        let shared =
            Arc::new(Shared { app: Mutex::new(app), changed: AtomicBool::new(true), over: AtomicBool::new(false) });
        let (end, ended) = channel();
        let theirs = Arc::clone(&shared);
        let named = std::thread::Builder::new().name("dashboard".to_owned());
        named.spawn(move || live(screen, &theirs, controls, &run, &end)).context("cannot start the view")?;
        Ok(Attached { shared, ended })
    }

    /// Tells the view of an event. Never waits for the terminal, and no fault of the view reaches whoever tells.
    pub fn hear(&self, event: &Event) {
        if self.shared.over.load(Ordering::SeqCst) {
            return;
        }
        let heard = catch_unwind(AssertUnwindSafe(|| hold(&self.shared.app).update(event)));
        if heard.is_err() {
            self.shared.over.store(true, Ordering::SeqCst);
        }
        self.shared.changed.store(true, Ordering::SeqCst);
    }

    /// Closes the view, before anything else is written to the terminal.
    pub fn close(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // The thread restores the terminal when it ends. One that hangs is left as it is: the run has ended and must not
        // wait for a terminal.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.close();
    }
}

/// The life of the view's thread.
fn live(screen: Screen, shared: &Shared, controls: Controls, run: &Path, _end: &Sender<()>) {
    let mut driver = Keys { shared, controls, left: false };
    // A terminal that breaks is no error of the run: it is as if the view had been left.
    let shown = terminal::show(screen, &shared.app, &mut driver);
    if driver.left && shown.is_ok() {
        let hint = format!("the view is closed and the run goes on; trainer watch {} opens it again", run.display());
        ground::terminal::note(hint);
    }
}

/// Hands keys to the run.
struct Keys<'a> {
    shared: &'a Shared,
    controls: Controls,
    left: bool,
}

impl Driver for Keys<'_> {
    fn feed(&mut self, app: &mut App) -> bool {
        if self.controls.stops() && app.hear_of_stop() {
            return true;
        }
        self.shared.changed.swap(false, Ordering::SeqCst)
    }

    fn act(&mut self, request: Request, _app: &mut App) -> Next {
        match request {
            Request::Save => self.controls.ask_save(),
            Request::TogglePause => self.controls.toggle_pause(),
            Request::Stop => self.controls.ask_stop(),
            Request::Kill => terminal::leave(crate::ending::AT_ONCE),
            Request::Leave => {
                self.left = true;
                return Next::Leave;
            }
            Request::Open(_) | Request::List => {}
        }
        Next::Stay
    }

    fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::SeqCst)
    }
}
