//! Owns where held-out results of a run go: the table on the terminal and the files in `eval/`.
//! Knows the run; the arms are `held_out`'s business and the scores `eval`'s.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use eval::report::{Json, Report, Table};
use eval::{Progress, Results, Row};
use model::train::Session;

use crate::config::Config;
use crate::event::Event;
use crate::held_out::{self, Task};
use crate::observer::Observer;
use crate::prepared::Prepared;
use crate::run_dir::RunDir;

/// Evaluates as the config says and writes `eval/results.json` and `eval/table.txt`.
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
    let decoder = session.decoder();
    let mut lost = None;
    let results = held_out::evaluate(
        task(config, prepared, stop),
        decoder,
        &session.adapters(),
        &prepared.speech,
        &mut |progress| {
            if let Some(event) = as_event(progress)
                && let Err(error) = observer.on(&event)
            {
                lost = Some(error);
            }
        },
    )
    .context("the adapter is saved, the evaluation is not done\nhint: trainer eval CONFIG evaluates it again");
    let results = results?;
    if let Some(error) = lost {
        return Err(error);
    }
    let (json, table) = (Json.render(&results)?, Table.render(&results)?);
    let path = run_dir.publish_folder("eval", |folder| {
        crate::run_dir::write_atomically(&folder.join("results.json"), json.as_bytes())?;
        crate::run_dir::write_atomically(&folder.join("table.txt"), table.as_bytes())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    observer.on(&Event::EvalFinished { rows: results.rows as u64, path, seconds })?;
    Ok(Some(results))
}

/// The table on stdout.
pub fn print_table(results: &Results) -> Result<()> {
    crate::commands::print(Table.render(results)?.trim_end())
}

/// Rows and arms as a config names them.
#[must_use]
pub fn task<'a>(config: &'a Config, prepared: &Prepared, stop: &Arc<AtomicBool>) -> Task<'a> {
    let limit = config.eval.limit.unwrap_or(usize::MAX);
    let data = &prepared.data;
    let rows =
        data.test.iter().take(limit).map(|row| Row { prompt: row.prompt.clone(), ..Row::from_record(&row.record) });
    let train = data.train.records.iter().map(|record| (record.prompt_text(), record.target().to_owned())).collect();
    let labels = config.eval.labels.clone().or_else(|| (!data.labels.is_empty()).then(|| data.labels.clone()));
    Task {
        rows: rows.collect(),
        train,
        labels,
        arms: &config.eval.arms,
        max_new_tokens: config.eval.max_new_tokens,
        batch_rows: config.eval.batch_rows,
        seed: config.train.seed,
        stop: Arc::clone(stop),
    }
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
