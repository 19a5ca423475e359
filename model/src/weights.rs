//! Owns the way of a checkpoint's tensors to a device: stacking into packed linears, one layer at a time.
//! Knows Hugging Face tensor names; knows no file format.

use burn::tensor::{DType, Distribution, Tensor, TensorData};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::kernels::{Heads, RopeTable};
use crate::nn::{Decoder, Group, Layer, Linear};

/// Loads a frozen decoder that can work on sequences of `positions` tokens. `progress` gets layers done and in all.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    open: &TensorDevice,
    positions: usize,
    mut progress: impl FnMut(usize, usize),
) -> Result<Decoder> {
    let config = checkpoint.config.clone();
    if positions > config.max_position_embeddings {
        return Err(Error::TooLong { tokens: positions, limit: config.max_position_embeddings });
    }
    let source = Source { checkpoint, open };
    let embed_tokens = source.matrix(&["model.embed_tokens.weight".to_owned()])?;
    let lm_head = if config.tie_word_embeddings {
        embed_tokens.clone()
    } else {
        source.matrix(&["lm_head.weight".to_owned()])?
    };
    let mut layers = Vec::with_capacity(config.num_hidden_layers);
    for index in 0..config.num_hidden_layers {
        layers.push(source.layer(&config, index)?);
        progress(index + 1, config.num_hidden_layers);
    }
    let norm = source.vector(&["model.norm.weight".to_owned()])?;
    let (frequencies, factor) = config.inverse_frequencies();
    let table = RopeTable::new(&frequencies, factor, positions, &open.device);
    Ok(Decoder {
        device: open.device.clone(),
        dtype: open.dtype,
        kernels: open.kernels,
        embed_tokens,
        layers,
        norm,
        lm_head,
        table,
        config,
    })
}

/// A decoder of the true shape with random weights, for timing: speed does not depend on the values.
#[must_use]
pub(crate) fn random(config: &ModelConfig, open: &TensorDevice, positions: usize) -> Decoder {
    let options = (&open.device, open.dtype);
    let normal = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.02), options);
    let ones = |width: usize| Tensor::<1>::ones([width], options);
    let layer = || Layer {
        input_layernorm: ones(config.hidden_size),
        post_attention_layernorm: ones(config.hidden_size),
        qk_norm: config.qk_norm.then(|| (ones(config.head_dim), ones(config.head_dim))),
        linears: Group::ALL.map(|group| Linear {
            weight: normal([group.output_width(config), group.input_width(config)]),
            bias: (group == Group::Qkv && config.qkv_bias).then(|| ones(group.output_width(config)) * 0.0),
        }),
        heads: heads(config),
    };
    let embed_tokens = normal([config.vocab_size, config.hidden_size]);
    let lm_head =
        if config.tie_word_embeddings { embed_tokens.clone() } else { normal([config.vocab_size, config.hidden_size]) };
    let (frequencies, factor) = config.inverse_frequencies();
    Decoder {
        device: open.device.clone(),
        dtype: open.dtype,
        kernels: open.kernels,
        embed_tokens,
        layers: (0..config.num_hidden_layers).map(|_| layer()).collect(),
        norm: ones(config.hidden_size),
        lm_head,
        table: RopeTable::new(&frequencies, factor, positions, &open.device),
        config: config.clone(),
    }
}

struct Source<'a> {
    checkpoint: &'a Checkpoint,
    open: &'a TensorDevice,
}

impl Source<'_> {
    fn layer(&self, config: &ModelConfig, index: usize) -> Result<Layer> {
        let name = |rest: &str| format!("model.layers.{index}.{rest}");
        let mut linears = Vec::with_capacity(4);
        for group in Group::ALL {
            let parts = group.parts(config);
            let names = |suffix: &str| -> Vec<String> {
                parts.iter().map(|part| name(&format!("{}.{suffix}", part.name))).collect()
            };
            let biased = group == Group::Qkv && config.qkv_bias;
            let bias = if biased { Some(self.vector(&names("bias"))?) } else { None };
            linears.push(Linear { weight: self.matrix(&names("weight"))?, bias });
        }
        let qk_norm = if config.qk_norm {
            let norm = |module: &str| self.vector(&[name(&format!("self_attn.{module}.weight"))]);
            Some((norm("q_norm")?, norm("k_norm")?))
        } else {
            None
        };
        let linears = linears.try_into().map_err(|_| Error::NonFinite { what: "the number of linears".to_owned() })?;
        Ok(Layer {
            input_layernorm: self.vector(&[name("input_layernorm.weight")])?,
            post_attention_layernorm: self.vector(&[name("post_attention_layernorm.weight")])?,
            qk_norm,
            linears,
            heads: heads(config),
        })
    }

    /// Matrices of equal width, stacked by rows.
    fn matrix(&self, names: &[String]) -> Result<Tensor<2>> {
        let (data, rows) = self.stacked(names)?;
        let columns = data.num_elements() / rows.max(1);
        Ok(Tensor::<1>::from_data(data, (&self.open.device, self.open.dtype)).reshape([rows, columns]))
    }

    /// Vectors, one after the other.
    fn vector(&self, names: &[String]) -> Result<Tensor<1>> {
        let (data, _) = self.stacked(names)?;
        Ok(Tensor::from_data(data, (&self.open.device, self.open.dtype)))
    }

    fn stacked(&self, names: &[String]) -> Result<(TensorData, usize)> {
        let mut rows = 0;
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for name in names {
            let tensor = self.checkpoint.tensor(name)?;
            rows += tensor.shape.first().copied().unwrap_or(0);
            match self.open.dtype {
                DType::BF16 => narrow.extend(tensor.to_bf16()),
                _ => wide.extend(tensor.to_f32()),
            }
        }
        Ok(match self.open.dtype {
            DType::BF16 => {
                let length = narrow.len();
                (TensorData::new(narrow, [length]), rows)
            }
            _ => {
                let length = wide.len();
                (TensorData::new(wide, [length]), rows)
            }
        })
    }
}

/// The attention shape that a configuration asks for.
#[must_use]
pub fn heads(config: &ModelConfig) -> Heads {
    Heads {
        query: config.num_attention_heads,
        key_value: config.num_key_value_heads,
        head_dim: config.head_dim,
        window: config.sliding_window,
    }
}
