//! `trainer eval`: the held-out evaluation of a finished run, again. Trains nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use eval::report::{Json, Report};
use model::OpenDevice;

use super::{fit, print};
use crate::cli::Eval;
use crate::evaluation::{self, Scope};
use crate::held_out::Local;
use crate::observer::{Observer, Plain};
use crate::prepared::Prepared;

/// Runs the command.
pub fn run(arguments: Eval) -> Result<ExitCode> {
    let mut config = fit::load(&arguments.config, None)?;
    if arguments.limit.is_some() {
        config.eval.limit = arguments.limit;
    }
    let run = arguments.run.clone().unwrap_or_else(|| config.run_folder.clone());
    let folder = run.join("adapter");
    let prepared = Prepared::new(&config)?;
    let adapter = model::adapter::load(&folder, &prepared.checkpoint.config).with_context(|| {
        format!("{} has no adapter that fits\nhint: trainer fit CONFIG, or --run DIR", run.display())
    })?;
    let device = OpenDevice::open(config.device)?;
    let positions = prepared.positions(&config);
    let decoder = model::weights::load(&prepared.checkpoint, &device, positions, |_, _| {})?;
    let tuned = adapter.layout.adapters(&adapter.values, &decoder);
    let stop = Arc::new(AtomicBool::new(false));
    let mut observer = Plain::stderr(1);
    let local = Local {
        decoder: &decoder,
        tuned: &tuned,
        others: BTreeMap::new(),
        speech: &prepared.speech,
        base: evaluation::base_facts(&prepared),
        adapters: evaluation::adapter_facts("tuned", &folder)?,
    };
    let scope = Scope { outside: true, only: Vec::new() };
    let results = evaluation::run(&config, &prepared, &local, &scope, &stop, &mut |progress| {
        if let Some(event) = evaluation::as_event(progress) {
            // The lines on the terminal are the only listener here, and they never fail.
            let _ = observer.on(&event);
        }
    })?;
    if let Some(out) = &arguments.config.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        evaluation::write(&results, out)?;
    }
    if arguments.json {
        print(Json.render(&results)?.trim_end())?
    } else {
        evaluation::print_table(&results)?
    }
    Ok(ExitCode::SUCCESS)
}
