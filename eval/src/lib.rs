//! Text in, scores out: language models behind one trait, scorers, metrics, intervals, paired comparisons, cheap baselines and reports.
//! Knows nothing about tensors, devices, sockets, async code, config files or the terminal: it takes rows and returns values.

#![warn(missing_docs)]

mod arm_result;
mod clock;
mod error;

pub mod baseline;
pub mod compare;
pub mod held_out;
pub mod language_model;
pub mod metric;
pub mod outcome;
pub mod provider;
pub mod report;
pub mod run;
pub mod scorer;
pub mod spending;
pub mod stats;
pub mod task;
pub mod wire;

pub use arm_result::{Answers, ArmResult, Identity};
pub use compare::{Comparison, compare};
pub use error::Error;
pub use held_out::{HeldOut, Row};
pub use language_model::{Completion, Finish, GenerateOptions, LanguageModel, Message, Role};
pub use outcome::{Call, Class, Outcome, Parse, Reason, Sample};
pub use report::Results;
pub use run::{Arm, EvaluateOptions, Progress, evaluate_arm, evaluate_arms};
pub use stats::Estimate;
pub use task::Task;
