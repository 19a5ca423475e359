//! Owns what an evaluation of a run must share with it: the base that it was trained on, and held-out rows that it did not
//! learn from. A config keeps its own splits apart; the run may have been trained by another one.
//! Knows nothing of scores.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use datasets::Record;
use ground::read::{self, Kind};
use serde_json::Value;

use crate::config::{self, Config};
use crate::data;
use crate::prepared::{Prepared, set_here};
use crate::terminal_lines::note;

/// Refuses an evaluation whose base is another than that of the run, or whose held-out rows the run learnt from.
pub fn refuse(run: &Path, prepared: &Prepared) -> Result<()> {
    let shown = run.display();
    let summary = read::text(&run.join("summary.json"), Kind::Account).ok();
    let summary: Option<Value> = summary.and_then(|text| serde_json::from_str(&text).ok());
    let theirs = summary.as_ref().and_then(|summary| summary.pointer("/base/sha256")?.as_str());
    if let Some(theirs) = theirs.filter(|theirs| *theirs != prepared.base_sha256) {
        bail!(
            "{} is not the base that {shown} was trained on: its weights are {}, those were {theirs}\n\
             hint: --set model.base= names the place of the right one, or train again",
            prepared.base_name,
            prepared.base_sha256
        );
    }
    // What this config learns itself is kept apart by its own rules.
    let own: HashSet<String> = prepared.data.train.records.iter().map(question).collect();
    let asked = prepared.data.test.iter().map(|row| question(&row.record)).filter(|row| !own.contains(row));
    let asked: HashSet<String> = asked.collect();
    let learnt = match config::load_of_run(&run.join("config.toml"))
        .map_err(anyhow::Error::from)
        .and_then(|it| learnt(&it))
    {
        Ok(learnt) => learnt,
        Err(_) => {
            note(&format!(
                "warning: the rows that {shown} learnt from are not here, so nobody looked whether held-out rows are among them"
            ));
            return Ok(());
        }
    };
    let known: HashSet<&String> = learnt.iter().filter(|row| asked.contains(*row)).collect();
    if !known.is_empty() {
        bail!(
            "{} of {} held-out rows are among those that {shown} learnt from, so that their score says nothing\n\
             hint: leave rows and split as they were when the run was trained: trainer eval {}",
            known.len(),
            asked.len(),
            run.join("config.toml").display()
        );
    }
    Ok(())
}

/// What the training rows of a config ask.
fn learnt(config: &Config) -> Result<Vec<String>> {
    let rows = data::read(config, set_here(config)?)?;
    Ok(rows.prepared.splits.train.iter().map(question).collect())
}

fn question(record: &Record) -> String {
    record.prompt_text().split_whitespace().collect::<Vec<_>>().join(" ")
}
