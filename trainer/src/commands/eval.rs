//! `trainer eval`: every arm on the held-out rows of a finished run, the verdict, and the reports. Trains nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use eval::Results;
use eval::report::{Json, Report};
use ground::lock::Lock;
use model::LoadOptions;
use model::adapter::Adapter;

use super::{EXIT_NOT_MET, fit, interrupt, note, opened, print};
use crate::cli::Eval;
use crate::config::Config;
use crate::config::arm::{Provider, RawArm};
use crate::controls::Controls;
use crate::evaluation::{self, Scope};
use crate::held_out::Local;
use crate::observer::jsonl::Events;
use crate::observer::{Dashboard, Observer, Plain};
use crate::preflight::{self, Evaluation, Ready, Wanted};
use crate::prepared::Prepared;
use crate::run_dir;
use crate::start;
use crate::tui::terminal;

/// Runs the command.
pub fn run(arguments: Eval) -> Result<ExitCode> {
    let mut config = fit::load(&arguments.config, None)?;
    if arguments.limit.is_some() {
        config.eval.limit = arguments.limit;
    }
    let bars = bars(&arguments.fail_under)?;
    let run = arguments.run.clone().unwrap_or_else(|| config.run_folder.clone());
    // Without --run, --out names the run folder itself, as it does for `fit`.
    let out = match (&arguments.config.out, &arguments.run) {
        (Some(out), Some(_)) => std::path::absolute(out).with_context(|| format!("cannot use {}", out.display()))?,
        _ => run.join("eval"),
    };
    let folder = run.join("adapter");
    let scope = Scope {
        outside: true,
        only: arguments.arms.clone(),
        replay: arguments.replay.clone(),
        command: Some(command()),
    };
    let metrics: Vec<String> = bars.iter().map(|bar| bar.metric.clone()).collect();
    let unfit = || format!("{} has no adapter that fits\nhint: trainer fit CONFIG, or --run DIR", run.display());
    if !folder.is_dir() {
        bail!(unfit());
    }
    start::look_at(&folder).with_context(unfit)?;
    let controls = interrupt::listen()?;
    let evaluation = Evaluation { scope: &scope, metrics: &metrics, run: &run };
    let Ready { prepared, .. } = preflight::look(&config, &Wanted { training: false, evaluation: Some(evaluation) })?;
    let _held = hold(&run, &out)?;
    let tuned = model::adapter::load(&folder, &prepared.checkpoint.config).with_context(unfit)?;
    let others = other_adapters(&config, &prepared)?;
    let device = opened::device_noted(config.device, config.precision)?;
    let layouts: Vec<_> = others.iter().map(|other| &other.adapter.layout).chain([&tuned.layout]).collect();
    let options = LoadOptions { positions: prepared.positions(&config), adapters: &layouts };
    let model = device.load(&prepared.checkpoint, options, |_, _| {})?;
    let mut local = Local {
        model: &model,
        tuned: model.add_adapter(&tuned.layout, &tuned.values)?,
        others: BTreeMap::new(),
        speech: &prepared.speech,
        base: evaluation::base_facts(&prepared),
        adapters: evaluation::adapter_facts("tuned", &folder)?,
    };
    for Other { arm, folder, adapter } in others {
        local.adapters.extend(evaluation::adapter_facts(&arm, &folder)?);
        local.others.insert(arm, model.add_adapter(&adapter.layout, &adapter.values)?);
    }
    let mut observer = progress(arguments.plain, &controls, &run)?;
    let found = evaluation::run(&config, &prepared, &local, &run, &scope, &controls.stop, &mut |event| {
        // What is on the terminal is the only listener here, and it never fails.
        let _ = observer.on(event);
    });
    // The view gives the terminal back before anything else is written to it.
    drop(observer);
    let (results, premises) = found?;
    evaluation::write(&results, &premises, &out)?;
    note(&format!("report    {}", out.join("report.html").display()));
    if arguments.json {
        print(Json.render(&results)?.trim_end())?
    } else {
        evaluation::print_table(&results)?
    }
    let missed = missed(&results, &bars, &config.decision.candidate)?;
    missed.iter().for_each(|line| note(line));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_MET) })
}

/// Holds the run, whose decisions, calls and results are of one evaluation at a time, and the place of the results where
/// that is another one. What could not be written at the end is refused here.
fn hold(run: &Path, out: &Path) -> Result<Vec<Lock>> {
    let hint = "wait for it, or evaluate a copy of the run folder with --run";
    let mut held = vec![run_dir::hold(run, hint)?];
    if out.parent() != Some(run) {
        let parent = out.parent().unwrap_or(out);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        held.push(run_dir::hold_place(out, "wait for it, or name another folder with --out")?);
    }
    evaluation::refuse_others(out)?;
    ground::write::settle_place(out).with_context(|| format!("cannot clear what a kill left of {}", out.display()))?;
    Ok(held)
}

/// Who tells a person of the evaluation: the dashboard where there is a terminal for it, else lines.
fn progress(plain: bool, controls: &Controls, run: &Path) -> Result<Box<dyn Observer>> {
    if plain {
        return Ok(Box::new(Plain::lines(1)));
    }
    if !terminal::suits() {
        return Ok(Box::new(Plain::stderr(1)));
    }
    // The training of the run is shown too; what it was found to score then is not what is found now.
    let past = Events::read(&run.join("events.jsonl")).into_iter().flatten().map_while(Result::ok);
    let past = past.filter(|event| !event.is_of_evaluation());
    Ok(match Dashboard::open(controls.clone(), run.to_path_buf(), past, 1) {
        Ok(dashboard) => Box::new(dashboard),
        Err(_) => Box::new(Plain::stderr(1)),
    })
}

/// The adapter of an arm that names its folder.
struct Other {
    arm: String,
    folder: PathBuf,
    adapter: Adapter,
}

fn other_adapters(config: &Config, prepared: &Prepared) -> Result<Vec<Other>> {
    let arms = config.eval.arm.iter().filter(|arm| arm.provider == Provider::Adapter);
    let read = |arm: &RawArm| {
        let folder = arm.adapter.clone().context("no adapter folder")?;
        let adapter = model::adapter::load(&folder, &prepared.checkpoint.config)
            .with_context(|| format!("arm {}: {} has no adapter that fits", arm.name, folder.display()))?;
        Ok(Other { arm: arm.name.clone(), folder, adapter })
    };
    arms.map(read).collect()
}

/// A bar that an arm must reach.
struct Bar {
    arm: Option<String>,
    metric: String,
    value: f64,
}

fn bars(typed: &[String]) -> Result<Vec<Bar>> {
    let read = |text: &String| {
        let hint = "write METRIC=VALUE, such as exact_match=0.9, or ARM:METRIC=VALUE";
        let Some((left, value)) = text.split_once('=') else { bail!("--fail-under {text}\nhint: {hint}") };
        let value = value.parse::<f64>().ok().filter(|value| value.is_finite());
        let value = value.with_context(|| format!("--fail-under {text}: no number after `=`\nhint: {hint}"))?;
        let (arm, metric) = match left.split_once(':') {
            Some((arm, metric)) => (Some(arm.to_owned()), metric),
            None => (None, left),
        };
        Ok(Bar { arm, metric: metric.to_owned(), value })
    };
    typed.iter().map(read).collect()
}

/// What each missed bar says.
fn missed(results: &Results, bars: &[Bar], candidate: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for bar in bars {
        let name = bar.arm.as_deref().unwrap_or(candidate);
        let arm = eval::compare::arm(&results.arms, name)?;
        let Some(estimate) = arm.metrics.get(&bar.metric) else {
            let known: Vec<&str> = arm.metrics.keys().map(String::as_str).collect();
            bail!("arm {name} has no metric \"{}\"\nhint: it has {}", bar.metric, known.join(", "));
        };
        if estimate.value < bar.value {
            let short = bar.value - estimate.value;
            lines.push(format!("{name}: {} is {:.4}, {short:.4} under {}", bar.metric, estimate.value, bar.value));
        }
    }
    Ok(lines)
}

/// What was typed, for whoever does it again.
fn command() -> String {
    let words = std::env::args().skip(1).map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
    std::iter::once("trainer".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
