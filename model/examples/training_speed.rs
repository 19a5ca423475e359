//! Owns the timing of one training step on a device with random weights of a true shape.
//! Run: `cargo run --release --workspace --example training_speed -- [ROWS] [LENGTH] [SUPERVISED] [STEPS] [DEVICE]`
//! The shape is SmolLM2-135M with LoRA r = 16 on the seven linears, as `tests/oracles/peft_cpu_speed.py` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::time::Instant;

use model::arch::llama::LLAMA;
use model::config::{ModelConfig, RopeScaling};
use model::device::{DeviceChoice, OpenDevice};
use model::lora::{InitLoraWeights, LoraConfig, TargetModules};
use model::nn::Keep;
use model::train::{AdamWConfig, Batch, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument =
        |index: usize, default: usize| arguments.get(index).map_or(default, |text| text.parse().expect("a number"));
    let device: DeviceChoice = arguments.get(4).map_or(DeviceChoice::Cpu, |text| text.parse().expect("a device"));
    let (rows, length, supervised, steps) = (argument(0, 8), argument(1, 200), argument(2, 5), argument(3, 5));
    let config = ModelConfig {
        model_type: &LLAMA,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        vocab_size: 49_152,
        max_position_embeddings: 8_192,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: true,
        qkv_bias: false,
        qk_norm: false,
        sliding_window: None,
        bos_token_id: None,
        eos_token_ids: vec![2],
        pad_token_id: None,
    };
    let lora = LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Pattern("all-linear".to_owned()),
        use_rslora: false,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    };
    let optimiser = AdamWConfig { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 };
    let open = OpenDevice::open(device).expect("a device");
    let decoder = model::weights::random(&config, &open, length);
    let mut session = Session::new(decoder, lora, optimiser, Keep::Products, 0).expect("a session");
    let documents: Vec<(Vec<u32>, Vec<bool>)> = (0..rows)
        .map(|row| {
            let ids = (0..length).map(|token| ((row * 7919 + token * 104_729) % 49_152) as u32).collect();
            (ids, (0..length).map(|token| token + supervised >= length).collect())
        })
        .collect();
    let batch = Batch::pack(documents.iter().map(|(ids, mask)| (ids.as_slice(), mask.as_slice())));
    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let start = Instant::now();
        session.accumulate(&batch, batch.supervised_tokens()).expect("a loss");
        let forward_backward = start.elapsed().as_secs_f64();
        session.apply(1e-4).expect("a step");
        let seconds = start.elapsed().as_secs_f64();
        println!("step {step}: {seconds:.3} s ({forward_backward:.3} s before the optimiser)");
        if step >= 2 {
            times.push(seconds);
        }
    }
    times.sort_by(f64::total_cmp);
    let tokens = rows * length;
    println!(
        "{}: {rows} x {length}, {:.0} tokens/s (median)",
        open.description,
        tokens as f64 / times[times.len() / 2]
    );
}
