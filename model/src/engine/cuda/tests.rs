//! Owns the proof of the CUDA engine: it computes what the tensor engine computes, up to the rounding of bfloat16, for every
//! architecture and every way to keep or rebuild. Runs on a GPU where one answers, and else on the emulator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::CudaEngine;
use super::keep::{Keep, KeepPlan};
use super::layout::Pieces;
use crate::arch::{self, Architecture, WindowRule};
use crate::checkpoint::Checkpoint;
use crate::device::{LoadOptions, TensorDevice};
use crate::dropout::{key_of, normal};
use crate::engine::tensor::TensorEngine;
use crate::engine::{Engine, Pass, PassDropout, TrainingShape};
use crate::generate::Limits;
use crate::kernels::AdamWStep;
use crate::lora::{InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use crate::sampler::Sampler;
use crate::train::{Batch, Recompute};
use crate::weights;

const VOCABULARY: usize = 61;

/// A checkpoint folder of an architecture with random weights in bfloat16.
fn checkpoint(architecture: &Architecture, folder: &Path) -> Checkpoint {
    let mut config = serde_json::json!({
        "model_type": architecture.model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCABULARY,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "hidden_act": "silu", "eos_token_id": 2,
    });
    if matches!(architecture.window, WindowRule::EveryLayer { .. }) {
        config["sliding_window"] = serde_json::json!(6);
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let parsed = crate::ModelConfig::from_hf_json(&config, folder).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = parsed
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let (scale, shift) = match name.as_str() {
                name if name.contains("norm") => (0.2, 1.0),
                name if name.contains("embed") => (0.6, 0.0),
                _ => (0.15, 0.0),
            };
            let key = key_of(3, &name);
            let values = (0..shape.iter().product::<usize>() as u64).map(|i| shift + scale * normal(key, i));
            let bytes = values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap()));
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    Checkpoint::open(folder).unwrap()
}

/// Adapters of any rank add as much: what a rank of random values adds grows with its root, and so do differences.
fn lora(r: usize, modules: &[&str], dropout: f32) -> LoraConfig {
    LoraConfig {
        r,
        lora_alpha: 4.0 * (r as f32).sqrt(),
        lora_dropout: dropout,
        target_modules: TargetModules::Names(modules.iter().map(|&name| name.to_owned()).collect()),
        use_rslora: false,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    }
}

/// Supervised tokens of the largest micro-batch: so many that all rows go on, and so few that not all do.
const MOST: usize = 80;
const FEW: usize = 20;

const ALL_LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Both engines on one checkpoint, with the same random adapter in training.
struct Pair {
    plain: TensorEngine,
    fast: CudaEngine,
    layout: LoraLayout,
    values: Vec<f32>,
    _folder: tempfile::TempDir,
}

fn device() -> cuda::Device {
    if cuda::Device::count() > 0 { cuda::Device::open(0, None).unwrap() } else { cuda::Device::emulated(true).unwrap() }
}

fn pair(architecture: &Architecture, lora: &LoraConfig) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(architecture, folder.path());
    let layout = LoraLayout::new(&checkpoint.config, lora).unwrap();
    let values: Vec<f32> = (0..layout.length()).map(|index| 0.1 * normal(99, index as u64)).collect();
    let options = LoadOptions { positions: 128, adapters: &[&layout] };
    let fast = CudaEngine::load(&checkpoint, &device(), options, |_, _| {}).unwrap();
    let plain = TensorEngine::new(weights::load(&checkpoint, &TensorDevice::cpu(), 128, |_, _| {}).unwrap());
    Pair { plain, fast, layout, values, _folder: folder }
}

impl Pair {
    /// Where few tokens are supervised, only their rows go on after the last attention.
    fn train(&mut self, max_supervised: usize, dropout: bool) {
        let shape = TrainingShape { max_tokens: 100, max_supervised, dropout, recompute: Recompute::Never };
        self.plain.train(&self.layout, &self.values, shape).unwrap();
        self.fast.train(&self.layout, &self.values, shape).unwrap();
    }

    fn accumulate(&mut self, batch: &Batch, pass: Pass) {
        self.plain.accumulate(batch, pass).unwrap();
        self.fast.accumulate(batch, pass).unwrap();
    }

    /// Loss and every matrix of the gradient are as close as bfloat16 lets them be.
    fn compare(&self, what: &str, tolerance: f64) {
        let (expected_loss, expected) = self.plain.accumulated().unwrap();
        let (loss, gradient) = self.fast.accumulated().unwrap();
        assert!((loss - expected_loss).abs() < 0.01 * expected_loss, "{what}: loss {loss}, expected {expected_loss}");
        for matrix in self.layout.matrices() {
            let (found, expected) = (&gradient[matrix.range.clone()], &expected[matrix.range.clone()]);
            let norm =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
            let size = norm(&mut expected.iter().copied());
            let relative = difference / size;
            assert!(relative < tolerance, "{what}: {}.{} differs by {relative}", matrix.module, matrix.matrix);
        }
    }
}

/// Three documents; all tokens but a few are supervised, or only some at their ends.
fn batch(supervised: fn(u32, u32) -> bool) -> Batch {
    let document = |length: u32, salt: u32| -> (Vec<u32>, Vec<bool>) {
        let ids = (0..length).map(|i| (i * i * 7 + i * salt) % VOCABULARY as u32).collect();
        (ids, (0..length).map(|i| supervised(i, length)).collect())
    };
    let documents = [document(37, 3), document(20, 5), document(9, 11)];
    Batch::pack(documents.iter().map(|(ids, mask)| (ids.as_slice(), mask.as_slice())))
}

fn most() -> Batch {
    batch(|i, _| i % 7 != 1)
}

fn few() -> Batch {
    batch(|i, length| i + 4 >= length)
}

fn pass(batch: &Batch) -> Pass {
    Pass { scale: 1.0 / batch.supervised_tokens() as f32, dropout: None }
}

#[test]
fn loss_and_gradients_equal_the_tensor_engine_for_every_architecture() {
    for architecture in arch::ALL {
        let mut pair = pair(architecture, &lora(4, &ALL_LINEAR, 0.0));
        pair.train(MOST, false);
        pair.accumulate(&few(), pass(&few()));
        pair.compare(&format!("{architecture}, few tokens supervised"), 0.05);
        // Micro-batches add up.
        pair.accumulate(&most(), pass(&most()));
        pair.compare(&format!("{architecture}, two micro-batches"), 0.05);
        pair.train(FEW, false);
        pair.accumulate(&few(), pass(&few()));
        pair.compare(&format!("{architecture}, few rows go on"), 0.05);
    }
}

#[test]
fn what_is_rebuilt_equals_what_is_kept() {
    let mut whole = pair(&arch::llama::LLAMA, &lora(8, &ALL_LINEAR, 0.0));
    whole.train(MOST, false);
    whole.accumulate(&most(), pass(&most()));
    let kept = whole.fast.accumulated().unwrap();
    for keep in [KeepPlan::all(3, Keep::AllButMlp), KeepPlan::all(3, Keep::Input)] {
        let mut pair = pair(&arch::llama::LLAMA, &lora(8, &ALL_LINEAR, 0.0));
        pair.train(MOST, false);
        pair.fast.train_with(keep, Pieces { mlp: 16, logits: 24 });
        pair.accumulate(&most(), pass(&most()));
        pair.compare(&keep.words(), 0.05);
        let (loss, _) = pair.fast.accumulated().unwrap();
        assert_eq!(loss.to_bits(), kept.0.to_bits());
    }
}

#[test]
fn dropout_masks_equal_those_of_the_tensor_engine() {
    let mut pair = pair(&arch::llama::LLAMA, &lora(4, &ALL_LINEAR, 0.3));
    pair.train(FEW, true);
    let dropout = Some(PassDropout { time: [5, 1, 0], probability: 0.3 });
    // The tensor engine always lets only supervised rows go on, and a mask is a function of the row.
    pair.accumulate(&few(), Pass { dropout, ..pass(&few()) });
    pair.compare("dropout", 0.08);
}

#[test]
fn some_modules_and_any_ranks_train() {
    let some: &[&str] = &["q_proj", "v_proj", "up_proj"];
    // Ranks that the kernels around gate and up have, and ones they do not have; and modules with and without their neighbours.
    for (r, modules) in
        [(5, some), (8, &ALL_LINEAR), (16, &ALL_LINEAR), (16, &["gate_proj", "down_proj"]), (24, &ALL_LINEAR)]
    {
        let mut pair = pair(&arch::qwen2::QWEN2, &lora(r, modules, 0.0));
        pair.train(MOST, false);
        for _ in 0..2 {
            pair.accumulate(&most(), pass(&most()));
        }
        pair.compare(&format!("{modules:?}, r = {r}"), 0.05);
    }
}

#[test]
fn steps_equal_those_of_the_tensor_engine_and_a_bad_one_changes_nothing() {
    let mut pair = pair(&arch::llama::LLAMA, &lora(4, &ALL_LINEAR, 0.0));
    pair.train(MOST, false);
    let step = |step: u32| AdamWStep {
        learning_rate: 0.01,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        gradient_scale: 1.0,
        step,
    };
    for number in 1..=3 {
        pair.accumulate(&most(), pass(&most()));
        pair.plain.apply(step(number), 0.5).unwrap();
        pair.fast.apply(step(number), 0.5).unwrap();
        let (expected, found) = (pair.plain.report(true).unwrap().unwrap(), pair.fast.report(true).unwrap().unwrap());
        assert!(found.finite && expected.finite);
        assert!((found.loss - expected.loss).abs() < 0.02 * expected.loss, "{found:?} {expected:?}");
        assert!((found.gradient_norm - expected.gradient_norm).abs() < 0.05 * expected.gradient_norm);
    }
    let [values, first, second] = pair.fast.training_state().unwrap();
    let mut broken = values.clone();
    broken[3] = f32::NAN;
    pair.fast.set_training_state([&broken, &first, &second]).unwrap();
    for number in 4..=5 {
        pair.fast.accumulate(&most(), pass(&most())).unwrap();
        pair.fast.apply(step(number), 0.5).unwrap();
        assert!(!pair.fast.report(true).unwrap().unwrap().finite);
    }
    let unchanged = pair.fast.training_state().unwrap();
    assert!(unchanged[0].iter().zip(&broken).all(|(a, b)| a.to_bits() == b.to_bits()));
    pair.fast.set_training_state([&values, &first, &second]).unwrap();
    pair.fast.accumulate(&most(), pass(&most())).unwrap();
    pair.fast.apply(step(4), 0.5).unwrap();
    assert!(pair.fast.report(true).unwrap().unwrap().finite);
}

#[test]
fn answers_equal_the_tensor_engine() {
    for architecture in arch::ALL {
        let mut pair = pair(architecture, &lora(4, &ALL_LINEAR, 0.0));
        let plain_adapter = pair.plain.add_adapter(&pair.layout, &pair.values).unwrap();
        let adapter = pair.fast.add_adapter(&pair.layout, &pair.values).unwrap();
        // Root mean square against the mean size: single values of a random model lie further apart in bfloat16.
        let close = |found: &[f32], expected: &[f32], what: &str| {
            assert_eq!(found.len(), expected.len());
            let squares: f32 = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
            let size: f32 = expected.iter().map(|b| b.abs()).sum();
            let (difference, count) = ((squares / found.len() as f32).sqrt(), found.len() as f32);
            assert!(difference < 0.01 * size / count, "{architecture}, {what}: {difference} of {}", size / count);
        };
        let prompts: Vec<Vec<u32>> = vec![(3..20).collect(), vec![7, 8, 9], (30..50).collect()];
        // One is long: the mean over a handful of values of a random model is not yet that of bfloat16.
        let continuations = vec![vec![3, 1, 4], vec![1], vec![5, 9], (31..55).collect()];
        for (plain_adapter, adapter) in [(Some(plain_adapter), Some(adapter)), (None, None)] {
            let found = pair.fast.log_probabilities(adapter, &most()).unwrap();
            close(&found, &pair.plain.log_probabilities(plain_adapter, &most()).unwrap(), "log-probabilities");
            let mut of_targets = vec![f32::NAN; found.len()];
            let (_, targets) = most().targets();
            let mut take = |token: usize, values: &[f32]| of_targets[token] = values[targets[token] as usize];
            pair.fast.distributions(adapter, &most(), &mut take).unwrap();
            let largest = found.iter().zip(&of_targets).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < 1e-3 && of_targets.iter().all(|one| one.is_finite()), "{architecture}: {largest}");
            let found = pair.fast.score(adapter, &prompts, &continuations).unwrap();
            let expected = pair.plain.score(plain_adapter, &prompts, &continuations).unwrap();
            let flat = |scores: &[Vec<Vec<f32>>]| scores.concat().concat();
            close(&flat(&found), &flat(&expected), "scores");
            let limits = Limits { max_tokens: 6, stop: vec![2] };
            let answers = pair.fast.generate(adapter, &prompts, &limits, Sampler::greedy()).unwrap();
            let every_id: Vec<Vec<u32>> = (0..VOCABULARY as u32).map(|id| vec![id]).collect();
            for (prompt, answer) in prompts.iter().zip(&answers) {
                let mut ids = prompt.clone();
                for id in &answer.ids {
                    let next = pair.plain.score(plain_adapter, std::slice::from_ref(&ids), &every_id).unwrap();
                    let best = next[0].iter().map(|scores| scores[0]).fold(f32::MIN, f32::max);
                    assert!(best - next[0][*id as usize][0] < 0.5, "{architecture}: {id} after {ids:?}");
                    ids.push(*id);
                }
            }
        }
    }
}
