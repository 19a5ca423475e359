//! Each key with the values that PEFT knows: which are plain, and what a refusal says. The golden adapters are plain.

use serde_json::json;

use super::*;

#[track_caller]
fn of(key: &str, value: &Value) -> Option<Refusal> {
    let mut found = refusals(&json!({ "peft_type": "LORA", key: value }));
    assert!(found.len() < 2, "{found:?}");
    found.pop()
}

#[test]
fn the_list_is_sorted_and_each_refusal_says_what_and_how() {
    assert!(KEYS.is_sorted_by(|one, next| one.name < next.name));
    for key in KEYS {
        let can_be_refused = !matches!(key.plain, Plain::All | Plain::Read | Plain::Start);
        assert_eq!(can_be_refused, !key.changes.is_empty() && !key.way_out.is_empty(), "{}", key.name);
    }
}

#[test]
fn a_key_that_changes_the_computation_is_refused_with_its_value() {
    for (key, value) in [
        ("alora_invocation_tokens", json!([1, 2])),
        ("alora_invocation_tokens", json!([])),
        ("alpha_pattern", json!({ "q_proj": 4 })),
        ("arrow_config", json!({ "top_k": 2 })),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("bias", json!(true)),
        ("exclude_modules", json!(["q_proj"])),
        ("exclude_modules", json!(".*q_proj")),
        ("fan_in_fan_out", json!(true)),
        ("kasa_config", json!({ "beta": 1e-4 })),
        ("kasa_config", json!({})),
        ("layer_replication", json!([[0, 2]])),
        ("layers_pattern", json!("layers")),
        ("layers_to_transform", json!([0])),
        ("layers_to_transform", json!(0)),
        ("lora_bias", json!(true)),
        ("megatron_config", json!({ "hidden_size": 8 })),
        ("modules_to_save", json!(["lm_head"])),
        ("monteclora_config", json!({ "num_samples": 8 })),
        ("peft_type", json!("IA3")),
        ("rank_pattern", json!({ "q_proj": 8 })),
        ("target_parameters", json!(["mlp.experts.down_proj"])),
        ("task_type", json!("SEQ_CLS")),
        ("trainable_token_indices", json!([7])),
        ("trainable_token_indices", json!({ "embed_tokens": [7] })),
        ("use_bdlora", json!({ "nblocks": 2 })),
        ("use_dora", json!(true)),
        ("use_dora", json!("true")),
        ("use_qalora", json!(true)),
        ("velora_config", json!({ "num_groups": 32 })),
    ] {
        let refusal = of(key, &value).unwrap_or_else(|| panic!("{key} = {value}"));
        assert_eq!(refusal.key, key);
        assert!(refusal.what.starts_with(&format!("{key} = {value} is not supported: ")), "{}", refusal.what);
    }
}

#[test]
fn a_key_that_is_off_or_only_describes_is_plain() {
    for key in KEYS.iter().filter(|key| !matches!(key.plain, Plain::Read)) {
        assert_eq!(of(key.name, &Value::Null), None, "{}", key.name);
    }
    for key in KEYS.iter().filter(|key| matches!(key.plain, Plain::Off)) {
        for value in [json!(false), json!(""), json!([]), json!({})] {
            assert_eq!(of(key.name, &value), None, "{}", key.name);
        }
    }
    for (key, value) in [
        ("auto_mapping", json!({ "base_model_class": "LlamaForCausalLM" })),
        ("bias", json!("none")),
        ("eva_config", json!({ "rho": 1.0 })),
        ("inference_mode", json!(true)),
        ("megatron_core", json!("megatron.core")),
        ("qalora_group_size", json!(16)),
        ("task_type", json!("CAUSAL_LM")),
    ] {
        assert_eq!(of(key, &value), None, "{key}");
    }
}

#[test]
fn a_start_is_plain_unless_it_takes_something_off_the_base() {
    for value in [
        json!(true),
        json!(false),
        json!("gaussian"),
        json!("Gaussian"),
        json!("eva"),
        json!("mica"),
        json!("orthogonal"),
    ] {
        assert_eq!(of("init_lora_weights", &value), None, "{value}");
    }
    for name in ["pissa", "pissa_niter_16", "PiSSA", "olora", "OLoRA", "corda", "loftq", "lora_ga"] {
        let refusal = of("init_lora_weights", &json!(name)).unwrap_or_else(|| panic!("{name}"));
        let converts = refusal.way_out.contains("path_initial_model_for_weight_conversion");
        assert_eq!(converts, name != "loftq", "{name}");
        assert_eq!(changed_base(&json!({ "init_lora_weights": name })), Some(name));
    }
    for value in [json!("EVA"), json!("mystery"), json!("true"), json!(1), json!([])] {
        assert!(of("init_lora_weights", &value).is_some(), "{value}");
        assert_eq!(changed_base(&json!({ "init_lora_weights": value })), None);
    }
}

#[test]
fn an_adapter_that_peft_converted_keeps_the_settings_of_its_start_and_is_plain() {
    for key in ["corda_config", "lora_ga_config", "loftq_config"] {
        let config =
            json!({ "peft_type": "LORA", "init_lora_weights": true, "r": 8, "lora_alpha": 11.3, key: { "a": 1 } });
        assert!(refusals(&config).is_empty(), "{key}");
    }
}

#[test]
fn an_unknown_key_is_refused_unless_it_is_off() {
    for value in [json!(null), json!(false), json!(""), json!([]), json!({})] {
        assert_eq!(of("lora_magic", &value), None, "{value}");
    }
    for value in [json!(true), json!(0), json!(0.5), json!("x"), json!([null]), json!({ "a": null })] {
        let refusal = of("lora_magic", &value).unwrap_or_else(|| panic!("{value}"));
        assert!(refusal.what.starts_with(&format!("unknown key \"lora_magic\" = {value}: ")), "{}", refusal.what);
    }
}

#[test]
fn another_method_is_told_alone_and_several_settings_are_all_told() {
    let other = refusals(&json!({ "feedforward_modules": ["x"], "peft_type": "IA3", "use_dora": true }));
    assert_eq!(other.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["peft_type"]);
    let all = refusals(&json!({ "use_dora": true, "peft_type": "LORA", "lora_bias": true, "x": 1 }));
    assert_eq!(all.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["use_dora", "lora_bias", "x"]);
}

#[test]
fn every_key_that_peft_writes_is_in_the_list() {
    let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).unwrap();
    let configs = cases.flatten().map(|case| case.path().join("adapter/adapter_config.json"));
    let mut seen = 0;
    for path in configs.filter(|path| path.is_file()) {
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for name in config.as_object().unwrap().keys() {
            assert!(KEYS.iter().any(|key| key.name == name), "{name} of {}", path.display());
        }
        assert!(refusals(&config).is_empty(), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}
