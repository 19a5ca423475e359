//! Owns a run between its first step and its end: which steps were handed to the device and not heard of yet, what the
//! others came to, and how much time they took. Knows one session and one observer; decides no order.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use model::train::Session;

use super::{Outcome, Run};
use crate::data::loader::{self, StepBatches};
use crate::event::Event;
use crate::observer::Observer;

/// Steps that may be under way at once. With two, the device finds the next step waiting when it is done with one; a
/// third would only make losses, and failures, known later.
const MOST: usize = 2;

/// A step that was handed over.
struct Begun {
    step: u64,
    rows: Vec<usize>,
    epoch: f64,
    learning_rate: f64,
    tokens: u64,
    supervised_tokens: u64,
    waited_secs: f64,
}

pub(super) struct UnderWay<'a> {
    run: &'a Run<'a>,
    session: &'a mut Session,
    observer: &'a mut dyn Observer,
    waiting: VecDeque<Begun>,
    outcome: Outcome,
    losses: Vec<(f64, u64)>,
    saved: u64,
    /// When the last step was done, or training went on after something else.
    since: Instant,
}

impl<'a> UnderWay<'a> {
    pub(super) fn new(run: &'a Run<'a>, session: &'a mut Session, observer: &'a mut dyn Observer) -> Self {
        let steps = session.state_step();
        UnderWay {
            waiting: VecDeque::with_capacity(MOST),
            outcome: Outcome { steps, valid_loss: run.past.valid_loss, ..Outcome::default() },
            losses: run.past.losses.clone(),
            saved: steps,
            since: Instant::now(),
            run,
            session,
            observer,
        }
    }

    /// Steps done or under way.
    pub(super) fn begun(&self) -> u64 {
        self.session.state_step()
    }

    /// Whether the device has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands a step to the device, and hears of those that are done. `waited_secs` is how long the device had nothing to
    /// do because its rows were not ready.
    pub(super) fn step(&mut self, batches: StepBatches, learning_rate: f64, waited_secs: f64) -> Result<()> {
        while self.waiting.len() >= MOST {
            self.hear(true)?;
        }
        let step = self.begun();
        if let Err(error) = self.hand_over(&batches, learning_rate as f32) {
            // The device may tell late: a step before this one that failed is what went wrong.
            self.settle()?;
            return Err(error);
        }
        self.waiting.push_back(Begun {
            step,
            rows: batches.rows.concat(),
            epoch: batches.epochs,
            learning_rate,
            tokens: batches.tokens as u64,
            supervised_tokens: batches.supervised_tokens as u64,
            waited_secs,
        });
        while self.hear(false)? {}
        Ok(())
    }

    fn hand_over(&mut self, batches: &StepBatches, learning_rate: f32) -> Result<()> {
        let step = self.begun();
        for (batch, rows) in batches.micro_batches.iter().zip(&batches.rows) {
            let added = self.session.accumulate(batch, batches.supervised_tokens);
            added.with_context(|| self.names(step, rows))?;
        }
        let applied = self.session.apply(learning_rate);
        applied.with_context(|| self.names(step, &batches.rows.concat()))
    }

    /// Tells what the oldest step came to; false if none is under way, or if it is not done and is not waited for.
    fn hear(&mut self, wait: bool) -> Result<bool> {
        let Some(begun) = self.waiting.front() else { return Ok(false) };
        let report = self.session.report(wait).with_context(|| self.names(begun.step, &begun.rows))?;
        let Some(stats) = report else {
            if wait {
                bail!("step {} was handed over, and the device does not report it", begun.step + 1);
            }
            return Ok(false);
        };
        let Some(begun) = self.waiting.pop_front() else { return Ok(false) };
        let now = Instant::now();
        let seconds = (now - self.since).as_secs_f64();
        self.since = now;
        let loss = stats.loss / begun.supervised_tokens as f64;
        self.losses.push((loss, begun.supervised_tokens));
        self.outcome.steps = begun.step + 1;
        self.outcome.tokens += begun.tokens;
        self.outcome.supervised_tokens += begun.supervised_tokens;
        self.outcome.step_secs += seconds;
        self.observer.on(&Event::Step {
            step: self.outcome.steps,
            epoch: begun.epoch,
            loss,
            learning_rate: begun.learning_rate,
            gradient_norm: stats.gradient_norm,
            clipped: stats.clipped,
            tokens: begun.tokens,
            supervised_tokens: begun.supervised_tokens,
            // Two steps may be heard of in one moment, and a rate without end cannot be written down.
            tokens_per_second: begun.tokens as f64 / seconds.max(1e-6),
            host_memory_bytes: crate::memory::resident(),
            device_memory_bytes: self.session.model().memory().map(|memory| memory.held_bytes),
            elapsed_secs: self.outcome.step_secs,
            waited_secs: Some(begun.waited_secs),
        })?;
        Ok(true)
    }

    /// Waits for every step that is under way.
    fn settle(&mut self) -> Result<()> {
        while self.hear(true)? {}
        Ok(())
    }

    /// Mean loss over the supervised tokens of the validation rows, with the same kernels as training. False if it was
    /// told to stop meanwhile: a validation may take longer than a scheduler waits, and can be made later.
    pub(super) fn validate(&mut self) -> Result<bool> {
        self.settle()?;
        self.outcome.valid_loss = None;
        if self.run.valid.is_empty() {
            return Ok(true);
        }
        let (mut sum, mut tokens) = (0.0, 0_usize);
        for batch in loader::all(self.run.valid, self.run.config.train.micro_batch_tokens) {
            if self.run.controls.stops() {
                return Ok(false);
            }
            let scores = self.session.log_probabilities(&batch)?;
            sum -= scores.iter().map(|&score| f64::from(score)).sum::<f64>();
            tokens += scores.len();
        }
        let loss = sum / tokens as f64;
        if !loss.is_finite() {
            bail!("the validation loss is not finite");
        }
        self.observer.on(&Event::Valid { step: self.begun(), loss, tokens: tokens as u64 })?;
        self.outcome.valid_loss = Some(loss);
        self.since = Instant::now();
        Ok(true)
    }

    /// Saves a checkpoint, unless nothing was done since the last one.
    pub(super) fn save(&mut self) -> Result<()> {
        self.settle()?;
        if self.saved == self.begun() {
            return Ok(());
        }
        let state = self.session.state()?;
        let path = self.run.run_dir.save_checkpoint(&state, self.run.config.train.keep_checkpoints)?;
        self.observer.on(&Event::Checkpoint { step: state.step, path })?;
        self.saved = state.step;
        self.since = Instant::now();
        Ok(())
    }

    /// Waits for what is under way and tells of the pause.
    pub(super) fn paused(&mut self) -> Result<()> {
        self.settle()?;
        self.observer.on(&Event::Paused { step: self.begun() })
    }

    /// Goes on after a pause, which is no time of training.
    pub(super) fn unpaused(&mut self) -> Result<()> {
        self.since = Instant::now();
        self.observer.on(&Event::Unpaused { step: self.begun() })
    }

    /// The account of a run that was told to stop.
    pub(super) fn stopped(self) -> Outcome {
        self.outcome
    }

    /// The account of a run that did all its steps.
    pub(super) fn finished(mut self) -> Outcome {
        let per_epoch = self.run.loader.order().steps_per_epoch() as usize;
        let recent = &self.losses[self.losses.len().saturating_sub(per_epoch)..];
        let tokens: u64 = recent.iter().map(|(_, tokens)| tokens).sum();
        let sum: f64 = recent.iter().map(|(loss, tokens)| loss * *tokens as f64).sum();
        self.outcome.train_loss = (tokens > 0).then(|| sum / tokens as f64);
        self.outcome.finished = true;
        self.outcome
    }

    /// Which rows a failure concerns, for the person who has to look at them.
    fn names(&self, step: u64, rows: &[usize]) -> String {
        const SHOWN: usize = 8;
        let ids: Vec<&str> = self.run.loader.ids(&rows[..rows.len().min(SHOWN)]);
        let more = if rows.len() > SHOWN { format!(" and {} more", rows.len() - SHOWN) } else { String::new() };
        format!(
            "step {} on rows {}{more}\nhint: the last checkpoint is intact; look at these rows, or lower train.learning_rate, \
             then run with --resume",
            step + 1,
            ids.join(", ")
        )
    }
}
