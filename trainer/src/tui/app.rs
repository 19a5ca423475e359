//! Owns the state of the dashboard: the runs it shows, which view and pane is open, and what each key does.
//! Knows events and keys; draws nothing, and asks whoever drives it for what goes beyond the view.

mod keys;

use std::path::PathBuf;

use super::runs::Entry;
use super::theme::Theme;
use super::watched::{State, Watched};
use crate::event::Event;

/// A whole screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Screen {
    /// Training.
    #[default]
    Fit,
    /// Evaluation.
    Eval,
    /// Several runs side by side.
    Compare,
    /// All runs of a folder.
    Runs,
}

/// A part of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pane {
    /// Loss of training and validation.
    Loss,
    /// Numbers of now.
    Numbers,
    /// What happened.
    Log,
    /// Held-out rows and outputs.
    Samples,
    /// Gradient norm.
    GradientNorm,
    /// Learning rate.
    LearningRate,
    /// Tokens a second.
    Throughput,
    /// Where the rows went.
    Ledger,
    /// Arms of an evaluation.
    Arms,
    /// Flips, and the verdict.
    Verdict,
    /// Rows on which arms disagree.
    Disagreements,
    /// Config keys that differ.
    Keys,
    /// Runs of a folder.
    List,
}

impl Screen {
    /// Its panes in the order of the tab key.
    #[must_use]
    pub fn panes(self) -> &'static [Pane] {
        match self {
            Screen::Fit => &[
                Pane::Loss,
                Pane::Numbers,
                Pane::Log,
                Pane::Samples,
                Pane::GradientNorm,
                Pane::LearningRate,
                Pane::Throughput,
                Pane::Ledger,
            ],
            Screen::Eval => &[Pane::Arms, Pane::Verdict, Pane::Disagreements, Pane::Samples],
            Screen::Compare => &[Pane::Loss, Pane::Arms, Pane::Keys],
            Screen::Runs => &[Pane::List],
        }
    }
}

/// What the view wants from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Close the view.
    Leave,
    /// Save a checkpoint.
    Save,
    /// Pause, or go on.
    TogglePause,
    /// Save and end the run.
    Stop,
    /// End the process at once.
    Kill,
    /// Watch these runs, in place of what is shown.
    Open(Vec<PathBuf>),
    /// Show the list of runs.
    List,
}

/// Who drives the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It only looks on.
    #[default]
    Watching,
    /// It is the terminal of the run, so keys reach it.
    Running,
}

/// The part of a curve that is shown: its width as a share of the whole, and its right end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zoom {
    /// Share of the whole, from near 0 to 1.
    pub share: f64,
    /// The right end as a share of the whole.
    pub end: f64,
}

impl Default for Zoom {
    fn default() -> Self {
        Zoom { share: 1.0, end: 1.0 }
    }
}

/// Everything the view shows.
#[derive(Debug, Clone)]
pub struct App {
    /// How it looks.
    pub theme: Theme,
    /// Who drives it.
    pub role: Role,
    /// The runs, the first one in front.
    pub runs: Vec<Watched>,
    /// Config keys in which the runs differ, with the value of each.
    pub differing: Vec<(String, Vec<String>)>,
    /// Runs of a folder.
    pub entries: Vec<Entry>,
    /// Of these, the marked ones.
    pub marked: Vec<PathBuf>,
    /// The screen.
    pub screen: Screen,
    /// The pane that keys go to.
    pub focus: Pane,
    /// Whether that pane fills the screen.
    pub full: bool,
    /// Whether the help is open.
    pub help: bool,
    /// Words that lines, rows and runs must have.
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Whether the loss is on a logarithmic axis.
    pub log_axis: bool,
    /// What of the curves is shown.
    pub zoom: Zoom,
    /// The cursor on the curves, as a share of what is shown.
    pub cursor: Option<f64>,
    /// How far the pane with the focus was paged back, in its own units.
    pub scroll: usize,
    /// What the view waits for.
    pub waiting: Option<String>,
    /// A word to the person.
    pub notice: Option<String>,
    /// Whether a first Ctrl-C was pressed.
    stop_asked: u8,
    /// Whether the person chose the screen; then events do not change it.
    chose: bool,
}

impl App {
    /// The view of so many runs.
    #[must_use]
    pub fn new(theme: Theme, role: Role, num_runs: usize) -> App {
        let screen = match num_runs {
            0 => Screen::Runs,
            1 => Screen::Fit,
            _ => Screen::Compare,
        };
        App {
            theme,
            role,
            runs: vec![Watched::default(); num_runs],
            differing: Vec::new(),
            entries: Vec::new(),
            marked: Vec::new(),
            screen,
            focus: screen.panes()[0],
            full: false,
            help: false,
            filter: String::new(),
            typing: false,
            log_axis: false,
            zoom: Zoom::default(),
            cursor: None,
            scroll: 0,
            waiting: None,
            notice: None,
            stop_asked: 0,
            chose: false,
        }
    }

    /// Hears an event of the run in front.
    pub fn update(&mut self, event: &Event) {
        self.update_run(0, event);
    }

    /// Hears an event of any of the runs.
    pub fn update_run(&mut self, run: usize, event: &Event) {
        let is_alone = self.runs.len() == 1;
        let Some(watched) = self.runs.get_mut(run) else { return };
        let before = watched.state.clone();
        watched.update(event);
        if matches!(event, Event::Paused { .. } | Event::Unpaused { .. } | Event::Checkpoint { .. })
            && self.stop_asked == 0
        {
            // What was asked for is done.
            self.notice = None;
        }
        let now = watched.state.clone();
        if before != now && !self.chose && is_alone {
            // Whoever looks on sees what happens, until they choose themselves.
            match now {
                State::Evaluating => self.show(Screen::Eval),
                State::Training if before != State::Paused => self.show(Screen::Fit),
                _ => {}
            }
        }
    }

    /// The run in front.
    #[must_use]
    pub fn run(&self) -> Option<&Watched> {
        self.runs.first()
    }

    /// Forgets a run, before its record is read again from the start.
    pub fn forget(&mut self, run: usize) {
        if let Some(run) = self.runs.get_mut(run) {
            *run = Watched::default();
        }
    }

    fn show(&mut self, screen: Screen) {
        if self.screen != screen {
            self.screen = screen;
            self.focus = screen.panes()[0];
            (self.scroll, self.cursor, self.full) = (0, None, false);
        }
    }

    fn choose(&mut self, screen: Screen) {
        self.chose = true;
        self.show(screen);
    }

    /// The runs of a folder that pass the filter.
    #[must_use]
    pub fn shown_entries(&self) -> Vec<&Entry> {
        let passes = |entry: &&Entry| super::words::matches(&self.filter, &format!("{} {}", entry.name, entry.state));
        self.entries.iter().filter(passes).collect()
    }

    /// The steps between which curves are shown.
    #[must_use]
    pub fn span(&self) -> (f64, f64) {
        let last = self.runs.iter().map(|run| run.step).max().unwrap_or(0).max(2) as f64;
        let first = 1.0;
        let end = first + (last - first) * self.zoom.end;
        ((end - (last - first) * self.zoom.share).max(first), end)
    }

    /// The step under the cursor.
    #[must_use]
    pub fn cursor_step(&self) -> Option<f64> {
        let (from, to) = self.span();
        self.cursor.map(|at| (from + at * (to - from)).round())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
