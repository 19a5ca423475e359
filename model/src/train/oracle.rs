//! Owns the proof of the hand-written backward pass: the framework's autodiff over an independent forward pass.
//! Knows every architecture; uses none of the kernels.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use burn::tensor::{Bool, DType, Int, Tensor, TensorData, activation};

use super::{AdamWConfig, Batch, Recompute, Session};
use crate::arch::{self, Architecture, WindowRule};
use crate::config::{ModelConfig, RopeScaling};
use crate::device::TensorDevice;
use crate::dropout::{key_of, normal};
use crate::engine::tensor::TensorEngine;
use crate::engine::{Model, TrainingShape};
use crate::kernels::RopeTable;
use crate::lora::{InitLoraWeights, LoraConfig, TargetModules};
use crate::nn::{Decoder, Group, Layer, Linear};

fn config(architecture: &'static Architecture) -> ModelConfig {
    let has_window = matches!(architecture.window, WindowRule::EveryLayer { .. });
    ModelConfig {
        model_type: architecture,
        hidden_size: 32,
        intermediate_size: 44,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: if architecture.defaults.head_dim.is_some() { 16 } else { 8 },
        vocab_size: 61,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: true,
        qkv_bias: architecture.qkv_bias,
        qk_norm: architecture.qk_norm,
        sliding_window: has_window.then_some(6),
        bos_token_id: None,
        eos_token_ids: vec![2],
        pad_token_id: None,
    }
}

fn random<const D: usize>(open: &TensorDevice, name: &str, shape: [usize; D], scale: f32, shift: f32) -> Tensor<D> {
    let key = key_of(3, name);
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|i| shift + scale * normal(key, i as u64)).collect();
    Tensor::from_data(TensorData::new(values, shape), (&open.device, DType::F32))
}

fn decoder(config: &ModelConfig, open: &TensorDevice) -> Decoder {
    let hidden = config.hidden_size;
    let norm = |name: &str, width: usize| random(open, name, [width], 0.2, 1.0);
    let layer = |index: usize| Layer {
        input_layernorm: norm(&format!("{index}.in"), hidden),
        post_attention_layernorm: norm(&format!("{index}.post"), hidden),
        qk_norm: config
            .qk_norm
            .then(|| (norm(&format!("{index}.q"), config.head_dim), norm(&format!("{index}.k"), config.head_dim))),
        linears: Group::ALL.map(|group| {
            let (width, inner) = (group.output_width(config), group.input_width(config));
            let biased = group == Group::Qkv && config.qkv_bias;
            Linear {
                weight: random(open, &format!("{index}.{group:?}"), [width, inner], 0.15, 0.0),
                bias: biased.then(|| random(open, &format!("{index}.bias"), [width], 0.3, 0.0)),
            }
        }),
        heads: crate::weights::heads(config),
    };
    let embed_tokens = random(open, "embed", [config.vocab_size, hidden], 0.5, 0.0);
    let (frequencies, factor) = config.inverse_frequencies();
    Decoder {
        config: config.clone(),
        device: open.device.clone(),
        dtype: DType::F32,
        kernels: open.kernels,
        lm_head: embed_tokens.clone().into(),
        embed_tokens: embed_tokens.into(),
        layers: (0..config.num_hidden_layers).map(layer).collect(),
        norm: norm("norm", hidden),
        table: RopeTable::new(&frequencies, factor, config.max_position_embeddings, &open.device),
    }
}

fn lora() -> LoraConfig {
    LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Pattern("all-linear".to_owned()),
        use_rslora: false,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    }
}

fn optimiser() -> AdamWConfig {
    AdamWConfig { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 }
}

/// A session and the decoder it trains on.
fn session(config: &ModelConfig, open: &TensorDevice, recompute: Recompute, lora: LoraConfig) -> (Session, Decoder) {
    let decoder = decoder(config, open);
    let model = Model::new(Box::new(TensorEngine::new(decoder.clone())));
    let shape = TrainingShape { max_tokens: 64, max_supervised: 64, dropout: false, recompute };
    let mut session = Session::new(model, lora, optimiser(), shape, 5).unwrap();
    let mut state = session.state().unwrap();
    for (index, value) in state.parameters.iter_mut().enumerate() {
        *value = 0.2 * normal(99, index as u64);
    }
    session.restore(&state).unwrap();
    (session, decoder)
}

/// Accumulates and returns the loss so far.
fn loss(session: &mut Session, batch: &Batch, supervised: usize) -> f64 {
    session.accumulate(batch, supervised).unwrap();
    session.accumulated_loss().unwrap()
}

fn documents() -> Vec<(Vec<u32>, Vec<bool>)> {
    let document = |length: u32, salt: u32| {
        let ids = (0..length).map(|i| (i * i * 7 + i * salt) % 61).collect();
        let mask = (0..length).map(|i| i % 3 != 1 && i > 4).collect();
        (ids, mask)
    };
    vec![document(21, 3), document(13, 5), document(9, 11)]
}

fn pack(documents: &[(Vec<u32>, Vec<bool>)]) -> Batch {
    Batch::pack(documents.iter().map(|(ids, mask)| (ids.as_slice(), mask.as_slice())))
}

/// Loss and gradients by autodiff, one document at a time.
fn by_autodiff(
    session: &Session,
    decoder: &Decoder,
    documents: &[(Vec<u32>, Vec<bool>)],
    supervised: usize,
) -> (f64, HashMap<String, Vec<f32>>) {
    let config = &decoder.config;
    let device = decoder.device.clone().autodiff();
    let state = session.state().unwrap();
    let mut leaves: HashMap<String, Tensor<2>> = HashMap::new();
    for matrix in session.layout().matrices() {
        let data = TensorData::new(state.parameters[matrix.range].to_vec(), matrix.shape);
        let leaf = Tensor::<2>::from_data(data, (&device, DType::F32)).require_grad();
        leaves.insert(format!("{}.{}", matrix.module, matrix.matrix), leaf);
    }
    let scale = session.lora().scale();
    let mut total: Option<Tensor<1>> = None;
    for (ids, mask) in documents {
        let tokens = ids.len();
        let indices: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [tokens]), &decoder.device);
        let mut x = decoder.embed_tokens.whole().select(0, indices.clone());
        for (index, layer) in decoder.layers.iter().enumerate() {
            let linear = |group: Group, part: usize, x: Tensor<2>| -> Tensor<2> {
                let packed = &layer.linears[group as usize];
                let part = group.parts(config).swap_remove(part);
                let [_, inner] = packed.weight.dims();
                let weight = packed.weight.clone().slice([part.columns.clone(), 0..inner]);
                let name = format!("model.layers.{index}.{}", part.name);
                let (a, b) = (&leaves[&format!("{name}.lora_A")], &leaves[&format!("{name}.lora_B")]);
                let side = x.clone().matmul(a.clone().transpose()).matmul(b.clone().transpose()) * scale;
                let y = x.matmul(weight.transpose()) + side;
                match &packed.bias {
                    Some(bias) => y + bias.clone().slice([part.columns]).unsqueeze(),
                    None => y,
                }
            };
            let n = norm(x.clone(), &layer.input_layernorm, config.rms_norm_eps);
            let heads = |y: Tensor<2>, count: usize| -> Tensor<3> {
                y.reshape([tokens, count, config.head_dim]).swap_dims(0, 1)
            };
            let (query, key) = (config.num_attention_heads, config.num_key_value_heads);
            let mut q = heads(linear(Group::Qkv, 0, n.clone()), query);
            let mut k = heads(linear(Group::Qkv, 1, n.clone()), key);
            let v = heads(linear(Group::Qkv, 2, n), key);
            if let Some((q_norm, k_norm)) = &layer.qk_norm {
                q = norm3(q, q_norm, config.rms_norm_eps);
                k = norm3(k, k_norm, config.rms_norm_eps);
            }
            let (q, k) = (rotate(q, &decoder.table), rotate(k, &decoder.table));
            let group = query / key;
            let pick: Vec<i32> = (0..query).map(|head| (head / group) as i32).collect();
            let pick = Tensor::<1, Int>::from_data(TensorData::new(pick, [query]), &decoder.device);
            let (k, v) = (k.select(0, pick.clone()), v.select(0, pick));
            let hidden: Vec<bool> = (0..tokens)
                .flat_map(|i| {
                    (0..tokens)
                        .map(move |j| j > i || config.sliding_window.is_some_and(|window| i - j.min(i) >= window))
                })
                .collect();
            let mask = Tensor::<3, Bool>::from_data(TensorData::new(hidden, [1, tokens, tokens]), &decoder.device);
            let scores = q.matmul(k.swap_dims(1, 2)) / (config.head_dim as f32).sqrt();
            let scores = scores.mask_fill(mask.expand([query, tokens, tokens]), f32::NEG_INFINITY);
            let o = activation::softmax(scores, 2).matmul(v).swap_dims(0, 1);
            x = x + linear(Group::Output, 0, o.reshape([tokens, query * config.head_dim]));
            let n = norm(x.clone(), &layer.post_attention_layernorm, config.rms_norm_eps);
            let h = activation::silu(linear(Group::GateUp, 0, n.clone())) * linear(Group::GateUp, 1, n);
            x = x + linear(Group::Down, 0, h);
        }
        let logits = norm(x, &decoder.norm, config.rms_norm_eps).matmul(decoder.lm_head.whole().transpose());
        let logs = activation::log_softmax(logits, 1);
        for token in (1..tokens).filter(|&token| mask[token]) {
            let id = ids[token] as usize;
            let loss = logs.clone().slice([token - 1..token, id..id + 1]).reshape([1]) * -1.0;
            total = Some(match total {
                Some(total) => total + loss,
                None => loss,
            });
        }
    }
    let total = total.unwrap();
    let loss = total.to_data().iter::<f64>().next().unwrap();
    let mut gradients = (total / supervised as f32).backward();
    let by_name = leaves.iter().map(|(name, leaf)| {
        (name.clone(), leaf.grad_remove(&mut gradients).unwrap().to_data().iter::<f32>().collect())
    });
    (loss, by_name.collect())
}

fn norm(x: Tensor<2>, weight: &Tensor<1>, epsilon: f32) -> Tensor<2> {
    let mean = (x.clone() * x.clone()).mean_dim(1);
    x / (mean + epsilon).sqrt() * weight.clone().unsqueeze()
}

fn norm3(x: Tensor<3>, weight: &Tensor<1>, epsilon: f32) -> Tensor<3> {
    let mean = (x.clone() * x.clone()).mean_dim(2);
    x / (mean + epsilon).sqrt() * weight.clone().unsqueeze()
}

fn rotate(x: Tensor<3>, table: &RopeTable) -> Tensor<3> {
    let [heads, tokens, width] = x.dims();
    let half = width / 2;
    let rows = |table: &Tensor<2>| -> Tensor<3> { table.clone().slice([0..tokens, 0..half]).unsqueeze() };
    let (cos, sin) = (rows(&table.cos), rows(&table.sin));
    let first = x.clone().slice([0..heads, 0..tokens, 0..half]);
    let second = x.slice([0..heads, 0..tokens, half..width]);
    let rotated = first.clone() * cos.clone() - second.clone() * sin.clone();
    Tensor::cat(vec![rotated, second * cos + first * sin], 2)
}

fn devices() -> Vec<TensorDevice> {
    vec![TensorDevice::cpu(), TensorDevice::plain_cpu()]
}

fn largest_difference(found: &[(String, Vec<f32>)], expected: &HashMap<String, Vec<f32>>) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().flat_map(|(name, values)| values.iter().zip(&expected[name]));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn hand_written_gradients_equal_autodiff_for_every_architecture() {
    let documents = documents();
    let batch = pack(&documents);
    for architecture in arch::ALL {
        for open in devices() {
            for recompute in [Recompute::Never, Recompute::Always] {
                let (mut session, decoder) = session(&config(architecture), &open, recompute, lora());
                let loss = loss(&mut session, &batch, batch.supervised_tokens());
                let (expected_loss, expected) = by_autodiff(&session, &decoder, &documents, batch.supervised_tokens());
                assert!((loss - expected_loss).abs() < 1e-4 * expected_loss, "{architecture}: {loss} {expected_loss}");
                let difference = largest_difference(&session.gradients().unwrap(), &expected);
                assert!(difference < 1e-5, "{architecture} on {}: {difference}", open.kernels.name());
            }
        }
    }
}

#[test]
fn packed_equals_unpacked_and_one_micro_batch_equals_many() {
    let documents = documents();
    let supervised = pack(&documents).supervised_tokens();
    for architecture in arch::ALL {
        let open = devices().swap_remove(0);
        let (mut together, _) = session(&config(architecture), &open, Recompute::Never, lora());
        let whole = loss(&mut together, &pack(&documents), supervised);
        let (mut apart, _) = session(&config(architecture), &open, Recompute::Never, lora());
        documents.iter().for_each(|document| {
            apart.accumulate(&pack(std::slice::from_ref(document)), supervised).unwrap();
        });
        let sum = apart.accumulated_loss().unwrap();
        assert!((whole - sum).abs() < 1e-5 * whole, "{whole} {sum}");
        let expected = apart.gradients().unwrap().into_iter().collect();
        let difference = largest_difference(&together.gradients().unwrap(), &expected);
        assert!(difference < 1e-5, "{architecture}: {difference}");
    }
}

#[test]
fn a_step_leaves_the_base_untouched_and_reaches_every_matrix() {
    let open = devices().swap_remove(0);
    let batch = pack(&documents());
    let decoder = decoder(&config(&arch::llama::LLAMA), &open);
    let model = Model::new(Box::new(TensorEngine::new(decoder.clone())));
    let shape = TrainingShape { max_tokens: 64, max_supervised: 64, dropout: false, recompute: Recompute::Never };
    let mut session = Session::new(model, lora(), optimiser(), shape, 5).unwrap();
    let base = || -> Vec<f32> {
        let layers = decoder.layers.iter();
        layers.flat_map(|layer| layer.linears[0].weight.to_data().iter::<f32>().collect::<Vec<_>>()).collect()
    };
    let before = base();
    for step in 0..2 {
        session.accumulate(&batch, batch.supervised_tokens()).unwrap();
        for (name, values) in session.gradients().unwrap() {
            let moves = values.iter().any(|&value| value != 0.0);
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
            assert_eq!(moves, step == 1 || name.ends_with("lora_B"), "{name} at step {step}");
        }
        session.apply(1e-3).unwrap();
        assert!(session.report(true).unwrap().is_some());
    }
    assert_eq!(before, base());
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let open = devices().swap_remove(0);
    let batch = pack(&documents());
    let (mut session, _) = session(&config(&arch::llama::LLAMA), &open, Recompute::Never, lora());
    let mut state = session.state().unwrap();
    state.parameters[7] = f32::INFINITY;
    session.restore(&state).unwrap();
    for _ in 0..2 {
        session.accumulate(&batch, batch.supervised_tokens()).unwrap();
        session.apply(1e-3).unwrap();
    }
    assert!(session.report(true).is_err());
    assert_eq!(session.state().unwrap().parameters, state.parameters);
}

#[test]
fn dropout_gradients_are_those_of_the_masked_loss() {
    let open = devices().swap_remove(0);
    let batch = pack(&documents());
    let dropped = LoraConfig { lora_dropout: 0.3, ..lora() };
    let loss_at = |index: usize, shift: f32| {
        let (mut session, _) = session(&config(&arch::llama::LLAMA), &open, Recompute::Never, dropped.clone());
        let mut state = session.state().unwrap();
        state.parameters[index] += shift;
        session.restore(&state).unwrap();
        let loss = loss(&mut session, &batch, 1);
        (loss, session.gradients().unwrap().into_iter().flat_map(|(_, values)| values).collect::<Vec<_>>())
    };
    let (_, gradient) = loss_at(0, 0.0);
    for index in [3, 400, 2_000] {
        let slope = (loss_at(index, 2e-2).0 - loss_at(index, -2e-2).0) / 4e-2;
        let found = f64::from(gradient[index]);
        assert!((slope - found).abs() < 2e-2 * (1.0 + found.abs()), "{index}: {found} against {slope}");
    }
}
