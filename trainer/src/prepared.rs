//! Owns everything a run needs before its first step: the base, the rows, and the samples made of both.
//! Knows a config; loads no weights and writes nothing but the cache.

use std::path::Path;

use anyhow::{Context, Result};
use datasets::Folder;
use model::Checkpoint;

use crate::config::Config;
use crate::config::plan::{Base, Source};
use crate::data::loader::Loader;
use crate::data::template_mask::Sample;
use crate::data::{self, Data, SourceRows};
use crate::local_lm::Speech;
use crate::pull::{self, Cache, Pulled};
use crate::run_dir::Identity;
use crate::shipped;
use crate::start::{self, Start};
use crate::terminal_lines::{PullLine, note};
use crate::variables;

/// A config with its base and its rows.
pub struct Prepared {
    /// The base model's files.
    pub checkpoint: Checkpoint,
    /// The base by name, for files that others read.
    pub base_name: String,
    /// Where it came from, in words.
    pub base_source: String,
    /// SHA-256 of its weights.
    pub base_sha256: String,
    /// Text to ids and back.
    pub speech: Speech,
    /// Where the rows came from, in words.
    pub set_source: String,
    /// What must be said beside results of this set.
    pub attribution: Option<String>,
    /// The rows, as text and as tokens.
    pub data: Data,
}

/// The rows of a config, before any model is looked at.
pub struct Rows {
    /// In clean splits.
    pub rows: SourceRows,
    source: String,
    attribution: Option<String>,
}

impl Rows {
    /// Pulls and reads what a config names, and refuses a validation that has no rows.
    pub fn read(config: &Config) -> Result<Self> {
        let (folder, source) = match &config.source {
            Source::Set(name) => {
                let mut line = PullLine::new();
                let mut watch = |progress: &pull::Progress| line.show(progress);
                let cache = Cache::open()?;
                let pulled = pull::dataset(name, &config.roots.datasets, &cache, &mut |text| note(text), &mut watch)?;
                (Some(pulled.folder), pulled.source)
            }
            Source::Files { train, .. } => (None, format!("file {}", train.display())),
        };
        let attribution = folder.as_ref().map(|folder| folder.manifest.attribution.clone());
        let rows = data::read(config, folder)?;
        data::check_validation(config, rows.prepared.splits.valid.len())?;
        Ok(Rows { rows, source, attribution })
    }
}

/// The base of a config, before any row is tokenised.
pub struct FoundBase {
    /// Its files.
    pub checkpoint: Checkpoint,
    source: String,
}

impl FoundBase {
    /// Pulls and opens what a config names, with the tokenizer and the chat template of an adapter folder, where it brings
    /// its own.
    pub fn of(config: &Config, adapter: Option<&Path>) -> Result<Self> {
        let mut line = PullLine::new();
        let mut watch = |progress: &pull::Progress| line.show(progress);
        let (name, cache) = (config.base.to_string(), Cache::open()?);
        let pulled = pull::model(&name, &config.roots.configs, &cache, &mut |text| note(text), &mut watch)?;
        let mut checkpoint = Checkpoint::open(&pulled.path)?;
        if let Some(folder) = adapter {
            shipped::adopt(&mut checkpoint, folder)?;
        }
        Ok(FoundBase { checkpoint, source: pulled.source })
    }
}

impl Prepared {
    /// Pulls, opens and tokenises what a config names, rows first. A run that starts from an adapter goes on in its words.
    pub fn new(config: &Config) -> Result<Self> {
        let rows = Rows::read(config)?;
        let folder = start::folder(config)?;
        Self::of(config, rows, FoundBase::of(config, folder.as_deref())?)
    }

    /// Tokenises rows for a base.
    pub fn of(config: &Config, rows: Rows, base: FoundBase) -> Result<Self> {
        let FoundBase { mut checkpoint, source: base_source } = base;
        let Rows { rows, source: set_source, attribution } = rows;
        let mut speech = Speech::of(&checkpoint)?;
        variables::check(config, &speech.template)?;
        speech = speech.worded(config);
        if !config.template.is_empty() {
            // Whoever reads the adapter knows no config, so the template that goes with it sets the variables itself.
            checkpoint.use_template(&speech.template);
            speech = Speech::of(&checkpoint)?.worded(config);
        }
        speech.note().iter().for_each(|text| note(text));
        let base_sha256 = checkpoint.sha256()?;
        let base_name = match &config.base {
            Base::Name(name) => name.clone(),
            Base::Path(_) => checkpoint.name(),
        };
        let data = data::build(config, rows, &speech.language(&checkpoint))?;
        Ok(Prepared { checkpoint, base_name, base_source, base_sha256, speech, set_source, attribution, data })
    }

    /// What a resumed run must share with the one that was interrupted.
    #[must_use]
    pub fn identity(&self, config: &Config, total_steps: u64, start: Option<&Start>) -> Identity {
        // The adapter it starts from counts by its content, wherever it lies.
        let settings = match start {
            None => config.hash(),
            Some(start) => {
                let both = format!("{} started from {}", config.hash(), start.sha256);
                datasets::digest::sha256_hex(both.as_bytes())
            }
        };
        let (tokenizer, template) = (self.speech.tokenizer.fingerprint(), self.speech.template.sha256());
        let speech = format!("{tokenizer} {template} {}", learnt(&self.data.train.samples));
        Identity {
            config: settings,
            data: self.data.sha256.clone(),
            base: self.base_sha256.clone(),
            speech: datasets::digest::sha256_hex(speech.as_bytes()),
            total_steps,
        }
    }

    /// The training rows in the order of the run.
    pub fn loader(&self, config: &Config) -> Result<Loader<'_>> {
        Loader::new(&self.data.train.samples, &config.train)
    }

    /// Positions a decoder must be able to rotate to: the longest row, and the longest prompt with its answer.
    #[must_use]
    pub fn positions(&self, config: &Config) -> usize {
        let samples = self.data.train.samples.iter().chain(&self.data.valid.samples);
        let learnt = samples.map(|sample| sample.ids.len()).max().unwrap_or(0);
        let asked = self.data.test.iter().map(|row| row.tokens).max().unwrap_or(0);
        self.room(config, learnt, asked)
    }

    /// The same for an arm that is asked in words of its own.
    pub fn positions_in(&self, config: &Config, speech: &Speech) -> Result<usize> {
        let asked: Result<Vec<usize>> =
            self.data.test.iter().map(|row| Ok(speech.prompt_ids(&row.prompt)?.len())).collect();
        Ok(self.room(config, 0, asked?.into_iter().max().unwrap_or(0)))
    }

    /// Positions for the longest row to learn, and the longest prompt with its answer.
    fn room(&self, config: &Config, learnt: usize, asked: usize) -> usize {
        let labels = config.eval.labels.as_ref().unwrap_or(&self.data.labels);
        // A byte is at most one token, and templates end a turn with a few.
        let label = labels.iter().map(|label| label.len() + 16).max().unwrap_or(0);
        let answered = asked + config.eval.max_new_tokens.max(label);
        learnt.max(answered).min(self.checkpoint.config.max_position_embeddings)
    }
}

/// SHA-256 of what is learnt of every row: another program may make other tokens of the same rows.
fn learnt(samples: &[Sample]) -> String {
    let row = |sample: &Sample| {
        let tokens = sample.ids.iter().zip(&sample.supervised);
        let bytes: Vec<u8> = tokens.flat_map(|(id, learnt)| (id << 1 | u32::from(*learnt)).to_le_bytes()).collect();
        datasets::digest::sha256_hex(&bytes)
    };
    datasets::digest::sha256_hex(samples.iter().map(row).collect::<String>().as_bytes())
}

/// The base that the config of a run names, if it is on this machine. The run may be somebody else's, so nothing is
/// fetched on its word.
pub fn base_here(config: &Config) -> Result<Pulled> {
    let name = config.base.to_string();
    let found = pull::model_here(&name, &config.roots.configs, &Cache::open()?, &mut |text| note(text))?;
    found.with_context(|| not_here("base model", &name, config, "--model names another place of the base"))
}

/// The set that the config of a run names, if it is on this machine; `None` where the run names files. Nothing is
/// fetched or built.
pub fn set_here(config: &Config) -> Result<Option<Folder>> {
    let Source::Set(name) = &config.source else { return Ok(None) };
    let found = pull::dataset_here(name, &config.roots.datasets, &Cache::open()?, &mut |text| note(text))?;
    let hint = "--rows FILE.jsonl names other rows where a command takes it";
    let found = found.with_context(|| not_here("data set", name, config, hint))?;
    Ok(Some(found.folder))
}

fn not_here(what: &str, name: &str, config: &Config, other: &str) -> String {
    let name = ground::terminal::shown_in_line(name);
    format!(
        "{what} {name} is not on this machine, and nothing is fetched because the config of a run names it\n\
         hint: trainer check {} fetches what it names, if you trust who wrote it; {other}",
        config.file_name()
    )
}
