//! Owns low-rank adapters: the settings PEFT calls them by, where each matrix lies in one flat buffer, and how they
//! start. Knows module names and shapes; knows no file and no gradient.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};

use crate::config::ModelConfig;
use crate::dropout::{DropoutKey, key_of, normal, uniform};
use crate::error::{Error, Result};
use crate::foreign::short;
use crate::kernels::{LoraOperand, LoraPart, Prepared};
use crate::nn::decoder::Adapters;
use crate::nn::{Decoder, Group, LayerGradients};

/// Where the settings of a run stand, in the place of a path.
pub(crate) const PLACE: &str = "lora";

/// Which modules get an adapter, as PEFT reads it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// `all-linear`, or a regular expression that must match the whole module path.
    Pattern(String),
    /// Module names; a path that ends in one of them matches.
    Names(Vec<String>),
}

/// How A starts; B starts at zero, so an untrained adapter changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum InitLoraWeights {
    /// Uniform as a linear layer of PyTorch starts (`true` in PEFT).
    #[serde(rename = "true")]
    KaimingUniform,
    /// Normal with standard deviation `1 / r`.
    #[serde(rename = "gaussian")]
    Gaussian,
}

/// The settings of an adapter, by PEFT's names.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f32,
    /// Dropout on the adapter's input while training. Modules that read the same input share one mask.
    pub lora_dropout: f32,
    /// Which modules.
    pub target_modules: TargetModules,
    /// Scale by `alpha / sqrt(r)` instead of `alpha / r`.
    pub use_rslora: bool,
    /// How A starts.
    pub init_lora_weights: InitLoraWeights,
}

impl LoraConfig {
    /// What the adapter's product is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        if self.use_rslora { self.lora_alpha / r.sqrt() } else { self.lora_alpha / r }
    }
}

/// One matrix of the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Module path, such as `model.layers.3.self_attn.q_proj`.
    pub module: String,
    /// `lora_A` or `lora_B`.
    pub matrix: &'static str,
    /// Where it lies.
    pub range: Range<usize>,
    /// `[rows, columns]`, row-major.
    pub shape: [usize; 2],
}

/// Where every matrix of an adapter lies in one flat f32 buffer: for each packed linear the stacked A, then each B.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraLayout {
    slots: Vec<[Option<Slot>; 4]>,
    length: usize,
    scale: f32,
}

/// The matrices beside one packed linear.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    /// The stacked A, `[ranks, inner]`.
    pub(crate) a: Range<usize>,
    rank: usize,
    /// Width of the linear's input.
    pub(crate) inner: usize,
    /// The parts with an adapter.
    pub(crate) parts: Vec<PartSlot>,
}

/// The B of one part of a packed linear.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PartSlot {
    module: String,
    /// `[columns, rank]`.
    pub(crate) b: Range<usize>,
    /// The columns of the linear's output that it writes.
    pub(crate) columns: Range<usize>,
}

impl Slot {
    /// Rows of the stacked A.
    pub(crate) fn ranks(&self) -> usize {
        self.parts.len() * self.rank
    }

    /// The rows of the stacked A of each part, in order.
    pub(crate) fn part_ranks(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.parts.len()).map(|part| part * self.rank..(part + 1) * self.rank)
    }
}

impl LoraLayout {
    /// The layout for a model and settings; a target that matches nothing is an error.
    pub fn new(config: &ModelConfig, lora: &LoraConfig) -> Result<Self> {
        let targets = Targets::new(&lora.target_modules)?;
        let mut matched = vec![false; targets.count()];
        let mut end = 0;
        let mut take = |length: usize| {
            end += length;
            end - length..end
        };
        let mut slots = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            slots.push(Group::ALL.map(|group| {
                let chosen: Vec<_> = group
                    .parts(config)
                    .into_iter()
                    .map(|part| (format!("model.layers.{layer}.{}", part.name), part.columns))
                    .filter(|(module, _)| targets.matches(module, &mut matched))
                    .collect();
                let inner = group.input_width(config);
                (!chosen.is_empty()).then(|| Slot {
                    a: take(chosen.len() * lora.r * inner),
                    rank: lora.r,
                    inner,
                    parts: chosen
                        .into_iter()
                        .map(|(module, columns)| PartSlot { module, b: take(columns.len() * lora.r), columns })
                        .collect(),
                })
            }));
        }
        targets.check(&matched)?;
        Ok(LoraLayout { slots, length: end, scale: lora.scale() })
    }

    /// Length of the flat buffer, which is the number of trainable weights.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The matrices beside a packed linear, if it has any.
    pub(crate) fn slot(&self, layer: usize, group: usize) -> Option<&Slot> {
        self.slots[layer][group].as_ref()
    }

    /// Rows of the stacked A beside a packed linear, in the layer that has most.
    pub(crate) fn ranks(&self, group: usize) -> usize {
        self.slots.iter().filter_map(|slots| slots[group].as_ref()).map(Slot::ranks).max().unwrap_or(0)
    }

    /// What the adapter's product is multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// Columns of all `u` of the layer that has most.
    #[must_use]
    pub fn ranks_per_layer(&self) -> usize {
        let ranks = |slots: &[Option<Slot>; 4]| slots.iter().flatten().map(Slot::ranks).sum();
        self.slots.iter().map(ranks).max().unwrap_or(0)
    }

    /// Every matrix in the order of the buffer.
    #[must_use]
    pub fn matrices(&self) -> Vec<Matrix> {
        let mut matrices = Vec::new();
        for slot in self.slots.iter().flatten().flatten() {
            for (index, part) in slot.parts.iter().enumerate() {
                let start = slot.a.start + index * slot.rank * slot.inner;
                matrices.push(Matrix {
                    module: part.module.clone(),
                    matrix: "lora_A",
                    range: start..start + slot.rank * slot.inner,
                    shape: [slot.rank, slot.inner],
                });
            }
            for part in &slot.parts {
                matrices.push(Matrix {
                    module: part.module.clone(),
                    matrix: "lora_B",
                    range: part.b.clone(),
                    shape: [part.columns.len(), slot.rank],
                });
            }
        }
        matrices
    }

    /// Starting values: A by `init`, keyed by seed and name so that no order matters; B zero.
    #[must_use]
    pub fn initial(&self, init: InitLoraWeights, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.length];
        for matrix in self.matrices().into_iter().filter(|matrix| matrix.matrix == "lora_A") {
            let key = key_of(seed, &matrix.module);
            let [rank, inner] = matrix.shape;
            for (index, value) in values[matrix.range].iter_mut().enumerate() {
                *value = match init {
                    InitLoraWeights::KaimingUniform => (2.0 * uniform(key, index as u64) - 1.0) / (inner as f32).sqrt(),
                    InitLoraWeights::Gaussian => normal(key, index as u64) / rank as f32,
                };
            }
        }
        values
    }

    /// Views of the flat buffer as operands of every layer. `dropout` gives the key for (layer, group).
    #[must_use]
    pub fn operands(&self, flat: &Tensor<1>, dropout: impl Fn(usize, usize) -> Option<DropoutKey>) -> Adapters {
        let view = |range: &Range<usize>, shape: [usize; 2]| -> Tensor<2> {
            flat.clone().slice([range.clone()]).reshape(shape)
        };
        let layers = self.slots.iter().enumerate();
        layers
            .map(|(layer, slots)| {
                [0, 1, 2, 3].map(|group| {
                    slots[group].as_ref().map(|slot| LoraOperand {
                        a: view(&slot.a, [slot.parts.len() * slot.rank, slot.inner]),
                        parts: slot
                            .parts
                            .iter()
                            .enumerate()
                            .map(|(index, part)| LoraPart {
                                b: view(&part.b, [part.columns.len(), slot.rank]),
                                columns: part.columns.clone(),
                                ranks: index * slot.rank..(index + 1) * slot.rank,
                            })
                            .collect(),
                        scale: self.scale,
                        dropout: dropout(layer, group),
                        prepared: Prepared::default(),
                    })
                })
            })
            .collect()
    }

    /// The adapters of a decoder from flat values, without dropout.
    #[must_use]
    pub fn adapters(&self, values: &[f32], decoder: &Decoder) -> Adapters {
        self.operands(&flat(values, &decoder.device), |_, _| None)
    }

    /// The flat buffer from the gradients of every layer, where there is any.
    #[must_use]
    pub fn join(layers: Vec<LayerGradients>) -> Option<Tensor<1>> {
        let pieces: Vec<_> = layers.into_iter().flatten().flatten().collect();
        (!pieces.is_empty()).then(|| Tensor::cat(pieces, 0))
    }
}

/// A flat buffer on a device.
#[must_use]
pub fn flat(values: &[f32], device: &burn::tensor::Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (device, burn::tensor::DType::F32))
}

/// Target modules made ready to match paths.
pub(crate) enum Targets {
    /// Every linear of every layer.
    AllLinear,
    /// Must match a whole path.
    Expression(Box<regex::Regex>),
    /// The names, and the first place of each.
    Names(Vec<String>, HashMap<String, usize>),
}

impl Targets {
    /// Refuses an expression that cannot be read, and modules that are no linears of a layer.
    pub(crate) fn new(targets: &TargetModules) -> Result<Self> {
        match targets {
            TargetModules::Pattern(pattern) if pattern == "all-linear" => Ok(Targets::AllLinear),
            TargetModules::Pattern(pattern) => match regex::Regex::new(&format!("^(?:{pattern})$")) {
                Ok(expression) => Ok(Targets::Expression(Box::new(expression))),
                Err(error) => Err(refused(format!(
                    "target_modules is no regular expression that is read here: {}\nhint: list the names of the modules in its place",
                    short(&error.to_string())
                ))),
            },
            TargetModules::Names(names) => {
                if let Some(name) = names.iter().find(|name| matches!(name.as_str(), "lm_head" | "embed_tokens")) {
                    return Err(refused(format!(
                        "target_modules names {name}, and adapters on embedding or head are not supported\n\
                         hint: use \"all-linear\", which leaves them out"
                    )));
                }
                let places = names.iter().enumerate().rev().map(|(place, name)| (name.clone(), place)).collect();
                Ok(Targets::Names(names.clone(), places))
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Targets::AllLinear | Targets::Expression(_) => 1,
            Targets::Names(names, _) => names.len(),
        }
    }

    /// Whether one of them names a module; each that does is marked in `matched`.
    pub(crate) fn matches(&self, module: &str, matched: &mut [bool]) -> bool {
        let hits: Vec<usize> = match self {
            Targets::AllLinear => vec![0],
            Targets::Expression(expression) => expression.is_match(module).then_some(0).into_iter().collect(),
            // The module itself and what follows each of its dots: an adapter may list every module by its whole path.
            Targets::Names(_, places) => {
                let ends = module.match_indices('.').map(|(dot, _)| &module[dot + 1..]);
                ends.chain([module]).filter_map(|end| places.get(end).copied()).collect()
            }
        };
        hits.iter().for_each(|hit| matched[*hit] = true);
        !hits.is_empty()
    }

    /// The first that names no module, as it was written.
    pub(crate) fn unmatched(&self, matched: &[bool]) -> Option<&str> {
        match self {
            Targets::AllLinear => (!matched[0]).then_some("all-linear"),
            Targets::Expression(expression) => (!matched[0]).then_some(expression.as_str()),
            // A name that is written twice is marked at its first place.
            Targets::Names(names, places) => names.iter().find(|name| !matched[places[*name]]).map(String::as_str),
        }
    }

    fn check(&self, matched: &[bool]) -> Result<()> {
        let Some(what) = self.unmatched(matched) else { return Ok(()) };
        let what = short(what);
        Err(refused(format!(
            "target_modules: {what} matches no module\n\
             hint: modules are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, or \"all-linear\""
        )))
    }
}

fn refused(what: String) -> Error {
    Error::Adapter { path: Path::new(PLACE).to_path_buf(), what }
}
