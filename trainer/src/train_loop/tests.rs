//! Proofs about the order of a run, on an engine that learns nothing and tells late what became of its steps.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use model::engine::guarded::Guarded;
use model::engine::{AdapterId, DeviceMemory, Engine, Pass, StepReport};
use model::generate::{Generated, Limits};
use model::kernels::AdamWStep;
use model::lora::LoraLayout;
use model::sampler::Sampler;
use model::train::SessionState;
use model::{Error, Model, ModelConfig};

use super::*;
use crate::event::Event;
use crate::run_dir::Identity;

/// When a step that was handed over is done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    /// Before anyone can ask.
    AtOnce,
    /// Only when somebody waits for it.
    WhenWaitedFor,
}

#[derive(Default)]
struct Log {
    under_way: VecDeque<StepReport>,
    most_under_way: usize,
    steps: u64,
    loss: f64,
    tried: Vec<usize>,
}

struct FakeEngine {
    config: ModelConfig,
    speed: Speed,
    /// The step whose loss is no number.
    bad_step: Option<u64>,
    /// The step that is refused as soon as it is handed over.
    refused_step: Option<u64>,
    /// The step in which the device is lost, as a framework tells it.
    lost_step: Option<u64>,
    memory: Option<DeviceMemory>,
    log: Rc<RefCell<Log>>,
}

impl Engine for FakeEngine {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn positions(&self) -> usize {
        64
    }

    fn add_adapter(&mut self, _: &LoraLayout, _: &[f32]) -> model::Result<AdapterId> {
        Ok(AdapterId(0))
    }

    fn log_probabilities(&mut self, _: Option<AdapterId>, batch: &Batch) -> model::Result<Vec<f32>> {
        assert!(self.log.borrow().under_way.is_empty(), "a validation reads an adapter that is being changed");
        Ok(vec![-0.5; batch.supervised_tokens()])
    }

    fn distributions(
        &mut self,
        _: Option<AdapterId>,
        _: &Batch,
        _: &mut dyn FnMut(usize, &[f32]),
    ) -> model::Result<()> {
        unreachable!()
    }

    fn generate(
        &mut self,
        _: Option<AdapterId>,
        _: &[Vec<u32>],
        _: &Limits,
        _: Sampler,
    ) -> model::Result<Vec<Generated>> {
        Ok(Vec::new())
    }

    fn score(&mut self, _: Option<AdapterId>, _: &[Vec<u32>], _: &[Vec<u32>]) -> model::Result<Vec<Vec<Vec<f32>>>> {
        Ok(Vec::new())
    }

    fn train(&mut self, _: &LoraLayout, _: &[f32], _: model::engine::TrainingShape) -> model::Result<AdapterId> {
        Ok(AdapterId(0))
    }

    fn accumulate(&mut self, batch: &Batch, _: Pass) -> model::Result<()> {
        let mut log = self.log.borrow_mut();
        if self.refused_step == Some(log.steps + 1) {
            return Err(Error::TooLong { tokens: batch.ids.len(), limit: 1 });
        }
        if self.lost_step == Some(log.steps + 1) {
            panic!("Error while reading data: The device is poisoned\nCaused by:\n  Unknown: the device was reset");
        }
        log.tried.push(batch.ids.len());
        log.loss += batch.ids.iter().map(|id| f64::from(*id)).sum::<f64>();
        Ok(())
    }

    fn discard(&mut self) -> model::Result<()> {
        self.log.borrow_mut().loss = 0.0;
        Ok(())
    }

    fn apply(&mut self, _: AdamWStep, _: f32) -> model::Result<()> {
        let mut log = self.log.borrow_mut();
        log.steps += 1;
        let bad = self.bad_step == Some(log.steps);
        let loss = if bad { f64::NAN } else { std::mem::take(&mut log.loss) };
        let gradient_norm = log.steps as f64;
        log.under_way.push_back(StepReport { loss, gradient_norm, finite: !bad });
        log.most_under_way = log.most_under_way.max(log.under_way.len());
        Ok(())
    }

    fn report(&mut self, wait: bool) -> model::Result<Option<StepReport>> {
        let tells = wait || self.speed == Speed::AtOnce;
        Ok(if tells { self.log.borrow_mut().under_way.pop_front() } else { None })
    }

    fn training_state(&self) -> model::Result<[Vec<f32>; 3]> {
        assert!(self.log.borrow().under_way.is_empty(), "a checkpoint holds steps that were not told");
        Ok([vec![1.0], vec![2.0], vec![3.0]])
    }

    fn set_training_state(&mut self, _: [&[f32]; 3]) -> model::Result<()> {
        Ok(())
    }

    fn end_training(&mut self) -> model::Result<()> {
        Ok(())
    }

    fn accumulated(&self) -> model::Result<(f64, Vec<f32>)> {
        Ok((self.log.borrow().loss, Vec::new()))
    }

    fn memory(&self) -> Option<DeviceMemory> {
        self.memory
    }
}

/// What a person asks for after a step.
#[derive(Clone, Copy)]
enum Asks {
    Nothing,
    Stop(u64),
    Save(u64),
    Pause(u64),
}

/// Hears and keeps everything, and asks for something.
struct Heard {
    events: Vec<Event>,
    asks: Asks,
    controls: Controls,
}

impl Observer for Heard {
    fn on(&mut self, event: &Event) -> Result<()> {
        match (self.asks, event) {
            (Asks::Stop(after), Event::Step { step, .. }) if *step >= after => self.controls.ask_stop(),
            (Asks::Save(after), Event::Step { step, .. }) if *step == after => self.controls.ask_save(),
            (Asks::Pause(after), Event::Step { step, .. }) if *step == after => self.controls.toggle_pause(),
            (Asks::Pause(_), Event::Paused { .. }) => {
                // A person goes on after a while, from another thread.
                let controls = self.controls.clone();
                std::thread::spawn(move || controls.toggle_pause());
            }
            _ => {}
        }
        self.events.push(event.clone());
        Ok(())
    }
}

fn engine(speed: Speed) -> FakeEngine {
    let json = serde_json::json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 64,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": 2,
    });
    let config = ModelConfig::from_hf_json(&json, Path::new("config.json")).unwrap();
    FakeEngine { config, speed, bad_step: None, refused_step: None, lost_step: None, memory: None, log: Rc::default() }
}

fn config() -> Config {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let text = "version = 1\nname = \"a\"\n[model]\nbase = \"smollm2-135m-instruct\"\n[data]\nset = \"legal-provisions\"\n\
                max_tokens = 10\n[train]\nrows_per_step = 2\nmicro_batch_tokens = 10\nwarmup_steps = 1\n\
                save_every_steps = 3\nvalid_every_steps = 4\n";
    crate::config::parse(text, &configs.join("test.toml"), &[]).unwrap()
}

fn samples(rows: u32) -> Vec<Sample> {
    let sample = |row: u32| {
        let ids = vec![row; 4 + row as usize % 3];
        let supervised = vec![true; ids.len()];
        Sample { id: format!("row-{row}"), group: "g".into(), ids, supervised, prompt_tokens: 1 }
    };
    (1..=rows).map(sample).collect()
}

struct Done {
    outcome: Result<Outcome>,
    events: Vec<Event>,
    checkpoints: Vec<String>,
}

/// Trains seven steps of two rows each.
fn train(engine: impl Engine + 'static, asks: Asks) -> Done {
    train_after(0, Past::default(), engine, asks)
}

/// The same, resumed after so many steps of which this is known.
fn train_after(done: u64, past: Past, engine: impl Engine + 'static, asks: Asks) -> Done {
    let (config, samples) = (config(), samples(14));
    let loader = Loader::new(&samples, &config.train).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity {
        config: String::new(),
        data: String::new(),
        base: String::new(),
        speech: String::new(),
        total_steps: loader.total_steps(),
    };
    let run_dir = RunDir::create(folder.path(), identity).unwrap();
    let controls = Controls::default();
    let mut session = session(engine, &config);
    let values = vec![0.0; session.layout().length()];
    let state = SessionState { step: done, parameters: values.clone(), first: values.clone(), second: values };
    session.restore(&state).unwrap();
    let run =
        Run { config: &config, loader: &loader, valid: &samples[..3], past, run_dir: &run_dir, controls: &controls };
    let mut heard = Heard { events: Vec::new(), asks, controls: controls.clone() };
    let outcome = run.train(&mut session, &mut heard);
    let saved = std::fs::read_dir(folder.path().join("checkpoints")).unwrap();
    let mut checkpoints: Vec<String> =
        saved.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    checkpoints.sort();
    Done { outcome, events: heard.events, checkpoints }
}

fn session(engine: impl Engine + 'static, config: &Config) -> Session {
    let shape = config.training_shape(10, 10);
    Session::new(Model::new(Box::new(engine)), config.lora.clone(), config.adamw(), shape, 0).unwrap()
}

/// Events without what a clock or the machine says.
fn said(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Step { step, epoch, loss, learning_rate, gradient_norm, tokens, supervised_tokens, .. } => {
            format!("step {step} {epoch:.2} {loss} {learning_rate} {gradient_norm} {tokens} {supervised_tokens}")
        }
        Event::Valid { step, .. } => format!("valid {step}"),
        Event::Checkpoint { step, .. } => format!("saved {step}"),
        other => panic!("{other:?}"),
    };
    events.iter().map(line).collect()
}

#[test]
fn a_device_that_tells_late_gives_the_events_of_one_that_tells_at_once() {
    let (at_once, late) = (engine(Speed::AtOnce), engine(Speed::WhenWaitedFor));
    let logs = [Rc::clone(&at_once.log), Rc::clone(&late.log)];
    let (at_once, late) = (train(at_once, Asks::Nothing), train(late, Asks::Nothing));
    assert_eq!(logs.map(|log| log.borrow().most_under_way), [1, 2]);
    assert_eq!(said(&late.events), said(&at_once.events));
    let order: Vec<String> =
        said(&late.events).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["step 1", "step 2", "step 3", "saved 3", "step 4", "valid 4", "step 5", "step 6", "saved 6"];
    assert_eq!(order[..9], expected);
    assert_eq!(order[9..], ["step 7", "valid 7", "saved 7"]);
    assert_eq!(late.checkpoints, ["step-000006", "step-000007"]);
    let (late, at_once) = (late.outcome.unwrap(), at_once.outcome.unwrap());
    assert_eq!(Outcome { step_secs: 0.0, ..late.clone() }, Outcome { step_secs: 0.0, ..at_once });
    assert!(late.finished && late.valid_loss == Some(0.5) && late.steps == 7, "{late:?}");
}

#[test]
fn a_failure_names_the_rows_of_the_step_that_failed() {
    let (config, samples) = (config(), samples(14));
    let loader = Loader::new(&samples, &config.train).unwrap();
    let names = |step: u64| {
        let rows = loader.step(step - 1).rows.concat();
        loader.ids(&rows).join(", ")
    };
    for speed in [Speed::AtOnce, Speed::WhenWaitedFor] {
        let done = train(FakeEngine { bad_step: Some(2), ..engine(speed) }, Asks::Nothing);
        let text = format!("{:#}", done.outcome.unwrap_err());
        assert!(text.starts_with(&format!("step 2 on rows {}\nhint: ", names(2))), "{text}");
        assert!(text.ends_with("the loss is not finite"), "{text}");
        assert_eq!(said(&done.events).len(), 1, "what came after the failure is told as done");
    }
}

#[test]
fn a_step_that_is_refused_is_named_unless_one_before_it_failed() {
    let refused = |bad_step| {
        let engine = engine(Speed::WhenWaitedFor);
        let done = train(FakeEngine { bad_step, refused_step: Some(3), ..engine }, Asks::Nothing);
        (format!("{:#}", done.outcome.unwrap_err()), done.events.len())
    };
    let (text, steps) = refused(None);
    assert!(text.starts_with("step 3 on rows ") && text.contains("the limit is 1"), "{text}");
    assert_eq!(steps, 2, "steps that were done are told before the failure");
    let (text, _) = refused(Some(2));
    assert!(text.starts_with("step 2 on rows ") && text.ends_with("the loss is not finite"), "{text}");
}

#[test]
fn a_device_that_is_lost_ends_the_run_with_one_error_and_leaves_the_last_checkpoint() {
    let lost = FakeEngine { lost_step: Some(5), ..engine(Speed::AtOnce) };
    let done = train(Guarded::new(lost, "vulkan:0"), Asks::Nothing);
    let text = crate::words::of(&done.outcome.unwrap_err());
    assert!(text.starts_with("step 5 on rows "), "{text}");
    assert!(text.contains("vulkan:0 was lost: Unknown: the device was reset"), "{text}");
    assert!(text.contains("hint: ") && text.contains("--resume"), "{text}");
    assert!(!text.contains("panicked") && text.matches("was lost").count() == 1, "{text}");
    assert_eq!(done.checkpoints, ["step-000003"]);
    let order: Vec<String> =
        said(&done.events).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(order, ["step 1", "step 2", "step 3", "saved 3", "step 4", "valid 4"]);
}

#[test]
fn a_run_that_is_told_to_stop_waits_saves_and_ends() {
    for speed in [Speed::AtOnce, Speed::WhenWaitedFor] {
        let done = train(engine(speed), Asks::Stop(2));
        let outcome = done.outcome.unwrap();
        assert!(!outcome.finished && outcome.train_loss.is_none());
        let last = format!("step-{:06}", outcome.steps);
        assert_eq!(done.checkpoints.last(), Some(&last));
        let steps = said(&done.events).iter().filter(|line| line.starts_with("step")).count();
        assert_eq!(steps as u64, outcome.steps);
        assert!((2..5).contains(&outcome.steps), "{}", outcome.steps);
    }
}

#[test]
fn a_validation_that_a_stop_cut_short_is_made_when_the_run_goes_on() {
    for (step, then) in [(4, "step 5"), (7, "")] {
        let stopped = train(engine(Speed::AtOnce), Asks::Stop(step));
        assert_eq!(stopped.checkpoints.last(), Some(&format!("step-{step:06}")));
        assert!(!said(&stopped.events).contains(&format!("valid {step}")), "{:?}", said(&stopped.events));
        let outcome = stopped.outcome.unwrap();
        assert!(!outcome.finished && outcome.steps == step, "{outcome:?}");
        let gone_on = train_after(step, Past::default(), engine(Speed::AtOnce), Asks::Nothing);
        let told = said(&gone_on.events);
        assert_eq!(told.first(), Some(&format!("valid {step}")), "{told:?}");
        assert!(told.get(1).map_or("", String::as_str).starts_with(then), "{told:?}");
        assert_eq!(told.iter().filter(|line| line.starts_with("valid")).count(), if step == 7 { 1 } else { 2 });
        let outcome = gone_on.outcome.unwrap();
        assert!(outcome.finished && outcome.valid_loss == Some(0.5), "{outcome:?}");
        let known = Past { valid_step: Some(step), valid_loss: Some(0.25), ..Past::default() };
        let told = said(&train_after(step, known, engine(Speed::AtOnce), Asks::Nothing).events);
        assert_ne!(told.first(), Some(&format!("valid {step}")), "it was made before");
    }
}

#[test]
fn a_checkpoint_is_saved_when_a_person_asks_and_a_pause_changes_nothing() {
    let plain = train(engine(Speed::AtOnce), Asks::Nothing);
    let saved = train(engine(Speed::AtOnce), Asks::Save(2));
    let asked = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Checkpoint { step: 2, .. }));
    assert!(asked(&saved.events) && !asked(&plain.events));
    let paused = train(engine(Speed::AtOnce), Asks::Pause(2));
    let is_pause = |event: &&Event| matches!(event, Event::Paused { .. } | Event::Unpaused { .. });
    let pauses: Vec<Option<u64>> = paused.events.iter().filter(is_pause).map(Event::step).collect();
    assert_eq!(pauses, [Some(2), Some(2)]);
    let losses = |done: &Done| {
        let loss = |event: &Event| if let Event::Step { loss, .. } = event { Some(*loss) } else { None };
        done.events.iter().filter_map(loss).collect::<Vec<f64>>()
    };
    assert_eq!(losses(&paused), losses(&plain));
    assert!(paused.outcome.unwrap().finished);
}

#[test]
fn the_largest_micro_batch_is_tried_first_where_the_device_has_its_own_memory() {
    let memory = DeviceMemory { peak_bytes: 3, held_bytes: 2, total_bytes: 4 };
    let largest = Batch::pack([(&[1_u32; 9][..], &[true; 9][..])]);
    for (memory, tried) in [(None, vec![]), (Some(memory), vec![9])] {
        let engine = FakeEngine { memory, ..engine(Speed::AtOnce) };
        let log = Rc::clone(&engine.log);
        rehearse(&mut session(engine, &config()), &largest).unwrap();
        assert_eq!((log.borrow().tried.clone(), log.borrow().loss, log.borrow().steps), (tried, 0.0, 0));
    }
}
