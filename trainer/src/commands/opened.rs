//! Owns opening a base model for a command: pulled, checked, loaded, with an adapter where one is asked for.
//! Knows names and folders; knows no command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use model::nn::Decoder;
use model::nn::decoder::Adapters;
use model::{Checkpoint, DeviceChoice, OpenDevice};

use super::{PullLine, note};
use crate::cli::ModelArgs;
use crate::local_lm::Speech;
use crate::pull::{self, Cache, Pulled};

/// A base model on a device.
pub struct Opened {
    /// The weights.
    pub decoder: Decoder,
    /// The adapter, or none anywhere.
    pub adapters: Adapters,
    /// Text to ids and back.
    pub speech: Speech,
}

/// Fetches a model by name or takes the path.
pub fn pull_model(name: &str, configs_root: &Path) -> Result<Pulled> {
    let mut line = PullLine::new();
    pull::model(name, configs_root, &Cache::open()?, &mut |text| note(text), &mut |progress| line.show(progress))
}

/// Opens what `--model` and `--adapter` name. `positions` caps the context, to save memory.
pub fn open(arguments: &ModelArgs, positions: usize) -> Result<Opened> {
    let pulled = pull_model(&arguments.model, &super::configs_root(None))?;
    let device = OpenDevice::open(arguments.device.parse::<DeviceChoice>()?)?;
    let checkpoint = Checkpoint::open(&pulled.path)?;
    let speech = Speech::of(&checkpoint)?;
    let positions = positions.min(checkpoint.config.max_position_embeddings);
    let decoder = model::weights::load(&checkpoint, &device, positions, |_, _| {})?;
    let adapters = match &arguments.adapter {
        None => decoder.without_adapters(),
        Some(folder) => {
            let folder = adapter_folder(folder);
            let adapter = model::adapter::load(&folder, &checkpoint.config)
                .with_context(|| format!("cannot use the adapter {}", folder.display()))?;
            adapter.layout.adapters(&adapter.values, &decoder)
        }
    };
    Ok(Opened { decoder, adapters, speech })
}

/// The adapter inside a run folder, or the folder itself.
fn adapter_folder(folder: &Path) -> PathBuf {
    let inside = folder.join("adapter");
    if inside.is_dir() { inside } else { folder.to_path_buf() }
}
