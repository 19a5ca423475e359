//! Owns the adapter folder exactly as PEFT writes and reads it: `adapter_config.json`, `adapter_model.safetensors`.
//! Knows names and shapes of the file; knows nothing of training.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use ground::read::Kind;
use ground::write::{self, Access};
use safetensors::tensor::{Dtype, TensorView};

use crate::checkpoint::mapped::Mapped;
use crate::checkpoint::{StoredType, safetensors as safetensors_file};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::foreign;
use crate::lora::{InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use crate::tokenizer;

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
const PREFIX: &str = "base_model.model.";

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
        views.push((key(&matrix.module, matrix.matrix), view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| refused(&path, &error.to_string()))?;
    put(&path, &file)?;
    let config = serde_json::to_vec_pretty(&config_json(lora, layout, base_model))
        .map_err(|error| refused(folder, &error.to_string()))?;
    put(&folder.join(CONFIG_FILE), &config)?;
    let read = read_values(&path, layout)?;
    if read != values {
        return Err(refused(&path, "what was written does not read back equal"));
    }
    Ok(())
}

/// Reads an adapter folder for a base model; keys that do not match are an error, never skipped.
pub fn load(folder: &Path, base: &ModelConfig) -> Result<Adapter> {
    let path = folder.join(CONFIG_FILE);
    let json = foreign::json(&path, Kind::AdapterConfig)?;
    let lora = parse_config(&json, &path)?;
    let layout = LoraLayout::new(base, &lora)?;
    let values = read_values(&folder.join(WEIGHTS_FILE), &layout)?;
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
    parse_config(&json, &path)
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

fn parse_config(json: &serde_json::Value, path: &Path) -> Result<LoraConfig> {
    let field = |name: &str| json.get(name).filter(|value| !value.is_null());
    let number = |name: &str| {
        field(name).and_then(serde_json::Value::as_f64).ok_or_else(|| refused(path, &format!("{name} is missing")))
    };
    let flag = |name: &str| field(name).and_then(serde_json::Value::as_bool).unwrap_or(false);
    if field("peft_type").and_then(|kind| kind.as_str()) != Some("LORA") {
        return Err(refused(path, "peft_type is not LORA"));
    }
    for name in ["use_dora", "fan_in_fan_out", "use_qalora", "lora_bias"] {
        if flag(name) {
            return Err(refused(path, &format!("{name} is not supported")));
        }
    }
    for name in ["rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform", "exclude_modules"] {
        let empty = |value: &serde_json::Value| {
            value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
        };
        if field(name).is_some_and(|value| !empty(value)) {
            return Err(refused(path, &format!("{name} is not supported")));
        }
    }
    if field("bias").and_then(|bias| bias.as_str()).is_some_and(|bias| bias != "none") {
        return Err(refused(path, "trained biases are not supported"));
    }
    let targets = field("target_modules").ok_or_else(|| refused(path, "target_modules is missing"))?;
    let target_modules: TargetModules = serde_json::from_value(targets.clone())
        .map_err(|_| refused(path, "target_modules is neither a text nor a list of texts"))?;
    let r = number("r")?;
    if !(1.0..=65536.0).contains(&r) || r.fract() != 0.0 {
        return Err(refused(path, &format!("r is {r}")));
    }
    let lora_alpha = number("lora_alpha")? as f32;
    if !lora_alpha.is_finite() {
        return Err(refused(path, "lora_alpha is not finite"));
    }
    let lora_dropout = field("lora_dropout").and_then(serde_json::Value::as_f64).unwrap_or(0.0) as f32;
    if !(0.0..1.0).contains(&lora_dropout) {
        return Err(refused(path, &format!("lora_dropout is {lora_dropout}, expected 0 or more and below 1")));
    }
    let init = field("init_lora_weights").and_then(|init| init.as_str());
    Ok(LoraConfig {
        r: r as usize,
        lora_alpha,
        lora_dropout,
        target_modules,
        use_rslora: flag("use_rslora"),
        init_lora_weights: if init == Some("gaussian") {
            InitLoraWeights::Gaussian
        } else {
            InitLoraWeights::KaimingUniform
        },
    })
}

/// Names and shapes of the tensors of an adapter, by the head of its file: also of one that this program does not compute.
pub fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let file = Mapped::open(path)?;
    let (entries, _) = safetensors_file::header(file.bytes(), path)?;
    let shape = |entry: &safetensors_file::Entry| {
        entry.shape.iter().map(|one| usize::try_from(*one).unwrap_or(usize::MAX)).collect()
    };
    Ok(entries.iter().map(|(name, entry)| (name.clone(), shape(entry))).collect())
}

fn read_values(path: &Path, layout: &LoraLayout) -> Result<Vec<f32>> {
    let file = Mapped::open(path)?;
    let tensors = safetensors_file::parse(file.bytes(), path)?;
    let matrices = layout.matrices();
    // All shapes first: only then is there as much in the file as is about to be allocated.
    let mut found = Vec::with_capacity(matrices.len());
    for matrix in &matrices {
        let key = key(&matrix.module, matrix.matrix);
        let info = tensors.get(&key).ok_or_else(|| {
            refused(path, &format!("{key} is missing\nhint: the adapter was made for another base model"))
        })?;
        if info.shape != matrix.shape {
            let (found, expected) = (&info.shape, matrix.shape);
            return Err(refused(
                path,
                &format!(
                    "{key} has shape {found:?}, expected {expected:?}\nhint: the adapter was made for another base model"
                ),
            ));
        }
        found.push(info);
    }
    let known: HashSet<String> = matrices.iter().map(|matrix| key(&matrix.module, matrix.matrix)).collect();
    if let Some(unknown) = tensors.keys().find(|name| !known.contains(*name)) {
        let unknown = foreign::short(unknown);
        return Err(refused(
            path,
            &format!("{unknown} matches no adapted module\nhint: the adapter was made for another base model"),
        ));
    }
    let mut values = vec![0.0; layout.length()];
    for (matrix, info) in matrices.iter().zip(found) {
        let out = &mut values[matrix.range.clone()];
        let data = &file.bytes()[info.range.clone()];
        match info.dtype {
            StoredType::F32 => fill(out, data, f32::from_le_bytes),
            StoredType::F16 => fill(out, data, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
            StoredType::BF16 => fill(out, data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        }
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(Error::NonFinite { what: format!("a weight of {}", path.display()) });
    }
    Ok(values)
}

fn fill<const N: usize>(out: &mut [f32], data: &[u8], convert: impl Fn([u8; N]) -> f32) {
    let (values, _) = data.as_chunks::<N>();
    out.iter_mut().zip(values).for_each(|(out, bytes)| *out = convert(*bytes));
}

fn key(module: &str, matrix: &str) -> String {
    format!("{PREFIX}{module}.{matrix}.weight")
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    write::file(path, bytes, Access::AsUsual).map_err(Error::io(path))
}

fn refused(path: &Path, what: &str) -> Error {
    Error::Adapter { path: path.to_path_buf(), what: what.to_owned() }
}
