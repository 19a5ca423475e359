//! An engine that fails in every way an operation can, and what its caller sees.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::device::FailureKind;

/// What the engine does when it is asked to step.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Panics(&'static str),
    Tells(FailureKind),
    RefusesTheBatch,
}

struct FakeEngine {
    config: ModelConfig,
    fault: Fault,
    asked: usize,
}

fn engine(fault: Fault) -> Guarded<FakeEngine> {
    let json = serde_json::json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 8, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "eos_token_id": 2,
    });
    let config = ModelConfig::from_hf_json(&json, std::path::Path::new("config.json")).unwrap();
    Guarded::new(FakeEngine { config, fault, asked: 0 }, "vulkan:0")
}

impl FakeEngine {
    fn work(&mut self) -> Result<()> {
        self.asked += 1;
        match self.fault {
            Fault::None => Ok(()),
            Fault::Panics(words) => panic!("{words}"),
            Fault::Tells(kind) => Err(DeviceFailure { device: String::new(), kind, reason: "gone".to_owned() }.into()),
            Fault::RefusesTheBatch => Err(Error::TooLong { tokens: 9, limit: 8 }),
        }
    }
}

impl Engine for FakeEngine {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn positions(&self) -> usize {
        64
    }

    fn add_adapter(&mut self, _: &LoraLayout, _: &[f32]) -> Result<AdapterId> {
        Ok(AdapterId(0))
    }

    fn log_probabilities(&mut self, _: Option<AdapterId>, _: &Batch) -> Result<Vec<f32>> {
        self.work().map(|()| vec![-1.0])
    }

    fn distributions(&mut self, _: Option<AdapterId>, _: &Batch, accept: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        accept(0, &[0.5]);
        self.work()
    }

    fn generate(&mut self, _: Option<AdapterId>, _: &[Vec<u32>], _: &Limits, _: Sampler) -> Result<Vec<Generated>> {
        self.work().map(|()| Vec::new())
    }

    fn score(&mut self, _: Option<AdapterId>, _: &[Vec<u32>], _: &[Vec<u32>]) -> Result<Vec<Vec<Vec<f32>>>> {
        self.work().map(|()| Vec::new())
    }

    fn train(&mut self, _: &LoraLayout, _: &[f32], _: TrainingShape) -> Result<AdapterId> {
        self.work().map(|()| AdapterId(0))
    }

    fn accumulate(&mut self, _: &Batch, _: Pass) -> Result<()> {
        self.work()
    }

    fn discard(&mut self) -> Result<()> {
        self.work()
    }

    fn apply(&mut self, _: AdamWStep, _: f32) -> Result<()> {
        self.work()
    }

    fn report(&mut self, _: bool) -> Result<Option<StepReport>> {
        self.work().map(|()| None)
    }

    fn training_state(&self) -> Result<[Vec<f32>; 3]> {
        match self.fault {
            Fault::Panics(words) => panic!("{words}"),
            _ => Ok([const { Vec::new() }; 3]),
        }
    }

    fn set_training_state(&mut self, _: [&[f32]; 3]) -> Result<()> {
        self.work()
    }

    fn end_training(&mut self) -> Result<()> {
        self.work()
    }

    fn accumulated(&self) -> Result<(f64, Vec<f32>)> {
        Ok((0.0, Vec::new()))
    }

    fn memory(&self) -> Option<DeviceMemory> {
        None
    }
}

fn failure<T: std::fmt::Debug>(outcome: Result<T>) -> DeviceFailure {
    match outcome {
        Err(Error::DeviceFailed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_fault_every_call_goes_through() {
    let mut engine = engine(Fault::None);
    assert_eq!(engine.log_probabilities(None, &Batch::pack([(&[1, 2][..], &[false, true][..])])).unwrap(), [-1.0]);
    let mut heard = 0;
    let batch = Batch::pack([(&[1, 2][..], &[false, true][..])]);
    engine.distributions(None, &batch, &mut |_, _| heard += 1).unwrap();
    engine.discard().unwrap();
    engine.end_training().unwrap();
    assert_eq!((heard, engine.positions(), engine.memory()), (1, 64, None));
}

#[test]
fn a_panic_becomes_one_error_with_the_device_and_what_to_do() {
    let mut engine =
        engine(Fault::Panics("Error while reading data: The device is poisoned\nCaused by:\n  Unknown: gone"));
    let first = failure(engine.discard());
    assert_eq!((first.device.as_str(), first.kind), ("vulkan:0", FailureKind::Lost));
    let words = first.to_string();
    assert!(words.starts_with("vulkan:0 was lost: Unknown: gone\nhint: what was saved is intact"), "{words}");
    // Nothing is asked of an engine that failed; whoever asks hears why.
    assert_eq!(failure(engine.report(true)), first);
    assert_eq!(failure(engine.training_state()), first);
    assert_eq!(engine.engine.asked, 1);
}

#[test]
fn a_panic_of_a_read_is_caught_where_nothing_is_changed() {
    let engine = engine(Fault::Panics("out of device memory allocating 9 bytes"));
    let failure = failure(engine.training_state());
    assert_eq!(failure.kind, FailureKind::OutOfMemory);
    assert!(Error::from(failure).is_out_of_memory());
}

#[test]
fn a_failure_that_was_told_gets_the_name_of_its_device_and_ends_the_engine() {
    let mut engine = engine(Fault::Tells(FailureKind::Lost));
    let first = failure(
        engine.accumulate(&Batch::pack([(&[1, 2][..], &[false, true][..])]), Pass { scale: 1.0, dropout: None }),
    );
    assert_eq!(first.device, "vulkan:0");
    assert_eq!(failure(engine.discard()), first);
}

#[test]
fn an_error_that_is_no_failure_of_the_device_leaves_the_engine_as_it_is() {
    let mut engine = engine(Fault::RefusesTheBatch);
    for _ in 0..2 {
        assert!(matches!(engine.discard(), Err(Error::TooLong { tokens: 9, limit: 8 })));
    }
    assert_eq!(engine.engine.asked, 2);
}

#[test]
fn memory_is_what_the_framework_holds_and_its_peak_stays() {
    let held = std::rc::Rc::new(Cell::new(7));
    let asked = std::rc::Rc::clone(&held);
    let room = Room { element_bytes: 2, memory_bytes: Some(100), largest_binding_bytes: 50 };
    let engine = engine(Fault::None).with_memory(room, move || Some(asked.get()));
    assert_eq!(engine.memory(), Some(DeviceMemory { peak_bytes: 7, held_bytes: 7, total_bytes: 100 }));
    held.set(3);
    assert_eq!(engine.memory(), Some(DeviceMemory { peak_bytes: 7, held_bytes: 3, total_bytes: 100 }));
}
