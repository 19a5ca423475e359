//! `trainer plan`: memory and time of a run, before it runs. Memory is arithmetic; time comes from a short timed probe.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use model::lora::LoraLayout;
use model::nn::Keep;
use model::plan::{MemoryPlan, training_flops_per_token};
use model::{ModelConfig, OpenDevice};
use serde_json::json;

use super::{fit, note, opened, print};
use crate::cli::Plan;
use crate::config::Config;
use crate::config::plan::Base;
use crate::model_source::ModelSource;
use crate::prepared::Prepared;
use crate::pull::progress::bytes_words;

/// Runs the command.
pub fn run(arguments: Plan) -> Result<ExitCode> {
    let config = fit::load(&arguments.config, None)?;
    let device = OpenDevice::open(config.device)?;
    // Only a base that cannot be had is planned from its shape; broken rows are an error here as in a run.
    match opened::pull_model(&config.base.to_string(), &config.roots.configs) {
        Ok(_) => planned(&arguments, &config, &Prepared::new(&config)?, &device),
        Err(error) => match shape(&config)? {
            Some(shape) => {
                note(&format!("not pulled: {error:#}\nplanning from the shape alone"));
                let layout = LoraLayout::new(&shape, &config.lora)?;
                let tokens = config.train.micro_batch_tokens;
                let keep = keep(&config);
                let bytes = device.weight_bytes();
                let plan = MemoryPlan::new(&shape, &layout, bytes, keep, config.data.max_tokens, tokens, tokens);
                show(&arguments, &shape, &plan, None)?;
                Ok(ExitCode::SUCCESS)
            }
            None => Err(error),
        },
    }
}

/// Steps, tokens and seconds of a run.
struct Timing {
    steps: u64,
    tokens: u64,
    tokens_per_second: Option<f64>,
}

fn planned(arguments: &Plan, config: &Config, prepared: &Prepared, device: &OpenDevice) -> Result<ExitCode> {
    let loader = prepared.loader(config)?;
    let steps = loader.total_steps();
    let largest = (0..steps).flat_map(|step| loader.step(step).micro_batches).max_by_key(|batch| batch.ids.len());
    let batch = largest.context("no row to learn from")?;
    let base = &prepared.checkpoint.config;
    let layout = LoraLayout::new(base, &config.lora)?;
    let positions = prepared.positions(config);
    let supervised = batch.supervised_tokens();
    let plan =
        MemoryPlan::new(base, &layout, device.weight_bytes(), keep(config), positions, batch.ids.len(), supervised);
    let tokens: usize = (0..steps).map(|step| loader.counts(step).0).sum();
    let mut timing = Timing { steps, tokens: tokens as u64, tokens_per_second: None };
    if !arguments.no_probe {
        let mut session = fit::open_session(config, prepared, device)?;
        session.accumulate(&batch, supervised).context("the probe failed")?;
        let start = Instant::now();
        session.accumulate(&batch, supervised).context("the probe failed")?;
        timing.tokens_per_second = Some(batch.ids.len() as f64 / start.elapsed().as_secs_f64());
    }
    show(arguments, base, &plan, Some(&timing))?;
    Ok(ExitCode::SUCCESS)
}

fn keep(config: &Config) -> Keep {
    if config.train.recompute { Keep::Input } else { Keep::Products }
}

fn shape(config: &Config) -> Result<Option<ModelConfig>> {
    let Base::Name(name) = &config.base else { return Ok(None) };
    let Some(source) = ModelSource::find(name, &config.roots.configs)? else { return Ok(None) };
    match &source.shape {
        Some(shape) => Ok(Some(ModelConfig::from_hf_json(shape, &source.file)?)),
        None => Ok(None),
    }
}

fn show(arguments: &Plan, base: &ModelConfig, plan: &MemoryPlan, timing: Option<&Timing>) -> Result<()> {
    let available = crate::memory::available();
    if arguments.json {
        let value = json!({
            "memory": plan,
            "available_host_bytes": available,
            "steps": timing.map(|timing| timing.steps),
            "tokens": timing.map(|timing| timing.tokens),
            "tokens_per_second": timing.and_then(|timing| timing.tokens_per_second),
            "seconds": timing.and_then(seconds),
            "training_flops_per_token": training_flops_per_token(base),
        });
        return print(&serde_json::to_string(&value)?);
    }
    let line = |what: &str, bytes: u64| print(&format!("{what:<34} {:>12}", bytes_words(bytes)));
    print(&format!("largest micro-batch: {} tokens", plan.tokens))?;
    line("fixed: weights", plan.weights_bytes)?;
    line("fixed: adapter and optimiser", plan.adapter_bytes)?;
    line("per token: kept for backward", plan.kept_bytes_per_token)?;
    line("per token: workspace of a layer", plan.workspace_bytes_per_token)?;
    line("logits of supervised rows", plan.logits_bytes)?;
    line("peak", plan.peak_bytes)?;
    if let Some(available) = available {
        line("memory that could be had now", available)?;
        if plan.peak_bytes > available {
            note(
                "warning: the peak is above what this machine has free\nhint: --set train.recompute=true, or a smaller --set train.micro_batch_tokens=N",
            );
        }
    }
    if let Some(timing) = timing {
        print(&format!("steps {}, tokens {}", timing.steps, timing.tokens))?;
        if let (Some(rate), Some(seconds)) = (timing.tokens_per_second, seconds(timing)) {
            print(&format!(
                "about {:.1} minutes of training at {rate:.0} tokens/s, timed on one micro-batch",
                seconds / 60.0
            ))?;
        }
    }
    Ok(())
}

fn seconds(timing: &Timing) -> Option<f64> {
    timing.tokens_per_second.map(|rate| timing.tokens as f64 / rate)
}
