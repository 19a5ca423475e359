//! Owns the run folder: its layout, who may write into it, checkpoints that are read back before older ones go.
//! Knows names and bytes; knows nothing of what the numbers mean.

mod atomic;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use model::train::SessionState;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::retention;

/// Version of the layout and of `checkpoint.json`.
const VERSION: u32 = 1;
const STATE_FILE: &str = "state.safetensors";
const MANIFEST_FILE: &str = "checkpoint.json";
const LOCK_FILE: &str = ".lock";

/// What a checkpoint belongs to; a resumed run must have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// SHA-256 of every setting that changes what is learnt.
    pub config: String,
    /// SHA-256 of the rows.
    pub data: String,
    /// SHA-256 of the base weights.
    pub base: String,
    /// SHA-256 of tokenizer and chat template.
    pub speech: String,
    /// Optimiser steps of the whole run.
    pub total_steps: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    step: u64,
    identity: Identity,
    state_sha256: String,
}

/// A run folder, held by this process.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    identity: Identity,
    /// The lock ends with the process, however it ends.
    _lock: Arc<File>,
}

impl RunDir {
    /// A new folder; one that holds a run is refused. What a run leaves that came to nothing before its first step, a
    /// lock and an empty folder, is no run.
    pub fn create(path: &Path, identity: Identity) -> Result<Self> {
        let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        let used = |entry: fs::DirEntry| entry.file_name() != LOCK_FILE && !empty(&entry.path());
        if fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(used)) {
            bail!(
                "{} holds a run already\nhint: go on with --resume, or choose another folder with --out",
                path.display()
            );
        }
        fs::create_dir_all(path.join("checkpoints")).with_context(|| format!("cannot create {}", path.display()))?;
        Self::take(path, identity)
    }

    /// The folder of an interrupted run, and its last good state if it saved one. Checkpoints that cannot be read are
    /// passed over, each with a warning.
    pub fn open(path: &Path, identity: Identity) -> Result<(Self, Option<SessionState>, Vec<String>)> {
        if !path.is_dir() {
            bail!("{}: no run to resume\nhint: run without --resume", path.display());
        }
        let run = Self::take(path, identity)?;
        fs::create_dir_all(run.checkpoints()).with_context(|| format!("cannot create {}", run.path.display()))?;
        atomic::settle(&run.path)?;
        atomic::settle(&run.checkpoints())?;
        let mut warnings = Vec::new();
        let mut steps = run.steps()?;
        while let Some(step) = steps.pop() {
            let folder = run.checkpoint(step);
            refuse_other_version(&folder)?;
            match run.read(&folder) {
                Ok((manifest, state)) => {
                    run.compare(&manifest.identity)?;
                    return Ok((run, Some(state), warnings));
                }
                Err(error) => warnings.push(format!("{} is passed over: {error:#}", folder.display())),
            }
        }
        if !warnings.is_empty() {
            bail!(
                "{}: no checkpoint can be read\n{}\nhint: start again with --out",
                run.path.display(),
                warnings.join("\n")
            );
        }
        Ok((run, None, warnings))
    }

    /// A file or folder in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file so that a kill leaves the old one or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomically(&self.join(name), bytes)
    }

    /// Saves a checkpoint, reads it back, and only then deletes those beyond `keep`.
    pub fn save_checkpoint(&self, state: &SessionState, keep: usize) -> Result<PathBuf> {
        let folder = self.checkpoint(state.step);
        let saved = atomic::folder(&folder, |partial| {
            self.fill(partial, state)?;
            let (_, read) = self.read(partial)?;
            if !same_bits(&read, state) {
                bail!("{} does not read back equal", partial.display());
            }
            Ok(())
        });
        if let Err(error) = saved {
            let mib = 12 * state.parameters.len() / (1 << 20) + 1;
            return Err(error.context(format!(
                "cannot save step {}; earlier checkpoints are intact\n\
                 hint: a checkpoint takes {mib} MiB: free disk space, then run with --resume",
                state.step
            )));
        }
        for step in retention::superseded(&self.steps()?, keep) {
            atomic::remove(&self.checkpoint(step))?;
        }
        Ok(folder)
    }

    /// Makes a folder in one move: `fill` writes into a folder beside it, which then takes its name.
    pub fn publish_folder(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.join(name);
        atomic::folder(&folder, fill)?;
        Ok(folder)
    }

    /// Holds the folder against other processes.
    fn take(path: &Path, identity: Identity) -> Result<Self> {
        let file = path.join(LOCK_FILE);
        let lock = File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(RunDir { path: path.to_path_buf(), identity, _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => bail!(
                "another process trains in {}\nhint: wait for it, or choose another folder with --out",
                path.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
        }
    }

    fn checkpoints(&self) -> PathBuf {
        self.join("checkpoints")
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step:06}"))
    }

    /// Steps of complete checkpoints, ascending.
    fn steps(&self) -> Result<Vec<u64>> {
        let folder = self.checkpoints();
        let mut steps = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
            let step =
                name.to_str().and_then(|name| name.strip_prefix("step-")).and_then(|step| step.parse::<u64>().ok());
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn fill(&self, folder: &Path, state: &SessionState) -> Result<()> {
        let mut views = BTreeMap::new();
        for (name, values) in [("parameters", &state.parameters), ("first", &state.first), ("second", &state.second)] {
            views.insert(name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?);
        }
        let bytes = safetensors::serialize(views, None)?;
        let manifest = Manifest {
            version: VERSION,
            step: state.step,
            identity: self.identity.clone(),
            state_sha256: datasets::digest::sha256_hex(&bytes),
        };
        atomic::write_synced(&folder.join(STATE_FILE), &bytes)?;
        atomic::write_synced(&folder.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest)?)
    }

    fn read(&self, folder: &Path) -> Result<(Manifest, SessionState)> {
        let path = folder.join(MANIFEST_FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).with_context(|| format!("{} is broken", path.display()))?;
        if manifest.version != VERSION {
            bail!("{} has version {}, this program reads version {VERSION}", path.display(), manifest.version);
        }
        let path = folder.join(STATE_FILE);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = datasets::digest::sha256_hex(&bytes);
        if found != manifest.state_sha256 {
            bail!("{} has sha256 {found}, expected {}", path.display(), manifest.state_sha256);
        }
        let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{} is broken", path.display()))?;
        let values = |name: &str| -> Result<Vec<f32>> {
            let view = file.tensor(name).with_context(|| format!("{} has no {name}", path.display()))?;
            Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        let state = SessionState {
            step: manifest.step,
            parameters: values("parameters")?,
            first: values("first")?,
            second: values("second")?,
        };
        Ok((manifest, state))
    }

    fn compare(&self, found: &Identity) -> Result<()> {
        let ours = &self.identity;
        let changed: Vec<&str> = [
            ("a setting that changes training", ours.config != found.config),
            ("the rows", ours.data != found.data),
            ("the base weights", ours.base != found.base),
            ("tokenizer or chat template", ours.speech != found.speech),
            ("the number of steps", ours.total_steps != found.total_steps),
        ]
        .into_iter()
        .filter_map(|(what, changed)| changed.then_some(what))
        .collect();
        if !changed.is_empty() {
            bail!(
                "{}: changed since the run began: {}\nhint: undo the change, or start a new run with --out",
                self.path.display(),
                changed.join(", ")
            );
        }
        Ok(())
    }
}

/// Writes beside, syncs, renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::write(path, bytes)
}

/// Makes a folder that was not there in one move: `fill` writes into a folder beside it, which is synced and then takes
/// its name. If anything fails, nothing is left.
pub fn make_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    atomic::folder(path, fill)
}

/// A damaged checkpoint is passed over, one of another version is not: it is good, only not for this program.
fn refuse_other_version(folder: &Path) -> Result<()> {
    let text = fs::read(folder.join(MANIFEST_FILE)).unwrap_or_default();
    let json = serde_json::from_slice::<serde_json::Value>(&text).ok();
    match json.and_then(|json| json.get("version")?.as_u64()) {
        Some(version) if version != u64::from(VERSION) => bail!(
            "{} is of version {version}, this program reads version {VERSION}\nhint: go on with the program that wrote it",
            folder.display()
        ),
        _ => Ok(()),
    }
}

/// Equal as bits, so that a zero's sign counts.
fn same_bits(a: &SessionState, b: &SessionState) -> bool {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
    let pairs = [(&a.parameters, &b.parameters), (&a.first, &b.first), (&a.second, &b.second)];
    a.step == b.step && pairs.into_iter().all(|(a, b)| bits(a) == bits(b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(data: &str) -> Identity {
        let text = |text: &str| text.to_owned();
        Identity { config: text("c"), data: text(data), base: text("b"), speech: text("s"), total_steps: 9 }
    }

    fn state(step: u64) -> SessionState {
        SessionState { step, parameters: vec![0.1, step as f32], first: vec![1.0, 2.0], second: vec![3.0, 4.0] }
    }

    #[test]
    fn the_last_good_checkpoint_is_taken_and_a_broken_one_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
        for step in 1..=3 {
            run.save_checkpoint(&state(step), 2).unwrap();
        }
        assert_eq!(run.steps().unwrap(), [2, 3]);
        fs::write(run.checkpoint(3).join(STATE_FILE), b"cut").unwrap();
        drop(run);
        let (_, found, warnings) = RunDir::open(&root.path().join("run"), identity("d")).unwrap();
        assert_eq!((found, warnings.len()), (Some(state(2)), 1));
    }

    #[test]
    fn changed_rows_are_refused_and_a_taken_folder_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
        run.save_checkpoint(&state(1), 2).unwrap();
        drop(run);
        let path = root.path().join("run");
        let error = RunDir::open(&path, identity("other")).unwrap_err().to_string();
        assert!(error.contains("the rows") && error.contains("hint:"), "{error}");
        assert!(RunDir::create(&path, identity("d")).is_err());
    }

    #[test]
    fn a_folder_in_which_nothing_began_is_taken_again() {
        let root = tempfile::tempdir().unwrap();
        drop(RunDir::create(root.path(), identity("d")).unwrap());
        let run = RunDir::create(root.path(), identity("other")).unwrap();
        run.write("config.toml", b"").unwrap();
        drop(run);
        assert!(RunDir::create(root.path(), identity("d")).is_err());
    }

    #[test]
    fn a_save_that_fails_keeps_earlier_checkpoints() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
        run.save_checkpoint(&state(1), 1).unwrap();
        // A file where the folder of the next checkpoint would be made stands in for a disk that is full.
        fs::write(run.checkpoint(2).with_extension("partial"), b"").unwrap();
        assert!(run.save_checkpoint(&state(2), 1).is_err());
        drop(run);
        fs::create_dir_all(root.path().join("run/adapter.replaced")).unwrap();
        let (run, found, _) = RunDir::open(&root.path().join("run"), identity("d")).unwrap();
        assert_eq!(found, Some(state(1)));
        // What the kill left is cleared, and what it had only half replaced is put back.
        assert!(!run.checkpoint(2).with_extension("partial").exists() && run.join("adapter").exists());
    }

    #[test]
    fn two_processes_never_write_into_one_folder() {
        let root = tempfile::tempdir().unwrap();
        let held = RunDir::create(root.path(), identity("d")).unwrap();
        let error = RunDir::open(root.path(), identity("d")).unwrap_err().to_string();
        assert!(error.starts_with("another process trains in"), "{error}");
        drop(held);
        assert!(RunDir::open(root.path(), identity("d")).is_ok());
    }

    #[test]
    fn another_version_is_refused_and_not_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path(), identity("d")).unwrap();
        let file = run.save_checkpoint(&state(1), 1).unwrap().join(MANIFEST_FILE);
        let text = fs::read_to_string(&file).unwrap().replace("\"version\": 1", "\"version\": 2");
        fs::write(&file, text).unwrap();
        drop(run);
        let error = RunDir::open(root.path(), identity("d")).unwrap_err().to_string();
        assert!(error.contains("this program reads version 1"), "{error}");
    }
}
