//! Owns opening devices and base models for a command: pulled, checked, loaded, with an adapter where one is asked for.
//! Knows names and folders; knows no command.

use std::path::Path;

use anyhow::{Context, Result};
use model::adapter::Adapter;
use model::engine::AdapterId;
use model::{Checkpoint, DeviceChoice, LoadOptions, Model, OpenDevice, Precision};

use super::{PullLine, note};
use crate::cli::ModelArgs;
use crate::local_lm::Speech;
use crate::pull::{self, Cache, Pulled};
use crate::shipped;

/// A base model on a device.
pub struct Opened {
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

/// What `--model` and `--adapter` name, read but not on a device.
pub struct Files {
    /// Text to ids and back, as the adapter was trained where it says so.
    pub speech: Speech,
    checkpoint: Checkpoint,
    adapter: Option<Adapter>,
}

impl Files {
    /// Finds and reads them.
    pub fn read(arguments: &ModelArgs) -> Result<Self> {
        let pulled = pull_model(&arguments.model, &super::configs_root(None))?;
        let mut checkpoint = Checkpoint::open(&pulled.path)?;
        let adapter: Option<Adapter> = match &arguments.adapter {
            None => None,
            Some(what) => {
                let folder = shipped::adapter_folder(what)?;
                let adapter = model::adapter::load(&folder, &checkpoint.config);
                let adapter = adapter.with_context(|| format!("cannot use the adapter {}", folder.display()))?;
                shipped::adopt(&mut checkpoint, &folder)?;
                Some(adapter)
            }
        };
        let speech = Speech::of(&checkpoint)?;
        Ok(Files { speech, checkpoint, adapter })
    }

    /// Loads them onto the device. `positions` caps the context, to save memory.
    pub fn load(self, arguments: &ModelArgs, positions: usize) -> Result<Opened> {
        let Files { speech, checkpoint, adapter } = self;
        let device = device_noted(arguments.device.parse::<DeviceChoice>()?, Precision::Auto)?;
        let layouts: Vec<_> = adapter.iter().map(|adapter| &adapter.layout).collect();
        let positions = positions.min(checkpoint.config.max_position_embeddings);
        let model = device.load(&checkpoint, LoadOptions { positions, adapters: &layouts }, |_, _| {})?;
        let adapter = adapter.map(|adapter| model.add_adapter(&adapter.layout, &adapter.values)).transpose()?;
        Ok(Opened { model, adapter, speech })
    }
}

/// Opens what `--model` and `--adapter` name. `positions` caps the context, to save memory.
pub fn open(arguments: &ModelArgs, positions: usize) -> Result<Opened> {
    Files::read(arguments)?.load(arguments, positions)
}
