//! Owns what is asked of a run once it is finished: the base that it was trained on, under its adapter wherever that is used,
//! and held-out rows that it did not learn from. A config keeps its own splits apart; the run may have been trained by another
//! one. Knows nothing of scores.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};
use datasets::Record;
use ground::read::Kind;
use ground::terminal::shown_in_line;
use model::Checkpoint;
use serde_json::Value;

use crate::config::{self, Config};
use crate::data;
use crate::disk;
use crate::prepared::{Prepared, set_here};
use crate::terminal_lines::note;

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

/// Refuses an evaluation whose base is another than that of the run, or whose held-out rows the run learnt from.
pub fn refuse(run: &Path, prepared: &Prepared) -> Result<()> {
    let shown = run.display();
    if let Some((shown, theirs)) = base_of(&run.join("adapter"))
        && let Some(told) = differs(&shown, &theirs, &prepared.base_name, &prepared.base_sha256)
    {
        bail!("{told}\nhint: --set model.base= names the place of the right one, or train again");
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
