//! Owns `events.jsonl`: one event per line, whole lines only, and after a resume exactly the events up to the
//! checkpoint. Knows nothing about what events mean beyond the step they belong to.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Observer;
use crate::event::Event;
use crate::train_loop::Past;

/// Appends events to a file.
#[derive(Debug)]
pub struct Jsonl {
    file: File,
    path: PathBuf,
}

impl Jsonl {
    /// Starts a new file; an old one is an error.
    pub fn create(path: &Path) -> Result<Jsonl> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        Ok(Jsonl { file: file.with_context(|| format!("cannot create {}", path.display()))?, path: path.to_owned() })
    }

    /// Goes on after a step: everything that came later, and a half-written last line, is cut off. Step 0 empties it.
    pub fn resume(path: &Path, step: u64) -> Result<Jsonl> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let keep = if step == 0 { 0 } else { kept_bytes(&bytes, step, path)? };
        file.set_len(keep as u64).with_context(|| format!("cannot cut {}", path.display()))?;
        file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        Ok(Jsonl { file, path: path.to_owned() })
    }
}

/// What the steps in a file measured. The file holds whole lines, as [`Jsonl::resume`] leaves it.
pub fn past(path: &Path) -> Result<Past> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut past = Past::default();
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match parse(line, at + 1, path)? {
            Event::Step { loss, supervised_tokens, .. } => past.losses.push((loss, supervised_tokens)),
            Event::Valid { loss, .. } => past.valid_loss = Some(loss),
            _ => {}
        }
    }
    Ok(past)
}

/// Everything in a file that holds whole lines, as [`Jsonl::resume`] leaves it.
pub fn events(path: &Path) -> Result<Vec<Event>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines.map(|(at, line)| parse(line, at + 1, path)).collect()
}

impl Observer for Jsonl {
    fn on(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        // One write for the whole line, so that a kill leaves at most one broken line, the last.
        self.file.write_all(&line).with_context(|| format!("cannot write {}", self.path.display()))?;
        if matches!(event, Event::Checkpoint { .. } | Event::Finished { .. }) {
            self.file.sync_data().with_context(|| format!("cannot sync {}", self.path.display()))?;
        }
        Ok(())
    }
}

/// Bytes of the lines before the first event of a later step.
fn kept_bytes(bytes: &[u8], step: u64, path: &Path) -> Result<usize> {
    let mut kept = 0;
    let mut last_step = 0;
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        let event = parse(line, at + 1, path)?;
        if event.step().is_some_and(|of| of > step) {
            break;
        }
        if let Event::Step { step: of, .. } = event {
            last_step = of;
        }
        kept += line.len();
    }
    if last_step != step {
        bail!(
            "{} ends at step {last_step}, and the checkpoint is of step {step}\n\
             hint: events are missing; start again with --out and another folder",
            path.display()
        );
    }
    Ok(kept)
}

fn parse(line: &[u8], number: usize, path: &Path) -> Result<Event> {
    serde_json::from_slice(line).with_context(|| format!("{}:{number} is not an event of this version", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(step: u64) -> Event {
        Event::Step {
            step,
            epoch: 0.1,
            loss: 1.0 / step as f64,
            learning_rate: 1e-3,
            gradient_norm: 0.5,
            clipped: false,
            tokens: 10,
            supervised_tokens: 2,
            tokens_per_second: 5.0,
            host_memory_bytes: Some(1),
            device_memory_bytes: None,
            elapsed_secs: step as f64,
            waited_secs: None,
        }
    }

    fn warning() -> Event {
        Event::Warning { message: "w".into() }
    }

    fn saved(step: u64) -> Event {
        Event::Checkpoint { step, path: PathBuf::from("c") }
    }

    fn read(path: &Path) -> Result<Vec<Event>> {
        let bytes = std::fs::read(path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate();
        lines.map(|(at, line)| parse(line, at + 1, path)).collect()
    }

    fn steps(path: &Path) -> Vec<u64> {
        let is_step = |event: &Event| matches!(event, Event::Step { .. });
        read(path).unwrap().iter().filter(|event| is_step(event)).filter_map(Event::step).collect()
    }

    #[test]
    fn a_killed_and_resumed_run_has_the_steps_of_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut first = Jsonl::create(&path).unwrap();
        for event in [warning(), step(1), step(2), saved(2), step(3)] {
            first.on(&event).unwrap();
        }
        first.file.write_all(b"{\"event\":\"step\",\"st").unwrap();
        drop(first);
        assert_eq!(steps(&path), [1, 2, 3]);
        let mut second = Jsonl::resume(&path, 2).unwrap();
        for event in [Event::Resumed { step: 2 }, step(3), step(4)] {
            second.on(&event).unwrap();
        }
        assert_eq!(steps(&path), [1, 2, 3, 4]);
        assert!(read(&path).unwrap().contains(&saved(2)));
        let past = past(&path).unwrap();
        assert_eq!((past.losses.len(), past.losses[1], past.valid_loss), (4, (0.5, 2), None));
    }

    #[test]
    fn without_a_checkpoint_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        Jsonl::create(&path).unwrap().on(&step(1)).unwrap();
        assert!(Jsonl::create(&path).is_err());
        drop(Jsonl::resume(&path, 0).unwrap());
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn missing_events_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        Jsonl::create(&path).unwrap().on(&step(1)).unwrap();
        let error = Jsonl::resume(&path, 2).unwrap_err().to_string();
        assert!(error.contains("ends at step 1, and the checkpoint is of step 2"), "{error}");
    }
}
