//! Owns what `RUN`, `ADAPTER` or `CHECKPOINT` on a command line means: which adapter, on which base, and which held-out
//! rows go with it. What was typed is fetched; what a run or an adapter on this machine names is not, since somebody else
//! may have written it. Knows folders and names; knows no format and opens no device.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::Record;
use ground::terminal::shown_in_line;
use model::Checkpoint;
use model::adapter::{self, Adapter};

use crate::commands::configs_root;
use crate::config::{self, Config};
use crate::data;
use crate::data::answered::{self, Answered};
use crate::data::messages::Wording;
use crate::learnt_by;
use crate::local_lm::Speech;
use crate::prepared;
use crate::pull::{self, Cache, Pulled};
use crate::terminal_lines::{PullLine, note};

/// A base, and what is added to it.
pub struct Shipped {
    /// The base, opened.
    pub checkpoint: Checkpoint,
    /// The base by the name that others know it by.
    pub base_name: String,
    /// Where it came from, in words.
    pub base_source: String,
    /// The adapter, if there is one.
    pub adapter: Option<Adapter>,
    /// Its folder.
    pub adapter_folder: Option<PathBuf>,
    /// A name for the whole.
    pub name: String,
    run: Option<Box<Config>>,
}

/// What was typed, looked at from outside.
enum Kind {
    Run(Box<Config>),
    /// In a folder of this machine.
    Adapter(PathBuf),
    /// An adapter of the hub, by the name that was typed: its base is fetched with it.
    Published(PathBuf),
    Base(String),
}

impl Shipped {
    /// Finds and opens it, so that it can be written. `model` names another base than the one that the run or the adapter
    /// names.
    pub fn open(what: &str, model: Option<&str>) -> Result<Self> {
        Self::of_kind(what, kind(what)?, model)
    }

    /// The same for what `--adapter` names: a whole model is refused, unless its adapter lies within it.
    pub fn with_adapter(what: &str, model: Option<&str>) -> Result<Self> {
        let inside = Path::new(what).join("adapter");
        match kind(what)? {
            Kind::Base(_) if is_adapter(&inside) => Self::of_kind(what, Kind::Adapter(inside), model),
            Kind::Base(_) => bail!(
                "--adapter {what}: no run and no adapter\n\
                 hint: a run has config.toml and adapter/, an adapter adapter_config.json; a whole model is --model {what}"
            ),
            kind => Self::of_kind(what, kind, model),
        }
    }

    fn of_kind(what: &str, kind: Kind, model: Option<&str>) -> Result<Self> {
        let name =
            Path::new(what).file_name().map_or_else(|| what.to_owned(), |name| name.to_string_lossy().into_owned());
        let (run, folder) = match &kind {
            Kind::Run(config) => (Some(config.clone()), Some(Path::new(what).join("adapter"))),
            Kind::Adapter(folder) | Kind::Published(folder) => (None, Some(folder.clone())),
            Kind::Base(_) => (None, None),
        };
        // Before the base is looked for or fetched: what is wrong with the adapter is told first, whatever the base.
        if let Some(folder) = &folder {
            adapter::check(folder).with_context(|| cannot_use(folder))?;
        }
        let pulled = match (model, &kind) {
            (Some(_), Kind::Base(_)) => bail!("{what} is a whole model: --model names the base of an adapter"),
            (Some(model), _) => pulled_model(model, &configs_root(None))?,
            (None, Kind::Base(model)) => pulled_model(model, &configs_root(None))?,
            (None, Kind::Run(config)) => prepared::base_here(config)?,
            (None, Kind::Adapter(folder)) => base_here(folder)?,
            (None, Kind::Published(folder)) => pulled_base(folder)?,
        };
        let mut checkpoint = Checkpoint::open(&pulled.path)?;
        // What is written takes the tokenizer along, so it is looked at even where nothing is encoded.
        if checkpoint.has_tokenizer() {
            checkpoint.tokenizer()?;
        }
        let adapter = folder.as_deref().map(|folder| read_adapter(folder, &checkpoint)).transpose()?;
        if let Some(folder) = &folder {
            adopt(&mut checkpoint, folder)?;
        }
        if let Some(folder) = &folder {
            learnt_by::hold_base(folder, &checkpoint, model.is_some())?;
        }
        let base_name = match adapter.as_ref().and_then(|adapter| adapter.base_model.clone()) {
            Some(name) if model.is_none() && !Path::new(&name).is_absolute() => name,
            _ => checkpoint.name(),
        };
        let base_source = pulled.source;
        if let Some(folder) = folder.as_deref().filter(|_| run.is_none()) {
            tell_of_words_left_out(folder);
        }
        Ok(Shipped { checkpoint, base_name, base_source, adapter, adapter_folder: folder, name, run })
    }

    /// The config of the run, if it is one: it brings held-out rows, and the words around every row.
    #[must_use]
    pub fn run(&self) -> Option<&Config> {
        self.run.as_deref()
    }

    /// The words that it is asked with; none around an adapter or a model that says nothing of how it was trained.
    pub fn wording(&self) -> Result<Wording> {
        self.run().map_or_else(|| Ok(Wording::default()), Wording::of)
    }

    /// Text to ids and back, as the run renders it where it is one.
    pub fn speech(&self) -> Result<Speech> {
        let speech = Speech::of(&self.checkpoint)?;
        Ok(match self.run() {
            Some(config) => speech.worded(config),
            None => speech,
        })
    }

    /// SHA-256 of the adapter's weights.
    #[must_use]
    pub fn adapter_sha256(&self) -> Option<String> {
        let folder = self.adapter_folder.as_deref()?;
        Some(pull::cache::hash_file(&folder.join(adapter::WEIGHTS_FILE)).ok()?.sha256)
    }

    /// Where the base came from, unless that is a path of this machine.
    #[must_use]
    pub fn public_source(&self) -> Option<&str> {
        let local = self.base_source.starts_with("folder ") || self.base_source.starts_with("file ");
        (!local).then_some(self.base_source.as_str())
    }

    /// Held-out rows as ids, at most `limit`: those of a file, or those of the run. `None` where there are neither.
    pub fn held_out(&self, speech: &Speech, file: Option<&Path>, limit: usize) -> Result<Option<Vec<Answered>>> {
        let language = speech.language(&self.checkpoint);
        match (file, &self.run) {
            (_, _) if limit == 0 => Ok(None),
            (Some(file), _) => answered::read(file, limit, &language, &self.wording()?).map(Some),
            (None, Some(config)) => {
                let data = prepared::set_here(config).and_then(|set| data::load(config, set, &language)).context(
                    "the held-out rows of the run\nhint: --rows FILE.jsonl names others, --kl-rows 0 does without",
                )?;
                let records: Vec<Record> = data.test.into_iter().take(limit).map(|row| row.record).collect();
                let rows = answered::rows(&records, &language, &self.wording()?)?;
                Ok((!rows.is_empty()).then_some(rows))
            }
            (None, None) => Ok(None),
        }
    }
}

/// Says where the adapter of a run is named by its folder, so that the words around it are not taken.
fn tell_of_words_left_out(folder: &Path) {
    let Some(run) = folder.parent().filter(|_| folder.ends_with("adapter")) else { return };
    let file = run.join("config.toml");
    // Whatever else is beside an adapter is no run, and no fault of it.
    let Some(config) = file.is_file().then(|| config::load_of_run(&file).ok()).flatten() else { return };
    if config.data.system.is_some() || config.prompt.is_some() || config.data.close_think_block {
        note(&format!(
            "the adapter alone is taken, without the words of its run: system message, prompt template, close_think_block\n\
             hint: {} instead of its adapter folder takes them",
            run.display()
        ));
    }
}

/// Takes tokenizer and chat template of an adapter folder in place of the base's, where it brings its own, and says so: the
/// adapter was trained with them.
pub fn adopt(checkpoint: &mut Checkpoint, folder: &Path) -> Result<()> {
    let brought = checkpoint.adopt(folder).context("cannot use the tokenizer of an adapter")?;
    let what = match (brought.tokenizer, brought.template) {
        (false, false) => return Ok(()),
        (true, false) => "tokenizer",
        (false, true) => "chat template",
        (true, true) => "tokenizer and chat template",
    };
    note(&format!("note: the adapter {} brings its own {what}, used in place of the base's", folder.display()));
    Ok(())
}

/// The adapter that an argument names: in a run, in a folder, or on the hub.
pub fn adapter_folder(what: &str) -> Result<PathBuf> {
    let path = Path::new(what);
    let inside = path.join("adapter");
    if inside.is_dir() {
        return Ok(inside);
    }
    if pull::is_repository(what) {
        return pulled_adapter(what);
    }
    Ok(path.to_path_buf())
}

/// Whether an adapter is in a folder. What stands under its name and is no file is refused where it is read.
fn is_adapter(folder: &Path) -> bool {
    folder.join(adapter::CONFIG_FILE).symlink_metadata().is_ok()
}

fn kind(what: &str) -> Result<Kind> {
    let path = Path::new(what);
    let has = |name: &str| path.join(name).is_file();
    if has("config.toml") && (path.join("adapter").is_dir() || has("events.jsonl") || has("summary.json")) {
        if !path.join("adapter").join(adapter::CONFIG_FILE).is_file() {
            bail!("{what}: the run has no adapter, since it did not finish\nhint: trainer fit CONFIG --resume");
        }
        let config = config::load_of_run(&path.join("config.toml"));
        let config = config.with_context(|| {
            format!("what the run {what} was trained with is not known\nhint: {what}/adapter is its adapter alone")
        })?;
        return Ok(Kind::Run(Box::new(config)));
    }
    if is_adapter(path) {
        return Ok(Kind::Adapter(path.to_path_buf()));
    }
    if has("config.json") || path.is_file() {
        return Ok(Kind::Base(what.to_owned()));
    }
    if is_adapter(&path.join("adapter")) {
        return Ok(Kind::Adapter(path.join("adapter")));
    }
    if path.exists() {
        bail!(
            "{what}: neither a run, an adapter nor a checkpoint\n\
             hint: a run has config.toml and adapter/, an adapter adapter_config.json, a checkpoint config.json"
        );
    }
    if pull::is_repository(what) {
        return pulled_adapter(what).map(Kind::Published);
    }
    if path.parent().is_some_and(|parent| parent.file_name().is_some() && parent.is_dir()) {
        bail!("{what} is not there\nhint: look at the path; `trainer watch` lists the runs of runs/");
    }
    Ok(Kind::Base(what.to_owned()))
}

fn pulled_model(name: &str, configs: &Path) -> Result<Pulled> {
    let mut line = PullLine::new();
    pull::model(name, configs, &Cache::open()?, &mut |text| note(text), &mut |progress| line.show(progress))
}

/// An adapter of the hub, in the cache.
fn pulled_adapter(repo: &str) -> Result<PathBuf> {
    let mut line = PullLine::new();
    let found =
        pull::repository(repo, None, &Cache::open()?, &mut |text| note(text), &mut |progress| line.show(progress))?;
    if !found.path.join(adapter::CONFIG_FILE).is_file() {
        bail!("{repo} holds a whole model and no adapter\nhint: name its folder: {}", found.path.display());
    }
    Ok(found.path)
}

/// The base that an adapter on this machine names, if it is here too.
fn base_here(folder: &Path) -> Result<Pulled> {
    let (name, revision) = named_base(folder)?;
    let found = pull::base_here(&name, revision.as_deref(), &configs_root(None), &Cache::open()?);
    found.with_context(|| {
        let (shown, place) = (shown_in_line(&name), folder.display());
        if pull::is_fetched_by_name(&name, &configs_root(None)) {
            let fetch = if revision.is_none() { format!("trainer pull {shown} fetches it; ") } else { String::new() };
            return format!(
                "{place} names {shown} as its base, which is not on this machine, and nothing is fetched because a file \
                 names it\nhint: {fetch}--model names another place of it"
            );
        }
        let run = folder.parent().filter(|run| folder.ends_with("adapter") && run.join("config.toml").is_file());
        let whole = run.map(|run| format!("{} takes the base of the run; ", run.display())).unwrap_or_default();
        format!(
            "{place} names {shown} as its base, a folder of the machine on which it was made\n\
             hint: {whole}--model FOLDER says where that base is here"
        )
    })
}

/// What an adapter says about its base: name and revision.
fn named_base(folder: &Path) -> Result<(String, Option<String>)> {
    let named = adapter::base_of(folder)?;
    let name = named.name.with_context(|| {
        format!("{}: the adapter names no base\nhint: --model NAME, or a folder or .gguf file", folder.display())
    })?;
    Ok((name, named.revision))
}

/// The base that an adapter of the hub names, fetched.
fn pulled_base(folder: &Path) -> Result<Pulled> {
    let (name, revision) = named_base(folder)?;
    let shown = folder.display();
    let mut line = PullLine::new();
    let (cache, configs) = (Cache::open()?, configs_root(None));
    let watch = &mut |progress: &pull::Progress| line.show(progress);
    pull::base(&name, revision.as_deref(), &configs, &cache, &mut |text| note(text), watch).with_context(|| {
        let name = shown_in_line(&name);
        format!("{shown} names {name} as its base\nhint: --model says where that base is")
    })
}

fn read_adapter(folder: &Path, base: &Checkpoint) -> Result<Adapter> {
    adapter::load(folder, &base.config).with_context(|| cannot_use(folder))
}

fn cannot_use(folder: &Path) -> String {
    format!("cannot use the adapter {}", folder.display())
}
