//! Owns the terminal while the view is open: its modes, how often it is drawn, and that it is as before when the view
//! closes, whatever happens. Knows no run; who drives it says what is new and grants what is asked.

use std::io::Stderr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::cursor::Show;
use crossterm::event::{self, Event as Typed};
use crossterm::execute;
use crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ground::read::Kind;
use ratatui::Terminal;

use super::app::{App, Request};
use super::input::Input;
use super::output::Output;
use super::view;

/// The least time between two frames: a slow link and a fast run get ten in a second at most.
const FRAME: Duration = Duration::from_millis(100);
/// So much longer than a frame takes is the time until the next one, unless a key is pressed: drawing costs a run one
/// per cent of one core at most.
const COST_FACTOR: u32 = 100;
/// The longest time until the next frame.
const SLOWEST: Duration = Duration::from_secs(2);

/// Whether the view stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It does.
    Stay,
    /// It closes.
    Leave,
}

/// Who keeps the state new and grants what keys ask for.
pub trait Driver {
    /// Brings the state up to date; true if anything changed.
    fn feed(&mut self, app: &mut App) -> bool;
    /// Grants a request.
    fn act(&mut self, request: Request, app: &mut App) -> Next;
    /// Whether to close without being asked, such as at the end of a run.
    fn is_over(&self) -> bool {
        false
    }
}

/// Whether the terminal is in the modes of the view.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether a view has the terminal of this process, so that nobody else may write to it.
#[must_use]
pub fn is_open() -> bool {
    OPEN.load(Ordering::SeqCst)
}

/// Gives the terminal back as it was. Safe to call at any time, from any thread, more than once.
pub fn restore() {
    if OPEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone cannot be restored, and nobody is there to be told.
        let _ = disable_raw_mode();
        let _ = execute!(std::io::stderr(), EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    }
}

/// Gives the terminal back and ends the process here and now. What libraries left to be done at the end of a process is not
/// done: with threads and a device still at work it could hang or fault.
pub fn leave(code: u8) -> ! {
    restore();
    signal_hook::low_level::exit(i32::from(code))
}

/// Lets go of a terminal that is gone: a view that goes on reading from it would read nothing without end.
pub fn abandon() {
    OPEN.store(false, Ordering::SeqCst);
}

/// Whether this process has a terminal at all: one of its three streams is one.
#[must_use]
pub fn is_here() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

/// Whether a view can be shown: standard error is a terminal that takes more than lines, keys come from one, and this
/// process is not in the background, where taking the terminal would stop it.
#[must_use]
pub fn suits() -> bool {
    use std::io::IsTerminal;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    std::io::stderr().is_terminal() && std::io::stdin().is_terminal() && !dumb && !is_in_background()
}

/// Whether another group of processes has the terminal, where the system tells it in a file.
fn is_in_background() -> bool {
    let text = ground::read::text(Path::new("/proc/self/stat"), Kind::System).unwrap_or_default();
    // Behind the name in brackets: state, parent, group, session, terminal, group that has the terminal.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    matches!((fields.get(2), fields.get(5)), (Some(ours), Some(foreground)) if ours != foreground)
}

/// Restores the terminal before a panic is told, wherever it happens.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            tell(panic);
        }));
    });
}

/// The terminal in the modes of the view, until it is dropped.
pub struct Screen {
    terminal: Terminal<Output<Stderr>>,
    input: Input,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> Result<Screen> {
        restore_on_panic();
        const REFUSED: &str = "the terminal cannot be set up\nhint: --plain writes lines";
        let input = Input::stdin().context(REFUSED)?;
        enable_raw_mode().context(REFUSED)?;
        OPEN.store(true, Ordering::SeqCst);
        // From here on dropping restores.
        let screen = Screen { terminal: Terminal::new(Output::new(std::io::stderr()))?, input };
        execute!(std::io::stderr(), EnterAlternateScreen)?;
        Ok(screen)
    }

    fn draw(&mut self, app: &Mutex<App>) -> std::io::Result<()> {
        // The state is held while cells are filled and not while they are written: a terminal that does not take them
        // keeps nobody waiting but this thread.
        self.terminal.draw(|frame| view::draw(&hold(app), frame)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The state, even if a thread that held it is no more.
pub fn hold(app: &Mutex<App>) -> MutexGuard<'_, App> {
    app.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When to draw: only what changed, and not too often.
#[derive(Debug, Default)]
struct Pace {
    /// The run said something.
    news: bool,
    /// A person waits.
    typed: bool,
    drawn: Option<Instant>,
    cost: Duration,
}

impl Pace {
    fn is_due(&self, now: Instant) -> bool {
        let patience = if self.typed { FRAME } else { (COST_FACTOR * self.cost).clamp(FRAME, SLOWEST) };
        (self.news || self.typed) && self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= patience)
    }

    fn draw(&mut self, begun: Instant, ended: Instant) {
        (self.news, self.typed) = (false, false);
        (self.drawn, self.cost) = (Some(ended), ended.duration_since(begun));
    }
}

/// Shows the state until it is left, driven from outside. Returns early where the terminal is gone.
pub fn show(mut screen: Screen, app: &Mutex<App>, driver: &mut dyn Driver) -> Result<()> {
    let mut pace = Pace { typed: true, ..Pace::default() };
    while !driver.is_over() && is_open() {
        pace.news |= driver.feed(&mut hold(app));
        let now = Instant::now();
        if pace.is_due(now) {
            screen.draw(app)?;
            pace.draw(now, Instant::now());
        }
        screen.input.wait(FRAME)?;
        while event::poll(Duration::ZERO)? {
            pace.typed = true;
            if let Typed::Key(key) = event::read()? {
                let mut app = hold(app);
                if let Some(request) = app.key(key)
                    && driver.act(request, &mut app) == Next::Leave
                {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames in a second with a change each millisecond, each frame taking so long.
    fn frames(news: bool, typed: bool, cost: Duration) -> usize {
        let start = Instant::now();
        let mut pace = Pace::default();
        let due = (0..1000).map(|at| start + Duration::from_millis(at)).filter(|now| {
            (pace.news, pace.typed) = (pace.news || news, pace.typed || typed);
            let is_due = pace.is_due(*now);
            if is_due {
                pace.draw(*now - cost, *now);
            }
            is_due
        });
        due.count()
    }

    #[test]
    fn a_thousand_changes_in_a_second_are_ten_frames_at_most_and_none_is_none() {
        let [quick, slow] = [50, 5000].map(Duration::from_micros);
        assert_eq!((frames(true, false, quick), frames(false, false, quick)), (10, 0));
        assert_eq!(frames(true, false, slow), 2, "a frame of 5 ms comes each half second");
        assert_eq!(frames(true, true, slow), 10, "but a person who types does not wait");
    }

    #[test]
    fn restoring_what_is_not_open_does_nothing() {
        restore();
        assert!(!is_open());
    }
}
