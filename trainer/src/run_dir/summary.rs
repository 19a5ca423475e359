//! Owns what a run leaves for whoever looks later: `summary.json` and `env.json`, each with its version.
//! Knows nothing about how the numbers came to be, and reads no clock.

use std::num::NonZero;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The version of `summary.json` and `env.json`.
pub const VERSION: u32 = 1;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All steps were done.
    Finished,
    /// It was stopped and can be resumed.
    Stopped,
    /// It broke off.
    Failed,
}

/// What came out of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of this format.
    pub version: u32,
    /// How it ended.
    pub status: Status,
    /// Version of the program.
    pub program: String,
    /// Optimiser steps done.
    pub steps: u64,
    /// Tokens that went through the model in training.
    pub tokens: u64,
    /// Of these, tokens that were learnt.
    pub supervised_tokens: u64,
    /// Mean loss of the last epoch's steps.
    pub train_loss: Option<f64>,
    /// Loss of the last validation.
    pub valid_loss: Option<f64>,
    /// Tokens per second of training.
    pub tokens_per_second: f64,
    /// Most memory held on the device, where it can be known.
    pub peak_device_bytes: Option<u64>,
    /// Most memory the process held.
    pub peak_host_bytes: Option<u64>,
    /// The device, in human words.
    pub device: String,
    /// Seconds of all, evaluation included.
    pub wall_seconds: f64,
    /// Seconds of training alone.
    pub train_seconds: f64,
    /// The base model.
    pub base: BaseFacts,
    /// The rows.
    pub data: DataFacts,
    /// Seed of everything random.
    pub seed: u64,
    /// SHA-256 of the settings that change what is learnt.
    pub config_hash: String,
    /// The scores at the end, if there was an evaluation.
    pub eval: Option<serde_json::Value>,
}

/// Which base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
}

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    /// The name of the set.
    pub name: String,
    /// SHA-256 of its files.
    pub sha256: String,
    /// Rows that were used.
    pub rows: usize,
}

impl Summary {
    /// Reads a `summary.json`; another version is refused.
    pub fn read(path: &Path) -> Result<Summary> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            found => bail!("{} is of version {found:?}, this program reads version {VERSION}", path.display()),
        }
        serde_json::from_value(value).with_context(|| format!("{} is not a summary", path.display()))
    }
}

/// Where a run ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of this format.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Operating system.
    pub os: String,
    /// Processor family.
    pub arch: String,
    /// Processor, where the system names it.
    pub processor: Option<String>,
    /// Threads that can run at once.
    pub threads: usize,
    /// Main memory, where the system tells it.
    pub memory_bytes: Option<u64>,
    /// The device, in human words.
    pub device: String,
    /// What was typed.
    pub arguments: Vec<String>,
    /// Seconds since 1970 when the run began.
    pub started_unix_secs: u64,
}

impl Environment {
    /// What can be known about this machine.
    #[must_use]
    pub fn here(device: &str, arguments: Vec<String>, started_unix_secs: u64) -> Environment {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = value_of(&file("/proc/cpuinfo"), "model name");
        let memory = value_of(&file("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Environment {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            processor,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            memory_bytes: kib.map(|kib| kib * 1024),
            device: device.to_owned(),
            arguments,
            started_unix_secs,
        }
    }
}

/// The first `key : value` of a text.
fn value_of(text: &str, key: &str) -> Option<String> {
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).find(|(name, _)| name == key).map(|(_, value)| value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            version: VERSION,
            status: Status::Finished,
            program: "0.1.0".into(),
            steps: 10,
            tokens: 1000,
            supervised_tokens: 60,
            train_loss: Some(0.5),
            valid_loss: None,
            tokens_per_second: 812.5,
            peak_device_bytes: None,
            peak_host_bytes: Some(1 << 30),
            device: "cpu".into(),
            wall_seconds: 12.5,
            train_seconds: 10.0,
            base: BaseFacts { name: "tiny".into(), sha256: "00".into() },
            data: DataFacts { name: "smoke".into(), sha256: "11".into(), rows: 60 },
            seed: 0,
            config_hash: "22".into(),
            eval: None,
        }
    }

    #[test]
    fn a_summary_round_trips_and_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        std::fs::write(&path, serde_json::to_vec(&summary()).unwrap()).unwrap();
        assert_eq!(Summary::read(&path).unwrap(), summary());
        std::fs::write(&path, serde_json::to_vec(&Summary { version: 9, ..summary() }).unwrap()).unwrap();
        assert!(Summary::read(&path).unwrap_err().to_string().contains("this program reads version 1"));
    }

    #[test]
    fn the_machine_is_described_without_failing() {
        let environment = Environment::here("cpu", vec!["fit".into()], 7);
        assert!(environment.threads >= 1);
        assert_eq!(value_of("a: 1\nmodel name\t: Xeon\n", "model name").as_deref(), Some("Xeon"));
    }
}
