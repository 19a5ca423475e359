//! Owns the comparison with transformers + PEFT: logits, loss and LoRA gradients of tiny checkpoints.
//! The values are made by `tests/golden/generate.py`; this file knows only where they lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::{AdamWConfig, Batch, Recompute, Session};
use crate::device::TensorDevice;
use crate::engine::tensor::TensorEngine;
use crate::engine::{Model, TrainingShape};
use crate::lora::flat;
use crate::nn::Decoder;
use crate::sampler::Sampler;
use crate::{Checkpoint, adapter, generate, weights};

#[derive(serde::Deserialize)]
struct Golden {
    documents: Vec<Document>,
    num_supervised: usize,
    base_loss: f64,
    loss: f64,
}

#[derive(serde::Deserialize)]
struct Document {
    ids: Vec<u32>,
    target_positions: Vec<usize>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.json").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 13, "only {} golden cases", cases.len());
    cases
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap_or_else(|_| panic!("{name} is not among the golden values")).data();
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A session with the adapter of a case, and the decoder it trains on.
fn session(case: &Path) -> (Session, Decoder) {
    let checkpoint = Checkpoint::open(case).unwrap();
    let decoder = weights::load(&checkpoint, &TensorDevice::cpu(), 64, |_, _| {}).unwrap();
    let model = Model::new(Box::new(TensorEngine::new(decoder.clone())));
    let adapter = adapter::load(&case.join("adapter"), &checkpoint.config).unwrap();
    let optimiser = AdamWConfig { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 };
    let shape = TrainingShape { max_tokens: 64, max_supervised: 64, dropout: false, recompute: Recompute::Never };
    let mut session = Session::new(model, adapter.lora, optimiser, shape, 0).unwrap();
    let mut state = session.state().unwrap();
    state.parameters = adapter.values;
    session.restore(&state).unwrap();
    (session, decoder)
}

fn batch(golden: &Golden) -> Batch {
    let masks: Vec<Vec<bool>> = golden
        .documents
        .iter()
        .map(|document| (0..document.ids.len()).map(|p| document.target_positions.contains(&p)).collect())
        .collect();
    Batch::pack(golden.documents.iter().zip(&masks).map(|(document, mask)| (document.ids.as_slice(), mask.as_slice())))
}

fn golden(case: &Path) -> Golden {
    serde_json::from_slice(&std::fs::read(case.join("golden.json")).unwrap()).unwrap()
}

#[test]
fn logits_loss_and_gradients_equal_transformers_and_peft() {
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let golden = golden(&case);
        let bytes = std::fs::read(case.join("golden.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut session, decoder) = session(&case);
        let values_of_adapter = flat(&session.state().unwrap().parameters, &decoder.device);
        let adapters = session.layout().operands(&values_of_adapter, |_, _| None);
        for (index, document) in golden.documents.iter().enumerate() {
            for (which, adapters) in [("logits", &decoder.without_adapters()), ("adapter_logits", &adapters)] {
                let single = Batch::pack([(document.ids.as_slice(), vec![false; document.ids.len()].as_slice())]);
                let rows: Vec<usize> = (0..document.ids.len()).collect();
                let (hidden, _) = decoder.forward(&document.ids, &single.documents(), &rows, adapters, None);
                let logits: Vec<f32> = decoder.logits(hidden).to_data().iter::<f32>().collect();
                let difference = largest_difference(&logits, &values(&file, &format!("documents.{index}.{which}")));
                assert!(difference < 1e-4, "{name}: {which} of document {index} differ by {difference}");
            }
        }
        let batch = batch(&golden);
        assert_eq!(batch.supervised_tokens(), golden.num_supervised, "{name}");
        let base = session.model().log_probabilities(None, &batch).unwrap();
        let base_loss = -base.iter().map(|&p| f64::from(p)).sum::<f64>() / golden.num_supervised as f64;
        assert!((base_loss - golden.base_loss).abs() < 1e-4, "{name}: {base_loss} and {}", golden.base_loss);
        session.accumulate(&batch, golden.num_supervised).unwrap();
        let loss = session.accumulated_loss().unwrap() / golden.num_supervised as f64;
        assert!((loss - golden.loss).abs() < 1e-4, "{name}: {loss} and {}", golden.loss);
        for (matrix, gradient) in session.gradients().unwrap() {
            let expected = values(&file, &format!("grad.base_model.model.{matrix}.weight"));
            let difference = largest_difference(&gradient, &expected);
            assert!(difference < 1e-4, "{name}: gradient of {matrix} differs by {difference}");
        }
    }
}

#[test]
fn cached_generation_and_scores_equal_the_packed_forward_pass() {
    for case in cases() {
        let golden = golden(&case);
        let (session, decoder) = session(&case);
        let values_of_adapter = flat(&session.state().unwrap().parameters, &decoder.device);
        let adapters = session.layout().operands(&values_of_adapter, |_, _| None);
        let prompts: Vec<Vec<u32>> = golden.documents.iter().map(|document| document.ids[..7].to_vec()).collect();
        let limits = generate::Limits { max_tokens: 9, stop: Vec::new() };
        let generated = generate::generate(&decoder, &adapters, &prompts, &limits, Sampler::greedy()).unwrap();
        for (prompt, generated) in prompts.iter().zip(&generated) {
            let mut ids = prompt.clone();
            for expected in &generated.ids {
                let documents = crate::kernels::Documents::new(vec![0, ids.len()]);
                let (hidden, _) = decoder.forward(&ids, &documents, &[ids.len() - 1], &adapters, None);
                let logits: Vec<f32> = decoder.logits(hidden).to_data().iter::<f32>().collect();
                let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
                assert_eq!(best as u32, *expected, "{}", case.display());
                ids.push(*expected);
            }
        }
        let continuations = vec![vec![3, 1, 4], vec![1], vec![5, 9]];
        let scores = generate::score(&decoder, &adapters, &prompts, &continuations).unwrap();
        for (prompt, scores) in prompts.iter().zip(&scores) {
            for (continuation, scores) in continuations.iter().zip(scores) {
                let ids = [prompt.as_slice(), continuation].concat();
                let mask: Vec<bool> = (0..ids.len()).map(|token| token >= prompt.len()).collect();
                let batch = Batch::pack([(ids.as_slice(), mask.as_slice())]);
                let expected = session.log_probabilities(&batch).unwrap();
                let difference = largest_difference(scores, &expected);
                assert!(difference < 2e-5, "{}: {difference}", case.display());
            }
        }
    }
}
