//! Owns what is known of one run, heard event by event, in bounded memory. Knows events; knows no keys and no drawing.

mod parts;

use std::collections::VecDeque;

use super::board::Board;
use super::eta::TimeLeft;
use super::health::{self, Finding, Vitals};
use super::series::Series;
use super::words::{count, duration, number};
use crate::event::{Event, Sample};

pub use parts::{Device, Line, Newest, State, Sums};

/// Lines that are kept of what happened.
const MOST_LINES: usize = 500;
/// Held-out rows that are kept with their outputs.
const MOST_SAMPLES: usize = 200;
/// Validations that are kept one by one.
const MOST_VALID: usize = 4096;
/// Steps that health is read from.
const RECENT: usize = 256;

/// A run as it is watched.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// Program, device, base and data, as it told them.
    pub about: Vec<(&'static str, String)>,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps done.
    pub step: u64,
    /// What it is doing.
    pub state: State,
    /// The newest step, once there is one.
    pub newest: Option<Newest>,
    /// Sums.
    pub sums: Sums,
    /// Loss of each step.
    pub loss: Series,
    /// Learning rates.
    pub learning_rate: Series,
    /// Gradient norms.
    pub gradient_norm: Series,
    /// Tokens a second.
    pub throughput: Series,
    /// Validations: steps done, and the loss.
    pub valid: Vec<(u64, f64)>,
    /// The account of the rows.
    pub ledger: Vec<String>,
    /// What happened, the oldest first.
    pub lines: VecDeque<Line>,
    /// Held-out rows with outputs, the oldest first.
    pub samples: VecDeque<Sample>,
    /// Memory of machine and device, and what was planned of the latter.
    pub memory: [Option<u64>; 3],
    /// The device, where a driver tells.
    pub device: Option<Device>,
    /// The evaluation.
    pub board: Board,
    time_left: TimeLeft,
    last_elapsed: f64,
    recent_losses: VecDeque<(u64, f64)>,
    recent_norms: VecDeque<f64>,
    recent_waits: VecDeque<(f64, f64)>,
}

impl Watched {
    /// Hears one event.
    pub fn update(&mut self, event: &Event) {
        match event {
            Event::RunStarted { name, program, device, base, data, total_steps, trainable, .. } => {
                self.name.clone_from(name);
                self.total_steps = *total_steps;
                self.state = State::Training;
                self.about = vec![
                    ("base", base.clone()),
                    ("data", data.clone()),
                    ("device", device.clone()),
                    ("trains", format!("{} weights, {total_steps} steps", count(*trainable as f64))),
                    ("program", program.clone()),
                ];
                if let Event::RunStarted { host_total_bytes, device_total_bytes, device_planned_bytes, .. } = event {
                    self.memory = [*host_total_bytes, *device_total_bytes, *device_planned_bytes];
                }
                self.say(format!("run {name} on {device}"));
            }
            Event::Ledger { lines } => self.ledger = lines.iter().take(MOST_LINES).cloned().collect(),
            Event::Resumed { step } => {
                self.cut_after(*step);
                self.say(format!("resumed after step {step}"));
            }
            Event::Step { .. } => self.take_step(event),
            Event::Valid { step, loss, .. } => {
                if loss.is_finite() {
                    self.valid.push((*step, *loss));
                    self.thin_valid();
                }
                self.say(format!("validation: loss {}", number(*loss)));
            }
            Event::Checkpoint { step, path } => {
                let folder = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                self.say(format!("saved step {step} in {folder}"));
            }
            Event::Paused { step } => {
                self.state = State::Paused;
                self.say(format!("paused after step {step}"));
            }
            Event::Unpaused { .. } => {
                self.state = State::Training;
                self.say("goes on".to_owned());
            }
            Event::DeviceSample { .. } => self.take_device(event),
            Event::Sample(sample) => {
                if self.samples.len() == MOST_SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back((**sample).clone());
            }
            Event::Warning { message } => self.warn(message.clone()),
            Event::EvalProgress { .. }
            | Event::EvalArm(_)
            | Event::EvalFlips(_)
            | Event::EvalDisagreement(_)
            | Event::EvalVerdict { .. } => {
                if !matches!(self.state, State::Finished) {
                    self.state = State::Evaluating;
                }
                if let Event::EvalVerdict { answer, .. } = event {
                    self.say(format!("verdict: {answer}"));
                }
                self.board.update(event);
            }
            Event::EvalFinished { rows, seconds, .. } => {
                self.board.update(event);
                self.say(format!("scored {rows} rows in {}", duration(*seconds)));
            }
            Event::Finished { step, complete, wall_seconds, .. } => {
                self.step = *step;
                self.state = if *complete { State::Finished } else { State::Stopped };
                let word = if *complete { "done" } else { "stopped" };
                self.say(format!("{word} after step {step}, {}", duration(*wall_seconds)));
            }
            Event::Failed { message } => {
                self.state = State::Failed(message.clone());
                self.warn(format!("failed: {message}"));
            }
        }
    }

    fn take_step(&mut self, event: &Event) {
        let Event::Step {
            step,
            epoch,
            loss,
            learning_rate,
            gradient_norm,
            clipped,
            tokens,
            supervised_tokens,
            tokens_per_second,
            host_memory_bytes,
            device_memory_bytes,
            elapsed_secs,
            waited_secs,
        } = event
        else {
            return;
        };
        if *step <= self.step && self.step > 0 {
            // Steps never go back but after a cut of the record, which a follower may not have seen.
            self.cut_after(step.saturating_sub(1));
        }
        self.step = *step;
        if !matches!(self.state, State::Paused) {
            self.state = State::Training;
        }
        self.newest = Some(Newest {
            epoch: *epoch,
            loss: *loss,
            learning_rate: *learning_rate,
            gradient_norm: *gradient_norm,
            tokens_per_second: *tokens_per_second,
            host_memory_bytes: *host_memory_bytes,
            device_memory_bytes: *device_memory_bytes,
        });
        let x = *step as f64;
        self.loss.push(x, *loss);
        self.learning_rate.push(x, *learning_rate);
        self.gradient_norm.push(x, *gradient_norm);
        self.throughput.push(x, *tokens_per_second);
        let seconds = if *elapsed_secs >= self.last_elapsed { elapsed_secs - self.last_elapsed } else { *elapsed_secs };
        self.last_elapsed = *elapsed_secs;
        self.time_left.step(*elapsed_secs, self.total_steps.saturating_sub(*step));
        self.sums.steps += 1;
        self.sums.clipped += u64::from(*clipped);
        self.sums.tokens = self.sums.tokens.saturating_add(*tokens);
        self.sums.supervised = self.sums.supervised.saturating_add(*supervised_tokens);
        self.sums.seconds += if seconds.is_finite() { seconds } else { 0.0 };
        self.sums.waited += waited_secs.filter(|waited| waited.is_finite()).unwrap_or(0.0);
        keep(&mut self.recent_losses, (*step, *loss));
        keep(&mut self.recent_norms, *gradient_norm);
        if let Some(waited) = waited_secs {
            keep(&mut self.recent_waits, (*waited, seconds));
        }
    }

    fn take_device(&mut self, event: &Event) {
        if let Event::DeviceSample {
            name,
            utilisation,
            power_watts,
            power_limit_watts,
            temperature_celsius,
            memory_used_bytes,
            memory_total_bytes,
        } = event
        {
            self.device = Some(Device {
                name: name.clone(),
                utilisation: *utilisation,
                power_watts: (*power_watts, *power_limit_watts),
                temperature_celsius: *temperature_celsius,
                memory_bytes: (*memory_used_bytes, *memory_total_bytes),
            });
        }
    }

    /// Forgets what was measured after a step.
    fn cut_after(&mut self, step: u64) {
        self.step = step;
        let x = step as f64;
        for series in [&mut self.loss, &mut self.learning_rate, &mut self.gradient_norm, &mut self.throughput] {
            series.cut_after(x);
        }
        self.valid.retain(|(of, _)| *of <= step);
        self.recent_losses.retain(|(of, _)| *of <= step);
        self.recent_norms.truncate(self.recent_losses.len());
        self.recent_waits.clear();
        self.last_elapsed = 0.0;
    }

    /// Every second of the older validations goes when there are too many, but never the best.
    fn thin_valid(&mut self) {
        if self.valid.len() <= MOST_VALID {
            return;
        }
        let best = self.valid.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        let half = self.valid.len() / 2;
        let (mut at, mut kept_best) = (0, false);
        self.valid.retain(|(_, loss)| {
            at += 1;
            // The first of several that are as good: all of them may be.
            let is_best = *loss == best && !kept_best;
            kept_best |= is_best;
            at % 2 == 0 || at > half || is_best
        });
    }

    fn say(&mut self, text: String) {
        self.line(text, false);
    }

    fn warn(&mut self, text: String) {
        self.line(text, true);
    }

    fn line(&mut self, text: String, is_warning: bool) {
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { step: self.step, is_warning, text });
    }

    /// Seconds of training left.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        self.time_left.seconds()
    }

    /// Mean tokens a second of all steps that were heard.
    #[must_use]
    pub fn mean_throughput(&self) -> Option<f64> {
        (self.sums.seconds > 0.0).then(|| self.sums.tokens as f64 / self.sums.seconds)
    }

    /// The share of recent seconds in which the device waited for rows.
    #[must_use]
    pub fn waited_share(&self) -> Option<f64> {
        let seconds: f64 = self.recent_waits.iter().map(|(_, seconds)| seconds).sum();
        let waited: f64 = self.recent_waits.iter().map(|(waited, _)| waited).sum();
        (self.recent_waits.len() >= 10 && seconds > 0.0).then(|| (waited / seconds).min(1.0))
    }

    /// The best validation.
    #[must_use]
    pub fn best_valid(&self) -> Option<(u64, f64)> {
        self.valid.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// What a person should look at.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let losses: Vec<(u64, f64)> = self.recent_losses.iter().copied().collect();
        let norms: Vec<f64> = self.recent_norms.iter().copied().collect();
        let newest = self.newest.unwrap_or_default();
        let [host, device, _] = self.memory;
        health::assess(&Vitals {
            losses: &losses,
            gradient_norms: &norms,
            valid: &self.valid,
            waited_share: self.waited_share(),
            device_memory: newest.device_memory_bytes.zip(device),
            host_memory: newest.host_memory_bytes.zip(host),
        })
    }
}

fn keep<T>(recent: &mut VecDeque<T>, value: T) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back(value);
}

#[cfg(test)]
mod tests;
