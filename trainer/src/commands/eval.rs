//! `trainer eval`: every arm on the held-out rows of a finished run, the verdict, and the reports. Trains nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use eval::Results;
use eval::report::{Json, Report};
use eval::verdict::Answer;
use ground::lock::Lock;
use model::adapter::Adapter;
use model::{Checkpoint, LoadOptions};

use super::{fit, interrupt, note, opened, print};
use crate::cli::Eval;
use crate::config::arm::{Provider, RawArm};
use crate::config::{self, Config};
use crate::controls::{self, Controls};
use crate::ending::Ended;
use crate::evaluation::{self, Scope};
use crate::held_out::Local;
use crate::local_lm::Speech;
use crate::observer::jsonl::Events;
use crate::observer::{Dashboard, Observer, Plain};
use crate::preflight::{self, Evaluation, Ready, Wanted};
use crate::prepared::Prepared;
use crate::run_dir;
use crate::tui::terminal;
use crate::{learnt_by, shipped, start};

/// Runs the command.
pub fn run(arguments: Eval) -> Result<ExitCode> {
    let controls = interrupt::listen()?;
    let mut config = fit::load(&arguments.config, None)?;
    if arguments.limit.is_some() {
        config.eval.limit = arguments.limit;
    }
    let bars = bars(&arguments.fail_under)?;
    if let Some(bar) = arguments.require.filter(|_| !decides(&arguments)) {
        bail!(
            "--require {}: {} does not say decision.margin, and a default margin is nobody's choice\n\
             hint: write [decision] with candidate, baseline and margin, as configs/legal.toml does",
            bar.name(),
            arguments.config.config.display()
        );
    }
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
        must_decide: arguments.require.is_some(),
    };
    let metrics: Vec<String> = bars.iter().map(|bar| bar.metric.clone()).collect();
    let unfit = || format!("{} has no adapter that fits\nhint: trainer fit CONFIG, or --run DIR", run.display());
    if !folder.is_dir() {
        bail!(unfit());
    }
    start::look_at(&folder).with_context(unfit)?;
    let evaluation = Evaluation { scope: &scope, metrics: &metrics, run: &run };
    let Ready { mut prepared, .. } =
        preflight::look(&config, &Wanted { training: false, evaluation: Some(evaluation) })?;
    prepared.data.rows_of_run_known = learnt_by::refuse(&run, &config, &prepared)?;
    let _held = hold(&run, &out)?;
    let tuned = model::adapter::load(&folder, &prepared.checkpoint.config).with_context(unfit)?;
    let others = other_adapters(&config, &prepared)?;
    let device = opened::device_noted(config.device, config.precision)?;
    let layouts: Vec<_> = others.iter().map(|other| &other.adapter.layout).chain([&tuned.layout]).collect();
    let mut positions = prepared.positions(&config);
    for other in &others {
        positions = positions.max(prepared.positions_in(&config, &other.speech)?);
    }
    let options = LoadOptions { positions, adapters: &layouts };
    let model = device.load(&prepared.checkpoint, options, |_, _| {})?;
    let mut local = Local {
        model: &model,
        tuned: model.add_adapter(&tuned.layout, &tuned.values)?,
        others: BTreeMap::new(),
        speech: &prepared.speech,
        base: evaluation::base_facts(&prepared),
        adapters: evaluation::adapter_facts("tuned", &folder)?,
    };
    for Other { arm, folder, adapter, speech } in others {
        local.adapters.extend(evaluation::adapter_facts(&arm, &folder)?);
        local.others.insert(arm, (model.add_adapter(&adapter.layout, &adapter.values)?, speech));
    }
    controls.begin();
    let mut observer = progress(arguments.plain, &controls, &run)?;
    let found = evaluation::run(&config, &prepared, &local, &run, &scope, &controls.stop, &mut |event| {
        // What is on the terminal is the only listener here, and it never fails.
        let _ = observer.on(event);
    });
    // The view gives the terminal back before anything else is written to it.
    drop(observer);
    if found.as_ref().is_err_and(controls::is_stop) {
        let text = "stopped, nothing is reported; answers that were paid for are kept\nhint: the same command goes on";
        return Err(Ended::Stopped(text.to_owned()).into());
    }
    let (results, premises) = found?;
    evaluation::write(&results, &premises, &out)?;
    note(&format!("report    {}", out.join("report.html").display()));
    if arguments.json {
        print(Json.render(&results)?.trim_end())?
    } else {
        evaluation::print_table(&results)?
    }
    let mut missed = missed(&results, &bars, &config.decision.candidate)?;
    missed.extend(arguments.require.and_then(|bar| below(&results, bar)));
    if missed.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Ended::NotMet(missed.join("\n")).into()) }
}

/// Whether the config of an evaluation says by which margin is decided.
fn decides(arguments: &Eval) -> bool {
    config::says(&arguments.config.config, &arguments.config.set, "decision.margin")
}

/// What a verdict says that is not as good as the one that is required.
fn below(results: &Results, bar: Answer) -> Option<String> {
    let found = match &results.decided {
        Some(decided) if decided.verdict.reaches(bar) => return None,
        // Its sentence ends with what was changed after the first answer.
        Some(decided) if decided.verdict.standing.is_exploratory() => {
            format!("an exploratory verdict is no verdict: {}", decided.verdict.sentence())
        }
        Some(decided) => decided.verdict.sentence(),
        None => format!("there is no verdict, {}", results.no_verdict.as_deref().unwrap_or("nothing was decided")),
    };
    Some(format!("--require {} is missed: {found}", bar.name()))
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
    /// In whose words it is asked: its own, where it brings some.
    speech: Speech,
}

fn other_adapters(config: &Config, prepared: &Prepared) -> Result<Vec<Other>> {
    let arms = config.eval.arm.iter().filter(|arm| arm.provider == Provider::Adapter);
    let read = |arm: &RawArm| {
        let folder = arm.adapter.clone().context("no adapter folder")?;
        let adapter = model::adapter::load(&folder, &prepared.checkpoint.config)
            .with_context(|| format!("arm {}: {} has no adapter that fits", arm.name, folder.display()))?;
        learnt_by::warn_of_base(&folder, prepared);
        let mut checkpoint = Checkpoint::open(prepared.checkpoint.path())?;
        shipped::adopt(&mut checkpoint, &folder).with_context(|| format!("arm {}", arm.name))?;
        let speech = Speech::of(&checkpoint)?.worded(config);
        Ok(Other { arm: arm.name.clone(), folder, adapter, speech })
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
        if !(0.0..=1.0).contains(&value) {
            bail!("--fail-under {text}: a metric runs from 0 to 1\nhint: write 0.9 for 90 %");
        }
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
