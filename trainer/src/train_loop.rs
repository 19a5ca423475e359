//! Owns the order of a run: steps, validation, checkpoints, and how it ends early without losing anything.
//! Knows plain numbers; gradients and tensors are the session's business, and events go to an observer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use model::train::Session;

use crate::config::Config;
use crate::data::loader::{self, Loader};
use crate::data::template_mask::Sample;
use crate::event::Event;
use crate::observer::Observer;
use crate::run_dir::RunDir;
use crate::schedule;

/// What a run works on.
pub struct Run<'a> {
    /// The plan.
    pub config: &'a Config,
    /// Training rows in their order.
    pub loader: &'a Loader<'a>,
    /// Validation rows; may be empty.
    pub valid: &'a [Sample],
    /// What was measured before this process, in the order of the steps.
    pub past: Past,
    /// Where checkpoints go.
    pub run_dir: &'a RunDir,
    /// Set by Ctrl-C: the run saves and ends.
    pub stop: &'a AtomicBool,
}

/// What earlier processes of a resumed run measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Mean loss of each step, and the supervised tokens it is the mean of.
    pub losses: Vec<(f64, u64)>,
    /// The last validation.
    pub valid_loss: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether all steps were done.
    pub finished: bool,
    /// Steps done in all, earlier processes included.
    pub steps: u64,
    /// Tokens of this process.
    pub tokens: u64,
    /// Supervised tokens of this process.
    pub supervised_tokens: u64,
    /// Mean loss of the last epoch's worth of steps, or of all there were.
    pub train_loss: Option<f64>,
    /// Loss on the validation rows at the end.
    pub valid_loss: Option<f64>,
    /// Seconds in steps of this process.
    pub step_secs: f64,
}

impl Run<'_> {
    /// Runs from the session's step to the end, or until it is told to stop.
    pub fn train(&self, session: &mut Session, observer: &mut dyn Observer) -> Result<Outcome> {
        let settings = &self.config.train;
        let mut outcome =
            Outcome { steps: session.state_step(), valid_loss: self.past.valid_loss, ..Outcome::default() };
        let total = self.loader.total_steps();
        let rates = schedule::Settings::of(settings);
        let mut losses = self.past.losses.clone();
        let mut saved = outcome.steps;
        while outcome.steps < total {
            if self.stop.load(Ordering::SeqCst) {
                if saved != outcome.steps {
                    self.save(session, observer)?;
                }
                return Ok(outcome);
            }
            let start = Instant::now();
            let step = outcome.steps;
            let batches = self.loader.step(step);
            let mut sum = 0.0;
            for (batch, rows) in batches.micro_batches.iter().zip(&batches.rows) {
                let loss = session.accumulate(batch, batches.supervised_tokens);
                sum += loss.with_context(|| self.names(step, rows))?;
            }
            let learning_rate = schedule::learning_rate(step, total, &rates);
            let stats = session.apply(learning_rate as f32);
            let stats = stats.with_context(|| self.names(step, &batches.rows.concat()))?;
            outcome.steps = step + 1;
            let seconds = start.elapsed().as_secs_f64();
            let (tokens, supervised) = (batches.tokens, batches.supervised_tokens);
            outcome.tokens += tokens as u64;
            outcome.supervised_tokens += supervised as u64;
            outcome.step_secs += seconds;
            let loss = sum / supervised as f64;
            losses.push((loss, supervised as u64));
            observer.on(&Event::Step {
                step: outcome.steps,
                epoch: batches.epochs,
                loss,
                learning_rate,
                gradient_norm: f64::from(stats.gradient_norm),
                clipped: stats.clipped,
                tokens: tokens as u64,
                supervised_tokens: supervised as u64,
                tokens_per_second: tokens as f64 / seconds,
                host_memory_bytes: crate::memory::resident(),
                elapsed_secs: outcome.step_secs,
            })?;
            let last = outcome.steps == total;
            if last || due(outcome.steps, settings.valid_every_steps) {
                outcome.valid_loss = self.validate(session, observer)?;
            }
            if last || due(outcome.steps, settings.save_every_steps) {
                self.save(session, observer)?;
                saved = outcome.steps;
            }
        }
        outcome.finished = true;
        let per_epoch = self.loader.order().steps_per_epoch() as usize;
        let recent = &losses[losses.len().saturating_sub(per_epoch)..];
        let tokens: u64 = recent.iter().map(|(_, tokens)| tokens).sum();
        let sum: f64 = recent.iter().map(|(loss, tokens)| loss * *tokens as f64).sum();
        outcome.train_loss = (tokens > 0).then(|| sum / tokens as f64);
        Ok(outcome)
    }

    /// Mean loss over the supervised tokens of the validation rows, with the same kernels as training.
    fn validate(&self, session: &Session, observer: &mut dyn Observer) -> Result<Option<f64>> {
        if self.valid.is_empty() {
            return Ok(None);
        }
        let (mut sum, mut tokens) = (0.0, 0_usize);
        for batch in loader::all(self.valid, self.config.train.micro_batch_tokens) {
            let scores = session.log_probabilities(&batch);
            sum -= scores.iter().map(|&score| f64::from(score)).sum::<f64>();
            tokens += scores.len();
        }
        let loss = sum / tokens as f64;
        if !loss.is_finite() {
            bail!("the validation loss is not finite");
        }
        observer.on(&Event::Valid { step: session.state_step(), loss, tokens: tokens as u64 })?;
        Ok(Some(loss))
    }

    fn save(&self, session: &Session, observer: &mut dyn Observer) -> Result<()> {
        let state = session.state();
        let path = self.run_dir.save_checkpoint(&state, self.config.train.keep_checkpoints)?;
        observer.on(&Event::Checkpoint { step: state.step, path })
    }

    /// Which rows a failure concerns, for the person who has to look at them.
    fn names(&self, step: u64, rows: &[usize]) -> String {
        const SHOWN: usize = 8;
        let ids: Vec<&str> = self.loader.ids(&rows[..rows.len().min(SHOWN)]);
        let more = if rows.len() > SHOWN { format!(" and {} more", rows.len() - SHOWN) } else { String::new() };
        format!(
            "step {} on rows {}{more}\nhint: the last checkpoint is intact; look at these rows, or lower train.learning_rate, \
             then run with --resume",
            step + 1,
            ids.join(", ")
        )
    }
}

fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
