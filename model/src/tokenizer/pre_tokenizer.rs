//! How a byte-level tokenizer of a GGUF file cuts text before merging: the name in the file, as `tokenizer.json` says it.
//! Knows the cuts; knows no vocabulary.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What a name in `tokenizer.ggml.pre` stands for.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The `pre_tokenizer` of `tokenizer.json`.
    pub(super) pre_tokenizer: Value,
    /// The `normalizer` of `tokenizer.json`.
    pub(super) normalizer: Value,
    /// A piece that is a token is not merged from its parts.
    pub(super) ignore_merges: bool,
}

/// GPT-2's cut, which the byte-level step knows by itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The cuts that are known, one line each. `default` is what a converter writes that did not know the model.
const KNOWN: [&str; 8] = ["gpt-2", "smollm", "llama-bpe", "llama3", "llama-v3", "qwen2", "tekken", "default"];

/// Looks a name up. An unknown one is refused, because a wrong cut trains and serves on other tokens.
pub(super) fn by_name(name: &str) -> Result<PreTokenizer> {
    let regex_then_bytes = |patterns: &[&str]| {
        let cut = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let mut steps: Vec<Value> = patterns.iter().map(cut).collect();
        steps.push(byte_level(false));
        json!({"type": "Sequence", "pretokenizers": steps})
    };
    let plain = |pre_tokenizer| PreTokenizer { pre_tokenizer, normalizer: Value::Null, ignore_merges: false };
    Ok(match name {
        "gpt-2" => plain(byte_level(true)),
        // Each digit on its own first, then GPT-2's cut: the order decides about runs of spaces before a digit.
        "smollm" => plain(json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            byte_level(true)
        ]})),
        "llama-bpe" | "llama3" | "llama-v3" => {
            PreTokenizer { ignore_merges: true, ..plain(regex_then_bytes(&[LLAMA3])) }
        }
        "qwen2" => PreTokenizer { normalizer: json!({"type": "NFC"}), ..plain(regex_then_bytes(&[QWEN2])) },
        "tekken" => PreTokenizer { ignore_merges: true, ..plain(regex_then_bytes(&[TEKKEN])) },
        "default" => plain(regex_then_bytes(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"])),
        other => {
            return Err(Error::tokenizer(format!(
                "pre-tokenizer \"{other}\" is not known (known: {})\nhint: use the Hugging Face folder of this model, \
                 which has a tokenizer.json",
                KNOWN.join(", ")
            )));
        }
    })
}

/// The name under which a file must say a cut: the first known one that does the same steps on the same normalised text.
pub(super) fn name_of(pre_tokenizer: &Value, normalizer: &Value) -> Result<&'static str> {
    for name in KNOWN {
        let known = by_name(name)?;
        if steps(&known.pre_tokenizer) == steps(pre_tokenizer) && steps(&known.normalizer) == steps(normalizer) {
            return Ok(name);
        }
    }
    Err(Error::tokenizer(format!(
        "this tokenizer cuts text in a way that GGUF has no known name for (known: {})\nhint: --format safetensors writes a \
         folder with the tokenizer as it is",
        KNOWN.join(", ")
    )))
}

/// The steps of a sequence, without what does not change a cut: offsets are only told, and these are the defaults.
fn steps(value: &Value) -> Vec<Value> {
    let mut all = match value.get("pretokenizers").or(value.get("normalizers")).and_then(Value::as_array) {
        Some(list) => list.clone(),
        None if value.is_null() => Vec::new(),
        None => vec![value.clone()],
    };
    for step in all.iter_mut().filter_map(Value::as_object_mut) {
        step.shift_remove("trim_offsets");
        step.entry("use_regex").or_insert(json!(true));
        step.entry("invert").or_insert(json!(false));
    }
    all
}

/// The step that turns bytes into the letters of the vocabulary.
fn byte_level(cut: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cut})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_named_by_what_it_does() {
        for name in KNOWN {
            let known = by_name(name).unwrap();
            let found = name_of(&known.pre_tokenizer, &known.normalizer).unwrap();
            let same = by_name(found).unwrap();
            assert_eq!((same.pre_tokenizer, same.normalizer), (known.pre_tokenizer, known.normalizer), "{name}");
        }
        let without = json!({"type": "ByteLevel", "use_regex": true, "add_prefix_space": false});
        assert_eq!(name_of(&without, &Value::Null).unwrap(), "gpt-2");
        let message = name_of(&json!({"type": "Whitespace"}), &Value::Null).unwrap_err().to_string();
        assert!(message.contains("gpt-2, smollm") && message.contains("hint: "), "{message}");
    }

    #[test]
    fn every_listed_name_is_accepted_and_others_are_refused_by_name() {
        for name in KNOWN {
            by_name(name).unwrap();
        }
        let message = by_name("deepseek-llm").unwrap_err().to_string();
        assert!(message.contains("deepseek-llm") && message.contains("smollm"), "{message}");
    }
}
