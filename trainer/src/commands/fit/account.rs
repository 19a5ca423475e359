//! Owns what a run leaves in `env.json` and `summary.json`: where it ran, on what, and what it came to.
//! Knows numbers that others measured.

use model::OpenDevice;
use model::engine::DeviceMemory;
use serde_json::{Value, json};

use crate::config::Config;
use crate::data::loader::Loader;
use crate::prepared::Prepared;
use crate::start::Start;
use crate::train_loop::Outcome;

/// Program, machine, base and data of a run.
pub(super) fn environment(prepared: &Prepared, device: &OpenDevice, start: Option<&Start>) -> Value {
    json!({
        "version": 1,
        "program": env!("CARGO_PKG_VERSION"),
        "device": device.description,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "memory_bytes": crate::memory::total(),
        "base": { "name": prepared.base_name, "source": prepared.base_source, "sha256": prepared.base_sha256 },
        "data": { "name": prepared.data.name, "source": prepared.set_source, "sha256": prepared.data.sha256 },
        "init_adapter": start.map(|start| json!({ "name": start.name, "sha256": start.sha256 })),
        "tokenizer_sha256": prepared.speech.tokenizer.sha256(),
        "chat_template_sha256": prepared.speech.template.sha256(),
    })
}

/// What a finished run came to.
pub(super) struct Finished<'a> {
    pub(super) config: &'a Config,
    pub(super) prepared: &'a Prepared,
    pub(super) device: &'a OpenDevice,
    pub(super) loader: &'a Loader<'a>,
    pub(super) outcome: &'a Outcome,
    pub(super) device_memory: Option<DeviceMemory>,
    pub(super) wall_secs: f64,
}

pub(super) fn summary(finished: &Finished<'_>) -> Value {
    let Finished { config, prepared, device, loader, outcome, device_memory, wall_secs } = *finished;
    // Counted over all processes of the run, since a resumed one saw only its own steps.
    let (tokens, supervised) =
        (0..outcome.steps).map(|step| loader.counts(step)).fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
    json!({
        "version": 1,
        "status": "finished",
        "name": config.name,
        "steps": outcome.steps,
        "tokens": tokens,
        "supervised_tokens": supervised,
        "train_loss": outcome.train_loss,
        "valid_loss": outcome.valid_loss,
        "tokens_per_second": outcome.tokens as f64 / outcome.step_secs,
        "train_seconds": outcome.step_secs,
        "peak_host_bytes": crate::memory::peak(),
        "peak_device_bytes": device_memory.map(|memory| memory.peak_bytes),
        "device": device.description,
        "wall_seconds": wall_secs,
        "base": { "name": prepared.base_name, "sha256": prepared.base_sha256 },
        "data": {
            "name": prepared.data.name,
            "sha256": prepared.data.sha256,
            "rows": prepared.data.train.samples.len(),
        },
        "seed": config.train.seed,
        "program": env!("CARGO_PKG_VERSION"),
    })
}
