//! Owns the adapter that a run starts from: where it is, and that it is of the kind that the config trains.
//! Knows settings and folders; knows no step and no device.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model::adapter::{self, Adapter};
use model::lora::{LoraConfig, LoraLayout, TargetModules};

use crate::config::Config;
use crate::shipped;

/// An adapter to start from.
pub struct Start {
    /// As the config names it.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Its weights in the order of the layout.
    pub values: Vec<f32>,
}

/// Looks at what `lora.init_adapter` names before anything is fetched: that it is there and is an adapter.
pub fn look(config: &Config) -> Result<()> {
    let Some(name) = &config.init_adapter else { return Ok(()) };
    if Path::new(name).exists() {
        let folder = shipped::adapter_folder(name)?;
        return look_at(&folder).with_context(|| format!("lora.init_adapter {name}"));
    }
    if !crate::pull::is_repository(name) {
        bail!("lora.init_adapter {name} is not there\nhint: a run, an adapter folder, or owner/name on the hub");
    }
    Ok(())
}

/// The folder of what `lora.init_adapter` names, if it names anything. What is on the hub is fetched.
pub fn folder(config: &Config) -> Result<Option<PathBuf>> {
    look(config)?;
    config.init_adapter.as_deref().map(shipped::adapter_folder).transpose()
}

/// Reads what `lora.init_adapter` names, if it names anything, and refuses an adapter of another kind with the settings
/// that would fit it.
pub fn read(config: &Config, base: &model::ModelConfig) -> Result<Option<Start>> {
    let (Some(name), Some(folder)) = (&config.init_adapter, folder(config)?) else { return Ok(None) };
    let found = adapter::load(&folder, base).with_context(|| format!("lora.init_adapter {name}"))?;
    let layout = LoraLayout::new(base, &config.lora)?;
    if found.layout != layout {
        bail!(
            "lora.init_adapter {name} is another kind of adapter: {}\nhint: {}",
            differences(&found, config).join(", "),
            settings(&found.lora)
        );
    }
    let sha256 = crate::pull::cache::hash_file(&folder.join(adapter::WEIGHTS_FILE))?.sha256;
    Ok(Some(Start { name: name.clone(), sha256, values: found.values }))
}

/// Refuses a folder that holds no adapter, or one that is not computed over any base.
pub fn look_at(folder: &Path) -> Result<()> {
    Ok(adapter::check(folder)?)
}

/// In what the two differ, by the names of the config.
fn differences(found: &Adapter, config: &Config) -> Vec<String> {
    let (theirs, ours) = (&found.lora, &config.lora);
    let mut told = Vec::new();
    if theirs.r != ours.r {
        told.push(format!("its r is {}, lora.r is {}", theirs.r, ours.r));
    }
    if theirs.lora_alpha != ours.lora_alpha {
        told.push(format!("its lora_alpha is {}, lora.lora_alpha is {}", theirs.lora_alpha, ours.lora_alpha));
    }
    if theirs.use_rslora != ours.use_rslora {
        told.push(format!("its use_rslora is {}, lora.use_rslora is {}", theirs.use_rslora, ours.use_rslora));
    }
    if told.is_empty() {
        told.push("it adapts other modules than lora.target_modules".to_owned());
    }
    told
}

/// What to type so that a run trains the same kind.
fn settings(lora: &LoraConfig) -> String {
    let modules = match &lora.target_modules {
        TargetModules::Pattern(pattern) => format!("{pattern:?}"),
        TargetModules::Names(names) => format!("{names:?}"),
    };
    format!(
        "--set lora.r={} --set lora.lora_alpha={} --set lora.use_rslora={} --set 'lora.target_modules={modules}'",
        lora.r, lora.lora_alpha, lora.use_rslora
    )
}
