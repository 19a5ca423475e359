//! Owns the order of a run: steps, validation, checkpoints, and how it ends early without losing anything.
//! Knows plain numbers; gradients and tensors are the session's business, and events go to an observer.

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod under_way;

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use model::train::{Batch, Session};

use crate::config::Config;
use crate::controls::Controls;
use crate::data::ahead;
use crate::data::loader::{Loader, StepBatches};
use crate::data::template_mask::Sample;
use crate::observer::Observer;
use crate::run_dir::RunDir;
use crate::schedule;

use under_way::UnderWay;

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
    /// What a person asks for meanwhile.
    pub controls: &'a Controls,
}

/// What earlier processes of a resumed run measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Mean loss of each step, and the supervised tokens it is the mean of.
    pub losses: Vec<(f64, u64)>,
    /// The last validation.
    pub valid_loss: Option<f64>,
    /// After how many steps that was.
    pub valid_step: Option<u64>,
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

/// Runs the largest micro-batch once and forgets it, where the device has memory of its own: if that does not suffice,
/// it is told in the first seconds and not in the middle of a run.
pub fn rehearse(session: &mut Session, largest: &Batch) -> Result<()> {
    if session.model().memory().is_some() {
        session.rehearse(largest).context("the largest micro-batch, tried before the first step")?;
    }
    Ok(())
}

impl Run<'_> {
    /// Runs from the session's step to the end, or until it is told to stop.
    pub fn train(&self, session: &mut Session, observer: &mut dyn Observer) -> Result<Outcome> {
        std::thread::scope(|scope| {
            let prepared = ahead::steps(scope, self.loader, session.state_step());
            self.steps(UnderWay::new(self, session, observer), &prepared)
        })
    }

    fn steps(&self, mut run: UnderWay<'_>, prepared: &Receiver<StepBatches>) -> Result<Outcome> {
        let settings = &self.config.train;
        let total = self.loader.total_steps();
        let rates = schedule::Settings::of(settings, total);
        let validates = |step: u64| step == total || due(step, settings.valid_every_steps);
        // A process before this one saved, and was stopped before it had validated.
        let resumed = run.begun();
        let is_owed = resumed > 0 && validates(resumed) && self.past.valid_step != Some(resumed);
        if is_owed && !run.validate()? {
            return Ok(run.stopped());
        }
        while run.begun() < total {
            self.pause(&mut run)?;
            if self.controls.stops() {
                run.save()?;
                return Ok(run.stopped());
            }
            let since = Instant::now();
            let batches = prepared.recv().context("the rows of the next step were not prepared")?;
            // While a step is under way the device does not wait for rows, whoever else does.
            let waited_secs = if run.is_idle() { since.elapsed().as_secs_f64() } else { 0.0 };
            let learning_rate = schedule::learning_rate(run.begun(), total, &rates);
            run.step(batches, learning_rate, waited_secs)?;
            let step = run.begun();
            if validates(step) && !run.validate()? {
                run.save()?;
                return Ok(run.stopped());
            }
            if self.controls.take_save() || step == total || due(step, settings.save_every_steps) {
                run.save()?;
            }
        }
        Ok(run.finished())
    }

    /// Waits as long as a person asks for it, between two steps and with nothing under way.
    fn pause(&self, run: &mut UnderWay<'_>) -> Result<()> {
        if !self.controls.pauses() || self.controls.stops() {
            return Ok(());
        }
        run.paused()?;
        while self.controls.pauses() && !self.controls.stops() {
            if self.controls.take_save() {
                run.save()?;
            }
            std::thread::sleep(PAUSE_CHECK);
        }
        run.unpaused()
    }
}

/// How often a run that waits looks whether to go on.
const PAUSE_CHECK: Duration = Duration::from_millis(50);

fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
