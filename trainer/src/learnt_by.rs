//! Owns what an evaluation of a run must share with it: the base that it was trained on, and held-out rows that it did not
//! learn from, word for word or nearly. A config keeps its own splits apart; the run may have been trained by another one.
//! Knows nothing of scores.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use datasets::Record;
use datasets::overlap::{self, Leak};
use ground::read::{self, Kind};
use serde_json::Value;

use crate::config::{self, Config};
use crate::data::{self, SourceRows};
use crate::prepared::{Prepared, set_here};
use crate::terminal_lines::note;

/// Rows that an error names.
const MOST_NAMED: usize = 5;

/// Refuses an evaluation whose base is another than that of the run, or whose held-out rows repeat what the run learnt
/// from. Returns whether it could be looked for.
pub fn refuse(run: &Path, config: &Config, prepared: &Prepared) -> Result<bool> {
    let shown = run.display();
    let summary = read::text(&run.join("summary.json"), Kind::Account).ok();
    let summary: Option<Value> = summary.and_then(|text| serde_json::from_str(&text).ok());
    let stated = |pointer: &str| summary.as_ref().and_then(|summary| summary.pointer(pointer)?.as_str());
    if let Some(theirs) = stated("/base/sha256").filter(|theirs| *theirs != prepared.base_sha256) {
        bail!(
            "{} is not the base that {shown} was trained on: its weights are {}, those were {theirs}\n\
             hint: --set model.base= names the place of the right one, or train again",
            prepared.base_name,
            prepared.base_sha256
        );
    }
    let began = config::load_of_run(&run.join("config.toml")).ok();
    let Some(learnt) = began.as_ref().and_then(|began| learnt(began).ok()) else {
        // The same files, divided alike, are the same rows, wherever they lay.
        let same_files = stated("/data/sha256") == Some(prepared.data.sha256.as_str());
        if same_files && began.is_some_and(|began| divides(&began) == divides(config)) {
            return Ok(true);
        }
        note(&format!(
            "warning: the rows that {shown} learnt from are not here, so nobody looked whether held-out rows are among them, \
             and the leakage gate fails\nhint: put the rows where {} says, or correct it",
            run.join("config.toml").display()
        ));
        return Ok(false);
    };
    let leaks = repeats(&learnt, prepared);
    if leaks.is_empty() {
        return Ok(true);
    }
    let named = |leak: &Leak| {
        let Leak { test_id, train_id, kind, similarity } = leak;
        format!("\"{test_id}\" repeats \"{train_id}\" ({}, {similarity:.2})", kind.as_str())
    };
    let named: Vec<String> = leaks.iter().take(MOST_NAMED).map(named).collect();
    bail!(
        "{} of {} held-out rows are among those that {shown} learnt from, word for word or nearly, so that their score says \
         nothing: {}{}\n\
         hint: leave rows and split as they were when the run was trained: trainer eval {}; what is near is said by \
         data.near_duplicates",
        leaks.len(),
        prepared.data.test.len(),
        named.join(", "),
        if leaks.len() > named.len() { ", …" } else { "" },
        run.join("config.toml").display()
    )
}

/// Held-out rows that repeat what a run learnt from, by what this config calls a repeat.
fn repeats(learnt: &SourceRows, prepared: &Prepared) -> Vec<Leak> {
    let data = &prepared.data;
    // What this config learns itself is kept apart by its own rules, and so is what the run held out by the same ones.
    let own: HashSet<String> = data.train.records.iter().chain(&data.valid.records).map(question).collect();
    let splits = &learnt.prepared.splits;
    let same_rules = learnt.overlap == data.overlap;
    let kept_apart: HashSet<String> = splits.test.iter().filter(|_| same_rules).map(question).collect();
    let asked: Vec<Record> = data.test.iter().map(|row| row.record.clone()).collect();
    let asked: Vec<Record> = asked.into_iter().filter(|row| !kept_apart.contains(&question(row))).collect();
    let foreign = splits.train.iter().filter(|row| !own.contains(&question(row)));
    let foreign: HashSet<&str> = foreign.map(|row| row.id.as_str()).collect();
    if asked.is_empty() || foreign.is_empty() {
        return Vec::new();
    }
    // All that was learnt is looked at, since words that most rows share make no two of them alike.
    let mut leaks = overlap::find_leaks(&splits.train, &asked, &data.overlap);
    leaks.retain(|leak| foreign.contains(leak.train_id.as_str()));
    leaks
}

/// The rows of a config, which is somebody's.
fn learnt(config: &Config) -> Result<SourceRows> {
    data::read(config, set_here(config)?)
}

/// What of a config says how files are divided.
fn divides(config: &Config) -> impl PartialEq + use<> {
    let data = &config.data;
    let split = (data.valid_fraction, data.split_modulus, data.split_remainder);
    (split, data.near_duplicates, data.jaccard, data.cosine)
}

fn question(record: &Record) -> String {
    record.prompt_text().split_whitespace().collect::<Vec<_>>().join(" ")
}
