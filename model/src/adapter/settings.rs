//! Owns reading the settings of an adapter into what is computed. What must not be among them is in `keys`; knows no tensor.

use std::path::Path;

use serde_json::Value;

use super::{keys, refused};
use crate::error::{Error, Result};
use crate::foreign;
use crate::lora::{InitLoraWeights, LoraConfig, TargetModules};

const FETCH: &str = "fetch the adapter again, or write what it was trained with into adapter_config.json";

/// The settings in a parsed `adapter_config.json`. A setting that changes what is computed and is not computed here is
/// refused by name. `path` is only for messages.
pub(super) fn parse(json: &Value, path: &Path) -> Result<LoraConfig> {
    refuse_more_than_lora(json, path)?;
    let field = |name: &str| json.get(name).filter(|value| !value.is_null());
    let missing = |name: &str| refused(path, &format!("{name} is missing\nhint: {FETCH}"));
    let wrong = |name: &str, expected: &str| {
        let found = field(name).map(|value| foreign::short(&value.to_string())).unwrap_or_default();
        refused(path, &format!("{name} is {found}, expected {expected}\nhint: {FETCH}"))
    };
    let number = |name: &str| -> Result<f64> {
        field(name).ok_or_else(|| missing(name))?.as_f64().ok_or_else(|| wrong(name, "a number"))
    };
    field("peft_type").ok_or_else(|| missing("peft_type"))?;
    let targets = field("target_modules").ok_or_else(|| missing("target_modules"))?;
    let target_modules: TargetModules =
        serde_json::from_value(targets.clone()).map_err(|_| wrong("target_modules", "a text or a list of texts"))?;
    if target_modules == TargetModules::Names(Vec::new()) {
        return Err(refused(path, &format!("target_modules is empty, so nothing is adapted\nhint: {FETCH}")));
    }
    let r = number("r")?;
    if !(1.0..=65536.0).contains(&r) || r.fract() != 0.0 {
        return Err(wrong("r", "a whole number from 1 to 65536"));
    }
    let lora_alpha = number("lora_alpha")? as f32;
    if !lora_alpha.is_finite() || lora_alpha <= 0.0 {
        // PEFT computes it; nobody trains it, and with 0 the base would pass for the tuned model.
        return Err(wrong("lora_alpha", "a number above 0, by which the adapter is scaled"));
    }
    let lora_dropout = field("lora_dropout").map_or(Ok(0.0), |_| number("lora_dropout"))? as f32;
    if !(0.0..1.0).contains(&lora_dropout) {
        return Err(wrong("lora_dropout", "0 or more and below 1"));
    }
    let use_rslora =
        field("use_rslora").map_or(Some(false), Value::as_bool).ok_or_else(|| wrong("use_rslora", "true or false"))?;
    let gaussian = field("init_lora_weights").and_then(Value::as_str).is_some_and(keys::is_gaussian);
    Ok(LoraConfig {
        r: r as usize,
        lora_alpha,
        lora_dropout,
        target_modules,
        use_rslora,
        init_lora_weights: if gaussian { InitLoraWeights::Gaussian } else { InitLoraWeights::KaimingUniform },
    })
}

fn refuse_more_than_lora(json: &Value, path: &Path) -> Result<()> {
    let refusals = keys::refusals(json);
    let Some((first, others)) = refusals.split_first() else { return Ok(()) };
    let mut what = first.what.clone();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|other| foreign::quoted(&other.key)).collect();
        what += &format!(" (also not supported: {})", foreign::short(&names.join(", ")));
    }
    Err(Error::Adapter { path: path.to_path_buf(), what: format!("{what}\nhint: {}", first.way_out) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(key: &str, value: Value) -> Result<LoraConfig> {
        let mut config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "lora_dropout": 0.5, "use_rslora": true
        });
        config[key] = value;
        parse(&config, Path::new("adapter_config.json"))
    }

    #[test]
    fn what_is_computed_is_read() {
        let read = with("init_lora_weights", json!("Gaussian")).unwrap();
        assert_eq!((read.r, read.lora_alpha, read.lora_dropout, read.use_rslora), (4, 8.0, 0.5, true));
        assert_eq!(read.init_lora_weights, InitLoraWeights::Gaussian);
        assert_eq!(read.target_modules, TargetModules::Names(vec!["q_proj".to_owned()]));
        for key in ["use_rslora", "lora_dropout", "init_lora_weights"] {
            let read = with(key, Value::Null).unwrap();
            assert!(key != "use_rslora" || !read.use_rslora);
            assert!(key != "lora_dropout" || read.lora_dropout == 0.0);
        }
    }

    #[test]
    fn a_value_of_another_kind_is_refused_and_never_read_as_absent() {
        for (key, value) in [
            ("peft_type", Value::Null),
            ("r", json!("4")),
            ("r", json!(0)),
            ("r", json!(2.5)),
            ("lora_alpha", Value::Null),
            ("lora_alpha", json!("8")),
            ("lora_alpha", json!(1e300)),
            ("lora_alpha", json!(0)),
            ("lora_alpha", json!(-8)),
            ("lora_alpha", json!(1e-300)),
            ("lora_dropout", json!("0.1")),
            ("lora_dropout", json!(1)),
            ("use_rslora", json!("true")),
            ("use_rslora", json!(1)),
            ("target_modules", Value::Null),
            ("target_modules", json!([])),
            ("target_modules", json!([1])),
        ] {
            let error = with(key, value.clone()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("adapter_config.json: {key} is ")), "{value}: {error}");
        }
    }

    #[test]
    fn every_setting_that_is_not_computed_is_named() {
        let mut config = json!({ "use_dora": true, "peft_type": "LORA", "x\nhint: y": 1, "lora_bias": true });
        let error = parse(&config, Path::new("c.json")).unwrap_err().to_string();
        let expected = "c.json: use_dora = true is not supported: DoRA learns the length of each row of a weight \
                        (also not supported: \"x\\nhint: y\", \"lora_bias\")\nhint: merge it with PEFT, ";
        assert!(error.starts_with(expected), "{error}");
        config["peft_type"] = json!("VERA");
        let error = parse(&config, Path::new("c.json")).unwrap_err().to_string();
        assert!(error.starts_with("c.json: peft_type = \"VERA\" is not supported"), "{error}");
    }
}
