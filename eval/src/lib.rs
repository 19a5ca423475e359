//! Text in, scores out: language models behind one trait, scorers, metrics, intervals, paired comparisons, decisions registered
//! beforehand, verdicts, proofs and reports.
//! Knows nothing about tensors, devices, async code, config files or the terminal; only `provider/` opens sockets.

#![warn(missing_docs)]

mod arm_result;
mod clock;
mod error;

pub mod baseline;
pub mod break_even;
pub mod break_point;
pub mod compare;
pub mod decision;
pub mod egress;
pub mod held_out;
pub mod json;
pub mod judge;
pub mod language_model;
pub mod metric;
pub mod outcome;
pub mod proof;
pub mod provider;
pub mod reasoning;
pub mod redact;
pub mod report;
pub mod results;
pub mod right_targets;
pub mod run;
pub mod running;
pub mod scorer;
pub mod spans;
pub mod spending;
pub mod stats;
pub mod task;
pub mod text;
pub mod verdict;
pub mod wire;
pub mod work;

pub use arm_result::{Answers, ArmResult, Identity};
pub use clock::{Clock, SystemClock, now, today};
pub use compare::{Comparison, compare};
pub use error::Error;
pub use held_out::{HeldOut, Row};
pub use language_model::{Completion, Finish, GenerateOptions, LanguageModel, Message, Role};
pub use outcome::{Call, Class, Outcome, Parse, Reason, Sample};
pub use results::Results;
pub use run::{Arm, EvaluateOptions, Progress, evaluate_arm, evaluate_arms};
pub use running::Running;
pub use stats::Estimate;
pub use task::Task;
