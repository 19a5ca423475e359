//! Owns the run folder: its layout, who may write into it, checkpoints that are read back before older ones go.
//! Knows names and bytes; knows nothing of what the numbers mean. A folder may be somebody else's, so nothing in it is
//! believed that can be compared, and no link in it is followed by what is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use ground::lock::{self, Attempt, Lock};
use ground::read::{self, Kind};
use ground::write::{self, Access};
use model::train::SessionState;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::{disk, retention};

/// Version of the layout and of `checkpoint.json`.
const VERSION: u32 = 1;
const STATE_FILE: &str = "state.safetensors";
const MANIFEST_FILE: &str = "checkpoint.json";
const LOCK_FILE: &str = ".lock";
/// The record of a run. It is the first file of one, so a folder without it holds none.
pub const EVENTS: &str = "events.jsonl";
/// What the first line of a record is about.
const FIRST_EVENT: &str = "run_started";
/// What a run writes before its first event.
const BEFORE_THE_FIRST_EVENT: [&str; 5] = [EVENTS, "config.toml", "prompt.jinja", "env.json", "ledger.json"];
/// Names that an error repeats.
const MOST_NAMED: usize = 5;
/// Names and shapes of three tensors take far less.
const MOST_HEADER_BYTES: u64 = 64 << 10;

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
    _lock: Arc<Lock>,
}

/// Holds a run folder against every other process that writes into it, as long as the value lives. `hint` is what
/// somebody can do who finds it held.
pub fn hold(path: &Path, hint: &str) -> Result<Lock> {
    take(&path.join(LOCK_FILE), path, hint)
}

/// The same for a folder that is replaced as a whole: the lock lies beside it.
pub fn hold_place(path: &Path, hint: &str) -> Result<Lock> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    take(&path.with_file_name(format!(".{name}{LOCK_FILE}")), path, hint)
}

fn take(file: &Path, place: &Path, hint: &str) -> Result<Lock> {
    match lock::attempt(file).with_context(|| format!("cannot lock {}", file.display()))? {
        Attempt::Taken(lock) => Ok(lock),
        Attempt::Held => bail!("another process is at work in {}\nhint: {hint}", place.display()),
    }
}

/// What lies where a run is to begin or to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or what a run leaves that came to nothing before its first step: a lock and empty folders.
    Nothing,
    /// A run.
    Run,
    /// Something else: the first names of it.
    Other(Vec<String>),
}

/// Looks at a folder, and believes of a run only what its record says.
#[must_use]
pub fn look(path: &Path) -> Found {
    let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let entries = fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| !empty(&entry.path()));
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != LOCK_FILE && !is_half_written(name)).collect();
    names.sort();
    if names.is_empty() {
        return Found::Nothing;
    }
    if is_record(&path.join(EVENTS), &names) {
        return Found::Run;
    }
    names.truncate(MOST_NAMED);
    Found::Other(names)
}

/// What a kill left of a file that a run writes before its first event.
fn is_half_written(name: &str) -> bool {
    let of = |own: &&str| name.strip_prefix(*own).is_some_and(|rest| rest.starts_with('.'));
    Path::new(name).extension().is_some_and(|end| end == write::PARTIAL) && BEFORE_THE_FIRST_EVENT.iter().any(of)
}

/// Whether the record of a run begins as one. A kill may have come before its first event: then nothing may lie beside it
/// but what is written until there.
fn is_record(record: &Path, beside: &[String]) -> bool {
    let Ok(mut lines) = read::lines(record, Kind::EventLine) else { return false };
    let first = match lines.next() {
        Some(Err(_)) => return false,
        Some(Ok(first)) => Some(first).filter(|_| lines.is_whole()),
        None => None,
    };
    let Some(first) = first else {
        return beside.iter().all(|name| BEFORE_THE_FIRST_EVENT.contains(&name.as_str()));
    };
    let first = serde_json::from_slice::<serde_json::Value>(&first).ok();
    first.is_some_and(|first| first.get("event").and_then(serde_json::Value::as_str) == Some(FIRST_EVENT))
}

/// Refuses a folder that holds a run or anything else: nothing is written among the files of others.
pub fn refuse_used(path: &Path) -> Result<()> {
    let shown = path.display();
    match look(path) {
        Found::Nothing => Ok(()),
        Found::Run => {
            bail!("{shown} holds a run already\nhint: go on with --resume, or choose another folder with --out")
        }
        Found::Other(names) => bail!(
            "{shown} is not empty and holds no run ({}), so nothing is written into it\n\
             hint: choose another folder with --out",
            names.join(", ")
        ),
    }
}

/// Refuses what holds no run where one is to go on.
pub fn refuse_missing(path: &Path) -> Result<()> {
    let (shown, record) = (path.display(), path.join(EVENTS));
    if record.is_symlink() {
        bail!("{} is a link\nhint: the record of a run is a file of its folder: put it there", record.display());
    }
    match look(path) {
        Found::Run => Ok(()),
        Found::Nothing => bail!(
            "{shown}: no run to resume\n\
             hint: start it without --resume (--resume-or-start does what fits), or name its folder with --out"
        ),
        Found::Other(names) => bail!(
            "{shown}: no run to resume, and it holds something else ({})\n\
             hint: name the folder of the run with --out, or start one without --resume and with another --out",
            names.join(", ")
        ),
    }
}

impl RunDir {
    /// A new folder; one that holds a run is refused.
    pub fn create(path: &Path, identity: Identity) -> Result<Self> {
        refuse_used(path)?;
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let run = Self::take(path, identity)?;
        run.own_checkpoints()?;
        Ok(run)
    }

    /// The folder of an interrupted run, and its last good state if it saved one, of `parameters` trainable weights.
    /// Checkpoints that cannot be read are passed over, each with a warning.
    pub fn open(
        path: &Path,
        identity: Identity,
        parameters: usize,
    ) -> Result<(Self, Option<SessionState>, Vec<String>)> {
        let run = Self::take(path, identity)?;
        run.own_checkpoints()?;
        for folder in [run.path.clone(), run.checkpoints()] {
            write::settle(&folder).with_context(|| format!("cannot clear what a kill left in {}", folder.display()))?;
        }
        let mut warnings = Vec::new();
        let mut steps = run.steps()?;
        while let Some(step) = steps.pop() {
            let folder = run.checkpoint(step);
            refuse_other_version(&folder)?;
            match run.read(&folder, step, parameters) {
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

    /// Writes a file so that a kill leaves the old one or the new one. It is the user's alone: settings hold prompts, and
    /// an account may quote rows.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        disk::write(&self.join(name), bytes, Access::Private)
    }

    /// Saves a checkpoint, reads it back, and only then deletes those beyond `keep`.
    pub fn save_checkpoint(&self, state: &SessionState, keep: usize) -> Result<PathBuf> {
        let folder = self.checkpoint(state.step);
        let saved = disk::folder(&folder, |partial| {
            self.fill(partial, state)?;
            let (_, read) = self.read(partial, state.step, state.parameters.len())?;
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
            let old = self.checkpoint(step);
            write::remove_folder(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(folder)
    }

    /// Makes a folder in one move: `fill` writes into a folder beside it, which then takes its name.
    pub fn publish_folder(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.join(name);
        disk::folder(&folder, fill)?;
        Ok(folder)
    }

    /// Holds the folder against other processes.
    fn take(path: &Path, identity: Identity) -> Result<Self> {
        let lock = hold(path, "wait for it, or choose another folder with --out")?;
        Ok(RunDir { path: path.to_path_buf(), identity, _lock: Arc::new(lock) })
    }

    /// Makes the folder of the checkpoints, unless a link stands there.
    fn own_checkpoints(&self) -> Result<()> {
        let folder = self.checkpoints();
        write::own_folder(&folder).with_context(|| format!("cannot use {}", folder.display()))
    }

    fn checkpoints(&self) -> PathBuf {
        self.join("checkpoints")
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(name_of(step))
    }

    /// Steps of complete checkpoints, ascending.
    fn steps(&self) -> Result<Vec<u64>> {
        let folder = self.checkpoints();
        let mut steps = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
            let name = name.to_str().unwrap_or_default();
            let step = name.strip_prefix("step-").and_then(|step| step.parse::<u64>().ok());
            // What this program does not write, such as step-7 or step-+00007, is none of its checkpoints.
            steps.extend(step.filter(|step| name_of(*step) == name));
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
        disk::write_new(&folder.join(STATE_FILE), &bytes, Access::AsUsual)?;
        disk::write_new(&folder.join(MANIFEST_FILE), &serde_json::to_vec_pretty(&manifest)?, Access::AsUsual)
    }

    /// A checkpoint, if it is what its place and the plan say: of this step, within the run, of so many weights.
    fn read(&self, folder: &Path, step: u64, parameters: usize) -> Result<(Manifest, SessionState)> {
        let path = folder.join(MANIFEST_FILE);
        let manifest: Manifest = disk::json(&path, Kind::Account)?;
        let shown = path.display();
        ensure!(
            manifest.version == VERSION,
            "{shown} has version {}, this program reads version {VERSION}",
            manifest.version
        );
        ensure!(manifest.step == step, "{shown} says step {}, and its folder is of step {step}", manifest.step);
        let total = manifest.identity.total_steps;
        ensure!(step <= total, "{shown} says step {step} of {total}");
        let path = folder.join(STATE_FILE);
        let bytes = state_bytes(&path, parameters)?;
        let found = datasets::digest::sha256_hex(&bytes);
        if found != manifest.state_sha256 {
            bail!("{} has sha256 {found}, expected {}", path.display(), manifest.state_sha256);
        }
        let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{} is broken", path.display()))?;
        let values = |name: &str| -> Result<Vec<f32>> {
            let view = file.tensor(name).with_context(|| format!("{} has no {name}", path.display()))?;
            ensure!(
                view.dtype() == Dtype::F32 && view.shape() == [parameters],
                "{}: {name} is {:?} of {:?}, the adapter has {parameters} weights in F32",
                path.display(),
                view.shape(),
                view.dtype()
            );
            Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        let state = SessionState {
            step,
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
            ("tokenizer, chat template or what they make of the rows", ours.speech != found.speech),
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

/// The bytes of a state of so many weights; another size is refused before anything is read.
fn state_bytes(path: &Path, parameters: usize) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = read::open(path).with_context(|| format!("cannot read {shown}"))?;
    let found = file.metadata().with_context(|| format!("cannot read {shown}"))?.len();
    let tensors = (parameters as u64).saturating_mul(3 * size_of::<f32>() as u64);
    let most = tensors.saturating_add(MOST_HEADER_BYTES);
    ensure!(
        (tensors..=most).contains(&found),
        "{shown} has {found} bytes, and a state of {parameters} weights has {tensors} and a short header"
    );
    read::at_most(file, most).with_context(|| format!("cannot read {shown}"))
}

/// The folder of a checkpoint.
fn name_of(step: u64) -> String {
    format!("step-{step:06}")
}

/// A damaged checkpoint is passed over, one of another version is not: it is good, only not for this program.
fn refuse_other_version(folder: &Path) -> Result<()> {
    let text = read::bytes(&folder.join(MANIFEST_FILE), Kind::Account).unwrap_or_default();
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
mod tests;
