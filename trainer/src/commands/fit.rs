//! `trainer fit`: a run from config to verdict. Owns the order of its parts and what is left on disk; each part lives
//! elsewhere.

mod account;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ground::read::Kind;
use model::lora::LoraLayout;
use model::train::Session;
use model::{LoadOptions, OpenDevice};

use super::{interrupt, note, opened, print};
use crate::cli::{ConfigArgs, Fit};
use crate::config::plan::PROMPT_OF_RUN;
use crate::config::{self, Config};
use crate::controls::{self, Controls};
use crate::data::loader::Extent;
use crate::device_sampler::DeviceSampler;
use crate::ending::Ended;
use crate::event::{self, Event};
use crate::memory_advice::Attempt;
use crate::observer::jsonl::{self, Events};
use crate::observer::{Dashboard, Jsonl, Observer, Observers, Plain, Sampled};
use crate::preflight::{self, Evaluation, Ready, Wanted};
use crate::prepared::Prepared;
use crate::run_dir::{self, EVENTS, Found, RunDir};
use crate::start::Start;
use crate::train_loop::{self, Outcome, Past, Run};
use crate::tui::terminal;
use crate::{disk, evaluation, publishing};

use account::Finished;

/// Runs the command.
pub fn run(arguments: Fit) -> Result<ExitCode> {
    let started = Instant::now();
    let controls = interrupt::listen()?;
    let config = load(&arguments.config, arguments.max_steps)?;
    let events = config.run_folder.join(EVENTS);
    let resume = arguments.resume || (arguments.resume_or_start && run_dir::look(&config.run_folder) == Found::Run);
    if resume {
        run_dir::refuse_missing(&config.run_folder)?;
        same_settings(&config)?;
    } else {
        run_dir::refuse_used(&config.run_folder)?;
    }
    let scope = evaluation::Scope::default();
    let evaluation = Evaluation { scope: &scope, metrics: &[], run: &config.run_folder };
    let wanted = Wanted { training: true, evaluation: config.eval.enabled.then_some(evaluation) };
    let Ready { prepared, start } = preflight::look(&config, &wanted)?;
    let loader = prepared.loader(&config)?;
    let total_steps = loader.total_steps();
    let parameters = LoraLayout::new(&prepared.checkpoint.config, &config.lora)?.length();
    let device = opened::device(config.device, config.precision)?;
    let identity = prepared.identity(&config, total_steps, start.as_ref());
    let (run_dir, state, warnings) = if resume {
        RunDir::open(&config.run_folder, identity, parameters)?
    } else {
        (RunDir::create(&config.run_folder, identity)?, None, Vec::new())
    };
    let summary = run_dir.join("summary.json");
    if state.as_ref().is_some_and(|state| state.step == total_steps) && summary.is_file() {
        return nothing_left(&summary, arguments.json);
    }
    // Nothing is written before the base is loaded and the largest micro-batch fits: what has to be tried again with
    // another setting leaves no run behind.
    let extent = loader.extent(&prepared.data.valid.samples);
    let attempt = Attempt::new(&config, &extent);
    let opened = open_session(&config, &prepared, &device, &extent, start.as_ref());
    let tried = opened.and_then(|mut session| train_loop::rehearse(&mut session, &extent.largest).map(|()| session));
    let mut session = tried.map_err(|error| attempt.explain(error))?;
    let done = state.as_ref().map_or(0, |state| state.step);
    controls.begin();
    let writer = if resume { Jsonl::resume(&events, done)? } else { Jsonl::create(&events)? };
    let past = if resume { jsonl::past(&events)? } else { Past::default() };
    let progress = progress(arguments.plain, &config, &controls, &events)?;
    let sampler = session.model().memory().map(|_| DeviceSampler::start(&device.description));
    let mut observer = Sampled { inner: Observers(vec![Box::new(writer), progress]), sampler };
    let result = (|| {
        run_dir.write("config.toml", config.to_toml()?.as_bytes())?;
        if let Some(prompt) = &config.prompt {
            run_dir.write(PROMPT_OF_RUN, prompt.template.as_bytes())?;
        }
        run_dir.write(
            "env.json",
            &serde_json::to_vec_pretty(&account::environment(&prepared, &device, start.as_ref()))?,
        )?;
        run_dir.write("ledger.json", &serde_json::to_vec_pretty(&prepared.data.ledger)?)?;
        let from = start.as_ref().map(|start| format!(", from the adapter {}", start.name)).unwrap_or_default();
        observer.on(&Event::RunStarted {
            version: event::VERSION,
            name: config.name.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            device: device.description.clone(),
            base: format!("{} ({}){from}", prepared.base_name, prepared.base_source),
            data: format!("{} ({})", prepared.data.name, prepared.set_source),
            total_steps,
            trainable: session.layout().length() as u64,
            host_total_bytes: crate::memory::total(),
            device_total_bytes: session.model().memory().map(|memory| memory.total_bytes),
            // The largest micro-batch was tried, so the most that was held is what the run takes.
            device_planned_bytes: session.model().memory().map(|memory| memory.peak_bytes),
        })?;
        observer.on(&Event::Ledger { lines: prepared.data.ledger.lines() })?;
        let told = device.warning.iter().chain(&warnings).chain(&prepared.data.ledger.warnings);
        for message in told.cloned() {
            observer.on(&Event::Warning { message })?;
        }
        if let Some(state) = &state {
            session.restore(state)?;
            observer.on(&Event::Resumed { step: state.step })?;
        }
        let run = Run {
            config: &config,
            loader: &loader,
            valid: &prepared.data.valid.samples,
            past,
            run_dir: &run_dir,
            controls: &controls,
        };
        let outcome = run.train(&mut session, &mut observer)?;
        if !outcome.finished {
            observer.on(&stopped(&outcome, started.elapsed().as_secs_f64()))?;
            return Ok(None);
        }
        publishing::save_adapter(&run_dir, &session, &config, &prepared)?;
        session.end()?;
        let found = evaluation::at_the_end(&config, &prepared, &session, &run_dir, &controls.stop, &mut observer);
        if found.as_ref().is_err_and(controls::is_stop) {
            observer.on(&stopped(&outcome, started.elapsed().as_secs_f64()))?;
            return Ok(None);
        }
        let results = found?;
        let wall_secs = started.elapsed().as_secs_f64();
        observer.on(&finished(&outcome, wall_secs, run_dir.join("adapter")))?;
        Ok(Some((outcome, results, wall_secs)))
    })();
    let result = result.map_err(|error| attempt.explain(error));
    if let Err(error) = &result {
        // The account of a run that failed must say so; the error itself matters more than this line.
        let _ = observer.on(&Event::Failed { message: format!("{error:#}") });
    }
    // The view gives the terminal back before anything else is written to it.
    drop(observer);
    let (outcome, results, wall_secs) = match result {
        Ok(Some(finished)) => finished,
        Ok(None) => return Err(saved(&arguments, session.state_step(), total_steps).into()),
        Err(error) => return Err(error),
    };
    let mut summary = account::summary(&Finished {
        config: &config,
        prepared: &prepared,
        device: &device,
        loader: &loader,
        outcome: &outcome,
        device_memory: session.model().memory(),
        wall_secs,
    });
    if let Some(results) = &results {
        summary["eval"] = eval::report::json::summary(results)?;
    }
    run_dir.write("summary.json", &serde_json::to_vec_pretty(&summary)?)?;
    match (&results, arguments.json) {
        (_, true) => print(&serde_json::to_string(&summary)?)?,
        (Some(results), false) => evaluation::print_table(results)?,
        (None, false) => {}
    }
    note(&format!("adapter   {}", run_dir.join("adapter").display()));
    Ok(ExitCode::SUCCESS)
}

/// Who tells a person of the run: the dashboard where there is a terminal for it, else lines.
fn progress(plain: bool, config: &Config, controls: &Controls, record: &Path) -> Result<Box<dyn Observer>> {
    let every = config.train.log_every_steps;
    if plain {
        return Ok(Box::new(Plain::lines(every)));
    }
    if !terminal::suits() {
        return Ok(Box::new(Plain::stderr(every)));
    }
    // What cannot be read of it was told when it was opened for the run.
    let past = Events::read(record)?.map_while(Result::ok);
    Ok(match Dashboard::open(controls.clone(), config.run_folder.clone(), past, every) {
        Ok(dashboard) => Box::new(dashboard),
        // A terminal that cannot be set up still takes lines.
        Err(error) => {
            note(&format!("warning: no dashboard: {error:#}"));
            Box::new(Plain::stderr(every))
        }
    })
}

/// A finished run that is resumed: it is left as it is.
fn nothing_left(summary: &Path, json: bool) -> Result<ExitCode> {
    if json {
        let value: serde_json::Value = disk::json(summary, Kind::Account)?;
        print(&serde_json::to_string(&value)?)?;
    }
    note("the run is finished, nothing is left to do\nhint: trainer eval CONFIG evaluates it again");
    Ok(ExitCode::SUCCESS)
}

/// The account of a run that did all that it was to do.
fn finished(outcome: &Outcome, wall_seconds: f64, adapter: PathBuf) -> Event {
    let Outcome { steps, train_loss, valid_loss, .. } = *outcome;
    Event::Finished { step: steps, complete: true, train_loss, valid_loss, wall_seconds, adapter: Some(adapter) }
}

/// The account of a run that was told to stop, in a step or in its evaluation.
fn stopped(outcome: &Outcome, wall_seconds: f64) -> Event {
    let Outcome { steps, train_loss, valid_loss, .. } = *outcome;
    Event::Finished { step: steps, complete: false, train_loss, valid_loss, wall_seconds, adapter: None }
}

/// How a run ends that was told to stop after so many steps, and what to type to go on.
fn saved(arguments: &Fit, steps: u64, total_steps: u64) -> Ended {
    let place = match steps {
        0 => "stopped before the first step".to_owned(),
        steps if steps == total_steps => "stopped after the last step, its evaluation is not done".to_owned(),
        steps => format!("stopped after step {steps} of {total_steps}, which is saved"),
    };
    let config = arguments.config.config.display();
    let resume = if arguments.resume_or_start { "--resume-or-start" } else { "--resume" };
    Ended::Stopped(format!("{place}\nhint: go on with  trainer fit {config} {resume}{}", again(arguments)))
}

/// Reads a config with the overrides of a command line.
pub fn load(arguments: &ConfigArgs, max_steps: Option<u64>) -> Result<Config> {
    let mut overrides = arguments.set.clone();
    overrides.extend(arguments.device.iter().map(|device| format!("device.name={device}")));
    overrides.extend(max_steps.map(|steps| format!("train.max_steps={steps}")));
    let mut config = config::load(&arguments.config, &overrides)?;
    if let Some(out) = &arguments.out {
        config.run_folder = std::path::absolute(out).with_context(|| format!("cannot use {}", out.display()))?;
    }
    Ok(config)
}

/// Names the settings in which a config differs from the one its run began with, before anything is compared by hash.
fn same_settings(config: &Config) -> Result<()> {
    let file = config.run_folder.join("config.toml");
    if !file.is_file() {
        return Ok(());
    }
    // Names in it mean what they mean in the config that is run; its paths are absolute.
    let began = config::parse(&disk::text(&file, Kind::Config)?, &config.file, &[])?;
    let changed = config.training_differences(&began);
    if !changed.is_empty() {
        bail!(
            "{}: settings changed since the run began: {}\nhint: undo the change, or start a new run with --out",
            config.run_folder.display(),
            changed.join("; ")
        );
    }
    Ok(())
}

/// A session on the base of a config, with a fresh adapter or with the one it starts from.
pub fn open_session(
    config: &Config,
    prepared: &Prepared,
    device: &OpenDevice,
    extent: &Extent,
    start: Option<&Start>,
) -> Result<Session> {
    let base = &prepared.checkpoint.config;
    let layout = LoraLayout::new(base, &config.lora)?;
    let positions = prepared.positions(config);
    let shape = config.training_shape(extent.max_tokens, extent.max_supervised);
    device.check(base, &layout, positions, shape)?;
    let options = LoadOptions { positions, adapters: &[&layout] };
    let model = device.load(&prepared.checkpoint, options, |_, _| {})?;
    let (lora, adamw, seed) = (config.lora.clone(), config.adamw(), config.train.seed);
    Ok(match start {
        None => Session::new(model, lora, adamw, shape, seed)?,
        Some(start) => Session::starting_from(model, lora, adamw, shape, seed, &start.values)?,
    })
}

fn again(arguments: &Fit) -> String {
    let config = &arguments.config;
    let mut text = String::new();
    config.set.iter().for_each(|set| text.push_str(&format!(" --set {}", quoted(set))));
    config.device.iter().for_each(|device| text.push_str(&format!(" --device {device}")));
    config.out.iter().for_each(|out| text.push_str(&format!(" --out {}", quoted(&out.display().to_string()))));
    arguments.max_steps.iter().for_each(|steps| text.push_str(&format!(" --max-steps {steps}")));
    text
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/=:,+@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
