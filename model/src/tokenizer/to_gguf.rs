//! The vocabulary of a GGUF file from a `tokenizer.json`: tokens, kinds, merges or scores, the name of the cut, special
//! tokens and the chat template. The inverse of `from_gguf.rs`; knows no tensor.
//!
//! The cut is recognised by what it does (its expressions and steps), not by a hash over some sample as in
//! `convert_hf_to_gguf.py`: the hash changes with every added token, the cut does not. What was made is read back and
//! must give the same ids on sample texts and rendered chats, or nothing is written.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Tokenizer, from_gguf::kind, pre_tokenizer};
use crate::chat_template::ChatMessage;
use crate::checkpoint::gguf;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::export::GgufValue;

type Values = Vec<(String, GgufValue)>;

/// Texts in which tokenizers that were put together differently show it.
const PROBES: [&str; 8] = [
    "The Supplier shall deliver within 30 days.",
    "  leading,  double  and trailing spaces  ",
    "a  2024 1234567 3.14 §12(b)",
    "don't I'LL we've it's",
    "line\n\nbreaks\r\n\ttabs\n \n",
    "naïve café Größe 日本語 🙂 עברית",
    "fn main() { let x = vec![1,2]; } // https://example.org/?a=b&c",
    "",
];

impl Tokenizer {
    /// Metadata under `tokenizer.`, for an embedding of `config.vocab_size` rows.
    ///
    /// # Errors
    /// A kind of tokenizer, or a cut, that GGUF has no name for; ids that come out differently.
    pub(crate) fn gguf_values(&self, config: &ModelConfig) -> Result<Values> {
        let file: Value = serde_json::from_slice(&self.json).map_err(|error| Error::tokenizer(error.to_string()))?;
        let source = Source { file: &file, settings: &self.settings };
        let kind = source.text(&["model", "type"]);
        if kind != Some("BPE") {
            return Err(refused(&format!("a tokenizer of type {} has no form in GGUF", kind.unwrap_or("unknown"))));
        }
        let candidates = if source.flag(&["model", "byte_fallback"]) {
            // Whether a space goes before the first word only or before each piece, GGUF cannot tell apart.
            vec![source.sentence_piece(true, config.vocab_size)?, source.sentence_piece(false, config.vocab_size)?]
        } else {
            vec![source.byte_level()?]
        };
        let common = self.common(&source, config)?;
        let mut wrong = String::new();
        for mut values in candidates {
            values.extend(common.iter().cloned());
            match self.first_difference(&values)? {
                None => return Ok(values),
                Some(text) => wrong = text,
            }
        }
        Err(refused(&format!("GGUF would cut this text into other tokens: {wrong:?}")))
    }

    /// The Unicode form into which text is brought before it is cut, if there is one.
    pub(crate) fn normal_form(&self) -> Option<String> {
        let file: Value = serde_json::from_slice(&self.json).ok()?;
        let normalizer = file.get("normalizer")?;
        let steps = normalizer.get("normalizers").and_then(Value::as_array);
        let mut kinds = steps.into_iter().flatten().chain([normalizer]).filter_map(|step| step.get("type")?.as_str());
        kinds.find(|kind| ["NFC", "NFD", "NFKC", "NFKD"].contains(kind)).map(str::to_owned)
    }

    /// Tokens, their kinds, special ids and the template.
    fn common(&self, source: &Source<'_>, config: &ModelConfig) -> Result<Values> {
        let rows = config.vocab_size;
        if self.vocab_size() > rows {
            return Err(refused(&format!("{} tokens for an embedding of {rows} rows", self.vocab_size())));
        }
        let mut tokens: Vec<String> = Vec::with_capacity(rows);
        let mut kinds = vec![kind::NORMAL as i32; rows];
        for (id, kind) in kinds.iter_mut().enumerate() {
            let token = self.token(id as u32);
            if token.is_none() {
                *kind = kind::UNUSED as i32;
            }
            tokens.push(token.unwrap_or_else(|| format!("[PAD{id}]")));
        }
        let byte_fallback = source.flag(&["model", "byte_fallback"]);
        let unknown = source.text(&["model", "unk_token"]);
        for (id, token) in tokens.iter().enumerate() {
            if byte_fallback && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>') {
                kinds[id] = kind::BYTE as i32;
            } else if byte_fallback && unknown == Some(token.as_str()) {
                kinds[id] = kind::UNKNOWN as i32;
            }
        }
        for (id, token) in self.inner.get_added_tokens_decoder() {
            let special = self.inner.get_added_vocabulary().is_special_token(&token.content);
            let added = if special { kind::CONTROL } else { kind::USER_DEFINED };
            if let Some(place) = kinds.get_mut(id as usize).filter(|place| i64::from(**place) != kind::UNKNOWN) {
                *place = added as i32;
            }
        }
        let mut values: Values = Vec::new();
        let mut put = |key: &str, value: GgufValue| values.push((format!("tokenizer.ggml.{key}"), value));
        put("tokens", GgufValue::Texts(tokens));
        put("token_type", GgufValue::I32s(kinds));
        let named = |token: &Option<String>| token.as_deref().and_then(|token| self.token_id(token));
        let bos = named(&self.special.bos_token).or(config.bos_token_id);
        let eos = named(&self.special.eos_token).or(config.eos_token_ids.first().copied());
        // Whatever else ends an answer; llama.cpp stops at both.
        let learnt = self.chat_template()?.and_then(|template| self.token_id(&template.end_of_answer()?));
        let ends = learnt.into_iter().chain(config.eos_token_ids.iter().copied());
        let turn = ends.into_iter().find(|id| Some(*id) != eos);
        for (key, id) in [
            ("bos_token_id", bos),
            ("eos_token_id", eos),
            ("eot_token_id", turn),
            ("padding_token_id", named(&self.special.pad_token).or(config.pad_token_id)),
            ("unknown_token_id", named(&self.special.unk_token)),
        ] {
            if let Some(id) = id {
                put(key, GgufValue::U32(id));
            }
        }
        let (starts, ends) = source.adds(&self.special.bos_token, &self.special.eos_token);
        put("add_bos_token", GgufValue::Bool(starts));
        put("add_eos_token", GgufValue::Bool(ends));
        if let Some(template) = &self.template {
            values.push(("tokenizer.chat_template".to_owned(), GgufValue::Text(template.clone())));
        }
        Ok(values)
    }

    /// The first text that a reader of these values would cut differently.
    fn first_difference(&self, values: &Values) -> Result<Option<String>> {
        let path = Path::new("tokenizer");
        let header = crate::export::metadata_bytes(values);
        let read = Tokenizer::from_gguf(&gguf::parse(&header, path)?.metadata, path)?;
        let mut texts: Vec<String> = PROBES.iter().map(|text| (*text).to_owned()).collect();
        if let Some(template) = self.chat_template()? {
            let say = |role: &str, content: &str| ChatMessage { role: role.to_owned(), content: content.to_owned() };
            let chats = PROBES.iter().map(|text| {
                let turns = [say("user", text), say("assistant", "yes, 12"), say("user", text)];
                template.render(&turns, true)
            });
            // In a chat model all text is part of a chat, so nothing but chats has to come out the same.
            let chats: Vec<String> = chats.filter_map(Result::ok).collect();
            if !chats.is_empty() {
                texts = chats;
            }
        }
        for text in texts {
            if self.encode(&text)? != read.encode(&text)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

/// A `tokenizer.json` and its settings.
struct Source<'a> {
    file: &'a Value,
    settings: &'a Map<String, Value>,
}

impl<'a> Source<'a> {
    fn at(&self, path: &[&str]) -> Option<&'a Value> {
        path.iter().try_fold(self.file, |value, key| value.get(key))
    }

    fn text(&self, path: &[&str]) -> Option<&'a str> {
        self.at(path).and_then(Value::as_str)
    }

    fn flag(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Merges as pairs; older files write them with a space between.
    fn merges(&self) -> Result<Vec<(&'a str, &'a str)>> {
        let list = self.at(&["model", "merges"]).and_then(Value::as_array);
        let list = list.ok_or_else(|| refused("tokenizer.json has no merges"))?;
        let pair = |merge: &'a Value| match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(parts) => Some((parts.first()?.as_str()?, parts.get(1)?.as_str()?)),
            _ => None,
        };
        list.iter().map(|merge| pair(merge).ok_or_else(|| refused("a merge that is no pair"))).collect()
    }

    /// Byte-level BPE, as GPT-2 has it.
    fn byte_level(&self) -> Result<Values> {
        let null = Value::Null;
        let cut = self.at(&["pre_tokenizer"]).unwrap_or(&null);
        let normalizer = self.at(&["normalizer"]).unwrap_or(&null);
        let name = pre_tokenizer::name_of(cut, normalizer)?;
        let merges = self.merges()?.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
        let key = |key: &str| format!("tokenizer.ggml.{key}");
        Ok(vec![
            (key("model"), GgufValue::Text("gpt2".to_owned())),
            (key("pre"), GgufValue::Text(name.to_owned())),
            (key("merges"), GgufValue::Texts(merges)),
        ])
    }

    /// SentencePiece-style BPE: readers merge the pair whose token has the best score, so a token's score is the place of
    /// the first merge that makes it.
    fn sentence_piece(&self, space_prefix: bool, rows: usize) -> Result<Values> {
        let vocabulary = self.at(&["model", "vocab"]).and_then(Value::as_object);
        let vocabulary = vocabulary.ok_or_else(|| refused("tokenizer.json has no vocabulary"))?;
        let merges = self.merges()?;
        let mut scores = vec![-(merges.len() as f32) - 1.0; rows];
        for (place, (left, right)) in merges.iter().enumerate().rev() {
            let id = vocabulary.get(&format!("{left}{right}")).and_then(Value::as_u64);
            if let Some(score) = id.and_then(|id| scores.get_mut(id as usize)) {
                *score = -(place as f32);
            }
        }
        let key = |key: &str| format!("tokenizer.ggml.{key}");
        Ok(vec![
            (key("model"), GgufValue::Text("llama".to_owned())),
            (key("pre"), GgufValue::Text("default".to_owned())),
            (key("scores"), GgufValue::F32s(scores)),
            (key("add_space_prefix"), GgufValue::Bool(space_prefix)),
        ])
    }

    /// Whether plain text is begun with the start token and ended with the end token.
    fn adds(&self, bos: &Option<String>, eos: &Option<String>) -> (bool, bool) {
        let mut templates = Vec::new();
        let mut open: Vec<&Value> = self.at(&["post_processor"]).into_iter().collect();
        while let Some(next) = open.pop() {
            open.extend(next.get("processors").and_then(Value::as_array).into_iter().flatten());
            templates.extend(next.get("single").and_then(Value::as_array));
        }
        let special = |piece: Option<&Value>| piece?.get("SpecialToken")?.get("id")?.as_str().map(str::to_owned);
        let first = templates.iter().any(|single| bos.is_some() && special(single.first()) == *bos);
        let last = templates.iter().any(|single| eos.is_some() && special(single.last()) == *eos);
        let set = |key: &str| self.settings.get(key).and_then(Value::as_bool);
        (set("add_bos_token").unwrap_or(first), set("add_eos_token").unwrap_or(last))
    }
}

fn refused(what: &str) -> Error {
    Error::tokenizer(format!("{what}\nhint: --format safetensors writes a folder with the tokenizer as it is"))
}
