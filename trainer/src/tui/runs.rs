//! Owns finding the runs of a folder and what each came to, from the ends of their records.
//! Knows the files of a run folder; knows no view.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::event::Event;

/// Bytes at either end of a record that are read.
const END_BYTES: u64 = 64 << 10;
/// A run that said nothing for longer is quiet.
const QUIET: Duration = Duration::from_secs(120);

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
}

/// The runs of a folder, the newest first. A folder that is not there has none.
#[must_use]
pub fn list(folder: &Path, now: SystemTime) -> Vec<Entry> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let runs = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("events.jsonl").is_file());
    let mut runs: Vec<Entry> = runs.map(|path| describe(&path, now)).collect();
    runs.sort_by(|a, b| (a.age_secs, &a.name).cmp(&(b.age_secs, &b.name)));
    runs
}

/// What a run came to so far.
#[must_use]
pub fn describe(path: &Path, now: SystemTime) -> Entry {
    let record = path.join("events.jsonl");
    let changed = fs::metadata(&record).and_then(|data| data.modified()).ok();
    let age = changed.map(|changed| now.duration_since(changed).unwrap_or_default());
    let mut entry = Entry {
        path: path.to_path_buf(),
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        state: "no events yet".to_owned(),
        age_secs: age.map(|age| age.as_secs()),
        ..Entry::default()
    };
    let (mut done, mut total, mut evaluating) = (None, None, false);
    for event in ends(&record) {
        let quiet = age.is_some_and(|age| age > QUIET);
        let lives = |word: &str| if quiet { format!("{word}, then quiet") } else { word.to_owned() };
        match event {
            Event::RunStarted { total_steps, .. } => (total, entry.state) = (Some(total_steps), lives("starting")),
            Event::Step { step, .. } => (done, entry.state) = (Some(step), lives("training")),
            Event::Valid { loss, .. } => entry.valid_loss = Some(loss),
            Event::Paused { .. } => entry.state = lives("paused"),
            Event::EvalProgress { .. } | Event::EvalArm(_) => (evaluating, entry.state) = (true, lives("evaluating")),
            Event::Finished { step, complete, valid_loss, .. } => {
                done = Some(step);
                entry.valid_loss = valid_loss.or(entry.valid_loss);
                entry.state = if complete { "finished" } else { "stopped, can be resumed" }.to_owned();
            }
            Event::Failed { .. } => entry.state = if evaluating { "failed in evaluation" } else { "failed" }.to_owned(),
            _ => {}
        }
    }
    entry.steps = done.or(total.map(|_| 0)).zip(total);
    entry.score = score(path);
    entry
}

/// The events at the start and at the end of a record; a line that is cut is none.
fn ends(path: &Path) -> Vec<Event> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.by_ref().take(END_BYTES).read_to_end(&mut bytes)?;
        if length > END_BYTES {
            let from = END_BYTES.max(length.saturating_sub(END_BYTES));
            file.seek(SeekFrom::Start(from))?;
            bytes.push(b'\n');
            file.take(END_BYTES).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The score of the candidate, or the best there is, as the summary of a finished run says it.
fn score(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path.join("summary.json")).ok()?;
    let summary: Value = serde_json::from_str(&text).ok()?;
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
        let mut entries = list(folder.path(), now);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let told: Vec<_> =
            entries.iter().map(|entry| (entry.name.as_str(), entry.state.as_str(), entry.steps)).collect();
        let expected =
            [("live", "training", Some((3, 8))), ("long", "finished", Some((8, 8))), ("old", "finished", Some((8, 8)))];
        assert_eq!(told, expected);
        assert_eq!((entries[2].valid_loss, entries[2].score.as_deref()), (Some(0.25), Some("exact match 0.750")));
        let later = describe(&folder.path().join("live"), now + Duration::from_secs(500));
        assert_eq!(later.state, "training, then quiet");
        assert!(list(&folder.path().join("nowhere"), now).is_empty());
    }
}
