//! Owns a run folder: its layout, who may write into it, and that a kill at any instant leaves the last good state.
//! Knows nothing about how a run works; what is in its files is handed in.

mod atomic;
pub mod checkpoint;
mod summary;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

pub use checkpoint::{Facts, Latest};
pub use summary::{BaseFacts, DataFacts, Environment, Status, Summary};

const LOCK: &str = ".lock";
const CHECKPOINTS: &str = "checkpoints";

/// The folder of one run, held by this process until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The lock ends with the process, however it ends.
    _lock: File,
}

impl RunDir {
    /// Takes a run folder. Without `resume` it must be empty or not there; with it, it may be anything a run left.
    pub fn open(path: &Path, resume: bool) -> Result<RunDir> {
        let new = !path.exists();
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        if !new && !resume && !is_empty(path)? {
            bail!("{} is not empty\nhint: go on with --resume, or choose another folder with --out DIR", path.display());
        }
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another process trains in {}\nhint: wait for it, or choose another folder with --out DIR", path.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
        }
        let run = RunDir { path: path.to_owned(), _lock: lock };
        run.remove_leftovers()?;
        let checkpoints = run.checkpoints();
        fs::create_dir_all(&checkpoints).with_context(|| format!("cannot create {}", checkpoints.display()))?;
        Ok(run)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The config as it was resolved.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Every event of the run.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The adapter as PEFT reads it.
    #[must_use]
    pub fn adapter_folder(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// The evaluation.
    #[must_use]
    pub fn eval_folder(&self) -> PathBuf {
        self.path.join("eval")
    }

    /// The checkpoints, one folder each.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Writes `config.toml`.
    pub fn write_config(&self, text: &str) -> Result<()> {
        atomic::write(&self.config_file(), text.as_bytes())
    }

    /// Writes `env.json`.
    pub fn write_environment(&self, environment: &Environment) -> Result<()> {
        self.write_json("env.json", environment)
    }

    /// Writes `ledger.json`.
    pub fn write_ledger(&self, ledger: &impl Serialize) -> Result<()> {
        self.write_json("ledger.json", ledger)
    }

    /// Writes `summary.json`.
    pub fn write_summary(&self, summary: &Summary) -> Result<()> {
        self.write_json("summary.json", summary)
    }

    /// Fills `adapter/` or another folder of the run through `fill`; it appears whole or not at all.
    pub fn write_folder(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path.join(name);
        atomic::folder(&path, fill)?;
        Ok(path)
    }

    /// Writes a JSON file of the run.
    pub fn write_json(&self, name: &str, content: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(content).with_context(|| format!("cannot write {name}"))?;
        text.push(b'\n');
        atomic::write(&self.path.join(name), &text)
    }

    /// What a kill left half-written or half-replaced.
    fn remove_leftovers(&self) -> Result<()> {
        for folder in [self.path.clone(), self.checkpoints()] {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let ending = path.extension().unwrap_or_default();
                if ending == atomic::REPLACED && !path.with_extension("").exists() {
                    // Killed between the two renames: the old one is still the good one.
                    let place = path.with_extension("");
                    fs::rename(&path, &place).with_context(|| format!("cannot rename {}", path.display()))?;
                } else if ending == atomic::PARTIAL || ending == atomic::REPLACED {
                    let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    gone.with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

fn is_empty(path: &Path) -> Result<bool> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(entries.flatten().all(|entry| entry.file_name() == LOCK))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_used_folder_is_refused_unless_it_is_resumed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("runs/legal");
        let run = RunDir::open(&path, false).unwrap();
        run.write_config("version = 1\n").unwrap();
        drop(run);
        let error = RunDir::open(&path, false).unwrap_err().to_string();
        assert!(error.ends_with("is not empty\nhint: go on with --resume, or choose another folder with --out DIR"));
        assert!(RunDir::open(&path, true).is_ok());
    }

    #[test]
    fn a_folder_that_was_only_touched_can_be_taken() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(LOCK), "").unwrap();
        assert!(RunDir::open(home.path(), false).is_ok());
    }

    #[test]
    fn two_processes_never_write_into_one_folder() {
        let home = tempfile::tempdir().unwrap();
        let held = RunDir::open(home.path(), true).unwrap();
        let error = RunDir::open(home.path(), true).unwrap_err().to_string();
        assert!(error.starts_with("another process trains in"), "{error}");
        drop(held);
        assert!(RunDir::open(home.path(), true).is_ok());
    }

    #[test]
    fn what_a_kill_left_is_cleared_and_nothing_good_is_lost() {
        let home = tempfile::tempdir().unwrap();
        for leftover in ["checkpoints/step-000002.partial", "adapter.replaced", "checkpoints/step-000001"] {
            fs::create_dir_all(home.path().join(leftover)).unwrap();
        }
        fs::write(home.path().join("adapter.replaced/a"), "old").unwrap();
        fs::write(home.path().join("summary.json.partial"), "{").unwrap();
        drop(RunDir::open(home.path(), true).unwrap());
        assert!(home.path().join("adapter/a").exists() && home.path().join("checkpoints/step-000001").exists());
        assert!(!home.path().join("checkpoints/step-000002.partial").exists());
        assert!(!home.path().join("summary.json.partial").exists());
    }
}
