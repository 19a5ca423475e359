//! Owns the progress a person reads: one line that is rewritten on a terminal, a few lines when the output is piped.
//! Readable without colour, never wider than 100 columns. Knows nothing but events, so what it shows is testable.

use std::collections::VecDeque;
use std::io;

use anyhow::Result;
use ground::terminal::{Lines, shown, shown_in_line};

use super::Observer;
use crate::event::Event;

pub(crate) mod words;

use words::{bar, bytes, count, duration, wrap};

/// The widest line.
pub const MAX_COLUMNS: usize = 100;
/// A terminal whose width is not told.
const TERMINAL_COLUMNS: usize = 79;
/// Seconds between lines that are not rewritten.
const LINE_SECS: f64 = 30.0;
/// Steps whose time tells how long the rest takes.
const RECENT_STEPS: usize = 21;
/// Weight of the past in the loss that is shown.
const SMOOTHING: f64 = 0.9;

/// Writes progress.
pub struct Plain {
    out: Lines,
    columns: usize,
    log_every_steps: u64,
    total_steps: u64,
    progress: Progress,
    told_eval: Option<(String, u64)>,
}

/// What is known about the speed and the loss so far.
#[derive(Default)]
struct Progress {
    loss: f64,
    weight: f64,
    last_secs: f64,
    recent: VecDeque<f64>,
    told_secs: f64,
    told_tenth: u64,
}

impl Plain {
    /// Progress on standard error for every so many steps; on a terminal the line is rewritten.
    #[must_use]
    pub fn stderr(log_every_steps: u64) -> Plain {
        Plain::to(Lines::on_terminal(), told_columns(), log_every_steps)
    }

    /// The same without rewriting and without colour, wherever standard error goes.
    #[must_use]
    pub fn lines(log_every_steps: u64) -> Plain {
        Plain::to(Lines::in_log(), MAX_COLUMNS, log_every_steps)
    }

    /// The same while nobody else has the terminal; what would be written meanwhile is not.
    #[must_use]
    pub fn stderr_while(free: fn() -> bool, log_every_steps: u64) -> Plain {
        Plain::to(Lines::on_terminal_while(free), told_columns(), log_every_steps)
    }

    /// Progress on any output. `columns` is the width of a line that is rewritten.
    fn to(out: Lines, columns: usize, log_every_steps: u64) -> Plain {
        Plain {
            columns: if out.is_live() { columns.clamp(40, MAX_COLUMNS) } else { MAX_COLUMNS },
            out,
            log_every_steps: log_every_steps.max(1),
            total_steps: 0,
            progress: Progress::default(),
            told_eval: None,
        }
    }

    /// A line of its own, wrapped where it is too wide.
    fn say(&mut self, text: &str) -> io::Result<()> {
        // Shown before it is wrapped: an escape is wider than the sign that it stands for.
        shown(text).lines().flat_map(|line| wrap(line, MAX_COLUMNS)).try_for_each(|line| self.out.line(&line))
    }

    fn step(&mut self, event: &Event) -> io::Result<()> {
        let Event::Step {
            step,
            loss,
            learning_rate,
            tokens_per_second,
            host_memory_bytes,
            device_memory_bytes,
            elapsed_secs,
            ..
        } = event
        else {
            return Ok(());
        };
        let left = self.total_steps.saturating_sub(*step);
        self.progress.take(*loss, *elapsed_secs);
        let due = self.out.is_live() || self.progress.is_due(*step, self.total_steps, *elapsed_secs);
        if !due || (step % self.log_every_steps != 0 && left > 0) {
            return Ok(());
        }
        let head = format!("step {step}/{}", self.total_steps);
        let mut tail = format!(
            "loss {:.4}  lr {learning_rate:.1e}  {} tok/s  {} left",
            self.progress.smoothed(),
            count(*tokens_per_second),
            duration(self.progress.seconds_left(left)),
        );
        // Where the device has its own memory, that is the one which runs out.
        let memory =
            device_memory_bytes.or(*host_memory_bytes).map(|held| format!("  {}", bytes(held))).unwrap_or_default();
        if head.len() + tail.len() + memory.len() + 2 <= self.columns {
            tail.push_str(&memory);
        }
        let line = self.with_bar(&head, *step as f64 / self.total_steps.max(1) as f64, &tail);
        self.out.replaced(&line)
    }

    fn eval(&mut self, what: &str, done: u64, rows: u64) -> io::Result<()> {
        let quarter = 4 * done / rows.max(1);
        let told = self.told_eval.as_ref().is_some_and(|(known, at)| known == what && *at == quarter);
        if told && !self.out.is_live() {
            return Ok(());
        }
        self.told_eval = Some((what.to_owned(), quarter));
        let share = done as f64 / rows.max(1) as f64;
        let line = self.with_bar(&shown_in_line(what), share, &format!("{done}/{rows} rows"));
        self.out.replaced(&line)
    }

    /// Head, a bar as wide as there is room, tail.
    fn with_bar(&self, head: &str, share: f64, tail: &str) -> String {
        let room = self.columns.saturating_sub(head.chars().count() + tail.chars().count() + 4).min(24);
        let line = if room < 5 { format!("{head}  {tail}") } else { format!("{head} [{}] {tail}", bar(share, room)) };
        line.chars().take(self.columns).collect()
    }

    fn warning(&mut self, message: &str) -> io::Result<()> {
        let text = format!("warning: {}", shown(message));
        for (at, line) in text.lines().flat_map(|line| wrap(line, MAX_COLUMNS)).enumerate() {
            match line.strip_prefix("warning").filter(|_| at == 0) {
                Some(rest) => self.out.marked("warning", rest)?,
                None => self.out.line(&line)?,
            }
        }
        Ok(())
    }
}

/// The width of the terminal, as far as it is told.
fn told_columns() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
    told.map_or(TERMINAL_COLUMNS, |columns| columns.saturating_sub(1))
}

impl Progress {
    fn take(&mut self, loss: f64, elapsed_secs: f64) {
        self.loss = SMOOTHING * self.loss + (1.0 - SMOOTHING) * loss;
        self.weight = SMOOTHING * self.weight + (1.0 - SMOOTHING);
        self.recent.push_back((elapsed_secs - self.last_secs).max(0.0));
        if self.recent.len() > RECENT_STEPS {
            self.recent.pop_front();
        }
        self.last_secs = elapsed_secs;
    }

    fn smoothed(&self) -> f64 {
        self.loss / self.weight.max(f64::MIN_POSITIVE)
    }

    /// By the median of recent steps, so that a slow first step or a checkpoint does not count for all.
    fn seconds_left(&self, steps: u64) -> f64 {
        let mut sorted: Vec<f64> = self.recent.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default() * steps as f64
    }

    /// Whether a piped output is due for a line: the first, the last, each tenth, and after a while.
    fn is_due(&mut self, step: u64, total: u64, elapsed_secs: f64) -> bool {
        let tenth = 10 * step / total.max(1);
        let due = self.recent.len() == 1
            || step >= total
            || tenth > self.told_tenth
            || elapsed_secs - self.told_secs >= LINE_SECS;
        if due {
            (self.told_tenth, self.told_secs) = (tenth, elapsed_secs);
        }
        due
    }
}

impl Observer for Plain {
    fn on(&mut self, event: &Event) -> Result<()> {
        // A terminal that was closed, or a pipe that nobody reads any more, must not end a run.
        let _ = self.tell(event);
        Ok(())
    }
}

impl Plain {
    fn tell(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { name, device, base, data, total_steps, trainable, .. } => {
                self.total_steps = *total_steps;
                self.say(&format!(
                    "run       {name}\nbase      {base}\ndata      {data}\ndevice    {device}\n\
                     training  {total_steps} steps, {} trainable weights",
                    count(*trainable as f64)
                ))
            }
            Event::Ledger { lines } => self.say(&lines.join("\n")),
            Event::Resumed { step } => self.say(&format!("resumed   after step {step}")),
            Event::Step { .. } => self.step(event),
            Event::Valid { step, loss, tokens } => {
                self.say(&format!("valid     loss {loss:.4} over {tokens} tokens after step {step}"))
            }
            Event::Checkpoint { step, path } => self.say(&format!("saved     step {step} in {}", path.display())),
            Event::Paused { step } => self.say(&format!("paused    after step {step}")),
            Event::Unpaused { .. } => self.say("goes on"),
            Event::Warning { message } => self.warning(message),
            Event::EvalProgress { arm, done, rows } => self.eval(&format!("eval {arm}"), *done, *rows),
            Event::EvalFinished { rows, path, seconds } => {
                self.say(&format!("scored    {rows} rows in {}, see {}", duration(*seconds), path.display()))
            }
            Event::Finished { step, complete, wall_seconds, adapter, .. } => {
                let word = if *complete { "done     " } else { "stopped  " };
                let place = adapter.as_ref().map(|path| format!(", adapter in {}", path.display())).unwrap_or_default();
                self.say(&format!("{word} step {step}, {}{place}", duration(*wall_seconds)))
            }
            // The error itself is told by whoever ends the program, and the rest is more than lines can hold.
            Event::Failed { .. } => self.out.end(),
            Event::DeviceSample { .. }
            | Event::Sample(_)
            | Event::EvalArm(_)
            | Event::EvalFlips(_)
            | Event::EvalDisagreement(_)
            | Event::EvalVerdict { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
