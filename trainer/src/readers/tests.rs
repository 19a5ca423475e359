//! Adapters with one fault each, and what every reader says to them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{ALL, Facts, Reader};

fn facts(change: &Value, tensors: &[&str]) -> Facts {
    let mut config = json!({
        "peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "bias": "none",
        "modules_to_save": null, "use_dora": false, "use_rslora": false, "rank_pattern": {}, "alpha_pattern": {},
        "init_lora_weights": true
    });
    for (key, value) in change.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let rank = config["r"].as_u64().unwrap_or(16) as usize;
    let mut shapes = std::collections::BTreeMap::new();
    for module in ["q_proj", "v_proj"] {
        shapes.insert(format!("base_model.model.model.layers.0.self_attn.{module}.lora_A.weight"), vec![rank, 64]);
        shapes.insert(format!("base_model.model.model.layers.0.self_attn.{module}.lora_B.weight"), vec![64, rank]);
    }
    shapes.extend(tensors.iter().map(|name| ((*name).to_owned(), vec![64, 64])));
    Facts { folder: PathBuf::from("adapter"), config, tensors: shapes, pickle: false, base: None, words: None }
}

/// Names of the readers that refuse. `trainer` reads the folder itself and is tested with real ones.
fn against(facts: &Facts) -> Vec<&'static str> {
    let foreign = ALL.iter().filter(|reader| reader.name() != "trainer");
    foreign.filter(|reader| !reader.judge(facts).loads()).map(|reader| reader.name()).collect()
}

#[test]
fn a_plain_adapter_loads_everywhere_and_each_reader_says_how() {
    let facts = facts(&json!({}), &[]);
    assert!(against(&facts).is_empty());
    for reader in ALL {
        assert!(!reader.judge(&facts).how.is_empty(), "{}", reader.name());
    }
}

#[test]
fn each_fault_is_refused_by_those_who_cannot_read_it() {
    let all_but_peft = ["vLLM", "mistral.rs", "llama.cpp"];
    let magnitude = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    let head = "base_model.model.lm_head.modules_to_save.weight";
    for (change, tensors, expected) in [
        (json!({"use_dora": true}), vec![magnitude], all_but_peft.to_vec()),
        (json!({"modules_to_save": ["lm_head"]}), vec![head], all_but_peft.to_vec()),
        (json!({"bias": "lora_only"}), vec![], all_but_peft.to_vec()),
        (json!({"init_lora_weights": "pissa_niter_4"}), vec![], all_but_peft.to_vec()),
        (json!({"rank_pattern": {"q_proj": 8}}), vec![], vec!["vLLM", "llama.cpp"]),
        (json!({"r": 600}), vec![], vec!["vLLM"]),
        (json!({"use_rslora": true}), vec![], vec![]),
        (json!({"init_lora_weights": "eva"}), vec![], vec![]),
        (json!({"ensure_weight_tying": true}), vec![], vec!["mistral.rs"]),
        (json!({"lora_bias": true}), vec![], all_but_peft.to_vec()),
        (json!({"alora_invocation_tokens": [7]}), vec![], vec!["vLLM", "mistral.rs"]),
        (json!({"use_bdlora": {"nblocks": 2}}), vec![], all_but_peft.to_vec()),
        (json!({"arrow_config": {}}), vec![], all_but_peft.to_vec()),
        (json!({"layer_replication": [[0, 2]]}), vec![], all_but_peft.to_vec()),
        // Only its training is another one.
        (json!({"velora_config": {"num_groups": 8}}), vec![], vec![]),
        (json!({}), vec!["base_model.model.lm_head.lora_A.weight"], vec!["mistral.rs"]),
        (json!({}), vec!["model.layers.0.self_attn.k_proj.lora_A.weight"], vec!["PEFT"]),
    ] {
        assert_eq!(against(&facts(&change, &tensors)), expected, "{change} {tensors:?}");
    }
}

#[test]
fn this_program_tells_every_setting_that_it_does_not_compute() {
    let facts = facts(&json!({"use_dora": true, "velora_config": {}, "init_lora_weights": "olora", "new": 1}), &[]);
    let against = super::own::Trainer.judge(&facts).against;
    let told: Vec<&str> = against.iter().map(|reason| reason.what.split(" = ").next().unwrap_or_default()).collect();
    assert_eq!(told, ["use_dora", "init_lora_weights", "velora_config", "unknown key \"new\""]);
}

#[test]
fn a_way_out_does_not_send_to_a_command_that_refuses_the_same() {
    for change in [json!({"use_dora": true}), json!({"lora_bias": true}), json!({"modules_to_save": ["lm_head"]})] {
        let facts = facts(&change, &["base_model.model.lm_head.weight"]);
        for reason in ALL.iter().flat_map(|reader| reader.judge(&facts).against) {
            assert!(!reason.hint.contains("trainer "), "{change}: {reason:?}");
        }
    }
}

#[test]
fn every_reason_says_what_to_do() {
    let facts = facts(&json!({"use_dora": true, "bias": "all", "modules_to_save": ["x"], "r": 4000}), &["x"]);
    for reader in ALL {
        for reason in reader.judge(&facts).against {
            assert!(!reason.what.is_empty() && !reason.hint.is_empty(), "{}: {reason:?}", reader.name());
        }
    }
}

#[test]
fn vllm_is_told_the_next_rank_it_allows() {
    let how = |rank: u64| super::vllm::Vllm.how(rank);
    assert!(!how(16).contains("--max-lora-rank"));
    assert!(how(17).contains("--max-lora-rank 32"));
    assert!(how(257).contains("--max-lora-rank 320"));
}

impl super::vllm::Vllm {
    fn how(&self, rank: u64) -> String {
        super::Reader::judge(self, &facts(&json!({ "r": rank }), &[])).how
    }
}
