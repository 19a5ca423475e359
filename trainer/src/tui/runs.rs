//! Owns finding the runs of a folder and what each came to, from the ends of their records: some at a time, so that a
//! folder of thousands, or of files that are none, never keeps the view from its keys.
//! Knows the files of a run folder; knows no view.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ground::read::{self, Kind};
use serde_json::Value;

use crate::event::Event;

/// Bytes at either end of a record that are read.
const END_BYTES: u64 = 64 << 10;
/// A run that said nothing for longer is quiet.
const QUIET: Duration = Duration::from_secs(120);
/// Runs that are read anew in one look.
const READ_AT_ONCE: usize = 64;
/// Runs that are listed; of more, the newest.
const MOST_LISTED: usize = 2000;

/// One run of a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Its folder.
    pub path: PathBuf,
    /// The name of its folder.
    pub name: String,
    /// What it does or did, in a few words.
    pub state: String,
    /// Steps done, and in all.
    pub steps: Option<(u64, u64)>,
    /// The last validation.
    pub valid_loss: Option<f64>,
    /// The best score of the evaluation with the name of its metric.
    pub score: Option<String>,
    /// Seconds since it said something.
    pub age_secs: Option<u64>,
    /// Whether a process may be at work in it, by its last word.
    pub lives: bool,
}

/// When a run's files changed last, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// The runs of a folder, read again only where something changed.
#[derive(Debug, Default)]
pub struct Runs {
    known: HashMap<PathBuf, (Stamp, Entry)>,
    pending: bool,
    left_out: usize,
}

impl Runs {
    /// Whether some runs have not been read yet.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.pending
    }

    /// How many older runs are not listed.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The runs of a folder, the newest first. A folder that is not there has none.
    pub fn list(&mut self, folder: &Path, now: SystemTime) -> Vec<Entry> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut runs: Vec<(PathBuf, Stamp)> = entries
            .map(|entry| (entry.path(), stamp(&entry.path())))
            .filter(|(_, [record, _])| record.is_some())
            .collect();
        runs.sort_by(|(a, [a_record, _]), (b, [b_record, _])| (b_record, a).cmp(&(a_record, b)));
        self.left_out = runs.len().saturating_sub(MOST_LISTED);
        runs.truncate(MOST_LISTED);
        let mut known = std::mem::take(&mut self.known);
        let mut unread = 0;
        for (path, stamp) in runs {
            let entry = match known.remove(&path) {
                Some((before, entry)) if before == stamp => Some((stamp, entry)),
                other => {
                    unread += 1;
                    // What is read later is shown as it was until then.
                    if unread <= READ_AT_ONCE { Some((stamp, describe(&path))) } else { other }
                }
            };
            let unknown = || ([None, None], Entry { state: "not read yet".to_owned(), ..Entry::of(&path) });
            self.known.insert(path.clone(), entry.unwrap_or_else(unknown));
        }
        self.pending = unread > READ_AT_ONCE;
        let mut listed: Vec<Entry> =
            self.known.values().map(|([record, _], entry)| entry.clone().aged(record.map(|(at, _)| at), now)).collect();
        listed.sort_by(|a, b| {
            (a.age_secs.is_none(), a.age_secs, &a.name).cmp(&(b.age_secs.is_none(), b.age_secs, &b.name))
        });
        listed
    }
}

impl Entry {
    fn of(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Entry { path: path.to_path_buf(), name, ..Entry::default() }
    }

    /// The same some time after it was read: how long the run has been silent is told by the clock.
    fn aged(mut self, changed: Option<SystemTime>, now: SystemTime) -> Self {
        let age = changed.map(|changed| now.duration_since(changed).unwrap_or_default());
        self.age_secs = age.map(|age| age.as_secs());
        if self.lives && age.is_some_and(|age| age > QUIET) {
            self.state.push_str(", then quiet");
        }
        self
    }
}

fn stamp(run: &Path) -> Stamp {
    ["events.jsonl", "summary.json"].map(|name| {
        let found = fs::metadata(run.join(name)).ok().filter(fs::Metadata::is_file)?;
        Some((found.modified().ok()?, found.len()))
    })
}

/// What a run came to so far, as its record says it.
fn describe(path: &Path) -> Entry {
    let mut entry = Entry { state: "no events yet".to_owned(), ..Entry::of(path) };
    let (mut done, mut total, mut evaluating) = (None, None, false);
    for event in ends(&path.join("events.jsonl")) {
        let state = match event {
            Event::RunStarted { total_steps, .. } => {
                total = Some(total_steps);
                Some(("starting", true))
            }
            Event::Step { step, .. } => {
                done = Some(step);
                Some(("training", true))
            }
            Event::Valid { loss, .. } => {
                entry.valid_loss = Some(loss);
                None
            }
            Event::Paused { .. } => Some(("paused", true)),
            Event::EvalProgress { .. } | Event::EvalArm(_) => {
                evaluating = true;
                Some(("evaluating", true))
            }
            Event::Finished { step, complete, valid_loss, .. } => {
                done = Some(step);
                entry.valid_loss = valid_loss.or(entry.valid_loss);
                Some((if complete { "finished" } else { "stopped, can be resumed" }, false))
            }
            Event::Failed { .. } => Some((if evaluating { "failed in evaluation" } else { "failed" }, false)),
            _ => None,
        };
        if let Some((state, lives)) = state {
            (entry.state, entry.lives) = (state.to_owned(), lives);
        }
    }
    entry.steps = done.or(total.map(|_| 0)).zip(total);
    entry.score = score(path);
    entry
}

/// The events at the start and at the end of a record; a line that is cut is none.
fn ends(path: &Path) -> Vec<Event> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = read::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = read::at_most(file.by_ref().take(END_BYTES), END_BYTES)?;
        if length > END_BYTES {
            let from = END_BYTES.max(length.saturating_sub(END_BYTES));
            file.seek(SeekFrom::Start(from))?;
            bytes.push(b'\n');
            bytes.extend(read::at_most(file.take(END_BYTES), END_BYTES)?);
        }
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The score of the candidate, or the best there is, as the summary of a finished run says it.
fn score(path: &Path) -> Option<String> {
    let bytes = read::bytes(&path.join("summary.json"), Kind::Account).ok()?;
    let summary: Value = serde_json::from_slice(&bytes).ok()?;
    let eval = summary.get("eval")?;
    let metric = eval.pointer("/measured/primary").and_then(Value::as_str).or_else(|| eval.get("primary")?.as_str())?;
    let arms = eval.get("arms")?.as_array()?;
    let value = |arm: &Value| arm.pointer(&format!("/metrics/{metric}/value")).and_then(Value::as_f64);
    let candidate = eval.get("candidate").and_then(Value::as_str);
    let chosen = arms.iter().find(|arm| arm.get("name").and_then(Value::as_str) == candidate && candidate.is_some());
    let best = chosen.and_then(value).or_else(|| arms.iter().filter_map(value).reduce(f64::max))?;
    Some(format!("{} {best:.3}", metric.replace('_', " ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, lines: &[&str]) {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("events.jsonl"), lines.join("\n") + "\n").unwrap();
    }

    const STARTED: &str = r#"{"event":"run_started","version":1,"name":"a","program":"0","device":"cpu","base":"b","data":"d","total_steps":8,"trainable":1}"#;
    const STEP: &str = r#"{"event":"step","step":3,"epoch":0.5,"loss":0.5,"learning_rate":1e-3,"gradient_norm":1.0,"clipped":false,"tokens":4,"supervised_tokens":2,"tokens_per_second":9.0,"host_memory_bytes":1,"elapsed_secs":2.0}"#;
    const FINISHED: &str = r#"{"event":"finished","step":8,"complete":true,"train_loss":0.5,"valid_loss":0.25,"wall_seconds":9.0,"adapter":null}"#;

    #[test]
    fn runs_are_listed_with_what_they_do() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "old", &[STARTED, STEP, FINISHED]);
        write(folder.path(), "live", &[STARTED, STEP, "{\"event\":\"st"]);
        write(folder.path(), "long", &[STARTED, &vec![STEP; 2000].join("\n"), FINISHED]);
        fs::create_dir_all(folder.path().join("not-a-run")).unwrap();
        let summary = r#"{"eval":{"measured":{"primary":"exact_match"},"candidate":"tuned","arms":[{"name":"base","metrics":{"exact_match":{"value":0.99}}},{"name":"tuned","metrics":{"exact_match":{"value":0.75}}}]}}"#;
        fs::write(folder.path().join("old/summary.json"), summary).unwrap();
        let now = SystemTime::now();
        let mut runs = Runs::default();
        let mut entries = runs.list(folder.path(), now);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let told: Vec<_> =
            entries.iter().map(|entry| (entry.name.as_str(), entry.state.as_str(), entry.steps)).collect();
        let expected =
            [("live", "training", Some((3, 8))), ("long", "finished", Some((8, 8))), ("old", "finished", Some((8, 8)))];
        assert_eq!(told, expected);
        assert_eq!((entries[2].valid_loss, entries[2].score.as_deref()), (Some(0.25), Some("exact match 0.750")));
        let later = runs.list(folder.path(), now + Duration::from_secs(500));
        let live = later.iter().find(|entry| entry.name == "live").unwrap();
        assert_eq!(live.state, "training, then quiet");
        assert!(later.iter().all(|entry| entry.name == "live" || !entry.state.contains("quiet")));
        write(folder.path(), "live", &[STARTED, STEP, FINISHED, ""]);
        let again = runs.list(folder.path(), now + Duration::from_secs(500));
        assert!(again.iter().any(|entry| entry.name == "live" && entry.state == "finished"));
        assert!(runs.list(&folder.path().join("nowhere"), now).is_empty());
    }

    #[test]
    fn thousands_of_runs_are_read_some_at_a_time_and_none_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..200 {
            write(folder.path(), &format!("run-{run}"), &[STARTED, STEP]);
        }
        let (mut runs, now) = (Runs::default(), SystemTime::now());
        let unread = |entries: &[Entry]| entries.iter().filter(|entry| entry.state == "not read yet").count();
        let first = runs.list(folder.path(), now);
        assert_eq!((first.len(), unread(&first), runs.pending()), (200, 200 - READ_AT_ONCE, true));
        let looks = (0..10)
            .take_while(|_| {
                runs.list(folder.path(), now);
                runs.pending()
            })
            .count();
        assert_eq!(looks, 2);
        assert_eq!(unread(&runs.list(folder.path(), now)), 0);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_no_record_and_a_huge_one_is_read_at_its_ends() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pipe", "zero", "sparse", "summary"] {
            write(folder.path(), name, &[STARTED]);
        }
        let file = |name: &str| folder.path().join(name).join("events.jsonl");
        fs::remove_file(file("pipe")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(file("pipe")).status().unwrap();
        assert!(made.success());
        fs::remove_file(file("zero")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", file("zero")).unwrap();
        fs::File::options().write(true).open(file("sparse")).unwrap().set_len(20 << 30).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("summary/summary.json")).unwrap();
        let mut runs = Runs::default();
        let mut names: Vec<_> = runs.list(folder.path(), SystemTime::now()).into_iter().map(|run| run.name).collect();
        names.sort();
        assert_eq!(names, ["sparse", "summary"]);
        assert!(ends(&file("pipe")).is_empty() && ends(&file("zero")).is_empty());
    }

    #[test]
    fn changed_accounts_are_listed_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "run", &[STARTED, STEP, FINISHED]);
        let summary = r#"{"eval":{"measured":{"primary":"exact_match"},"candidate":"tuned","arms":[{"name":"tuned","metrics":{"exact_match":{"value":0.75}}}]}}"#;
        let record = [STARTED, STEP, FINISHED].join("\n").into_bytes();
        let both = (crate::fuzz::spoilt(record), crate::fuzz::spoilt(summary.as_bytes().to_vec()));
        crate::fuzz::run(100, &both, |(record, summary)| {
            fs::write(folder.path().join("run/events.jsonl"), record).unwrap();
            fs::write(folder.path().join("run/summary.json"), summary).unwrap();
            proptest::prop_assert_eq!(Runs::default().list(folder.path(), SystemTime::now()).len(), 1);
            Ok(())
        });
    }
}
