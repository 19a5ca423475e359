//! What an adapter folder says of itself: settings, names and shapes of its tensors, and what lies beside them. Reads
//! every adapter of PEFT, also one that this program does not train. Knows no reader.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model::ModelConfig;
use model::adapter::{self, Contradiction, Misfit};
use model::tokenizer::Brought;
use serde_json::Value;

/// What PEFT puts before the path of a module.
const PREFIX: &str = "base_model.model.";

/// An adapter as its files describe it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The folder.
    pub folder: PathBuf,
    /// The settings as they were written.
    pub config: Value,
    /// Shapes by the names of the file; empty where there is no `adapter_model.safetensors`.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// Whether the weights are there as a pickle.
    pub pickle: bool,
    /// The base, where it was found.
    pub base: Option<ModelConfig>,
    /// What the folder brings of a tokenizer and a chat template, or why they do not fit the base; `None` without a base.
    pub words: Option<Result<Brought, String>>,
}

impl Facts {
    /// Reads a folder. `base` is the configuration of the base, where it could be had.
    pub fn read(folder: &Path, base: Option<ModelConfig>) -> Result<Self> {
        let path = folder.join(adapter::CONFIG_FILE);
        let config = adapter::raw_config(folder).with_context(|| {
            format!("cannot use {}\nhint: name the folder that holds {}", folder.display(), adapter::CONFIG_FILE)
        })?;
        if !config.is_object() {
            bail!("{} is not a JSON object\nhint: fetch the adapter again", path.display());
        }
        let weights = folder.join(adapter::WEIGHTS_FILE);
        let tensors = match weights.symlink_metadata() {
            Ok(_) => adapter::shapes(&weights)?,
            Err(_) => BTreeMap::new(),
        };
        let pickle = folder.join("adapter_model.bin").is_file();
        Ok(Facts { folder: folder.to_path_buf(), config, tensors, pickle, base, words: None })
    }

    /// A setting that is there and is neither null, false, empty nor zero.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        match self.config.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::Bool(true)) => true,
        }
    }

    /// A setting as the file writes it.
    #[must_use]
    pub fn shown(&self, key: &str) -> String {
        self.config.get(key).map(Value::to_string).unwrap_or_default()
    }

    /// A text setting.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.config.get(key).and_then(Value::as_str)
    }

    /// The rank of most modules.
    #[must_use]
    pub fn rank(&self) -> Option<u64> {
        self.config.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0)
    }

    /// The largest rank of any module, by the shapes of the file.
    #[must_use]
    pub fn largest_rank(&self) -> Option<u64> {
        let is_a = |name: &str| name.contains(".lora_A.");
        let ranks = self.tensors.iter().filter(|(name, _)| is_a(name)).filter_map(|(_, shape)| shape.first());
        ranks.max().map(|rank| *rank as u64).or(self.rank())
    }

    /// `bias`, where it is trained.
    #[must_use]
    pub fn bias(&self) -> Option<&str> {
        self.text("bias").filter(|bias| *bias != "none")
    }

    /// A starting point for which the base itself was changed, so that the adapter only fits the changed base.
    #[must_use]
    pub fn changed_base(&self) -> Option<&str> {
        adapter::changed_base(&self.config)
    }

    /// Modules with A or B, without their prefix and layer: `q_proj`, `lm_head`, …
    #[must_use]
    pub fn leaves(&self) -> Vec<String> {
        let mut leaves: Vec<String> =
            self.modules().filter_map(|module| module.rsplit('.').next().map(str::to_owned)).collect();
        leaves.sort();
        leaves.dedup();
        leaves
    }

    /// Paths of the modules with A or B.
    pub fn modules(&self) -> impl Iterator<Item = String> + '_ {
        self.tensors.keys().filter_map(|name| {
            let path = name.strip_prefix(PREFIX).unwrap_or(name);
            ["lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"]
                .iter()
                .find_map(|part| path.split_once(&format!(".{part}")))
                .map(|(module, _)| module.to_owned())
        })
    }

    /// Tensors that are neither A nor B of a module: trained heads, magnitudes, biases.
    #[must_use]
    pub fn others(&self) -> Vec<&str> {
        let known = [".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B"];
        self.tensors.keys().map(String::as_str).filter(|name| !known.iter().any(|part| name.contains(part))).collect()
    }

    /// Tensor names without PEFT's prefix, which readers do not find.
    #[must_use]
    pub fn without_prefix(&self) -> Option<&str> {
        self.tensors.keys().map(String::as_str).find(|name| !name.starts_with(PREFIX))
    }

    /// What tensors and settings say against each other, where the settings are plain ones.
    #[must_use]
    pub fn misfits(&self, of: &[Contradiction]) -> Vec<Misfit> {
        let all = adapter::misfits(&self.config, &self.tensors).unwrap_or_default();
        all.into_iter().filter(|misfit| of.contains(&misfit.kind)).collect()
    }

    /// Whether this program computes it, as far as names and shapes show.
    #[must_use]
    pub fn is_computed_here(&self) -> bool {
        adapter::misfits(&self.config, &self.tensors).is_ok_and(|misfits| misfits.is_empty())
    }

    /// Another method than LoRA, as the file writes it.
    #[must_use]
    pub fn other_method(&self) -> Option<&str> {
        self.text("peft_type").filter(|method| *method != "LORA")
    }

    /// Whether it is scaled by nothing.
    #[must_use]
    pub fn alpha_is_zero(&self) -> bool {
        self.config.get("lora_alpha").and_then(Value::as_f64) == Some(0.0)
    }

    /// Layers that the adapter has and the base has not.
    #[must_use]
    pub fn beyond_the_base(&self) -> Option<String> {
        let layers = self.base.as_ref()?.num_hidden_layers;
        self.modules().find(|module| {
            let layer = module.split("layers.").nth(1).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            layer.is_some_and(|layer| layer >= layers)
        })
    }
}
