//! From a run folder to a folder that may be published: adapter, card, evidence, and nothing else.
//!
//! Owns which files a publication has and that each was looked through before any of them is written. Knows the run;
//! what the hub does with the folder is the hub's business. A file that is in no list here is not published.

mod card;
mod evidence;
mod fault;
mod licences;
mod origin;
mod record;
mod run;
mod scan;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eval::report::{Html, Json, Report};
use ground::read::Kind;
use ground::write::Access;
use serde_json::{Map, Value, json};

pub use fault::Fault;
pub use origin::Said;
pub use record::Record;
pub use scan::Known;

use crate::disk;
use crate::hub::publish::LocalFile;
use run::FinishedRun;
use scan::{Places, Scanned};

/// The folder in a run that is published.
pub const FOLDER: &str = "publish";
/// Of the summary: a list, so that what a later version adds is published by decision.
const SUMMARY_KEYS: [&str; 15] = [
    "version",
    "status",
    "name",
    "steps",
    "tokens",
    "supervised_tokens",
    "train_loss",
    "valid_loss",
    "tokens_per_second",
    "train_seconds",
    "peak_host_bytes",
    "peak_device_bytes",
    "device",
    "wall_seconds",
    "program",
];

/// Where a publication goes.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// The address of the hub.
    pub hub: &'a str,
    /// `owner/name`.
    pub repo: &'a str,
}

/// What is published, on disk.
#[derive(Debug)]
pub struct Ready {
    /// The folder.
    pub folder: PathBuf,
    /// Its files, by path.
    pub files: Vec<LocalFile>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A file before it is written.
struct Draft {
    path: String,
    /// Where a person finds what is wrong with it: the file of the run, or what is made of it.
    place: String,
    bytes: Vec<u8>,
    of_the_base: bool,
}

/// Makes the folder that would be published, or says everything that is in the way and writes nothing.
pub fn prepare(folder: &Path, to: To<'_>, said: &Said, known: &Known) -> Result<Ready> {
    let mut faults = Vec::new();
    let target = folder.join(FOLDER);
    // What an earlier attempt left must not be taken for this one, however this one ends.
    if folder.join("config.toml").is_file() {
        ground::write::remove_folder(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    let run = FinishedRun::read(folder, said, &mut faults)?;
    let Some(run) = run else { bail!(fault::error(&faults)) };
    let mut notes = run.notes.clone();
    faults.extend(said.faults());
    let drafts = drafts(&run, to, &said.languages, &mut faults, &mut notes)?;
    let scanned: Vec<Scanned<'_>> = drafts
        .iter()
        .map(|draft| Scanned { path: &draft.place, bytes: &draft.bytes, of_the_base: draft.of_the_base })
        .collect();
    faults.extend(scan::scan(&scanned, known, &places(&run), &run.texts));
    if !faults.is_empty() {
        bail!(fault::error(&faults));
    }
    disk::folder(&target, |folder| {
        drafts.iter().try_for_each(|draft| {
            let path = folder.join(&draft.path);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            disk::write_new(&path, &draft.bytes, Access::AsUsual)
        })
    })?;
    let files = drafts.iter().map(|draft| LocalFile {
        at: target.join(&draft.path),
        path: draft.path.clone(),
        bytes: draft.bytes.len() as u64,
        sha256: datasets::digest::sha256_hex(&draft.bytes),
    });
    let mut files: Vec<LocalFile> = files.collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Ready { folder: target, files, notes })
}

/// Every file of the publication, in memory.
fn drafts(
    run: &FinishedRun,
    to: To<'_>,
    languages: &[String],
    faults: &mut Vec<Fault>,
    notes: &mut Vec<String>,
) -> Result<Vec<Draft>> {
    let adapter = run.folder.join("adapter");
    let mut drafts = Vec::new();
    // The card is made anew.
    for name in model::adapter::FILES {
        let path = adapter.join(name);
        if !path.is_file() {
            continue;
        }
        let bytes = disk::bytes(&path, kind_of(name))?;
        let of_the_base = name == "tokenizer.json" && datasets::digest::sha256_hex(&bytes) == run.speech.0;
        drafts.push(Draft { path: name.to_owned(), place: format!("adapter/{name}"), bytes, of_the_base });
    }
    left_out(&adapter, notes)?;
    let config = drafts.iter_mut().find(|draft| draft.path == model::adapter::CONFIG_FILE);
    let rank = match config {
        Some(config) => named_base(config, run, faults)?,
        None => {
            faults.push(Fault::new("adapter/adapter_config.json", "is not there", "train again, or --resume the run"));
            0
        }
    };
    let weights = drafts.iter().find(|draft| draft.path == model::adapter::WEIGHTS_FILE);
    if let Some(error) = weights.and_then(|weights| safetensors::SafeTensors::deserialize(&weights.bytes).err()) {
        let what = format!("does not open: {error}");
        faults.push(Fault::new("adapter/adapter_model.safetensors", what, "train again, or --resume the run"));
    }
    let weight_bytes = weights.map_or(0, |weights| weights.bytes.len());
    let summary = summary(run, rank, weight_bytes)?;
    let found = run.evidence.as_ref().map(|found| (&found.shared.results, found.arm.as_str()));
    if found.is_none() {
        notes.push("the run has no evaluation, and the card says so; trainer eval CONFIG makes one".to_owned());
    }
    let facts = card::Facts {
        repo: to.repo,
        hub: to.hub,
        base: &run.base,
        data: &run.data,
        task: run.task.as_deref(),
        languages,
        summary: &summary,
        found,
    };
    let mut own = |path: &str, bytes: Vec<u8>| {
        drafts.push(Draft { path: path.to_owned(), place: path.to_owned(), bytes, of_the_base: false });
    };
    own("README.md", card::render(&facts).into_bytes());
    own("trainer/summary.json", (serde_json::to_string_pretty(&summary)? + "\n").into_bytes());
    if let Some(evidence) = &run.evidence {
        let results = &evidence.shared.results;
        own("trainer/results.json", Json.render(results)?.into_bytes());
        own("trainer/report.html", Html.render(results)?.into_bytes());
        own("trainer/proof.json", evidence.shared.proof.clone().into_bytes());
    }
    Ok(drafts)
}

/// Says which files of the adapter folder stay here.
fn left_out(adapter: &Path, notes: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(adapter).with_context(|| format!("cannot read {}", adapter.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut other: Vec<String> =
        names.filter(|name| !model::adapter::FILES.contains(&name.as_str()) && name != "README.md").collect();
    other.sort();
    if !other.is_empty() {
        notes.push(format!("left out, since no adapter needs them: {}", other.join(", ")));
    }
    Ok(())
}

/// Writes the base's name on the hub into the adapter's config; gives the rank.
fn named_base(draft: &mut Draft, run: &FinishedRun, faults: &mut Vec<Fault>) -> Result<u64> {
    let parsed: std::result::Result<Map<String, Value>, _> = serde_json::from_slice(&draft.bytes);
    let Ok(mut config) = parsed else {
        faults.push(Fault::new("adapter/adapter_config.json", "is no JSON object", "train again, or --resume the run"));
        return Ok(0);
    };
    if let Some(hub) = &run.base.hub {
        config.insert("base_model_name_or_path".to_owned(), json!(hub));
    }
    let rank = config.get("r").and_then(Value::as_u64).unwrap_or_default();
    draft.bytes = (serde_json::to_string_pretty(&config)? + "\n").into_bytes();
    Ok(rank)
}

/// The summary as others may see it, with the settings and hashes that the card names.
fn summary(run: &FinishedRun, rank: u64, weight_bytes: usize) -> Result<Value> {
    let mut summary = Map::new();
    for key in SUMMARY_KEYS {
        summary.insert(key.to_owned(), run.summary[key].clone());
    }
    let sha256 = |part: &str| run.summary[part]["sha256"].clone();
    let (base, data) = (&run.base, &run.data);
    let source = &run.base_source;
    summary.insert(
        "base".to_owned(),
        json!({ "name": base.name, "hub": base.hub, "source": source, "sha256": sha256("base"), "attribution": base.attribution }),
    );
    let rows = run.summary["data"]["rows"].clone();
    summary.insert(
        "data".to_owned(),
        json!({
            "name": data.name,
            "task": run.task,
            "sha256": sha256("data"),
            "rows": rows,
            "attribution": data.attribution,
        }),
    );
    summary.insert("adapter".to_owned(), json!({ "sha256": run.adapter_sha256, "bytes": weight_bytes }));
    summary.insert("tokenizer_sha256".to_owned(), json!(run.speech.0));
    summary.insert("chat_template_sha256".to_owned(), json!(run.speech.1));
    summary.insert("settings".to_owned(), run::settings(&run.config, run.summary["steps"].as_u64().unwrap_or(0))?);
    summary.insert("vllm_max_lora_rank".to_owned(), json!(crate::readers::vllm_rank(rank)));
    summary.insert("power".to_owned(), run.power.clone().unwrap_or_default());
    let licences: Vec<_> = [&run.base, &run.data].into_iter().filter_map(|origin| origin.licence.as_ref()).collect();
    summary.insert("licences".to_owned(), json!(licences));
    Ok(Value::Object(summary))
}

/// Where this machine keeps things, and the folders of the run by name.
fn places(run: &FinishedRun) -> Places {
    let here = std::env::current_dir().unwrap_or_default();
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_path_buf());
    let full = std::path::absolute(&run.folder).unwrap_or_else(|_| run.folder.clone());
    let config = &run.config;
    let all = [Some(here), home, Some(full), Some(config.file.clone()), Some(config.run_folder.clone())];
    // A home at the root of a machine is a word that may stand anywhere.
    let deep: Vec<PathBuf> = all.into_iter().flatten().filter(|path| path.components().count() > 2).collect();
    Places::of(Path::new("/"), deep.iter().map(PathBuf::as_path))
}

/// What a file of an adapter folder may hold.
fn kind_of(name: &str) -> Kind {
    match name {
        model::adapter::CONFIG_FILE => Kind::AdapterConfig,
        model::adapter::WEIGHTS_FILE => Kind::Adapter,
        other => model::tokenizer::file_kind(other).unwrap_or(Kind::TokenizerConfig),
    }
}
