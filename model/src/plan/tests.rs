//! What fits a device and what would: arithmetic over shapes, so small numbers prove it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use super::*;
use crate::lora::{InitLoraWeights, LoraConfig, TargetModules};

fn config() -> ModelConfig {
    let json = serde_json::json!({
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16,
        "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32_000, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "eos_token_id": 2,
    });
    ModelConfig::from_hf_json(&json, Path::new("config.json")).unwrap()
}

fn layout() -> LoraLayout {
    let lora = LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        target_modules: TargetModules::Pattern("all-linear".to_owned()),
        use_rslora: false,
        init_lora_weights: InitLoraWeights::KaimingUniform,
    };
    LoraLayout::new(&config(), &lora).unwrap()
}

fn shape(max_tokens: usize, recompute: Recompute) -> TrainingShape {
    TrainingShape { max_tokens, max_supervised: max_tokens, dropout: false, recompute }
}

const ROOMY: Room = Room { element_bytes: 2, memory_bytes: Some(80 << 30), largest_binding_bytes: u64::MAX };

fn fits(room: Room, shape: TrainingShape) -> Result<()> {
    check(&config(), &layout(), &room, 1024, shape)
}

#[test]
fn what_has_room_is_let_through_and_memory_that_nobody_knows_is_no_reason() {
    fits(ROOMY, shape(4096, Recompute::Never)).unwrap();
    fits(Room { memory_bytes: None, ..ROOMY }, shape(4096, Recompute::Never)).unwrap();
    let plan = within(&config(), &layout(), &ROOMY, 1024, shape(4096, Recompute::Auto));
    assert_eq!(plan.device_free_bytes, Some((80 << 30) - RESERVE_BYTES));
    assert_eq!(plan.recompute, "nothing");
}

#[test]
fn auto_computes_layers_twice_only_where_the_run_does_not_fit_otherwise() {
    let peak = |recompute| tensors(&config(), &layout(), 2, 1024, shape(4096, recompute)).peak_bytes;
    let (kept, rebuilt) = (peak(Recompute::Never), peak(Recompute::Always));
    assert!(rebuilt < kept);
    let tight = Room { memory_bytes: Some(kept - 1 + RESERVE_BYTES), ..ROOMY };
    fits(tight, shape(4096, Recompute::Auto)).unwrap();
    let chosen = |room| resolved(&config(), &layout(), &room, 1024, shape(4096, Recompute::Auto)).recompute;
    assert_eq!(chosen(tight), Recompute::Always);
    assert_eq!(chosen(Room { memory_bytes: Some(kept + RESERVE_BYTES), ..ROOMY }), Recompute::Never);
    assert_eq!(chosen(Room { memory_bytes: None, ..ROOMY }), Recompute::Never);
}

#[test]
fn what_does_not_fit_says_how_many_tokens_do() {
    let peak = |tokens, recompute| tensors(&config(), &layout(), 2, 1024, shape(tokens, recompute)).peak_bytes;
    let room = Room { memory_bytes: Some(peak(1000, Recompute::Never) + RESERVE_BYTES), ..ROOMY };
    let Err(Error::DoesNotFit { needed_bytes, tokens_that_fit, tokens_that_fit_recomputed, .. }) =
        fits(room, shape(4096, Recompute::Never))
    else {
        panic!("it was let through")
    };
    assert_eq!((needed_bytes, tokens_that_fit), (peak(4096, Recompute::Never), Some(1000)));
    let most = tokens_that_fit_recomputed.unwrap();
    assert!(most > 1000 && peak(most, Recompute::Always) <= peak(1000, Recompute::Never));
    assert!(most == 4096 || peak(most + 1, Recompute::Always) > peak(1000, Recompute::Never));
    let nothing = Room { memory_bytes: Some(RESERVE_BYTES), ..ROOMY };
    let error = fits(nothing, shape(4096, Recompute::Never)).unwrap_err();
    assert!(matches!(error, Error::DoesNotFit { tokens_that_fit: None, tokens_that_fit_recomputed: None, .. }));
}

#[test]
fn a_tensor_above_the_largest_that_can_be_bound_is_named_with_what_to_type() {
    let refused = |limit| {
        let room = Room { largest_binding_bytes: limit, ..ROOMY };
        fits(room, shape(4096, Recompute::Never)).unwrap_err()
    };
    // Gate and up: two times 4096 rows of 1024 values of two bytes.
    let error = refused((16 << 20) - 1);
    assert!(!error.is_out_of_memory());
    let text = error.to_string();
    assert!(text.starts_with("the weights of mlp.gate_proj, mlp.up_proj of a layer would take 0.02 GB"), "{text}");
    assert!(text.contains("\nhint: a smaller model.base"), "{text}");
    let adapter = 4 * layout().length() as u64;
    let text = refused(adapter - 1).to_string();
    assert!(text.contains("the trainable weights") && text.contains("hint: a smaller lora.r"), "{text}");
    let error = refused(adapter);
    assert!(error.is_out_of_memory());
    let Error::BufferTooLarge { tokens_that_fit: Some(tokens), bytes, .. } = error else { panic!("{error}") };
    assert_eq!((tokens as u64, bytes), (adapter / (2 * 8192), 4096 * 2 * 8192));
}
