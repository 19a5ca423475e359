//! Owns opening devices and base models for a command: pulled, checked, loaded, with an adapter where one is asked for and
//! the words that it was trained with. Knows names and folders; knows no command.

use std::path::Path;

use anyhow::{Result, bail};
use ground::terminal::shown_in_line;
use model::adapter::Adapter;
use model::engine::AdapterId;
use model::{Checkpoint, DeviceChoice, LoadOptions, Model, OpenDevice, Precision};

use super::{PullLine, note};
use crate::cli::ModelArgs;
use crate::config::Config;
use crate::data::Language;
use crate::data::messages::Wording;
use crate::local_lm::Speech;
use crate::pull::{self, Cache, Pulled};
use crate::shipped::Shipped;

/// A base model on a device.
pub struct Opened {
    /// A name for it.
    pub name: String,
    /// The model.
    pub model: Model,
    /// The adapter, if one was asked for.
    pub adapter: Option<AdapterId>,
    /// Text to ids and back.
    pub speech: Speech,
}

/// Fetches a model by name or takes the path.
pub fn pull_model(name: &str, configs_root: &Path) -> Result<Pulled> {
    let mut line = PullLine::new();
    pull::model(name, configs_root, &Cache::open()?, &mut |text| note(text), &mut |progress| line.show(progress))
}

/// Opens a device. What is compiled for it stays in the cache.
pub fn device(choice: DeviceChoice, precision: Precision) -> Result<OpenDevice> {
    Ok(OpenDevice::open(choice, precision, Some(&Cache::open()?.kernels()))?)
}

/// The same, and says if the device is slower than it could be.
pub fn device_noted(choice: DeviceChoice, precision: Precision) -> Result<OpenDevice> {
    let device = device(choice, precision)?;
    device.warning.iter().for_each(|warning| note(&format!("warning: {warning}")));
    Ok(device)
}

/// What `--model` and `--adapter` name, and the words that it is asked with. Nothing of it is on a device yet.
pub struct Chosen {
    /// A name for the whole.
    pub name: String,
    /// Text to ids and back, as the adapter was trained where it says so.
    pub speech: Speech,
    /// The words around what is asked: those of the run, unless the command line says otherwise.
    pub wording: Wording,
    checkpoint: Checkpoint,
    adapter: Option<Adapter>,
}

/// Finds what `--model` and `--adapter` name. A run knows its base, its system message and its prompt template; what of it
/// is taken is told in one line.
pub fn choose(arguments: &ModelArgs) -> Result<Chosen> {
    let Some(what) = &arguments.adapter else {
        let Some(name) = &arguments.model else {
            bail!(
                "which model?\nhint: --model NAME, or --adapter RUN, which knows its base and the words it was trained with"
            );
        };
        let checkpoint = Checkpoint::open(&pull_model(name, &super::configs_root(None))?.path)?;
        let speech = noted(Speech::of(&checkpoint)?);
        let wording = Wording::new(arguments.system.clone(), None)?;
        return Ok(Chosen { name: name.clone(), speech, wording, checkpoint, adapter: None });
    };
    let shipped = Shipped::with_adapter(what, arguments.model.as_deref())?;
    let run = shipped.run();
    match run {
        Some(config) => note(&taken(arguments, what, &shipped.base_name, config)),
        None if arguments.model.is_none() => {
            note(&format!("base {}, as the adapter names it", shown_in_line(&shipped.base_name)))
        }
        None => {}
    }
    let words = run.filter(|_| !arguments.bare);
    let system = arguments.system.clone().or_else(|| words?.data.system.clone());
    let prompt = words.and_then(|config| config.prompt.as_ref()).map(|prompt| prompt.template.clone());
    let wording = Wording::new(system, prompt)?;
    let speech = noted(if arguments.bare { Speech::of(&shipped.checkpoint)? } else { shipped.speech()? });
    let Shipped { name, checkpoint, adapter, .. } = shipped;
    Ok(Chosen { name, speech, wording, checkpoint, adapter })
}

/// Says where answers end with a token that the model does not name.
pub fn noted(speech: Speech) -> Speech {
    speech.note().iter().for_each(|text| note(text));
    speech
}

/// What is taken from a run, in one line.
fn taken(arguments: &ModelArgs, what: &str, base: &str, config: &Config) -> String {
    let mut parts = Vec::new();
    if arguments.model.is_none() {
        parts.push(format!("its base {}", shown_in_line(base)));
    }
    let system = config.data.system.as_deref().filter(|_| arguments.system.is_none() && !arguments.bare);
    parts.extend(system.map(|_| "its system message".to_owned()));
    let prompt = config.prompt.as_ref().filter(|_| !arguments.bare);
    parts.extend(prompt.map(|_| "its prompt template".to_owned()));
    let sets_template = config.sets_template() && !arguments.bare;
    parts.extend(sets_template.then(|| "its settings of the chat template".to_owned()));
    if parts.is_empty() {
        return format!("of the run {what} nothing but the adapter is taken");
    }
    format!("of the run {what}: {}; --model, --system and --bare say otherwise", parts.join(", "))
}

impl Chosen {
    /// What turns the messages of rows into tokens for it.
    pub fn language(&self) -> Language<'_> {
        self.speech.language(&self.checkpoint)
    }

    /// Loads it onto the device that was asked for. `positions` caps the context, to save memory.
    pub fn load(self, arguments: &ModelArgs, positions: usize) -> Result<Opened> {
        let Chosen { name, speech, checkpoint, adapter, .. } = self;
        let device = device_noted(arguments.device.parse::<DeviceChoice>()?, Precision::Auto)?;
        let layouts: Vec<_> = adapter.iter().map(|adapter| &adapter.layout).collect();
        let positions = positions.min(checkpoint.config.max_position_embeddings);
        let model = device.load(&checkpoint, LoadOptions { positions, adapters: &layouts }, |_, _| {})?;
        let adapter = adapter.map(|adapter| model.add_adapter(&adapter.layout, &adapter.values)).transpose()?;
        Ok(Opened { name, model, adapter, speech })
    }
}
