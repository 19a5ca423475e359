//! `trainer eval`: every arm on the held-out rows of a finished run, the verdict, and the reports. Trains nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use eval::Results;
use eval::report::{Json, Report};
use model::LoadOptions;
use model::adapter::Adapter;

use super::{EXIT_NOT_MET, fit, interrupt, note, opened, print};
use crate::cli::Eval;
use crate::config::Config;
use crate::config::arm::{Provider, RawArm};
use crate::controls::Controls;
use crate::evaluation::{self, Scope};
use crate::event::Event;
use crate::held_out::Local;
use crate::observer::{Dashboard, Observer, Plain, jsonl};
use crate::prepared::Prepared;
use crate::tui::terminal;

/// Runs the command.
pub fn run(arguments: Eval) -> Result<ExitCode> {
    let mut config = fit::load(&arguments.config, None)?;
    if arguments.limit.is_some() {
        config.eval.limit = arguments.limit;
    }
    let bars = bars(&arguments.fail_under)?;
    let run = arguments.run.clone().unwrap_or_else(|| config.run_folder.clone());
    let folder = run.join("adapter");
    let controls = interrupt::listen()?;
    let prepared = Prepared::new(&config)?;
    let scope = Scope {
        outside: true,
        only: arguments.arms.clone(),
        replay: arguments.replay.clone(),
        command: Some(command()),
    };
    let metrics: Vec<String> = bars.iter().map(|bar| bar.metric.clone()).collect();
    evaluation::preflight(&config, &prepared, &scope, &metrics)?;
    let tuned = model::adapter::load(&folder, &prepared.checkpoint.config).with_context(|| {
        format!("{} has no adapter that fits\nhint: trainer fit CONFIG, or --run DIR", run.display())
    })?;
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
    let results = evaluate(&config, &prepared, &local, &run, &scope, &controls, &arguments)?;
    if arguments.json {
        print(Json.render(&results)?.trim_end())?
    } else {
        evaluation::print_table(&results)?
    }
    let missed = missed(&results, &bars, &config.decision.candidate)?;
    missed.iter().for_each(|line| note(line));
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_MET) })
}

fn evaluate(
    config: &Config,
    prepared: &Prepared,
    local: &Local<'_>,
    run: &Path,
    scope: &Scope,
    controls: &Controls,
    arguments: &Eval,
) -> Result<Results> {
    let mut observer = progress(arguments.plain, controls, run)?;
    let found = evaluation::run(config, prepared, local, run, scope, &controls.stop, &mut |event| {
        // What is on the terminal is the only listener here, and it never fails.
        let _ = observer.on(event);
    });
    // The view gives the terminal back before anything else is written to it.
    drop(observer);
    let (results, premises) = found?;
    let out = arguments.config.out.as_deref().map_or_else(|| run.join("eval"), Path::to_path_buf);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    evaluation::write(&results, &premises, &out)?;
    note(&format!("report    {}", out.join("report.html").display()));
    Ok(results)
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
    let past = jsonl::events(&run.join("events.jsonl")).unwrap_or_default();
    let past: Vec<Event> = past.into_iter().filter(|event| !event.is_of_evaluation()).collect();
    Ok(match Dashboard::open(controls.clone(), run.to_path_buf(), &past, 1) {
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
