//! Rebuilds a tokenizer from GGUF metadata, by writing the `tokenizer.json` that it stands for.
//! Knows the two families that GGUF stores: byte-level BPE with merges, and SentencePiece-style BPE with scores.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::side_files::Told;
use super::{Tokenizer, pre_tokenizer};
use crate::checkpoint::gguf::{Metadata, Metadatum};
use crate::error::{Error, Result};
use crate::foreign::quoted;

/// The squares of the lengths of all tokens: the largest vocabularies in use come to a fifth of it.
const MOST_CUT_WORK: usize = 1 << 28;
/// Bytes of all merges that follow from scores; the largest vocabularies in use come to a tenth of it.
const MOST_MERGE_BYTES: usize = 1 << 26;

/// Values of `tokenizer.ggml.token_type`.
pub(super) mod kind {
    pub(in super::super) const NORMAL: i64 = 1;
    pub(in super::super) const UNKNOWN: i64 = 2;
    pub(in super::super) const CONTROL: i64 = 3;
    pub(in super::super) const USER_DEFINED: i64 = 4;
    pub(in super::super) const UNUSED: i64 = 5;
    pub(in super::super) const BYTE: i64 = 6;
}

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF file. `path` is only for messages.
    pub(crate) fn from_gguf(metadata: &Metadata, path: &Path) -> Result<Self> {
        let vocabulary = Vocabulary::read(metadata, path)?;
        let (model, around) = match metadata.text("tokenizer.ggml.model") {
            Some("gpt2") => byte_level(&vocabulary, metadata)?,
            Some("llama") => sentence_piece(&vocabulary, metadata)?,
            Some(other) => {
                return Err(Error::feature(path, format!("tokenizer model \"{other}\" (known: gpt2, llama)")));
            }
            None => return Err(Error::malformed(path, "tokenizer.ggml.model is missing")),
        };
        let mut file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": vocabulary.added(),
            "post_processor": null, "model": model
        });
        for (key, value) in around {
            file[key] = value;
        }
        let json = serde_json::to_vec(&file).map_err(|error| Error::tokenizer(error.to_string()))?;
        let settings = vocabulary.settings(metadata);
        let template = metadata.text("tokenizer.chat_template").map(str::to_string);
        let tokenizer = Self::from_parts(json, Told::of(settings, template))?;
        match tokenizer.vocab_size() == vocabulary.tokens.len() {
            true => Ok(tokenizer),
            false => Err(Error::malformed(
                path,
                format!("{} tokens, of which only {} are distinct", vocabulary.tokens.len(), tokenizer.vocab_size()),
            )),
        }
    }
}

/// The token lists of a file, checked to be as long as each other and without repeats.
struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Option<&'a [i64]>,
    ids: HashMap<&'a str, usize>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata, path: &Path) -> Result<Self> {
        let tokens = metadata
            .texts("tokenizer.ggml.tokens")
            .ok_or_else(|| Error::malformed(path, "tokenizer.ggml.tokens is missing: the file has no tokenizer"))?;
        let kinds = match metadata.get("tokenizer.ggml.token_type") {
            None => None,
            Some(Metadatum::Integers(kinds)) if kinds.len() == tokens.len() => Some(kinds.as_slice()),
            Some(_) => return Err(Error::malformed(path, "tokenizer.ggml.token_type does not fit the tokens")),
        };
        let mut ids = HashMap::new();
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = ids.insert(token.as_str(), id) {
                return Err(Error::malformed(path, format!("token {} has the ids {first} and {id}", quoted(token))));
            }
        }
        Ok(Self { tokens, kinds, ids })
    }

    fn kind(&self, id: usize) -> i64 {
        self.kinds.and_then(|kinds| kinds.get(id)).copied().unwrap_or(kind::NORMAL)
    }

    /// The text of the token whose id is under a metadata key.
    fn named(&self, metadata: &Metadata, key: &str) -> Option<&'a String> {
        let id = metadata.number(&format!("tokenizer.ggml.{key}"))?;
        self.tokens.get(usize::try_from(id).ok()?)
    }

    /// Tokens that are matched in the text before any merging: control tokens, and those the user defined.
    fn added(&self) -> Vec<Value> {
        let listed = |kind: i64| [kind::CONTROL, kind::UNKNOWN, kind::USER_DEFINED].contains(&kind);
        let entry = |(id, token): (usize, &String)| {
            let kind = self.kind(id);
            (listed(kind) && !token.is_empty()).then(|| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind != kind::USER_DEFINED
                })
            })
        };
        self.tokens.iter().enumerate().filter_map(entry).collect()
    }

    /// The vocabulary as `tokenizer.json` has it.
    fn map(&self) -> Map<String, Value> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect()
    }

    /// The `tokenizer_config.json` that goes with it.
    fn settings(&self, metadata: &Metadata) -> Map<String, Value> {
        let mut settings = Map::new();
        for (name, key) in [
            ("bos_token", "bos_token_id"),
            ("eos_token", "eos_token_id"),
            ("pad_token", "padding_token_id"),
            ("unk_token", "unknown_token_id"),
        ] {
            if let Some(token) = self.named(metadata, key) {
                settings.insert(name.to_string(), json!(token));
            }
        }
        settings.insert("clean_up_tokenization_spaces".to_string(), json!(false));
        settings.insert("tokenizer_class".to_string(), json!("PreTrainedTokenizerFast"));
        settings
    }
}

/// The parts of `tokenizer.json` around the model.
type Around = Vec<(&'static str, Value)>;

/// Byte-level BPE: tokens in the byte alphabet, merges in order.
fn byte_level(vocabulary: &Vocabulary<'_>, metadata: &Metadata) -> Result<(Value, Around)> {
    let name = metadata.text("tokenizer.ggml.pre").unwrap_or("default");
    let cut = pre_tokenizer::by_name(name)?;
    let merges =
        metadata.texts("tokenizer.ggml.merges").ok_or_else(|| Error::tokenizer("tokenizer.ggml.merges is missing"))?;
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        // A space never occurs inside a byte-level token, except as the first letter of the second part.
        let pair = merge
            .char_indices()
            .skip(1)
            .find(|(_, letter)| *letter == ' ')
            .map(|(at, _)| (&merge[..at], &merge[at + 1..]));
        let Some((left, right)) = pair else {
            return Err(Error::tokenizer(format!("merge {} has no two parts", quoted(merge))));
        };
        for part in [left, right, &format!("{left}{right}")] {
            if !vocabulary.ids.contains_key(part) {
                let (merge, part) = (quoted(merge), quoted(part));
                return Err(Error::tokenizer(format!("merge {merge} needs the token {part}, which does not exist")));
            }
        }
        pairs.push(json!([left, right]));
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": cut.ignore_merges,
        "vocab": vocabulary.map(), "merges": pairs
    });
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    Ok((model, vec![("normalizer", cut.normalizer), ("pre_tokenizer", cut.pre_tokenizer), ("decoder", decoder)]))
}

/// SentencePiece-style BPE: spaces as `▁`, unknown characters as bytes, merges in the order of the scores.
fn sentence_piece(vocabulary: &Vocabulary<'_>, metadata: &Metadata) -> Result<(Value, Around)> {
    let scores = metadata
        .floats("tokenizer.ggml.scores")
        .filter(|scores| scores.len() == vocabulary.tokens.len())
        .ok_or_else(|| Error::tokenizer("tokenizer.ggml.scores does not fit the tokens"))?;
    let unknown = vocabulary.named(metadata, "unknown_token_id").or_else(|| {
        (0..vocabulary.tokens.len()).find(|id| vocabulary.kind(*id) == kind::UNKNOWN).map(|id| &vocabulary.tokens[id])
    });
    // Every cut of a token looks both parts up: work with the square of its length, and each cut that is found takes its length.
    let square: usize =
        vocabulary.tokens.iter().map(|token| token.len().saturating_mul(token.len())).fold(0, usize::saturating_add);
    if square > MOST_CUT_WORK {
        let longest = vocabulary.tokens.iter().max_by_key(|token| token.len()).map_or("", String::as_str);
        return Err(Error::tokenizer(format!(
            "the tokens are too long to find out of which parts they are made; the longest is {}",
            quoted(longest)
        )));
    }
    let mut found_bytes = 0;
    let mut merges: Vec<(f32, usize, usize)> = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if vocabulary.kind(id) != kind::NORMAL {
            continue;
        }
        for (cut, _) in token.char_indices().skip(1) {
            let part = |text: &str| vocabulary.ids.get(text).copied().filter(|id| vocabulary.kind(*id) == kind::NORMAL);
            if let (Some(left), Some(right)) = (part(&token[..cut]), part(&token[cut..])) {
                found_bytes += token.len();
                if found_bytes > MOST_MERGE_BYTES {
                    let most = ground::read::size(MOST_MERGE_BYTES as u64);
                    return Err(Error::tokenizer(format!(
                        "tokens that are made of others in ways that take more than {most}"
                    )));
                }
                merges.push((scores[id], left, right));
            }
        }
    }
    // Best score first; between the ways to make one token, the order transformers uses when it converts such files.
    merges.sort_by(|one, two| two.0.total_cmp(&one.0).then((two.1, two.2).cmp(&(one.1, one.2))));
    let pairs: Vec<Value> =
        merges.into_iter().map(|(_, left, right)| json!([vocabulary.tokens[left], vocabulary.tokens[right]])).collect();
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": vocabulary.map(), "merges": pairs
    });
    let prefix = metadata.switch("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let around = vec![
        ("normalizer", json!({"type": "Sequence", "normalizers": normalizers})),
        ("pre_tokenizer", Value::Null),
        ("decoder", json!({"type": "Sequence", "decoders": decoders})),
    ];
    Ok((model, around))
}
