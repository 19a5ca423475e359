//! Owns THE list of keys of `adapter_config.json`: with which values an adapter is two matrices beside a linear, and what
//! any other value changes, so that it is refused by name. Knows PEFT's names; reads no file and no tensor.
//!
//! Source: `LoraConfig`, `LoraModel._create_and_replace` and `LoraLayer.update_layer` of
//! <https://github.com/huggingface/peft>, version 0.21.

use serde_json::Value;

use crate::foreign;

/// How PEFT itself makes a model of its own of a base with an adapter that is not computed here.
pub const MERGE_WITH_PEFT: &str = "merge it with PEFT, \
    PeftModel.from_pretrained(base, ADAPTER).merge_and_unload().save_pretrained(DIR), put the tokenizer files of the base \
    into DIR, and use DIR as the model";

/// The same for an adapter that only fits what its start left of the base.
const CONVERT_WITH_PEFT: &str = "convert it with PEFT where it was trained, \
    save_pretrained(DIR, path_initial_model_for_weight_conversion=START) with START the adapter before its first step; \
    or merge it there, merge_and_unload().save_pretrained(DIR), and use DIR as the model";

const TRAIN_WITHOUT: &str = "train without it: no one set of weights computes the same, so it cannot be merged either";
const NAME_MODULES: &str = "list the path of each adapted module in target_modules, such as \
    model.layers.0.self_attn.q_proj, and set this to null";

/// A setting for which an adapter is not computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key of the file.
    pub key: String,
    /// The key with its value, and what they change.
    pub what: String,
    /// What to type instead.
    pub way_out: &'static str,
}

/// A key of the file.
struct Key {
    name: &'static str,
    plain: Plain,
    /// What a value that is not plain changes.
    changes: &'static str,
    way_out: &'static str,
}

/// With which values of a key an adapter is two matrices beside a linear.
enum Plain {
    /// All: it names or describes, or PEFT looks at it only beside another key of this list.
    All,
    /// Those that `settings` reads, and it refuses the others.
    Read,
    /// Null, false and empty.
    Off,
    /// Null. PEFT asks whether there is a value at all, so an empty one switches the method on.
    Null,
    /// Null and this text.
    Text(&'static str),
    /// Those of [`start`].
    Start,
}

/// Sorted by name.
const KEYS: &[Key] = &[
    null(
        "alora_invocation_tokens",
        "aLoRA adapts the tokens behind the last of these invocations, and no token of a text without one",
        TRAIN_WITHOUT,
    ),
    off("alpha_pattern", "these modules have another scale", MERGE_WITH_PEFT),
    null("arrow_config", "Arrow chooses between several adapters for each token", TRAIN_WITHOUT),
    all("auto_mapping"),
    all("base_model_name_or_path"),
    text("bias", "none", "biases of the base are trained too", MERGE_WITH_PEFT),
    // This, `eva_config`, `loftq_config` and `lora_ga_config` stay where a converted adapter has another start.
    all("corda_config"),
    // What could be tied, embedding and head, is adapted by no adapter that is read.
    all("ensure_weight_tying"),
    all("eva_config"),
    off("exclude_modules", "modules that target_modules names are left out", NAME_MODULES),
    off(
        "fan_in_fan_out",
        "weights are stored by columns",
        "set it to false, as PEFT does by itself for the linears of these models",
    ),
    all("inference_mode"),
    Key { name: "init_lora_weights", plain: Plain::Start, changes: "", way_out: "" },
    null("kasa_config", "KaSA cuts each weight of the base, and has a diagonal between B and A", MERGE_WITH_PEFT),
    off("layer_replication", "layers of the base are repeated", MERGE_WITH_PEFT),
    off("layers_pattern", "it names the layers that layers_to_transform counts", NAME_MODULES),
    off("layers_to_transform", "only these layers are adapted", NAME_MODULES),
    all("loftq_config"),
    read("lora_alpha"),
    off("lora_bias", "B has a bias", "train with lora_bias = False"),
    read("lora_dropout"),
    all("lora_ga_config"),
    off("megatron_config", "the parallel linears of Megatron are adapted", "train it on the base of Hugging Face"),
    all("megatron_core"),
    // Before 0.4, and without an effect on what is computed.
    all("merge_weights"),
    off("modules_to_save", "whole modules are trained and take the place of those of the base", MERGE_WITH_PEFT),
    null("monteclora_config", "MonteCLoRA draws A anew in each step of training", MERGE_WITH_PEFT),
    text(
        "peft_type",
        "LORA",
        "it is another method",
        "use an adapter of LoRA, or the model that PEFT makes of this one with merge_and_unload()",
    ),
    all("peft_version"),
    // Beside `use_qalora` alone.
    all("qalora_group_size"),
    read("r"),
    off("rank_pattern", "these modules have another rank, and with it another scale", MERGE_WITH_PEFT),
    all("revision"),
    all("runtime_config"),
    read("target_modules"),
    off("target_parameters", "tensors that belong to no linear are adapted", MERGE_WITH_PEFT),
    text(
        "task_type",
        "CAUSAL_LM",
        "it was trained for another task than writing text, where a model has another head",
        "set it to \"CAUSAL_LM\" if it was trained on a whole language model",
    ),
    null("trainable_token_indices", "rows of the embedding are trained", MERGE_WITH_PEFT),
    null("use_bdlora", "BD-LoRA stores A or B as blocks of a diagonal", MERGE_WITH_PEFT),
    off("use_dora", "DoRA learns the length of each row of a weight", MERGE_WITH_PEFT),
    off("use_qalora", "QALoRA takes means over groups of the input", MERGE_WITH_PEFT),
    read("use_rslora"),
    null("velora_config", "VeLoRA computes the gradient of A from a compressed input", MERGE_WITH_PEFT),
];

/// Starts of A and B with which the base changes, as PEFT's names of them begin: what is left of it, and a way out.
const CHANGED_BASES: [(&str, &str, &str); 5] = [
    (
        "corda",
        "CorDA takes its start off each weight of the base, and the adapter only fits the rest",
        CONVERT_WITH_PEFT,
    ),
    ("loftq", "LoftQ quantises the base, and the adapter only fits that", MERGE_WITH_PEFT),
    (
        "lora_ga",
        "LoRA-GA takes its start off each weight of the base, and the adapter only fits the rest",
        CONVERT_WITH_PEFT,
    ),
    (
        "olora",
        "OLoRA takes its start off each weight of the base, and the adapter only fits the rest",
        CONVERT_WITH_PEFT,
    ),
    (
        "pissa",
        "PiSSA takes the principal part off each weight of the base, and the adapter only fits the rest",
        CONVERT_WITH_PEFT,
    ),
];

const fn all(name: &'static str) -> Key {
    Key { name, plain: Plain::All, changes: "", way_out: "" }
}

const fn read(name: &'static str) -> Key {
    Key { name, plain: Plain::Read, changes: "", way_out: "" }
}

const fn off(name: &'static str, changes: &'static str, way_out: &'static str) -> Key {
    Key { name, plain: Plain::Off, changes, way_out }
}

const fn null(name: &'static str, changes: &'static str, way_out: &'static str) -> Key {
    Key { name, plain: Plain::Null, changes, way_out }
}

const fn text(name: &'static str, plain: &'static str, changes: &'static str, way_out: &'static str) -> Key {
    Key { name, plain: Plain::Text(plain), changes, way_out }
}

/// Every setting of an `adapter_config.json` that changes what an adapter computes and is not computed here, in the order
/// of the file. A key that is not known is one of them unless its value is null, false or empty.
#[must_use]
pub fn refusals(config: &Value) -> Vec<Refusal> {
    let Some(settings) = config.as_object() else { return Vec::new() };
    // The keys of another method say nothing here.
    if let Some(other) = settings.get("peft_type").and_then(|kind| refusal("peft_type", kind)) {
        return vec![other];
    }
    settings.iter().filter_map(|(name, value)| refusal(name, value)).collect()
}

/// The start of an adapter for which the base itself was changed, so that the adapter only fits the changed base.
#[must_use]
pub fn changed_base(config: &Value) -> Option<&str> {
    let name = config.get("init_lora_weights")?.as_str()?;
    taken_off(name).is_some().then_some(name)
}

fn refusal(name: &str, value: &Value) -> Option<Refusal> {
    let shown = foreign::short(&value.to_string());
    let told = |changes: &str, way_out: &'static str| Refusal {
        key: name.to_owned(),
        what: format!("{name} = {shown} is not supported: {changes}"),
        way_out,
    };
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        return (!is_off(value)).then(|| Refusal {
            key: foreign::short(name),
            what: format!("unknown key {} = {shown}: what it changes would be left out", foreign::quoted(name)),
            way_out: "take it out of adapter_config.json if it changes nothing; a newer version of this program may know it",
        });
    };
    let is_plain = match key.plain {
        Plain::All | Plain::Read => true,
        Plain::Off => is_off(value),
        Plain::Null => value.is_null(),
        Plain::Text(text) => value.is_null() || value.as_str() == Some(text),
        Plain::Start => return start(value).map(|(changes, way_out)| told(changes, way_out)),
    };
    (!is_plain).then(|| told(key.changes, key.way_out))
}

/// What a start of A and B changes beside the numbers that training goes on from, and a way out.
fn start(value: &Value) -> Option<(&'static str, &'static str)> {
    let unknown =
        ("no such start is known, and some take part of the base away", "set it to true if the base stays as it is");
    match value {
        Value::Null | Value::Bool(_) => None,
        Value::String(name) if is_gaussian(name) || ["eva", "mica", "orthogonal"].contains(&name.as_str()) => None,
        Value::String(name) => Some(taken_off(name).unwrap_or(unknown)),
        _ => Some(unknown),
    }
}

/// Whether a start is PEFT's `gaussian`, which it compares without case.
pub(super) fn is_gaussian(name: &str) -> bool {
    name.eq_ignore_ascii_case("gaussian")
}

fn taken_off(start: &str) -> Option<(&'static str, &'static str)> {
    let start = start.to_ascii_lowercase();
    CHANGED_BASES
        .into_iter()
        .find(|(name, _, _)| start.starts_with(name))
        .map(|(_, changes, way_out)| (changes, way_out))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
