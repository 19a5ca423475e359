//! Text to token ids and back, and what belongs to it on disk: `tokenizer.json`, `tokenizer_config.json` and the chat
//! template text.
//! Adds no special token by itself, cuts nothing and pads nothing. Knows no message and no mask.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ground::panics::caught_within;
use ground::read::Kind;
use ground::write::{self, Access};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::bounds::Bounds;
use crate::chat_template::{ChatTemplate, SpecialTokens};
use crate::error::{Error, Result};
use crate::foreign::{self, caught, quoted};

mod bounds;
mod from_gguf;
mod pre_tokenizer;
mod to_gguf;

/// A text this short is done in time, however often an expression goes back over it.
const SHORT: usize = 256;
/// How long a longer one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A tokenizer with the texts of its special tokens and, where it came with one, the source of a chat template.
pub struct Tokenizer {
    /// The library's. A panic in it leaves it as it was: all that it changes while it encodes is a cache, whose entries are
    /// put in whole, and whose lock is passed by once it is poisoned.
    inner: Arc<tokenizers::Tokenizer>,
    bounds: Bounds,
    /// Set once a text took too long: the others are not tried.
    given_up: OnceLock<String>,
    /// The bytes of `tokenizer.json`, as they were read or made, so that a copy is a copy.
    json: Vec<u8>,
    /// The content of `tokenizer_config.json` without its template.
    settings: Map<String, Value>,
    template: Option<String>,
    special: SpecialTokens,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` and `chat_template.jinja` where they lie beside it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let json = foreign::bytes(path, Kind::Tokenizer)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let config_path = folder.join("tokenizer_config.json");
        let mut settings = match foreign::optional_json(&config_path, Kind::TokenizerConfig)? {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(Error::malformed(&config_path, "not a JSON object")),
        };
        let inside = template_in(settings.shift_remove("chat_template"), &config_path)?;
        let template = foreign::optional_text(&folder.join("chat_template.jinja"), Kind::Template)?.or(inside);
        Self::from_parts(json, settings, template).map_err(|error| match error {
            Error::Tokenizer { what } => Error::malformed(path, what),
            other => other,
        })
    }

    /// Puts a tokenizer together.
    fn from_parts(json: Vec<u8>, settings: Map<String, Value>, template: Option<String>) -> Result<Self> {
        let bounds = Bounds::of(&json).map_err(Error::tokenizer)?;
        let read = || -> tokenizers::Result<tokenizers::Tokenizer> {
            let mut inner = tokenizers::Tokenizer::from_bytes(&json)?;
            // A file can carry a length to cut or pad to, which would silently change rows.
            inner.with_truncation(None)?;
            inner.with_padding(None);
            // Without special tokens to add, all that is left of a post-processor is that it trims offsets.
            inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
            Ok(inner)
        };
        let inner = caught(read).map_err(Error::tokenizer)?;
        for (id, content) in bounds.added.iter().filter(|(_, content)| !content.is_empty()) {
            if let Some(given) = inner.token_to_id(content).filter(|given| given != id) {
                return Err(Error::tokenizer(format!(
                    "added token {} has the id {id} in the file and would get {given}\n\
                     hint: ids of added tokens are those of the vocabulary, or follow it without a gap",
                    quoted(content)
                )));
            }
        }
        let mut added: Vec<(u32, tokenizers::AddedToken)> = inner.get_added_tokens_decoder().into_iter().collect();
        added.sort_by_key(|(id, _)| *id);
        let mut all: Vec<String> =
            added.into_iter().filter(|(_, token)| token.special).map(|(_, token)| token.content).collect();
        let named = |key: &str| text_of(settings.get(key)).map(str::to_string);
        let special = SpecialTokens {
            bos_token: named("bos_token"),
            eos_token: named("eos_token"),
            pad_token: named("pad_token"),
            unk_token: named("unk_token"),
            all: {
                for one in ["bos_token", "eos_token"].into_iter().filter_map(named) {
                    if !one.is_empty() && !all.contains(&one) {
                        all.push(one);
                    }
                }
                all
            },
        };
        let (inner, given_up) = (Arc::new(inner), OnceLock::new());
        Ok(Self { inner, bounds, given_up, json, settings, template, special })
    }

    /// Token ids of a text. Special tokens written in the text become their ids; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encoded(text, |inner, text| Ok(inner.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// Token ids with the bytes of the text each stands for. Tokens that share one character share its range.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        self.encoded(text, |inner, text| {
            let encoding = inner.encode(text, false)?;
            let ranges = encoding.get_offsets().iter().map(|(from, to)| *from..*to);
            Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
        })
    }

    /// Lets the library encode a text that it is fit for; a panic in it is an error, and so is a text without end.
    fn encoded<T: Send + 'static>(
        &self,
        text: &str,
        encode: impl FnOnce(&tokenizers::Tokenizer, &str) -> tokenizers::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.bounds.admit(text.len()).map_err(Error::tokenizer)?;
        if !self.bounds.backtracks || text.len() <= SHORT {
            return caught(|| encode(&self.inner, text)).map_err(Error::tokenizer);
        }
        if let Some(words) = self.given_up.get() {
            return Err(Error::tokenizer(words.as_str()));
        }
        let (inner, copy) = (Arc::clone(&self.inner), text.to_owned());
        match caught_within(PATIENCE, move || caught(|| encode(&inner, &copy))) {
            Ok(outcome) => outcome.map_err(Error::tokenizer),
            Err(words) => {
                let words = format!(
                    "a text of {} bytes {words}: an expression of this tokenizer goes back over it again and again\n\
                     hint: take the tokenizer from where the model comes from",
                    text.len()
                );
                Err(Error::tokenizer(self.given_up.get_or_init(|| words).as_str()))
            }
        }
    }

    /// Refuses a tokenizer with an id for which the embedding has no row.
    pub(crate) fn refuse_ids_beyond(&self, rows: usize, path: &Path) -> Result<()> {
        let added = self.inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (id, token.content));
        let largest = self.bounds.largest.clone().into_iter().chain(added).max();
        match largest {
            Some((id, token)) if id as usize >= rows => Err(Error::malformed(
                path,
                format!(
                    "token {} has the id {id}, and the embedding has {rows} rows\n\
                     hint: tokenizer and weights are of different models; take both from one place",
                    quoted(&token)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The special tokens that occur in a text as plain characters, in order of their first place.
    ///
    /// Content of a message that holds one would end a turn or start another once it is rendered and encoded.
    pub fn special_tokens_in(&self, content: &str) -> Vec<String> {
        let mut found: Vec<(usize, &String)> =
            self.special.all.iter().filter_map(|token| Some((content.find(token.as_str())?, token))).collect();
        found.sort();
        found.into_iter().map(|(_, token)| token.clone()).collect()
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(unknown) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(Error::tokenizer(format!("token id {unknown} is not in the vocabulary")));
        }
        self.bounds.admit_ids(ids.len()).map_err(Error::tokenizer)?;
        caught(|| self.inner.decode(ids, skip_special)).map_err(Error::tokenizer)
    }

    /// The id of a token as the vocabulary writes it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with an id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The texts of the special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// The chat template that came with the tokenizer.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        self.template.as_deref().map(|source| ChatTemplate::new(source, self.special.clone())).transpose()
    }

    /// SHA-256 of `tokenizer.json`.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` (with the chat template) as transformers reads them.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            write::file(&path, bytes, Access::AsUsual).map_err(Error::io(&path))
        };
        put("tokenizer.json", &self.json)?;
        let mut settings = self.settings.clone();
        if let Some(template) = &self.template {
            settings.insert("chat_template".to_string(), json!(template));
        }
        let text = serde_json::to_string_pretty(&Value::Object(settings))
            .map_err(|error| Error::tokenizer(error.to_string()))?;
        put("tokenizer_config.json", (text + "\n").as_bytes())
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

/// A special token is a text, or an object with the text under `content`.
fn text_of(value: Option<&Value>) -> Option<&str> {
    match value? {
        Value::String(text) => Some(text),
        Value::Object(map) => map.get("content")?.as_str(),
        _ => None,
    }
}

/// The template of `tokenizer_config.json`: a text, or a list of named ones of which `default` is taken.
fn template_in(value: Option<Value>, path: &Path) -> Result<Option<String>> {
    let list = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source)),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Error::malformed(path, "chat_template is neither a text nor a list")),
    };
    let named =
        |entry: &Value| Some((entry.get("name")?.as_str()?.to_string(), entry.get("template")?.as_str()?.to_string()));
    let templates: Vec<(String, String)> = list
        .iter()
        .map(named)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::malformed(path, "chat_template holds an entry without name and template"))?;
    match templates.iter().find(|(name, _)| name == "default") {
        Some((_, source)) => Ok(Some(source.clone())),
        None => {
            let names: Vec<&str> = templates.iter().map(|(name, _)| name.as_str()).collect();
            Err(Error::malformed(path, format!("chat_template has no entry \"default\", only {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests;
