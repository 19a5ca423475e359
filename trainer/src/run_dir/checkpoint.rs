//! Owns a checkpoint of a run: the optimiser's whole state with hashes, written so that it is there whole or not at
//! all, read back before older ones go, and skipped aloud when it is damaged.
//! Knows the state as flat numbers; knows nothing about adapters or rows.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::digest::sha256_hex;
use model::train::SessionState;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{RunDir, atomic};
use crate::retention;

/// The version of `checkpoint.json`.
pub const VERSION: u32 = 1;
const RECORD_FILE: &str = "checkpoint.json";
const STATE_FILE: &str = "state.safetensors";
const PREFIX: &str = "step-";

/// What a run must have in common with a checkpoint to go on from it bit for bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// SHA-256 of the settings that change what is learnt.
    pub config_hash: String,
    /// SHA-256 of the rows' files.
    pub data_sha256: String,
    /// SHA-256 of the base model's weights.
    pub base_sha256: String,
    /// Seed of the order and of all else that is random; with the step it says where every random stream is.
    pub seed: u64,
    /// Training rows the order runs over.
    pub rows: usize,
    /// Rows of a step.
    pub rows_per_step: usize,
    /// Steps of the whole run, which the learning rate depends on.
    pub total_steps: u64,
}

impl Facts {
    /// Refuses to go on with something else than what was begun.
    pub fn check(&self, now: &Facts) -> Result<()> {
        let pairs = [
            ("the settings", self.config_hash != now.config_hash, "go back to the config.toml of the run"),
            ("the data", self.data_sha256 != now.data_sha256, "bring the same files"),
            ("the base model", self.base_sha256 != now.base_sha256, "bring the same weights"),
            ("the rows that are used", (self.rows, self.rows_per_step) != (now.rows, now.rows_per_step), "compare ledger.json"),
            ("the seed or the number of steps", (self.seed, self.total_steps) != (now.seed, now.total_steps), "compare config.toml"),
        ];
        match pairs.into_iter().find(|(_, differ, _)| *differ) {
            None => Ok(()),
            Some((what, _, hint)) => {
                bail!("{what} changed since the checkpoint\nhint: {hint}, or start a new run with --out DIR")
            }
        }
    }
}

/// `checkpoint.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    step: u64,
    trainable: usize,
    facts: Facts,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
}

/// What was found to go on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// The newest checkpoint that is whole.
    pub found: Option<(Facts, SessionState)>,
    /// Each newer one that is damaged.
    pub warnings: Vec<String>,
}

impl RunDir {
    /// Writes a checkpoint, reads it back, and only then removes older ones beyond `keep`. If it cannot be written,
    /// nothing of it stays and every earlier one does.
    pub fn save_checkpoint(&self, state: &SessionState, facts: &Facts, keep: usize) -> Result<PathBuf> {
        let path = self.checkpoints().join(name(state.step));
        let saved = atomic::folder(&path, |folder| {
            let bytes = serialise(state)?;
            let record = Record {
                version: VERSION,
                step: state.step,
                trainable: state.parameters.len(),
                facts: facts.clone(),
                files: BTreeMap::from([(STATE_FILE.to_owned(), sha256_hex(&bytes))]),
            };
            atomic::write_synced(&folder.join(STATE_FILE), &bytes)?;
            atomic::write_synced(&folder.join(RECORD_FILE), &serde_json::to_vec_pretty(&record)?)?;
            let (_, read) = read(folder, state.step)?;
            if !same_bits(&read, state) {
                bail!("what was written to {} does not read back equal", folder.display());
            }
            Ok(())
        });
        if let Err(error) = saved {
            let kept: Vec<String> = self.steps()?.into_iter().map(name).collect();
            let kept = if kept.is_empty() { "there is no earlier one".to_owned() } else { format!("kept: {}", kept.join(", ")) };
            let needed = 12 * state.parameters.len() as u64 / (1 << 20) + 1;
            return Err(error.context(format!(
                "cannot save the checkpoint of step {} ({kept})\nhint: a checkpoint needs {needed} MiB: make room and go on with --resume",
                state.step
            )));
        }
        for old in retention::superseded(&self.steps()?, keep) {
            atomic::remove(&self.checkpoints().join(name(old)))?;
        }
        Ok(path)
    }

    /// The newest checkpoint that is whole. A damaged one is passed over with a warning.
    pub fn latest_valid(&self) -> Result<Latest> {
        let mut warnings = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.checkpoints().join(name(step));
            refuse_other_version(&path)?;
            match read(&path, step) {
                Ok((facts, state)) => return Ok(Latest { found: Some((facts, state)), warnings }),
                Err(error) => warnings.push(format!("{} is damaged and passed over: {error:#}", path.display())),
            }
        }
        Ok(Latest { found: None, warnings })
    }

    /// Steps of which there is a checkpoint, oldest first.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let folder = self.checkpoints();
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let step = |name: &str| name.strip_prefix(PREFIX)?.parse::<u64>().ok();
        let mut steps: Vec<u64> =
            entries.flatten().filter_map(|entry| step(&entry.file_name().to_string_lossy())).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

fn name(step: u64) -> String {
    format!("{PREFIX}{step:06}")
}

fn refuse_other_version(path: &Path) -> Result<()> {
    let text = fs::read(path.join(RECORD_FILE)).unwrap_or_default();
    let version = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|value| value.get("version")?.as_u64());
    match version {
        Some(version) if version != u64::from(VERSION) => bail!(
            "{} is of version {version}, this program reads version {VERSION}\nhint: go on with the program that wrote it",
            path.display()
        ),
        _ => Ok(()),
    }
}

fn serialise(state: &SessionState) -> Result<Vec<u8>> {
    let mut views = Vec::new();
    for (name, values) in [("parameters", &state.parameters), ("first", &state.first), ("second", &state.second)] {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    let metadata = HashMap::from([("step".to_owned(), state.step.to_string())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn read(folder: &Path, step: u64) -> Result<(Facts, SessionState)> {
    let text = fs::read(folder.join(RECORD_FILE)).with_context(|| format!("cannot read {RECORD_FILE}"))?;
    let record: Record = serde_json::from_slice(&text).with_context(|| format!("{RECORD_FILE} is broken"))?;
    if record.step != step {
        bail!("{RECORD_FILE} is of step {}", record.step);
    }
    let bytes = fs::read(folder.join(STATE_FILE)).with_context(|| format!("cannot read {STATE_FILE}"))?;
    let (expected, found) = (record.files.get(STATE_FILE), sha256_hex(&bytes));
    if expected != Some(&found) {
        let expected = expected.map_or("none", String::as_str);
        bail!("{STATE_FILE} has SHA-256 {found}, {RECORD_FILE} says {expected}");
    }
    let tensors = SafeTensors::deserialize(&bytes).with_context(|| format!("{STATE_FILE} is broken"))?;
    let values = |name: &str| -> Result<Vec<f32>> {
        let view = tensors.tensor(name).with_context(|| format!("{STATE_FILE} has no {name}"))?;
        if view.dtype() != Dtype::F32 || view.shape() != [record.trainable] {
            bail!("{STATE_FILE} has {name} of shape {:?}, expected {} f32", view.shape(), record.trainable);
        }
        Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let state =
        SessionState { step, parameters: values("parameters")?, first: values("first")?, second: values("second")? };
    Ok((record.facts, state))
}

/// Equal as bits, so that a zero's sign counts and a NaN does not hide.
fn same_bits(a: &SessionState, b: &SessionState) -> bool {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
    a.step == b.step
        && bits(&a.parameters) == bits(&b.parameters)
        && bits(&a.first) == bits(&b.first)
        && bits(&a.second) == bits(&b.second)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            config_hash: "c".into(),
            data_sha256: "d".into(),
            base_sha256: "b".into(),
            seed: 3,
            rows: 36,
            rows_per_step: 8,
            total_steps: 10,
        }
    }

    fn state(step: u64) -> SessionState {
        let values = |salt: f32| (0..100).map(|index| (index as f32 * salt).sin() - 0.0).collect();
        SessionState { step, parameters: values(0.1 + step as f32), first: values(0.7), second: vec![-0.0; 100] }
    }

    fn run() -> (tempfile::TempDir, RunDir) {
        let home = tempfile::tempdir().unwrap();
        let run = RunDir::open(&home.path().join("run"), false).unwrap();
        (home, run)
    }

    #[test]
    fn the_newest_checkpoint_comes_back_bit_for_bit_and_old_ones_go() {
        let (_home, run) = run();
        assert_eq!(run.latest_valid().unwrap(), Latest { found: None, warnings: Vec::new() });
        for step in [50, 100, 150] {
            let path = run.save_checkpoint(&state(step), &facts(), 2).unwrap();
            assert!(path.ends_with(format!("checkpoints/step-{step:06}")));
        }
        assert_eq!(run.steps().unwrap(), [100, 150]);
        let (found, read) = run.latest_valid().unwrap().found.unwrap();
        assert!(same_bits(&read, &state(150)) && found == facts());
        run.save_checkpoint(&state(150), &facts(), 2).unwrap();
        assert_eq!(fs::read_dir(run.checkpoints()).unwrap().count(), 2);
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over_aloud() {
        let (_home, run) = run();
        for step in [1, 2, 3, 4] {
            run.save_checkpoint(&state(step), &facts(), 9).unwrap();
        }
        let file = |step: u64, file: &str| run.checkpoints().join(name(step)).join(file);
        let mut bytes = fs::read(file(4, STATE_FILE)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file(4, STATE_FILE), bytes).unwrap();
        fs::write(file(3, RECORD_FILE), "{\"version\": 1, \"st").unwrap();
        fs::remove_file(file(2, STATE_FILE)).unwrap();
        let latest = run.latest_valid().unwrap();
        assert_eq!(latest.found.unwrap().1.step, 1);
        let text = latest.warnings.join("\n");
        for part in ["step-000004 is damaged", "says", "checkpoint.json is broken", "cannot read state.safetensors"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_the_earlier_ones() {
        let (_home, run) = run();
        run.save_checkpoint(&state(1), &facts(), 1).unwrap();
        // A file where the folder should go fails as a full disk would: before anything is renamed.
        fs::write(run.checkpoints().join("step-000002.partial"), "").unwrap();
        let error = format!("{:#}", run.save_checkpoint(&state(2), &facts(), 1).unwrap_err());
        assert!(error.contains("step 2 (kept: step-000001)") && error.contains("--resume"), "{error}");
        assert_eq!(run.latest_valid().unwrap().found.unwrap().1.step, 1);
    }

    #[test]
    fn another_version_is_refused_and_not_passed_over() {
        let (_home, run) = run();
        run.save_checkpoint(&state(1), &facts(), 1).unwrap();
        let path = run.checkpoints().join(name(1)).join(RECORD_FILE);
        let text = fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 2");
        fs::write(&path, text).unwrap();
        assert!(run.latest_valid().unwrap_err().to_string().contains("this program reads version 1"));
    }

    #[test]
    fn going_on_with_something_else_is_refused_by_name() {
        assert!(facts().check(&facts()).is_ok());
        let refusal = |now: Facts| facts().check(&now).unwrap_err().to_string();
        assert!(refusal(Facts { config_hash: "x".into(), ..facts() }).starts_with("the settings changed"));
        assert!(refusal(Facts { data_sha256: "x".into(), ..facts() }).starts_with("the data changed"));
        assert!(refusal(Facts { base_sha256: "x".into(), ..facts() }).starts_with("the base model changed"));
        assert!(refusal(Facts { rows: 35, ..facts() }).starts_with("the rows that are used changed"));
        assert!(refusal(Facts { total_steps: 11, ..facts() }).contains("--out DIR"));
    }
}
