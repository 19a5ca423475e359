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
fn a_name_that_peft_does_not_write_and_a_scale_that_is_text_are_no_adapter() {
    for name in [
        "base_model.model.model.layers.0.self_attn.k_proj.lora_A.default.weight",
        "base_model.model.base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight",
    ] {
        assert!(against(&facts(&json!({"target_modules": ["k_proj"]}), &[name])).contains(&"PEFT"), "{name}");
    }
    assert_eq!(against(&facts(&json!({"lora_alpha": "16"}), &[])), ["PEFT", "vLLM", "llama.cpp"]);
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
fn files_that_contradict_each_other_are_refused_by_those_who_would_not_compute_what_was_trained() {
    let all = ["PEFT", "vLLM", "mistral.rs", "llama.cpp"];
    let k_proj =
        ["lora_A", "lora_B"].map(|side| format!("base_model.model.model.layers.0.self_attn.k_proj.{side}.weight"));
    let one = |change: Value, tensors: &[&str], rank: usize| {
        let mut facts = facts(&change, tensors);
        facts.tensors.values_mut().filter(|shape| **shape == [64, 64]).for_each(|shape| *shape = vec![16, 16]);
        let ranked = facts.tensors.iter_mut().filter(|(name, _)| name.contains("q_proj"));
        ranked.for_each(|(_, shape)| shape.iter_mut().filter(|one| **one == 16).for_each(|one| *one = rank));
        against(&facts)
    };
    assert!(one(json!({}), &[], 16).is_empty());
    // The rank: PEFT does not load it, and by which of the two it is to be scaled nobody knows.
    assert_eq!(one(json!({}), &[], 8), all);
    assert_eq!(one(json!({}), &[&k_proj[0]], 16), all, "an A without a B");
    // Only PEFT goes by target_modules; the others take every pair of the file.
    assert_eq!(one(json!({}), &[&k_proj[0], &k_proj[1]], 16), ["PEFT"]);
    // Its own tensors are those of LoRA, so no other method is read from them.
    assert_eq!(one(json!({"peft_type": "LOHA"}), &[], 16), all);
    assert_eq!(one(json!({"lora_alpha": 0}), &[], 16), ["llama.cpp"], "0 is no scale to it");
    let notes = |reader: &dyn Reader| reader.judge(&facts(&json!({"lora_alpha": 0}), &[])).notes;
    assert!(
        notes(&super::vllm::Vllm).concat().contains("changes nothing") && notes(&super::llama_cpp::LlamaCpp).is_empty()
    );
}

#[test]
fn llama_cpp_is_fed_by_its_own_converter_where_this_program_does_not_export() {
    let judge = |change: Value| super::llama_cpp::LlamaCpp.judge(&facts(&change, &[]));
    assert!(judge(json!({})).how.contains("trainer export"));
    assert!(judge(json!({"use_rslora": true})).how.contains("trainer export"));
    for change in
        [json!({"velora_config": {"num_groups": 8}}), json!({"exclude_modules": ["k_proj"]}), json!({"lora_alpha": -8})]
    {
        let judged = judge(change.clone());
        assert!(judged.loads() && judged.how.starts_with("convert_lora_to_gguf.py"), "{change}: {judged:?}");
    }
    // The converter writes no scale of rsLoRA.
    assert!(!judge(json!({"use_rslora": true, "exclude_modules": ["k_proj"]})).loads());
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
