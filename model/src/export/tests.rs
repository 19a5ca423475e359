//! What is written computes what base and adapter compute: against the golden checkpoints, for every architecture, tied and
//! untied, and read back by our own readers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use super::*;
use crate::adapter::{self, Adapter};
use crate::checkpoint::{Checkpoint, StoredType};
use crate::config::ModelConfig;
use crate::device::{DeviceChoice, LoadOptions, OpenDevice, Precision};
use crate::engine::Model;
use crate::lora::{InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use crate::train::Batch;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The golden checkpoints with their adapters.
fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden()).unwrap().flatten().map(|entry| entry.path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("adapter").is_dir()).collect();
    cases.sort();
    assert!(cases.len() > 10);
    cases
}

fn quiet() -> impl FnMut(u64, u64) {
    |_, _| {}
}

fn load(checkpoint: &Checkpoint, adapters: &[&LoraLayout]) -> Model {
    let device = OpenDevice::open(DeviceChoice::Cpu, Precision::Auto, None).unwrap();
    device.load(checkpoint, LoadOptions { positions: 32, adapters }, |_, _| {}).unwrap()
}

fn batch(vocab_size: usize) -> Batch {
    let ids: Vec<u32> = (0..17).map(|at| ((at * at * 7 + at * 5 + 3) % vocab_size) as u32).collect();
    Batch::pack([(ids.as_slice(), [true; 17].as_slice())])
}

fn largest_difference(one: &[f32], two: &[f32]) -> f32 {
    assert_eq!(one.len(), two.len());
    one.iter().zip(two).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Log-probabilities of base and adapter, and of what was written.
fn both(checkpoint: &Checkpoint, adapter: &Adapter, written: &Checkpoint) -> (Vec<f32>, Vec<f32>) {
    let batch = batch(checkpoint.config.vocab_size);
    let apart = load(checkpoint, &[&adapter.layout]);
    let id = apart.add_adapter(&adapter.layout, &adapter.values).unwrap();
    let apart = apart.log_probabilities(Some(id), &batch).unwrap();
    (apart, load(written, &[]).log_probabilities(None, &batch).unwrap())
}

#[test]
fn a_merged_folder_computes_what_base_and_adapter_compute() {
    for case in cases() {
        let checkpoint = Checkpoint::open(&case).unwrap();
        let adapter = adapter::load(&case.join("adapter"), &checkpoint.config).unwrap();
        let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
        for (dtype, max_shard_bytes, tolerance) in
            [(StoredType::F32, 1 << 40, 2e-5), (StoredType::F32, 20_000, 2e-5), (StoredType::BF16, 1 << 40, 0.2)]
        {
            let folder = TempDir::new().unwrap();
            let options = FolderOptions { dtype, max_shard_bytes };
            let written = write_folder(&merged, folder.path(), options, &mut quiet()).unwrap();
            assert_eq!(written.files.len() > 1, max_shard_bytes < 1 << 40, "{}", case.display());
            let read = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(read.config, checkpoint.config);
            assert_eq!(read.contains("lm_head.weight"), !checkpoint.config.tie_word_embeddings);
            let (apart, together) = both(&checkpoint, &adapter, &read);
            let difference = largest_difference(&apart, &together);
            assert!(difference < tolerance, "{} {dtype:?}: {difference}", case.display());
        }
    }
}

#[test]
fn bf16_is_the_sum_rounded_once_and_untouched_tensors_are_copies() {
    let case = golden().join("tiny-chat");
    let checkpoint = Checkpoint::open(&case).unwrap();
    let adapter = adapter::load(&case.join("adapter"), &checkpoint.config).unwrap();
    let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
    let folder = TempDir::new().unwrap();
    let options = FolderOptions { dtype: StoredType::BF16, max_shard_bytes: 1 << 40 };
    write_folder(&merged, folder.path(), options, &mut quiet()).unwrap();
    let read = Checkpoint::open(folder.path()).unwrap();
    let matrices: HashMap<String, _> =
        adapter.layout.matrices().into_iter().map(|one| (format!("{}.{}", one.module, one.matrix), one)).collect();
    for name in checkpoint.names() {
        let base = checkpoint.tensor(name).unwrap();
        let module = name.trim_end_matches(".weight");
        let mut sum = base.to_f32();
        if let (Some(a), Some(b)) =
            (matrices.get(&format!("{module}.lora_A")), matrices.get(&format!("{module}.lora_B")))
        {
            let ([rank, columns], scale) = (a.shape, adapter.lora.scale());
            let (a, b) = (&adapter.values[a.range.clone()], &adapter.values[b.range.clone()]);
            for (at, one) in sum.iter_mut().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let each = (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * columns + column]));
                *one += (f64::from(scale) * each.sum::<f64>()) as f32;
            }
        }
        for (expected, found) in sum.iter().zip(read.tensor(name).unwrap().to_f32()) {
            // One rounding, and the order of a short sum.
            assert!((expected - found).abs() <= expected.abs() / 256.0 + 1e-6, "{name}: {expected} became {found}");
        }
        if !merged.changes(name) {
            assert_eq!(base.bytes, read.tensor(name).unwrap().bytes, "{name}");
        }
    }
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert_eq!(std::fs::read(case.join(file)).unwrap(), std::fs::read(folder.path().join(file)).unwrap());
    }
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    assert!(config.contains("bfloat16"), "{config}");
}

/// A checkpoint of an architecture with random weights and the tokenizer of the tiny chat model.
fn random_checkpoint(folder: &Path, extra: &str) -> Checkpoint {
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden().join("tiny-chat").join(file), folder.join(file)).unwrap();
    }
    let mut json = serde_json::json!({
        "hidden_size": 64, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": null
    });
    let extra: serde_json::Value = serde_json::from_str(extra).unwrap();
    extra.as_object().unwrap().iter().for_each(|(key, value)| json[key] = value.clone());
    let config = ModelConfig::from_hf_json(&json, Path::new("config.json")).unwrap();
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&json).unwrap()).unwrap();
    let data: Vec<(String, Vec<usize>, Vec<f32>)> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let size: usize = shape.iter().product();
            let key = crate::dropout::key_of(7, &name);
            let scale = if name.contains("norm") { 0.1 } else { 0.15 };
            let centre = if name.contains("norm") { 1.0 } else { 0.0 };
            let values = (0..size).map(|at| centre + scale * crate::dropout::normal(key, at as u64)).collect();
            (name, shape, values)
        })
        .collect();
    let views = data.iter().map(|(name, shape, values)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).unwrap())
    });
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    Checkpoint::open(folder).unwrap()
}

fn random_adapter(config: &ModelConfig, use_rslora: bool) -> Adapter {
    let lora = LoraConfig {
        r: 8,
        lora_alpha: 16.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Pattern("all-linear".to_owned()),
        use_rslora,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    };
    let layout = LoraLayout::new(config, &lora).unwrap();
    let key = crate::dropout::key_of(3, "adapter");
    let values = (0..layout.length()).map(|at| 0.05 * crate::dropout::normal(key, at as u64)).collect();
    Adapter { lora, layout, values, base_model: Some("owner/base".to_owned()) }
}

const SHAPES: [&str; 6] = [
    r#"{"model_type": "llama", "tie_word_embeddings": true}"#,
    r#"{"model_type": "llama", "tie_word_embeddings": false, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}"#,
    r#"{"model_type": "mistral", "tie_word_embeddings": false}"#,
    r#"{"model_type": "qwen2", "tie_word_embeddings": true}"#,
    r#"{"model_type": "qwen2", "tie_word_embeddings": false, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}}"#,
    r#"{"model_type": "qwen3", "tie_word_embeddings": true}"#,
];

fn gguf(merged: &Merged<'_>, kind: GgufType, path: &Path) -> Result<Written, crate::Error> {
    let options = GgufOptions { kind, name: "tiny".to_owned(), licence: None, base_model: None };
    write_gguf(merged, path, &options, &mut quiet())
}

#[test]
fn a_gguf_file_computes_what_base_and_adapter_compute_within_its_formats() {
    for shape in SHAPES {
        let folder = TempDir::new().unwrap();
        let checkpoint = random_checkpoint(folder.path(), shape);
        let adapter = random_adapter(&checkpoint.config, false);
        let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
        for (kind, tolerance) in [
            (GgufType::F16, 0.01),
            (GgufType::BF16, 0.1),
            (GgufType::Q8_0, 0.1),
            (GgufType::Q4_0, 1.5),
            (GgufType::Q4KM, 1.5),
        ] {
            let path = folder.path().join(format!("{kind}.gguf"));
            gguf(&merged, kind, &path).unwrap_or_else(|error| panic!("{shape} {kind}: {error}"));
            let read = Checkpoint::open(&path).unwrap();
            assert_eq!(read.config.tie_word_embeddings, checkpoint.config.tie_word_embeddings, "{shape}");
            let (apart, together) = both(&checkpoint, &adapter, &read);
            let difference = largest_difference(&apart, &together);
            assert!(difference < tolerance, "{shape} {kind}: {difference}");
            let (ours, theirs) = (checkpoint.tokenizer().unwrap(), read.tokenizer().unwrap());
            let text = "<|im_start|>user\nClause 12: who pays?<|im_end|>\n";
            assert_eq!(ours.encode(text).unwrap(), theirs.encode(text).unwrap());
            assert_eq!(ours.special_tokens().eos_token, theirs.special_tokens().eos_token);
            assert_eq!(
                ours.chat_template().unwrap().unwrap().source(),
                theirs.chat_template().unwrap().unwrap().source()
            );
        }
    }
}

#[test]
fn a_gguf_file_is_merged_into_a_folder_that_computes_the_same() {
    for shape in [SHAPES[0], SHAPES[4], SHAPES[5]] {
        let folder = TempDir::new().unwrap();
        let checkpoint = random_checkpoint(folder.path(), shape);
        let path = folder.path().join("base.gguf");
        gguf(&Merged::new(&checkpoint, None).unwrap(), GgufType::Q4_0, &path).unwrap();
        let base = Checkpoint::open(&path).unwrap();
        let twice =
            gguf(&Merged::new(&base, None).unwrap(), GgufType::Q8_0, &folder.path().join("twice.gguf")).unwrap();
        assert!(twice.notes[0].contains("rounded once more"), "{:?}", twice.notes);
        let adapter = random_adapter(&base.config, true);
        let out = folder.path().join("merged");
        std::fs::create_dir(&out).unwrap();
        let merged = Merged::new(&base, Some(&adapter)).unwrap();
        let options = FolderOptions { dtype: StoredType::F32, max_shard_bytes: 1 << 40 };
        write_folder(&merged, &out, options, &mut quiet()).unwrap();
        let (apart, together) = both(&base, &adapter, &Checkpoint::open(&out).unwrap());
        let difference = largest_difference(&apart, &together);
        assert!(difference < 2e-5, "{shape}: {difference}");
    }
}

/// Rows of the base in a GGUF file, plus `alpha / r * B * A` from the adapter's file, are the rows of the merged file.
#[test]
fn an_adapter_file_fits_the_rows_of_its_base_file_whatever_the_scaling_rule() {
    for (shape, use_rslora) in [(SHAPES[0], false), (SHAPES[2], true), (SHAPES[5], true)] {
        let folder = TempDir::new().unwrap();
        let checkpoint = random_checkpoint(folder.path(), shape);
        let adapter = random_adapter(&checkpoint.config, use_rslora);
        let path = |name: &str| folder.path().join(name);
        gguf(&Merged::new(&checkpoint, None).unwrap(), GgufType::F16, &path("base.gguf")).unwrap();
        gguf(&Merged::new(&checkpoint, Some(&adapter)).unwrap(), GgufType::F16, &path("merged.gguf")).unwrap();
        write_gguf_adapter(&adapter, &checkpoint, &path("lora.gguf"), "tiny").unwrap();
        let [base, merged, lora] =
            ["base.gguf", "merged.gguf", "lora.gguf"].map(|name| std::fs::read(path(name)).unwrap());
        let parse = |bytes: &[u8]| crate::checkpoint::gguf::parse(bytes, Path::new("x.gguf")).unwrap();
        let values = |bytes: &[u8], name: &str| -> (Vec<f32>, usize) {
            let header = parse(bytes);
            let info = &header.tensors[name];
            let mut out = vec![0.0; info.shape.iter().product()];
            info.format.dequantise(&bytes[info.range.clone()], &mut out);
            (out, info.shape[1])
        };
        let header = parse(&lora);
        assert_eq!(header.metadata.text("general.type"), Some("adapter"));
        assert_eq!(header.metadata.text("adapter.type"), Some("lora"));
        assert_eq!(header.tensors.len(), 2 * 7 * checkpoint.config.num_hidden_layers);
        let alpha = header.metadata.float("adapter.lora.alpha").unwrap() as f32;
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            let name = format!("blk.1.{part}.weight");
            let (before, columns) = values(&base, &name);
            let (after, _) = values(&merged, &name);
            let (a, _) = values(&lora, &format!("{name}.lora_a"));
            let (b, rank) = values(&lora, &format!("{name}.lora_b"));
            for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                let (row, column) = (at / columns, at % columns);
                let product: f32 = (0..rank).map(|k| b[row * rank + k] * a[k * columns + column]).sum();
                let expected = before + alpha / rank as f32 * product;
                assert!((expected - after).abs() < 2e-3, "{shape} {name}[{row}, {column}]: {expected} and {after}");
            }
        }
    }
}

#[test]
fn a_window_shortens_the_context_that_a_file_claims_and_is_told() {
    let folder = TempDir::new().unwrap();
    let checkpoint = random_checkpoint(folder.path(), r#"{"model_type": "mistral", "sliding_window": 40}"#);
    let path = folder.path().join("m.gguf");
    let written = gguf(&Merged::new(&checkpoint, None).unwrap(), GgufType::F16, &path).unwrap();
    assert!(written.notes[0].contains("context is 40 instead of 128"), "{:?}", written.notes);
    assert_eq!(Checkpoint::open(&path).unwrap().config.max_position_embeddings, 40);
    let adapter = random_adapter(&checkpoint.config, false);
    let alone = write_gguf_adapter(&adapter, &checkpoint, &folder.path().join("lora.gguf"), "tiny").unwrap();
    assert!(alone.notes.len() == 1 && alone.notes[0].contains("window of 40 tokens"), "{:?}", alone.notes);
}

/// What llama.cpp computes otherwise is told with the model, and with the adapter alone, which runs on the same base there.
#[test]
fn what_llama_cpp_computes_otherwise_is_told_for_model_and_adapter() {
    let yarn = |betas: &str| {
        format!(
            r#"{{"model_type": "qwen2", "rope_scaling": {{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32{betas}}}}}"#
        )
    };
    let notes = |shape: &str, normalizer: Option<&str>| {
        let folder = TempDir::new().unwrap();
        let checkpoint = random_checkpoint(folder.path(), shape);
        if let Some(form) = normalizer {
            let path = folder.path().join("tokenizer.json");
            let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            file["normalizer"] = serde_json::json!({ "type": form });
            // The cut under whose name GGUF has this normaliser.
            let cut = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
            file["pre_tokenizer"] = serde_json::json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
            ]});
            std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        }
        let adapter = random_adapter(&checkpoint.config, false);
        let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
        let model = gguf(&merged, GgufType::F16, &folder.path().join("m.gguf")).unwrap().notes;
        let alone = write_gguf_adapter(&adapter, &checkpoint, &folder.path().join("lora.gguf"), "tiny").unwrap().notes;
        assert_eq!(model, alone);
        model
    };
    assert_eq!(notes(&yarn(""), None), [""; 0]);
    assert_eq!(notes(&yarn(r#", "beta_fast": 32, "beta_slow": 1"#), None), [""; 0]);
    for (betas, options) in [
        (r#", "beta_fast": 16, "beta_slow": 2"#, "--yarn-beta-fast 16 --yarn-beta-slow 2;"),
        (r#", "beta_slow": 1.5"#, "--yarn-beta-fast 32 --yarn-beta-slow 1.5;"),
    ] {
        let told = notes(&yarn(betas), None);
        assert!(told.len() == 1 && told[0].contains(options), "{told:?}");
    }
    let told = notes(SHAPES[3], Some("NFC"));
    assert!(told.len() == 1 && told[0].contains("Unicode form NFC"), "{told:?}");
}

#[test]
fn numbers_that_a_format_cannot_hold_are_refused() {
    let folder = TempDir::new().unwrap();
    let checkpoint = random_checkpoint(folder.path(), SHAPES[0]);
    let mut adapter = random_adapter(&checkpoint.config, false);
    adapter.values.iter_mut().for_each(|value| *value *= 1e5);
    let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
    let message = gguf(&merged, GgufType::F16, &folder.path().join("m.gguf")).unwrap_err().to_string();
    assert!(message.contains("half precision"), "{message}");
    adapter.values[0] = f32::INFINITY;
    let merged = Merged::new(&checkpoint, Some(&adapter)).unwrap();
    let message = gguf(&merged, GgufType::BF16, &folder.path().join("m.gguf")).unwrap_err().to_string();
    assert!(message.contains("is not finite"), "{message}");
}

#[test]
fn distributions_agree_with_log_probabilities_and_sum_to_one() {
    let case = golden().join("qwen3");
    let checkpoint = Checkpoint::open(&case).unwrap();
    let adapter = adapter::load(&case.join("adapter"), &checkpoint.config).unwrap();
    let model = load(&checkpoint, &[&adapter.layout]);
    let id = model.add_adapter(&adapter.layout, &adapter.values).unwrap();
    let batch = batch(checkpoint.config.vocab_size);
    let (_, targets) = batch.targets();
    let expected = model.log_probabilities(Some(id), &batch).unwrap();
    let mut seen = 0;
    let mut check = |token: usize, values: &[f32]| {
        let sum: f64 = values.iter().map(|one| f64::from(*one).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!((values[targets[token] as usize] - expected[token]).abs() < 1e-5);
        seen += 1;
    };
    model.distributions(Some(id), &batch, &mut check).unwrap();
    assert_eq!(seen, targets.len());
}
