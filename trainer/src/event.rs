//! Owns everything a run can say, as one closed list. A loop emits events and never prints; what becomes of them is
//! the observers' business. Knows nothing about terminals or files.

mod rows;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use rows::{ArmStanding, Disagreement, Flips, Sample};

/// The version of the lines in `events.jsonl`.
pub const VERSION: u32 = 1;

/// Something that happened in a run.
///
/// Numbers are written with as many digits as give them back exactly. Two runs that should be equal are compared by
/// `loss`, `learning_rate` and `gradient_norm` of their steps; times differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The first event of a run, or of its continuation.
    RunStarted {
        /// Version of these lines.
        version: u32,
        /// Name of the run.
        name: String,
        /// Version of the program.
        program: String,
        /// The device, in human words.
        device: String,
        /// The base model.
        base: String,
        /// The rows.
        data: String,
        /// Optimiser steps of the whole run.
        total_steps: u64,
        /// Trainable weights.
        trainable: u64,
        /// Memory of the machine, where the system tells.
        #[serde(default)]
        host_total_bytes: Option<u64>,
        /// Memory of the device, where it has its own.
        #[serde(default)]
        device_total_bytes: Option<u64>,
        /// What the largest micro-batch takes of it.
        #[serde(default)]
        device_planned_bytes: Option<u64>,
    },
    /// Where the rows went, as a person reads it. All of it is in `ledger.json`.
    Ledger {
        /// The account, line by line.
        lines: Vec<String>,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Steps done before.
        step: u64,
    },
    /// An optimiser step.
    Step {
        /// Steps done, this one included.
        step: u64,
        /// Passes over the rows, this step included.
        epoch: f64,
        /// Mean loss of the step's supervised tokens.
        loss: f64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Global norm of the gradient before clipping.
        gradient_norm: f64,
        /// Whether the gradient was clipped.
        clipped: bool,
        /// Tokens of the step.
        tokens: u64,
        /// Of these, tokens that were learnt.
        supervised_tokens: u64,
        /// Tokens of the step over the seconds since the step before it was done.
        tokens_per_second: f64,
        /// Memory the process holds, where the system tells.
        host_memory_bytes: Option<u64>,
        /// Memory of the device that is held, where it has its own. Older lines do not have it.
        #[serde(default)]
        device_memory_bytes: Option<u64>,
        /// Seconds this process has trained, validations and checkpoints left out.
        elapsed_secs: f64,
        /// Of the step's seconds, those in which its rows were not ready yet. Older lines do not have it.
        #[serde(default)]
        waited_secs: Option<f64>,
    },
    /// A validation.
    Valid {
        /// Steps done.
        step: u64,
        /// Mean loss of the supervised tokens.
        loss: f64,
        /// Supervised tokens it is the mean of.
        tokens: u64,
    },
    /// A checkpoint was written and read back.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// The run waits, because a person asked it to.
    Paused {
        /// Steps done.
        step: u64,
    },
    /// The run goes on after a pause.
    Unpaused {
        /// Steps done.
        step: u64,
    },
    /// How the device did in the seconds since the last such event.
    DeviceSample {
        /// The device, by its driver's name.
        name: String,
        /// Mean share of the time in which it computed, from 0 to 1.
        #[serde(default)]
        utilisation: Option<f64>,
        /// Mean power.
        #[serde(default)]
        power_watts: Option<f64>,
        /// The most power it may take.
        #[serde(default)]
        power_limit_watts: Option<f64>,
        /// The highest temperature.
        #[serde(default)]
        temperature_celsius: Option<f64>,
        /// Memory in use by all processes.
        #[serde(default)]
        memory_used_bytes: Option<u64>,
        /// Memory it has.
        #[serde(default)]
        memory_total_bytes: Option<u64>,
    },
    /// A held-out row and what a model wrote to it.
    Sample(Box<Sample>),
    /// Something a user should know.
    Warning {
        /// What.
        message: String,
    },
    /// How far the evaluation of one arm is.
    EvalProgress {
        /// The arm.
        arm: String,
        /// Rows done.
        done: u64,
        /// Rows in all.
        rows: u64,
    },
    /// How one arm of an evaluation stands.
    EvalArm(Box<ArmStanding>),
    /// On how many rows two arms disagree.
    EvalFlips(Flips),
    /// A row on which two arms disagree.
    EvalDisagreement(Box<Disagreement>),
    /// What was decided about the candidate.
    EvalVerdict {
        /// One of `REPLACE`, `REPLACE_BETTER`, `KEEP_FRONTIER` and `INSUFFICIENT`, or `none`.
        answer: String,
        /// Why, in a sentence.
        reason: String,
    },
    /// The evaluation is done.
    EvalFinished {
        /// Held-out rows.
        rows: u64,
        /// Its folder.
        path: PathBuf,
        /// Seconds it took.
        seconds: f64,
    },
    /// The run is done.
    Finished {
        /// Steps done.
        step: u64,
        /// Whether all steps were done; if not, the run can be resumed.
        complete: bool,
        /// Mean loss of the last epoch's steps, or of all there were.
        train_loss: Option<f64>,
        /// The last validation.
        valid_loss: Option<f64>,
        /// Seconds of this process.
        wall_seconds: f64,
        /// The adapter's folder.
        adapter: Option<PathBuf>,
    },
    /// The run broke off.
    Failed {
        /// Why.
        message: String,
    },
}

impl Event {
    /// Whether it tells of an evaluation, or of the end of a run behind one.
    #[must_use]
    pub fn is_of_evaluation(&self) -> bool {
        matches!(
            self,
            Event::EvalProgress { .. }
                | Event::EvalArm(_)
                | Event::EvalFlips(_)
                | Event::EvalDisagreement(_)
                | Event::EvalVerdict { .. }
                | Event::EvalFinished { .. }
                | Event::Sample(_)
                | Event::Finished { .. }
        )
    }

    /// The steps that were done when it happened, for events that belong to a step.
    #[must_use]
    pub fn step(&self) -> Option<u64> {
        match self {
            Event::Resumed { step }
            | Event::Step { step, .. }
            | Event::Valid { step, .. }
            | Event::Checkpoint { step, .. }
            | Event::Paused { step }
            | Event::Unpaused { step } => Some(*step),
            Event::Finished { step, .. } => Some(*step),
            _ => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(loss: f64, learning_rate: f64) -> Event {
        Event::Step {
            step: 3,
            epoch: 0.5,
            loss,
            learning_rate,
            gradient_norm: f64::from(0.1_f32),
            clipped: true,
            tokens: 400,
            supervised_tokens: 40,
            tokens_per_second: 812.5,
            host_memory_bytes: Some(1 << 30),
            device_memory_bytes: None,
            elapsed_secs: 1.25,
            waited_secs: None,
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_name() {
        let text = serde_json::to_string(&step(0.25, 1e-3)).unwrap();
        assert!(
            text.starts_with(r#"{"event":"step","step":3,"epoch":0.5,"loss":0.25,"learning_rate":0.001"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), step(0.25, 1e-3));
        let text = serde_json::to_string(&Event::Warning { message: "a\nb".into() }).unwrap();
        assert_eq!(text, r#"{"event":"warning","message":"a\nb"}"#);
    }

    #[test]
    fn numbers_are_written_so_that_they_come_back_exactly() {
        let mut bits = 0x3ff5_5555_1234_5678_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f64::from_bits((bits >> 12) | 0x3fe0_0000_0000_0000) * 10_f64.powi((bits % 13) as i32 - 8);
            let written = serde_json::to_string(&number).unwrap();
            assert_eq!(written.parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }

    #[test]
    fn a_line_of_before_there_was_device_memory_is_read() {
        let text = serde_json::to_string(&step(0.25, 1e-3)).unwrap();
        let old = text.replace(r#""device_memory_bytes":null,"#, "").replace(r#","waited_secs":null"#, "");
        assert_ne!(old, text);
        assert_eq!(serde_json::from_str::<Event>(&old).unwrap(), step(0.25, 1e-3));
    }

    #[test]
    fn an_unknown_event_or_field_is_refused() {
        assert!(serde_json::from_str::<Event>(r#"{"event":"coffee"}"#).is_err());
        assert!(serde_json::from_str::<Event>(r#"{"event":"warning","message":"a","colour":1}"#).is_err());
    }
}
