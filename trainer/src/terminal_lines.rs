//! Owns the lines that commands write to a terminal: data, notes, and the one line that is rewritten while something is
//! fetched or written. Knows no command; what a terminal would obey in a text is shown by `ground::terminal`.

use std::time::Instant;

use anyhow::Result;
use ground::terminal;

use crate::pull::Progress;

/// Writes data to stdout; a closed pipe ends quietly.
pub fn print(text: &str) -> Result<()> {
    match terminal::print(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a line to stderr. A lost one must not end a run.
pub fn note(text: &str) {
    terminal::note(text);
}

/// Shows the progress of a pull on stderr: one rewritten line on a terminal, now and then a line in a log.
pub struct PullLine {
    terminal: bool,
    last: Option<Instant>,
    finished: Option<String>,
}

impl PullLine {
    /// For this process's stderr.
    #[must_use]
    pub fn new() -> Self {
        PullLine { terminal: terminal::is_live(), last: None, finished: None }
    }

    /// Shows a moment, at most ten times a second on a terminal and once in five seconds elsewhere.
    pub fn show(&mut self, progress: &Progress) {
        let pause = if self.terminal { 100 } else { 5_000 };
        let due = self.last.is_none_or(|last| last.elapsed().as_millis() >= pause);
        let done = progress.total == Some(progress.bytes);
        let told = self.finished.as_ref() == Some(&progress.what);
        if told || (!due && !done) {
            return;
        }
        self.finished = done.then(|| progress.what.clone());
        self.last = Some(Instant::now());
        if self.terminal { terminal::over(&progress.line(), done) } else { note(&progress.line()) }
    }
}

/// Shows how far a file is written: one rewritten line on a terminal, nothing elsewhere.
pub struct WriteLine {
    what: &'static str,
    start: Instant,
    last: Option<Instant>,
    terminal: bool,
}

impl WriteLine {
    /// For something that began at `start`.
    #[must_use]
    pub fn new(what: &'static str, start: Instant) -> Self {
        WriteLine { what, start, last: None, terminal: terminal::is_live() }
    }

    /// Shows so many bytes of all, at most ten times a second.
    pub fn show(&mut self, done: u64, all: u64) {
        if !self.terminal || self.last.is_some_and(|last| last.elapsed().as_millis() < 100 && done < all) {
            return;
        }
        self.last = Some(Instant::now());
        let speed = done as f64 / 1e6 / self.start.elapsed().as_secs_f64().max(1e-3);
        let (part, whole) = (done as f64 / 1e9, all as f64 / 1e9);
        terminal::over(&format!("{} {part:.2} of {whole:.2} GB, {speed:.0} MB/s", self.what), done >= all);
    }
}
