//! Owns the evaluation at the end of a run: the arms a config names, on the same held-out rows.
//! Knows baselines and the local model as arms; computes no score itself and writes no file.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use eval::baseline::{Example, Learned};
use eval::{Arm, EvaluateOptions, GenerateOptions, HeldOut, Progress, Results, Row};
use model::nn::Decoder;
use model::nn::decoder::Adapters;

use crate::config::raw::Arm as Name;
use crate::local_lm::{LocalModel, Speech};

/// What is evaluated, on what.
pub struct Task<'a> {
    /// Held-out rows as models are asked them.
    pub rows: Vec<Row>,
    /// Training rows as the baselines learn them: bare input and label.
    pub train: Vec<(String, String)>,
    /// The closed list of answers, if there is one.
    pub labels: Option<Vec<String>>,
    /// The arms, in the order of the table.
    pub arms: &'a [Name],
    /// Most new tokens of an answer.
    pub max_new_tokens: usize,
    /// Rows asked at once.
    pub batch_rows: usize,
    /// Seed of bootstrap draws.
    pub seed: u64,
    /// Set by Ctrl-C: the evaluation ends before its next batch.
    pub stop: Arc<AtomicBool>,
}

/// Scores every arm. `tuned` holds the adapter; `base` is the same decoder without it.
pub fn evaluate(
    task: Task<'_>,
    decoder: &Decoder,
    tuned: &Adapters,
    speech: &Speech,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Results> {
    let held_out = HeldOut::new(task.rows, task.labels)?;
    let options = EvaluateOptions {
        generate: GenerateOptions { max_tokens: task.max_new_tokens, temperature: 0.0, seed: task.seed },
        batch_rows: task.batch_rows,
        seed: task.seed,
    };
    let examples: Vec<Example<'_>> =
        task.train.iter().map(|(text, label)| Example { text, label: label.as_str() }).collect();
    let needs_baselines = task.arms.iter().any(|arm| matches!(arm, Name::Majority | Name::Tfidf));
    let learned = if needs_baselines { eval::baseline::fit_all(&examples)? } else { Vec::new() };
    let mut results = Vec::with_capacity(task.arms.len());
    for &arm in task.arms {
        let name = arm.as_str();
        let result = match arm {
            Name::Majority | Name::Tfidf => {
                let baseline = baseline(&learned, name)?;
                eval::evaluate_arm(&held_out, &mut Arm::Baseline(baseline), &options, progress)
            }
            Name::Base | Name::Tuned => {
                let adapters = if arm == Name::Base { decoder.without_adapters() } else { tuned.clone() };
                let mut model =
                    LocalModel::new(name, decoder.clone(), adapters, speech.clone()).stopped_by(task.stop.clone());
                let mut arm = Arm::Model { name: name.to_owned(), model: &mut model };
                eval::evaluate_arm(&held_out, &mut arm, &options, progress)
            }
        };
        results.push(result.with_context(|| format!("cannot evaluate {name}"))?);
    }
    let candidate = task.arms.contains(&Name::Tuned).then_some("tuned");
    Ok(Results::new(&held_out, results, candidate, task.seed)?)
}

fn baseline<'a>(learned: &'a [Learned], name: &str) -> Result<&'a Learned> {
    match learned.iter().find(|learned| learned.baseline.name() == name) {
        Some(learned) => Ok(learned),
        None => bail!("no baseline is named {name}"),
    }
}
