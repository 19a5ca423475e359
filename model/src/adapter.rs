//! Owns the adapter folder exactly as PEFT writes and reads it: `adapter_config.json`, `adapter_model.safetensors`.
//! Which settings are computed is in `keys` and `settings`, what the file of weights holds in `values`. Knows nothing of
//! training.

use std::collections::HashMap;
use std::path::Path;

use ground::read::Kind;
use ground::write::{self, Access};
use safetensors::tensor::{Dtype, TensorView};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::foreign;
use crate::lora::{InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use crate::tokenizer;

mod keys;
mod settings;
mod values;

pub use keys::{MERGE_WITH_PEFT, Refusal, changed_base, refusals};
pub use values::{beside_a_and_b, shapes};

/// The file with the settings.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The file with the weights.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// What an adapter folder may hold that a reader needs, the first two always; the others are those of a tokenizer.
pub const FILES: [&str; 2 + tokenizer::FILES.len()] = {
    let mut all = [CONFIG_FILE; 2 + tokenizer::FILES.len()];
    all[1] = WEIGHTS_FILE;
    let mut at = 0;
    while at < tokenizer::FILES.len() {
        all[2 + at] = tokenizer::FILES[at].0;
        at += 1;
    }
    all
};

/// An adapter read from a folder, checked against a base.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its settings.
    pub lora: LoraConfig,
    /// Where each matrix lies in `values`.
    pub layout: LoraLayout,
    /// All matrices, flat.
    pub values: Vec<f32>,
    /// The base it names.
    pub base_model: Option<String>,
}

/// Writes an adapter folder. The weights are reopened and compared before this returns, and an adapter whose every B
/// is zero is refused, since it would change nothing.
pub fn save(folder: &Path, lora: &LoraConfig, layout: &LoraLayout, values: &[f32], base_model: &str) -> Result<()> {
    let matrices = layout.matrices();
    let b_is_zero = matrices
        .iter()
        .filter(|matrix| matrix.matrix == "lora_B")
        .all(|matrix| values[matrix.range.clone()].iter().all(|&value| value == 0.0));
    if b_is_zero {
        return Err(refused(
            folder,
            "every lora_B is zero, so the adapter would change nothing\nhint: raise the learning rate, or train for more steps",
        ));
    }
    let path = folder.join(WEIGHTS_FILE);
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let mut views = Vec::with_capacity(matrices.len());
    for matrix in &matrices {
        let data = &bytes[4 * matrix.range.start..4 * matrix.range.end];
        let view = TensorView::new(Dtype::F32, matrix.shape.to_vec(), data)
            .map_err(|error| refused(&path, &error.to_string()))?;
        views.push((values::key(&matrix.module, matrix.matrix), view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| refused(&path, &error.to_string()))?;
    put(&path, &file)?;
    let config = serde_json::to_vec_pretty(&config_json(lora, layout, base_model))
        .map_err(|error| refused(folder, &error.to_string()))?;
    put(&folder.join(CONFIG_FILE), &config)?;
    let read = values::read(&path, layout)?;
    if read != values {
        return Err(refused(&path, "what was written does not read back equal"));
    }
    Ok(())
}

/// Reads an adapter folder for a base model; keys that do not match are an error, never skipped.
pub fn load(folder: &Path, base: &ModelConfig) -> Result<Adapter> {
    let path = folder.join(CONFIG_FILE);
    let json = foreign::json(&path, Kind::AdapterConfig)?;
    let lora = settings::parse(&json, &path)?;
    let layout = LoraLayout::new(base, &lora)?;
    let values = values::read(&folder.join(WEIGHTS_FILE), &layout)?;
    let base_model = json.get("base_model_name_or_path").and_then(|name| name.as_str()).map(str::to_owned);
    Ok(Adapter { lora, layout, values, base_model })
}

/// The base that an adapter folder names, and its revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedBase {
    /// `base_model_name_or_path`.
    pub name: Option<String>,
    /// `revision`: a commit or branch of the base on the hub.
    pub revision: Option<String>,
}

/// Reads which base an adapter is for, without its weights.
pub fn base_of(folder: &Path) -> Result<NamedBase> {
    let path = folder.join(CONFIG_FILE);
    let json = foreign::json(&path, Kind::AdapterConfig)?;
    let text = |key: &str| json.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(NamedBase { name: text("base_model_name_or_path"), revision: text("revision") })
}

/// Reads the settings of an adapter folder, without its weights; settings that are not computed are refused by name.
pub fn read_settings(folder: &Path) -> Result<LoraConfig> {
    let path = folder.join(CONFIG_FILE);
    let json = foreign::json(&path, Kind::AdapterConfig)?;
    settings::parse(&json, &path)
}

/// The settings of an adapter folder as they were written, of whatever method.
pub fn raw_config(folder: &Path) -> Result<serde_json::Value> {
    foreign::json(&folder.join(CONFIG_FILE), Kind::AdapterConfig)
}

fn config_json(lora: &LoraConfig, layout: &LoraLayout, base_model: &str) -> serde_json::Value {
    // PEFT resolves `all-linear` to names when it saves, so that readers need not know the architecture.
    let target_modules = match &lora.target_modules {
        TargetModules::Pattern(pattern) if pattern == "all-linear" => {
            let mut names: Vec<String> = layout
                .matrices()
                .into_iter()
                .filter_map(|matrix| matrix.module.rsplit('.').next().map(str::to_owned))
                .collect();
            names.sort_unstable();
            names.dedup();
            serde_json::json!(names)
        }
        other => serde_json::json!(other),
    };
    let init = match lora.init_lora_weights {
        InitLoraWeights::KaimingUniform => serde_json::json!(true),
        InitLoraWeights::Gaussian => serde_json::json!("gaussian"),
    };
    serde_json::json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": true,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": target_modules,
        "use_rslora": lora.use_rslora,
        "init_lora_weights": init,
        "bias": "none",
        "fan_in_fan_out": false,
        "modules_to_save": null,
        "use_dora": false,
        "layers_to_transform": null,
        "layers_pattern": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "revision": null,
    })
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    write::file(path, bytes, Access::AsUsual).map_err(Error::io(path))
}

fn refused(path: &Path, what: &str) -> Error {
    Error::Adapter { path: path.to_path_buf(), what: what.to_owned() }
}
