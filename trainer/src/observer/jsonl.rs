//! Owns `events.jsonl`: one event per line, whole lines only, and after a resume exactly the events up to the
//! checkpoint. Knows nothing about what events mean beyond the step they belong to.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::read::{self, Kind, Lines};
use ground::write::{self, Access};

use super::Observer;
use crate::disk;
use crate::event::Event;
use crate::train_loop::Past;

/// Appends events to a file.
#[derive(Debug)]
pub struct Jsonl {
    file: File,
    path: PathBuf,
}

impl Jsonl {
    /// Starts a new file; an old one is an error. It is the user's alone: events quote rows and answers.
    pub fn create(path: &Path) -> Result<Jsonl> {
        disk::write_new(path, b"", Access::Private)?;
        Ok(Jsonl { file: open(path)?, path: path.to_owned() })
    }

    /// Goes on after a step: everything that came later, and a half-written last line, is cut off. Step 0 empties it.
    pub fn resume(path: &Path, step: u64) -> Result<Jsonl> {
        let file = open(path)?;
        let keep = if step == 0 { 0 } else { kept_bytes(path, step)? };
        file.set_len(keep).with_context(|| format!("cannot cut {}", path.display()))?;
        file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        Ok(Jsonl { file, path: path.to_owned() })
    }
}

/// What the steps in a file measured. The file holds whole lines, as [`Jsonl::resume`] leaves it.
pub fn past(path: &Path) -> Result<Past> {
    let mut past = Past::default();
    for event in Events::read(path)? {
        match event? {
            Event::Step { loss, supervised_tokens, .. } => past.losses.push((loss, supervised_tokens)),
            Event::Valid { step, loss, .. } => (past.valid_loss, past.valid_step) = (Some(loss), Some(step)),
            _ => {}
        }
    }
    Ok(past)
}

/// The events of a file, one at a time, so that a file of any length takes no more than its longest line.
pub struct Events {
    lines: Lines<BufReader<File>>,
    number: usize,
    path: PathBuf,
}

impl Events {
    /// Of a file that holds whole lines, as [`Jsonl::resume`] leaves it.
    pub fn read(path: &Path) -> Result<Self> {
        let lines = read::lines(path, Kind::EventLine).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { lines, number: 0, path: path.to_owned() })
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        self.number += 1;
        let place = || format!("{}:{}", self.path.display(), self.number);
        Some(line.with_context(place).and_then(|line| {
            serde_json::from_slice(&line).with_context(|| format!("{} is not an event of this version", place()))
        }))
    }
}

fn open(path: &Path) -> Result<File> {
    write::append(path, Access::Private).with_context(|| format!("cannot write {}", path.display()))
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
fn kept_bytes(path: &Path, step: u64) -> Result<u64> {
    let (mut kept, mut last_step) = (0, 0);
    let mut events = Events::read(path)?;
    while let Some(event) = events.next() {
        if !events.lines.is_whole() {
            break;
        }
        let event = event?;
        if event.step().is_some_and(|of| of > step) {
            break;
        }
        if let Event::Step { step: of, .. } = event {
            last_step = of;
        }
        kept = events.lines.consumed();
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
        let mut events = Events::read(path)?;
        let mut whole = Vec::new();
        while let Some(event) = events.next() {
            if events.lines.is_whole() {
                whole.push(event?);
            }
        }
        Ok(whole)
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
        second.on(&Event::Valid { step: 4, loss: 0.5, tokens: 3 }).unwrap();
        let past = super::past(&path).unwrap();
        assert_eq!((past.valid_loss, past.valid_step), (Some(0.5), Some(4)));
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

    #[cfg(unix)]
    #[test]
    fn what_is_told_is_the_users_alone_and_never_goes_through_a_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, theirs) = (folder.path().join("events.jsonl"), folder.path().join("theirs"));
        drop(Jsonl::create(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&theirs, "precious").unwrap();
        symlink(&theirs, &path).unwrap();
        let errors = [Jsonl::create(&path).unwrap_err(), Jsonl::resume(&path, 0).unwrap_err()];
        assert!(format!("{:#}", errors[1]).contains("is a link"), "{errors:?}");
        assert_eq!(std::fs::read(&theirs).unwrap(), b"precious");
    }

    #[test]
    fn changed_records_are_read_or_refused_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let events = [warning(), step(1), saved(1), step(2), Event::Valid { step: 2, loss: 0.5, tokens: 3 }];
        let lines = events.map(|event| serde_json::to_string(&event).unwrap() + "\n").concat();
        crate::fuzz::run(200, &crate::fuzz::spoilt(lines.into_bytes()), |bytes| {
            std::fs::write(&path, &bytes).unwrap();
            let _ = past(&path);
            if Jsonl::resume(&path, 2).is_ok() {
                // What is kept is a start of what was there, in whole lines.
                let kept = std::fs::read(&path).unwrap();
                proptest::prop_assert!(bytes.starts_with(&kept) && kept.last() == Some(&b'\n'));
            }
            Ok(())
        });
    }
}
