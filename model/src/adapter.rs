//! Owns the adapter folder exactly as PEFT writes and reads it: `adapter_config.json`, `adapter_model.safetensors`.
//! Which settings are computed is in `keys` and `settings`, whether the tensors are those that the settings say in `pairs`,
//! how they are read in `values`: every command that uses an adapter passes them through [`load`] or [`check`]. Knows nothing
//! of training.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ground::read::Kind;
use ground::write::{self, Access};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::foreign;
use crate::lora::{self, InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use crate::tokenizer;

use values::Weights;

mod keys;
mod pairs;
mod settings;
mod values;

pub use keys::{MERGE_WITH_PEFT, Refusal, changed_base, refusals};
pub use pairs::{Contradiction, Misfit};
pub use values::shapes;

/// What PEFT puts before the path of a module.
const PREFIX: &str = "base_model.model.";

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
        views.push((pairs::key(&matrix.module, matrix.matrix), view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| refused(&path, &error.to_string()))?;
    put(&path, &file)?;
    let config = serde_json::to_vec_pretty(&config_json(lora, layout, base_model))
        .map_err(|error| refused(folder, &error.to_string()))?;
    put(&folder.join(CONFIG_FILE), &config)?;
    let written = Weights::open(folder)?;
    written.check(lora)?;
    if written.read(layout) != values {
        return Err(refused(&path, "what was written does not read back equal"));
    }
    Ok(())
}

/// Reads an adapter folder for a base model. What is not computed, and what one of its files says against the other or
/// against the base, is refused by name.
pub fn load(folder: &Path, base: &ModelConfig) -> Result<Adapter> {
    let (json, lora, weights) = read(folder)?;
    let base_model = json.get("base_model_name_or_path").and_then(|name| name.as_str()).map(str::to_owned);
    let other_base = match &base_model {
        Some(name) => format!("use it with the base that it was made for; it names {}", foreign::quoted(name)),
        None => "use it with the base that it was made for".to_owned(),
    };
    weights.within(base.num_hidden_layers, &other_base)?;
    let layout = LoraLayout::new(base, &lora).map_err(|error| in_config(error, folder))?;
    weights.fits(&layout, &other_base)?;
    let values = weights.read(&layout);
    Ok(Adapter { lora, layout, values, base_model })
}

/// Refuses an adapter folder that would not be computed over any base.
pub fn check(folder: &Path) -> Result<()> {
    read(folder).map(drop)
}

fn read(folder: &Path) -> Result<(Value, LoraConfig, Weights)> {
    let json = raw_config(folder)?;
    let lora = settings::parse(&json, &folder.join(CONFIG_FILE))?;
    let weights = Weights::open(folder)?;
    weights.check(&lora).map_err(|error| in_config(error, folder))?;
    Ok((json, lora, weights))
}

/// Where target modules stand, which are also those of a run.
fn in_config(error: Error, folder: &Path) -> Error {
    match error {
        Error::Adapter { path, what } if path == Path::new(lora::PLACE) => {
            Error::Adapter { path: folder.join(CONFIG_FILE), what }
        }
        other => other,
    }
}

/// What settings and shapes of an adapter say against each other, of each kind the first; an error where the settings are
/// not those of an adapter that is computed.
pub fn misfits(config: &Value, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<Misfit>> {
    let lora = settings::parse(config, Path::new(CONFIG_FILE))?;
    let shapes = shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    pairs::misfits(&shapes, &lora)
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
    let json = raw_config(folder)?;
    let text = |key: &str| json.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(NamedBase { name: text("base_model_name_or_path"), revision: text("revision") })
}

/// The settings of an adapter folder as they were written, of whatever method. A key that stands twice is refused.
pub fn raw_config(folder: &Path) -> Result<Value> {
    let path = folder.join(CONFIG_FILE);
    let bytes = foreign::bytes(&path, Kind::AdapterConfig)?;
    foreign::parse_text_once(&bytes).map_err(|what| Error::malformed(&path, what))
}

fn config_json(lora: &LoraConfig, layout: &LoraLayout, base_model: &str) -> Value {
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
