//! Owns one evaluation of a config: the rows as models are asked them, the arms in order, and where the results go.
//! Knows the run; what lives in this process is `held_out`'s business and the scores are `eval`'s.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use eval::report::{Json, Report, Table};
use eval::{ArmResult, HeldOut, Identity, Progress, Results, Row, Task};
use model::train::Session;
use serde_json::Value;

use crate::config::Config;
use crate::config::arm::{RawArm, Source};
use crate::event::Event;
use crate::held_out::{self, Asking, Local};
use crate::observer::Observer;
use crate::prepared::Prepared;
use crate::run_dir::RunDir;

/// What an evaluation may do.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whether arms outside this process are asked. Training never asks them, so it never spends money.
    pub outside: bool,
    /// The arms to ask; empty for all.
    pub only: Vec<String>,
}

/// Evaluates at the end of a run and writes `eval/results.json` and `eval/table.txt`.
pub fn at_the_end(
    config: &Config,
    prepared: &Prepared,
    session: &Session,
    run_dir: &RunDir,
    stop: &Arc<AtomicBool>,
    observer: &mut dyn Observer,
) -> Result<Option<Results>> {
    if !config.eval.enabled {
        return Ok(None);
    }
    if prepared.data.test.is_empty() {
        observer.on(&Event::Warning { message: "no held-out rows, so nothing is evaluated".to_owned() })?;
        return Ok(None);
    }
    let start = Instant::now();
    let adapters = session.adapters();
    let local = Local {
        decoder: session.decoder(),
        tuned: &adapters,
        others: BTreeMap::new(),
        speech: &prepared.speech,
        base: base_facts(prepared),
        adapters: adapter_facts("tuned", &run_dir.join("adapter"))?,
    };
    let mut lost = None;
    let results = run(config, prepared, &local, &Scope::default(), stop, &mut |progress| {
        if let Some(event) = as_event(progress)
            && let Err(error) = observer.on(&event)
        {
            lost = Some(error);
        }
    })
    .context("the adapter is saved, the evaluation is not done\nhint: trainer eval CONFIG evaluates it again");
    let results = results?;
    if let Some(error) = lost {
        return Err(error);
    }
    let path = run_dir.publish_folder("eval", |folder| write(&results, folder))?;
    let seconds = start.elapsed().as_secs_f64();
    observer.on(&Event::EvalFinished { rows: results.rows.len() as u64, path, seconds })?;
    Ok(Some(results))
}

/// Evaluates every arm of a config.
pub fn run(
    config: &Config,
    prepared: &Prepared,
    local: &Local<'_>,
    scope: &Scope,
    stop: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Results> {
    let held_out = rows(config, prepared)?;
    let labelled = held_out.labels().is_some();
    let task = Task::standard(labelled);
    let records = &prepared.data.train.records;
    let train: Vec<(String, String)> =
        records.iter().map(|record| (record.prompt_text(), record.target().to_owned())).collect();
    let asking = Asking {
        held_out: &held_out,
        task: &task,
        train: &train,
        max_new_tokens: config.eval.max_new_tokens,
        batch_rows: config.eval.batch_rows,
        seed: config.train.seed,
        stop: Arc::clone(stop),
    };
    let arms = if config.eval.arm.is_empty() { held_out::standard_arms(labelled) } else { config.eval.arm.clone() };
    let mut results = Vec::with_capacity(arms.len());
    for arm in arms.iter().filter(|arm| scope.only.is_empty() || scope.only.contains(&arm.name)) {
        results.push(match arm.provider.source() {
            Source::Baseline | Source::Local => held_out::evaluate(&asking, arm, local, progress)?,
            Source::Hosted(_) | Source::Recorded if !scope.outside => skipped(arm, "trainer eval asks it"),
            Source::Hosted(_) | Source::Recorded => skipped(arm, "not built"),
        });
    }
    let candidate = results.iter().any(|arm| arm.name == "tuned").then_some("tuned");
    Ok(Results::new(&held_out, &task, results, candidate, config.train.seed)?)
}

/// Writes what an evaluation found into a folder.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    crate::run_dir::write_atomically(&folder.join("results.json"), Json.render(results)?.as_bytes())?;
    crate::run_dir::write_atomically(&folder.join("table.txt"), Table.render(results)?.as_bytes())
}

/// The table on stdout.
pub fn print_table(results: &Results) -> Result<()> {
    crate::commands::print(Table.render(results)?.trim_end())
}

/// What identifies the base of local arms.
#[must_use]
pub fn base_facts(prepared: &Prepared) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("base".to_owned(), prepared.base_name.clone()),
        ("base_sha256".to_owned(), prepared.base_sha256.clone()),
    ])
}

/// What identifies the adapter of an arm.
pub fn adapter_facts(arm: &str, folder: &Path) -> Result<BTreeMap<String, String>> {
    let path = folder.join("adapter_model.safetensors");
    let sha256 = datasets::digest::sha256_of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BTreeMap::from([(arm.to_owned(), sha256)]))
}

fn skipped(arm: &RawArm, reason: &str) -> ArmResult {
    let identity =
        Identity { provider: arm.provider.as_str().to_owned(), model: arm.model.clone(), ..Identity::default() };
    ArmResult::skipped(&arm.name, identity, reason)
}

/// The held-out rows of a config as models are asked them.
fn rows(config: &Config, prepared: &Prepared) -> Result<HeldOut> {
    let data = &prepared.data;
    let limit = config.eval.limit.unwrap_or(usize::MAX);
    let rows: Result<Vec<Row>> = data
        .test
        .iter()
        .take(limit)
        .map(|row| {
            let mut covariates: BTreeMap<String, f64> =
                row.record.meta.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
            covariates.insert("input_tokens".to_owned(), prepared.speech.prompt_ids(&row.prompt)?.len() as f64);
            let slices = row.record.meta.iter().filter_map(|(name, value)| match value {
                Value::String(text) => Some((name.clone(), text.clone())),
                _ => None,
            });
            let slices = slices.collect();
            Ok(Row { prompt: row.prompt.clone(), covariates, slices, ..Row::from_record(&row.record) })
        })
        .collect();
    let labels = config.eval.labels.clone().or_else(|| (!data.labels.is_empty()).then(|| data.labels.clone()));
    Ok(HeldOut::new(rows?, labels)?)
}

/// What an observer is told of the progress.
#[must_use]
pub fn as_event(progress: Progress<'_>) -> Option<Event> {
    let event =
        |arm: String, done: usize, rows: usize| Event::EvalProgress { arm, done: done as u64, rows: rows as u64 };
    match progress {
        Progress::Generated { arm, done, rows, .. } => Some(event(format!("{arm}, answers"), done, rows)),
        Progress::Ranked { arm, done, rows } => Some(event(format!("{arm}, labels ranked"), done, rows)),
        Progress::Started { .. } | Progress::Finished { .. } => None,
    }
}
