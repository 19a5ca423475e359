//! `trainer plan`: memory and time of a run, before it runs. Memory is arithmetic; time comes from a short timed probe.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use model::lora::LoraLayout;
use model::plan::{MemoryPlan, training_flops_per_token};
use model::train::{Batch, Session};
use model::{ModelConfig, OpenDevice};
use serde_json::json;

use super::{fit, note, opened, print};
use crate::cli::Plan;
use crate::config::Config;
use crate::config::plan::Base;
use crate::memory_advice::{self, Attempt};
use crate::model_source::ModelSource;
use crate::observer::plain::words::duration;
use crate::prepared::Prepared;
use crate::pull::progress::bytes_words;
use crate::schedule;

/// Runs the command.
pub fn run(arguments: Plan) -> Result<ExitCode> {
    let config = fit::load(&arguments.config, None)?;
    let device = opened::device_noted(config.device, config.precision)?;
    // Asked before the probe takes some of it.
    let available_host = crate::memory::available();
    // Only a base that cannot be had is planned from its shape; broken rows are an error here as in a run.
    let planned = match opened::pull_model(&config.base.to_string(), &config.roots.configs) {
        Ok(_) => planned(&arguments, &config, &Prepared::new(&config)?, &device)?,
        Err(error) => match shape(&config)? {
            Some(shape) => {
                note(&format!("not pulled: {error:#}\nplanning from the shape alone"));
                from_shape(&config, shape, &device)?
            }
            None => return Err(error),
        },
    };
    show(&planned, available_host, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// All that is known of a run before it runs.
struct Planned {
    base: ModelConfig,
    memory: MemoryPlan,
    attempt: Attempt,
    run: Option<Length>,
    measured: Option<Measured>,
}

/// How long a run is.
struct Length {
    steps: u64,
    tokens: u64,
}

/// What one step on the largest micro-batch took.
struct Measured {
    tokens_per_second: f64,
    device_peak_bytes: Option<u64>,
}

fn planned(arguments: &Plan, config: &Config, prepared: &Prepared, device: &OpenDevice) -> Result<Planned> {
    let loader = prepared.loader(config)?;
    let extent = loader.extent(&prepared.data.valid.samples);
    let attempt = Attempt::new(config, &extent);
    let base = prepared.checkpoint.config.clone();
    let layout = LoraLayout::new(&base, &config.lora)?;
    let shape = config.training_shape(extent.max_tokens, extent.max_supervised);
    let memory = device.plan(&base, &layout, prepared.positions(config), shape);
    let memory = memory.map_err(|error| attempt.explain(error.into()))?;
    let steps = loader.total_steps();
    schedule::check(&config.train, steps)?;
    let tokens = (0..steps).map(|step| loader.counts(step).0 as u64).sum();
    let fits = memory.device_free_bytes.is_none_or(|free| memory.peak_bytes <= free);
    let measured = if arguments.no_probe || !fits {
        None
    } else {
        let opened = fit::open_session(config, prepared, device, &extent, None);
        let probed = opened.and_then(|mut session| probe(&mut session, &extent.largest));
        Some(probed.map_err(|error| attempt.explain(error.context("the probe failed")))?)
    };
    Ok(Planned { base, memory, attempt, run: Some(Length { steps, tokens }), measured })
}

/// Two steps that change nothing, on the largest micro-batch: the first makes everything ready, the second is timed.
fn probe(session: &mut Session, batch: &Batch) -> Result<Measured> {
    let mut step = || -> Result<f64> {
        let start = Instant::now();
        session.accumulate(batch, batch.supervised_tokens())?;
        session.apply(0.0)?;
        session.report(true)?.context("the device does not report the step")?;
        Ok(start.elapsed().as_secs_f64())
    };
    step()?;
    let seconds = step()?;
    let device_peak_bytes = session.model().memory().map(|memory| memory.peak_bytes);
    Ok(Measured { tokens_per_second: batch.ids.len() as f64 / seconds, device_peak_bytes })
}

/// The plan of a base of which only the shape is known, on rows as long as the config allows.
fn from_shape(config: &Config, base: ModelConfig, device: &OpenDevice) -> Result<Planned> {
    let layout = LoraLayout::new(&base, &config.lora)?;
    let tokens = config.train.micro_batch_tokens;
    let attempt = Attempt {
        tokens,
        longest_row: config.data.max_tokens,
        max_tokens: config.data.max_tokens,
        recompute: config.train.recompute,
        rank: config.lora.r,
    };
    let memory = device.plan(&base, &layout, config.data.max_tokens, config.training_shape(tokens, tokens));
    let memory = memory.map_err(|error| attempt.explain(error.into()))?;
    Ok(Planned { base, memory, attempt, run: None, measured: None })
}

fn shape(config: &Config) -> Result<Option<ModelConfig>> {
    let Base::Name(name) = &config.base else { return Ok(None) };
    let Some(source) = ModelSource::find(name, &config.roots.configs)? else { return Ok(None) };
    match &source.shape {
        Some(shape) => Ok(Some(ModelConfig::from_hf_json(shape, &source.file)?)),
        None => Ok(None),
    }
}

fn show(planned: &Planned, available_host: Option<u64>, json: bool) -> Result<()> {
    let Planned { base, memory, attempt, run, measured } = planned;
    let rate = measured.as_ref().map(|measured| measured.tokens_per_second);
    let seconds = rate.zip(run.as_ref()).map(|(rate, run)| run.tokens as f64 / rate);
    let measured_peak = measured.as_ref().and_then(|measured| measured.device_peak_bytes);
    if json {
        let value = json!({
            "memory": memory,
            "measured_device_peak_bytes": measured_peak,
            "available_host_bytes": available_host,
            "steps": run.as_ref().map(|run| run.steps),
            "tokens": run.as_ref().map(|run| run.tokens),
            "tokens_per_second": rate,
            "seconds": seconds,
            "training_flops_per_token": training_flops_per_token(base),
        });
        return print(&serde_json::to_string(&value)?);
    }
    let line = |what: &str, bytes: u64| print(&format!("{what:<34} {:>12}", bytes_words(bytes)));
    print(&format!("largest micro-batch: {} tokens; computed twice: {}", memory.tokens, memory.recompute))?;
    for part in &memory.parts {
        line(part.name, part.bytes)?;
    }
    line("peak", memory.peak_bytes)?;
    if let Some(measured) = measured_peak {
        line("peak as measured by the probe", measured)?;
    }
    if let Some(free) = memory.device_free_bytes.or(available_host) {
        line("memory that could be had now", free)?;
        if memory.peak_bytes > free {
            let hints = memory_advice::hints(&attempt.that_need_less());
            note(&format!("warning: the peak is above what could be had\n{hints}"));
        }
    }
    if let Some(run) = run {
        print(&format!("steps {}, tokens {}", run.steps, run.tokens))?;
    }
    if let Some((rate, seconds)) = rate.zip(seconds) {
        let time = duration(seconds);
        print(&format!("about {time} of training at {rate:.0} tokens/s, timed on one micro-batch"))?;
    }
    Ok(())
}
