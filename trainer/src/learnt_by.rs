//! Owns what is asked of a run once it is finished: the base that it was trained on, under its adapter wherever that is used,
//! and held-out rows that it did not learn from, word for word or nearly. A config keeps its own splits apart; the run may have
//! been trained by another one. Knows nothing of scores.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use datasets::Record;
use datasets::overlap::{self, Leak};
use ground::read::Kind;
use ground::terminal::shown_in_line;
use model::Checkpoint;
use serde_json::Value;

use crate::config::{self, Config};
use crate::data::{self, SourceRows};
use crate::disk;
use crate::prepared::{Prepared, set_here};
use crate::terminal_lines::note;

/// Rows that an error names.
const MOST_NAMED: usize = 5;

/// Holds a base against the one that an adapter was trained on. `named` says that somebody named this very base beside the
/// adapter, who is warned; one that was found because the run or the adapter names it is refused. An adapter that lies in no
/// run and in no publication does not say what its base was.
pub fn hold_base(adapter: &Path, base: &Checkpoint, named: bool) -> Result<()> {
    let Some((shown, theirs)) = base_of(adapter) else { return Ok(()) };
    let Some(told) = differs(&shown, &theirs, &base.name(), &base.sha256()?) else { return Ok(()) };
    if named {
        note(&format!("warning: {told}"));
        return Ok(());
    }
    bail!(
        "{told}\nhint: --model names the place of the right one; --model {} takes this one all the same",
        base.path().display()
    )
}

/// Warns of an adapter that is named beside the base of a config, which it was not trained on.
pub fn warn_of_base(adapter: &Path, prepared: &Prepared) {
    let Some((shown, theirs)) = base_of(adapter) else { return };
    let told = differs(&shown, &theirs, &prepared.base_name, &prepared.base_sha256);
    told.iter().for_each(|told| note(&format!("warning: {told}")));
}

/// What an adapter folder lies in, and the SHA-256 of the weights that it was trained on: as its run wrote it down, or its
/// publication.
fn base_of(adapter: &Path) -> Option<(String, String)> {
    // By its own place, since a link or `.` may name it.
    let folder = adapter.canonicalize().ok()?;
    let run = folder.parent().filter(|run| folder.ends_with("adapter") && run.join("config.toml").is_file());
    let accounts = match run {
        // A run that was ended right behind its adapter has no summary.
        Some(run) => vec![run.join("summary.json"), run.join("env.json")],
        None => vec![folder.join("trainer/summary.json")],
    };
    let file = accounts.iter().find(|file| file.is_file())?;
    let typed = adapter.parent().filter(|run| adapter.ends_with("adapter") && *run != Path::new(""));
    let shown = if run.is_some() { typed.or(run) } else { None };
    let account: Option<Value> = disk::json(file, Kind::Account).ok();
    let Some(sha256) = account.as_ref().and_then(|account| account.pointer("/base/sha256")?.as_str()) else {
        note(&format!("warning: {} names no base, so nobody looked whether this is the one", file.display()));
        return None;
    };
    Some((shown.unwrap_or(adapter).display().to_string(), sha256.to_owned()))
}

/// What to say where a base is not the one that was learnt on.
fn differs(shown: &str, theirs: &str, base: &str, ours: &str) -> Option<String> {
    (theirs != ours).then(|| {
        format!(
            "{} is not the base that {shown} was trained on: its weights are {ours}, those were {}",
            shown_in_line(base),
            shown_in_line(theirs)
        )
    })
}

/// Refuses an evaluation whose base is another than that of the run, or whose held-out rows repeat what the run learnt
/// from. Returns whether it could be looked for.
pub fn refuse(run: &Path, config: &Config, prepared: &Prepared) -> Result<bool> {
    let shown = run.display();
    if let Some((shown, theirs)) = base_of(&run.join("adapter"))
        && let Some(told) = differs(&shown, &theirs, &prepared.base_name, &prepared.base_sha256)
    {
        bail!("{told}\nhint: --set model.base= names the place of the right one, or train again");
    }
    let began = config::load_of_run(&run.join("config.toml")).ok();
    let Some(learnt) = began.as_ref().and_then(|began| learnt(began).ok()) else {
        // The same files, divided alike, are the same rows, wherever they lay.
        let summary: Option<Value> = disk::json(&run.join("summary.json"), Kind::Account).ok();
        let theirs = summary.as_ref().and_then(|summary| summary.pointer("/data/sha256")?.as_str());
        let same_files = theirs == Some(prepared.data.sha256.as_str());
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
