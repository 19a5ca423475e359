//! Owns the timing of training steps on a device, with random weights of a true shape and full rows of random ids.
//!
//! Run: `cargo run --release --workspace --example training_speed -- MODEL ROWS LENGTH [--supervised N] [--steps N]
//! [--recompute auto|never|always] [--layers N] [--device D] [--ragged STEPS]`. Every token is supervised unless `--supervised` says how
//! many at the end of a row are. Prints one JSON line with the names of `tests/oracles/peft_gpu_speed.py`: the median step, waited for
//! at its end. `--ragged` trains that many steps on rows of random lengths instead, and prints what memory the GPU and the process
//! hold after step 50 and after the last.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::time::Instant;

use model::arch::llama::LLAMA;
use model::arch::mistral::MISTRAL;
use model::arch::qwen2::QWEN2;
use model::config::{ModelConfig, RopeScaling};
use model::device::{DeviceChoice, LoadOptions, OpenDevice, Precision};
use model::engine::TrainingShape;
use model::lora::{InitLoraWeights, LoraConfig, LoraLayout, TargetModules};
use model::train::{AdamWConfig, Batch, Recompute, Session};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Vocabulary, hidden size, MLP width, layers, heads, key heads, head size, tied head.
fn shape(name: &str) -> ModelConfig {
    let (model_type, numbers, theta, tied) = match name {
        "llama3-8b" => (&LLAMA, [128_256, 4096, 14_336, 32, 32, 8, 128], 500_000.0, false),
        "qwen2.5-7b" => (&QWEN2, [152_064, 3584, 18_944, 28, 28, 4, 128], 1_000_000.0, false),
        "mistral-7b" => (&MISTRAL, [32_768, 4096, 14_336, 32, 32, 8, 128], 1_000_000.0, false),
        "llama3.2-1b" => (&LLAMA, [128_256, 2048, 8192, 16, 32, 8, 64], 500_000.0, true),
        "smollm2-135m" => (&LLAMA, [49_152, 576, 1536, 30, 9, 3, 64], 100_000.0, true),
        other => panic!("no shape is named {other}"),
    };
    let [vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim] = numbers;
    ModelConfig {
        model_type,
        hidden_size,
        intermediate_size,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        vocab_size,
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-5,
        rope_theta: theta,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: tied,
        qkv_bias: model_type.qkv_bias,
        qk_norm: model_type.qk_norm,
        sliding_window: None,
        bos_token_id: None,
        eos_token_ids: vec![2],
        pad_token_id: None,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let (name, rows, length) = (next().expect("MODEL"), number(next()), number(next()));
    let (mut supervised, mut steps, mut recompute, mut device) = (length, 8, Recompute::Auto, DeviceChoice::Auto);
    let (mut layers, mut ragged) = (None, None);
    while let Some(option) = next() {
        match option.as_str() {
            "--supervised" => supervised = number(next()),
            "--steps" => steps = number(next()),
            "--recompute" => recompute = next().expect("a word").parse().unwrap(),
            "--ragged" => ragged = Some(number(next())),
            "--layers" => layers = Some(number(next())),
            "--device" => device = next().expect("a device").parse().unwrap(),
            other => panic!("{other} is no option"),
        }
    }
    let mut config = shape(&name);
    config.num_hidden_layers = layers.unwrap_or(config.num_hidden_layers);
    let lora = LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Pattern("all-linear".to_owned()),
        use_rslora: false,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    };
    let optimiser = AdamWConfig { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, max_grad_norm: 1.0 };
    let cache = std::env::var_os("KERNEL_CACHE").map(std::path::PathBuf::from);
    let open = OpenDevice::open(device, Precision::Auto, cache.as_deref()).expect("a device");
    let layout = LoraLayout::new(&config, &lora).unwrap();
    let started = Instant::now();
    let model = open.random(&config, LoadOptions { positions: length, adapters: &[&layout] }).expect("a model");
    let tokens = rows * length;
    let shape = TrainingShape { max_tokens: tokens, max_supervised: rows * supervised, dropout: false, recompute };
    let plan = open.plan(&config, &layout, length, shape).expect("a plan");
    let mut session = Session::new(model, lora, optimiser, shape, 0).expect("a session");
    let mut random = Random(1);
    if let Some(steps) = ragged {
        return endure(&mut session, &mut random, steps, (rows, length), config.vocab_size);
    }
    let batch = pack(&mut random, config.vocab_size, (0..rows).map(|_| (length, supervised)));
    let count = batch.supervised_tokens();
    let step = |session: &mut Session| {
        session.accumulate(&batch, count).expect("a micro-batch");
        session.apply(2e-4).expect("a step");
    };
    let mut loss = 0.0;
    let mut first = 0.0;
    let mut times = Vec::new();
    for number in 0..steps + 3 {
        let start = Instant::now();
        step(&mut session);
        loss = session.report(true).expect("a finite step").expect("a report").loss / count as f64;
        if number == 0 {
            first = started.elapsed().as_secs_f64();
        }
        if number >= 3 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    // Without waiting for each step, as training runs.
    let start = Instant::now();
    for _ in 0..steps {
        step(&mut session);
        while session.in_flight() > 2 {
            session.report(true).expect("a finite step");
        }
    }
    while session.in_flight() > 0 {
        session.report(true).expect("a finite step");
    }
    let flowing = steps as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let (heads, kv_heads, head) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
    let layer = hidden * head * (2 * heads + 2 * kv_heads) + 3 * hidden * mlp;
    let linear = config.num_hidden_layers * layer + hidden * config.vocab_size;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    println!(
        "{{\"peer\": \"trainer\", \"model\": \"{name}\", \"batch\": {rows}, \"seq\": {length}, \"recompute\": \"{}\", \"tok_s\": {:.0}, \
         \"tok_s_flowing\": {:.0}, \"step_ms\": {:.1}, \"spread_ms\": [{:.1}, {:.1}], \"peak_gib\": {:.2}, \"plan_gib\": {:.2}, \
         \"useful_tflops\": {:.1}, \"loss\": {loss:.3}, \"first_step_s\": {first:.2}, \"device\": \"{}\"}}",
        plan.recompute,
        tokens as f64 / median,
        tokens as f64 * flowing,
        median * 1e3,
        times[0] * 1e3,
        times[times.len() - 1] * 1e3,
        session.model().memory().map_or(0.0, |memory| gib(memory.peak_bytes)),
        gib(plan.peak_bytes),
        4.0 * linear as f64 * tokens as f64 / median / 1e12,
        open.description,
    );
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Documents of some length, of which the last tokens are supervised.
fn pack(random: &mut Random, vocabulary: usize, documents: impl Iterator<Item = (usize, usize)>) -> Batch {
    let documents: Vec<(Vec<u32>, Vec<bool>)> = documents
        .map(|(length, supervised)| {
            let ids = (0..length).map(|_| random.below(vocabulary) as u32).collect();
            (ids, (0..length).map(|token| token + supervised >= length).collect())
        })
        .collect();
    Batch::pack(documents.iter().map(|(ids, mask)| (ids.as_slice(), mask.as_slice())))
}

/// Trains on rows of random lengths.
fn endure(session: &mut Session, random: &mut Random, steps: usize, (rows, length): (usize, usize), vocabulary: usize) {
    let mut early = String::new();
    let started = Instant::now();
    for step in 1..=steps {
        let lengths: Vec<usize> = (0..1 + random.below(rows)).map(|_| 2 + random.below(length - 1)).collect();
        let batch = pack(random, vocabulary, lengths.into_iter().map(|length| (length, length / 2)));
        session.accumulate(&batch, batch.supervised_tokens()).expect("a micro-batch");
        session.apply(1e-4).expect("a step");
        while session.in_flight() > 2 {
            session.report(true).expect("a finite step");
        }
        if step == 50 {
            early = memory_now(session);
        }
    }
    while session.in_flight() > 0 {
        session.report(true).expect("a finite step");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"ragged_steps\": {steps}, \"seconds\": {seconds:.1}, \"at_step_50\": {early}, \"at_the_end\": {}}}",
        memory_now(session)
    );
}

/// Bytes of our blocks, MiB in use on the GPU as `nvidia-smi` sees it, MiB of the process.
fn memory_now(session: &Session) -> String {
    let held = session.model().memory().map_or(0, |memory| memory.held_bytes);
    let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let used = std::process::Command::new("nvidia-smi").args(query).output();
    let used =
        used.map_or_else(|_| "null".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let status =
        ground::read::text(std::path::Path::new("/proc/self/status"), ground::read::Kind::System).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let resident = resident.map_or(0, |kib: u64| kib / 1024);
    format!("{{\"held_bytes\": {held}, \"gpu_used_mib\": {used}, \"resident_mib\": {resident}}}")
}

fn number(text: Option<String>) -> usize {
    text.expect("a number").parse().expect("a number")
}
