//! Owns the way of a checkpoint's tensors to a device: stacking into packed linears, one layer at a time.
//! Knows Hugging Face tensor names; knows no file format.

use std::ops::Range;

use burn::tensor::{DType, Distribution, Tensor, TensorData};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::device::TensorDevice;
use crate::error::{Error, Result};
use crate::kernels::{Heads, RopeTable, Vocabulary};
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
    let embed_tokens = source.vocabulary("model.embed_tokens.weight")?;
    let lm_head =
        if config.tie_word_embeddings { embed_tokens.clone() } else { source.vocabulary("lm_head.weight")? };
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
            bias: (group == Group::Qkv && config.qkv_bias)
                .then(|| Tensor::zeros([group.output_width(config)], options)),
        }),
        heads: heads(config),
    };
    let vocabulary = || {
        let height = Vocabulary::height(config.vocab_size, config.hidden_size, open.dtype, open.largest_binding);
        let rows = |first: usize| height.min(config.vocab_size - first);
        let pieces = (0..config.vocab_size).step_by(height).map(|first| normal([rows(first), config.hidden_size]));
        Vocabulary { pieces: pieces.collect() }
    };
    let embed_tokens = vocabulary();
    let lm_head = if config.tie_word_embeddings { embed_tokens.clone() } else { vocabulary() };
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
        let linear = |group: Group| -> Result<Linear> {
            let parts = group.parts(config);
            let names = |suffix: &str| -> Vec<String> {
                parts.iter().map(|part| name(&format!("{}.{suffix}", part.name))).collect()
            };
            let biased = group == Group::Qkv && config.qkv_bias;
            let bias = if biased { Some(self.vector(&names("bias"))?) } else { None };
            Ok(Linear { weight: self.matrix(&names("weight"))?, bias })
        };
        let [qkv, output, gate_up, down] = Group::ALL.map(linear);
        let linears = [qkv?, output?, gate_up?, down?];
        let qk_norm = if config.qk_norm {
            let norm = |module: &str| self.vector(&[name(&format!("self_attn.{module}.weight"))]);
            Some((norm("q_norm")?, norm("k_norm")?))
        } else {
            None
        };
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
        let (values, rows) = self.stacked(names)?;
        let columns = values.length() / rows.max(1);
        Ok(values.tensor(0..rows * columns, self.open).reshape([rows, columns]))
    }

    /// A table with a row a token, in pieces that the device can bind.
    fn vocabulary(&self, name: &str) -> Result<Vocabulary> {
        let (values, rows) = self.stacked(&[name.to_owned()])?;
        let columns = values.length() / rows.max(1);
        let height = Vocabulary::height(rows, columns, self.open.dtype, self.open.largest_binding);
        let pieces = (0..rows).step_by(height).map(|first| {
            let end = rows.min(first + height);
            values.tensor(first * columns..end * columns, self.open).reshape([end - first, columns])
        });
        Ok(Vocabulary { pieces: pieces.collect() })
    }

    /// Vectors, one after the other.
    fn vector(&self, names: &[String]) -> Result<Tensor<1>> {
        let (values, _) = self.stacked(names)?;
        Ok(values.tensor(0..values.length(), self.open))
    }

    fn stacked(&self, names: &[String]) -> Result<(Values, usize)> {
        let mut rows = 0;
        let mut values = Values::new(self.open.dtype);
        for name in names {
            let tensor = self.checkpoint.tensor(name)?;
            rows += tensor.shape.first().copied().unwrap_or(0);
            match &mut values {
                Values::Bf16(values) => values.extend(tensor.to_bf16()),
                Values::F16(values) => values.extend(tensor.to_f32().into_iter().map(half::f16::from_f32)),
                Values::F32(values) => values.extend(tensor.to_f32()),
            }
        }
        if let Some(at) = values.beyond_range() {
            return Err(Error::Device {
                what: format!(
                    "value {at} of {} is beyond the range of f16, which this device computes in",
                    names.join(", ")
                ),
            });
        }
        Ok((values, rows))
    }
}

/// Values on the way to a device.
enum Values {
    Bf16(Vec<half::bf16>),
    F16(Vec<half::f16>),
    F32(Vec<f32>),
}

impl Values {
    fn new(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Values::Bf16(Vec::new()),
            DType::F16 => Values::F16(Vec::new()),
            _ => Values::F32(Vec::new()),
        }
    }

    fn length(&self) -> usize {
        match self {
            Values::Bf16(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::F32(values) => values.len(),
        }
    }

    /// The first value that became infinite on the way. Only f16 has a range that weights could pass.
    fn beyond_range(&self) -> Option<usize> {
        match self {
            Values::F16(values) => values.iter().position(|value| value.is_infinite()),
            Values::Bf16(_) | Values::F32(_) => None,
        }
    }

    fn tensor(&self, range: Range<usize>, open: &TensorDevice) -> Tensor<1> {
        let shape = [range.len()];
        let data = match self {
            Values::Bf16(values) => TensorData::new(values[range].to_vec(), shape),
            Values::F16(values) => TensorData::new(values[range].to_vec(), shape),
            Values::F32(values) => TensorData::new(values[range].to_vec(), shape),
        };
        Tensor::from_data(data, (&open.device, open.dtype))
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
