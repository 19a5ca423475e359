//! Text to token ids and back, and what belongs to it on disk: `tokenizer.json`, the files beside it that name more of its
//! tokens, and the chat template text.
//! Adds no special token by itself, cuts nothing and pads nothing. Knows no message and no mask.

use std::collections::HashMap;
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
use tokenizers::AddedToken;

use self::bounds::Bounds;
use self::side_files::{Token, Told};
use crate::chat_template::{ChatTemplate, SpecialTokens};
use crate::error::{Error, Result};
use crate::foreign::{self, caught, quoted};

mod bounds;
mod from_gguf;
mod of_adapter;
mod pre_tokenizer;
mod side_files;
pub(crate) mod templates;
mod to_gguf;

pub use of_adapter::Brought;
pub use side_files::{FILES, file_kind};

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
    /// The content of `tokenizer_config.json` without its template, with what the files beside it add.
    settings: Map<String, Value>,
    template: Option<String>,
    special: SpecialTokens,
    /// What was added to the tokens of `tokenizer.json`, or is matched in another way than it says, with the file that says
    /// so.
    beside: Vec<Token>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and the files of [`FILES`] that lie beside it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let json = foreign::bytes(path, Kind::Tokenizer)?;
        let told = Told::read(path.parent().unwrap_or(Path::new(".")))?;
        Self::from_parts(json, told).map_err(|error| match error {
            Error::Tokenizer { what } => Error::malformed(path, what),
            other => other,
        })
    }

    /// Puts a tokenizer together.
    fn from_parts(json: Vec<u8>, told: Told) -> Result<Self> {
        let mut bounds = Bounds::of(&json).map_err(Error::tokenizer)?;
        let read = || -> tokenizers::Result<tokenizers::Tokenizer> {
            let mut inner = tokenizers::Tokenizer::from_bytes(&json)?;
            // A file can carry a length to cut or pad to, which would silently change rows.
            inner.with_truncation(None)?;
            inner.with_padding(None);
            // Without special tokens to add, all that is left of a post-processor is that it trims offsets.
            inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
            Ok(inner)
        };
        let mut inner = caught(read).map_err(Error::tokenizer)?;
        for (id, content) in bounds.added.iter().filter(|(_, content)| !content.is_empty()) {
            if let Some(given) = inner.token_to_id(content).filter(|given| given != id) {
                return Err(Error::tokenizer(format!(
                    "added token {} has the id {id} in the file and would get {given}\n\
                     hint: ids of added tokens are those of the vocabulary, or follow it without a gap",
                    quoted(content)
                )));
            }
        }
        let beside = add_told(&mut inner, &mut bounds, &told).map_err(Error::tokenizer)?;
        let special = special_tokens(&inner, &told).map_err(Error::tokenizer)?;
        let Told { settings, template, .. } = told;
        let (inner, given_up) = (Arc::new(inner), OnceLock::new());
        Ok(Self { inner, bounds, given_up, json, settings, template, special, beside })
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
        let Some((id, token)) = largest.filter(|(id, _)| *id as usize >= rows) else { return Ok(()) };
        let inside = self.bounds.largest.iter().chain(&self.bounds.added).any(|(known, _)| *known == id);
        let (named, hint) = match self.beside.iter().find(|one| one.token.content == token && !inside) {
            Some(one) => (
                format!(", which {} adds,", one.file),
                "take weights whose embedding was made larger for it, or remove it there if no text has it",
            ),
            None => (String::new(), "tokenizer and weights are of different models; take both from one place"),
        };
        let token = quoted(&token);
        let what = format!("token {token}{named} has the id {id}, and the embedding has {rows} rows\nhint: {hint}");
        Err(Error::malformed(path, what))
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

    /// The same with another chat template.
    pub(crate) fn with_template(mut self, source: &str) -> Self {
        self.template = Some(source.to_owned());
        self
    }

    /// The chat template that came with the tokenizer.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        self.template.as_deref().map(|source| ChatTemplate::new(source, self.special.clone())).transpose()
    }

    /// SHA-256 of `tokenizer.json`.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// SHA-256 of what decides which ids a text gets: that of `tokenizer.json` alone where no other file changes them.
    pub fn fingerprint(&self) -> String {
        let tokens = self.beside.iter().map(|one| json!([self.inner.token_to_id(&one.token.content), one.token]));
        let (tokens, names) = (tokens.collect::<Vec<Value>>(), &self.special.others);
        if tokens.is_empty() && names.is_empty() {
            return self.sha256();
        }
        let all = json!([self.sha256(), tokens, names]);
        Sha256::digest(all.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` as transformers reads them; the second with the chat template and
    /// all that other files add, so that no third is needed.
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

/// Adds the tokens that files beside `tokenizer.json` name, and refuses ids that come out otherwise than a file says. Gives
/// those that changed anything.
fn add_told(
    inner: &mut tokenizers::Tokenizer,
    bounds: &mut Bounds,
    told: &Told,
) -> std::result::Result<Vec<Token>, String> {
    let known: HashMap<String, AddedToken> =
        inner.get_added_tokens_decoder().into_iter().map(|(_, token)| (token.content.clone(), token)).collect();
    let tokens = told.tokens(&known)?;
    let mut changed = Vec::new();
    for one in tokens.iter().filter(|one| known.get(&one.token.content) != Some(&one.token)) {
        bounds.add(&one.token.content, one.token.normalized)?;
        changed.push(one.clone());
    }
    if !changed.is_empty() {
        let added: Vec<AddedToken> = changed.iter().map(|one| one.token.clone()).collect();
        caught(|| Ok::<_, String>(inner.add_tokens(&added)))?;
    }
    for one in &tokens {
        let (content, Some(id)) = (&one.token.content, one.id) else { continue };
        let given = inner.token_to_id(content);
        if given == Some(id) || content.is_empty() {
            continue;
        }
        let (token, file) = (quoted(content), one.file);
        let instead = match (inner.id_to_token(id).filter(|other| other != content), given) {
            (Some(other), _) => format!("there {id} is {}", quoted(&other)),
            (None, Some(given)) => format!("beside tokenizer.json it gets {given}"),
            (None, None) => "beside tokenizer.json it gets none".to_owned(),
        };
        return Err(format!(
            "{file} gives token {token} the id {id}, and {instead}\n\
             hint: the two files are of different models or versions; take all files of the tokenizer from one place"
        ));
    }
    Ok(changed)
}

/// The special tokens by their names, and all of them in id order.
fn special_tokens(inner: &tokenizers::Tokenizer, told: &Told) -> std::result::Result<SpecialTokens, String> {
    let mut added: Vec<(u32, AddedToken)> = inner.get_added_tokens_decoder().into_iter().collect();
    added.sort_by_key(|(id, _)| *id);
    let vocabulary = inner.get_added_vocabulary();
    let all = added.into_iter().map(|(_, token)| token.content).filter(|token| vocabulary.is_special_token(token));
    let mut special = SpecialTokens { all: all.collect(), ..SpecialTokens::default() };
    for (name, token) in told.named()? {
        match name.as_str() {
            "bos_token" => special.bos_token = Some(token),
            "eos_token" => special.eos_token = Some(token),
            "pad_token" => special.pad_token = Some(token),
            "unk_token" => special.unk_token = Some(token),
            _ => special.others.push((name, token)),
        }
    }
    Ok(special)
}

#[cfg(test)]
mod tests;
