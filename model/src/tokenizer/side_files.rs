//! Owns what lies beside a `tokenizer.json`: which files these are, what they say of its tokens and of their names, and
//! which of two files counts. Follows transformers (`_from_pretrained` in its `tokenization_utils_base.py`), and refuses
//! what one file says against another. Knows no vocabulary: that ids come out as a file says is looked at where they are
//! given.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use ground::read::Kind;
use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::templates;
use crate::error::{Error, Result};
use crate::foreign::{self, quoted};

pub(super) const CONFIG: &str = "tokenizer_config.json";
const NAMES: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
/// THE list of the files of a tokenizer that are read, and what kind each is. The first is the tokenizer itself.
pub const FILES: [(&str, Kind); 6] = [
    ("tokenizer.json", Kind::Tokenizer),
    (CONFIG, Kind::TokenizerConfig),
    (NAMES, Kind::TokenizerConfig),
    (ADDED, Kind::TokenizerConfig),
    (templates::FILE, Kind::Template),
    (templates::JSON, Kind::TokenizerConfig),
];

/// The kind of a file of a tokenizer; none where it is none.
#[must_use]
pub fn file_kind(name: &str) -> Option<Kind> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Tokens with a role, in the order in which transformers adds them.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Tokens without one; the second may also give each a name.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
/// Where ids of added tokens stand in the settings.
const DECODER: &str = "added_tokens_decoder";
/// Most tokens with a name of their own: a template sees all of them each time it is rendered.
const MOST_NAMES: usize = 1000;

/// In words, so that the caller names the file.
type Refused<T> = std::result::Result<T, String>;

/// What the files beside a `tokenizer.json` say together.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The content of `tokenizer_config.json` without its template, with what the other files add: written as that file,
    /// it says all of it.
    pub(super) settings: Map<String, Value>,
    /// The source of the chat template.
    pub(super) template: Option<String>,
    /// Keys of the settings that are from another file than `tokenizer_config.json`; only for messages.
    others: BTreeMap<String, &'static str>,
}

/// A token that a file names.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Its id, where the file gives one.
    pub(super) id: Option<u32>,
    /// Its text, and how it is matched.
    pub(super) token: AddedToken,
    /// The file.
    pub(super) file: &'static str,
}

impl Told {
    /// What was made from something else than files.
    pub(super) fn of(settings: Map<String, Value>, template: Option<String>) -> Self {
        Told { settings, template, others: BTreeMap::new() }
    }

    /// Reads the files of a folder, each of which may be absent.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut settings = object(&folder.join(CONFIG))?.unwrap_or_default();
        let template = templates::of_folder(folder, settings.shift_remove("chat_template"))?;
        let mut told = Told::of(settings, template);
        // Where the settings give ids, transformers does not look at the older two files.
        if told.settings.get(DECODER).is_none_or(Value::is_null) {
            if let Some(names) = object(&folder.join(NAMES))? {
                told.name(names);
            }
            let path = folder.join(ADDED);
            if let Some(added) = object(&path)? {
                told.add(added).map_err(|what| Error::malformed(&path, what))?;
            }
        }
        Ok(told)
    }

    /// Whether a folder has a file that says something of tokens, beside `tokenizer.json`.
    pub(super) fn is_in(folder: &Path) -> bool {
        [CONFIG, NAMES, ADDED].iter().any(|name| foreign::is_there(&folder.join(name)))
    }

    /// Takes over `special_tokens_map.json`: what it names counts, and lists are joined.
    fn name(&mut self, names: Map<String, Value>) {
        for (key, mut value) in names {
            if let (true, Some(Value::Array(known)), Value::Array(more)) =
                (LISTS.contains(&key.as_str()), self.settings.get(&key), &value)
            {
                let said: HashSet<String> = known.iter().map(Value::to_string).collect();
                let new = more.iter().filter(|token| !said.contains(&token.to_string()));
                value = known.iter().chain(new).cloned().collect();
            }
            self.others.insert(key.clone(), NAMES);
            self.settings.insert(key, value);
        }
    }

    /// Takes over `added_tokens.json`, which gives each token its id and nothing else: those that have a name are special.
    fn add(&mut self, added: Map<String, Value>) -> Refused<()> {
        let names = self.names()?;
        let special: HashSet<&str> = names.iter().map(|name| name.token.content.as_str()).collect();
        let mut decoder = Map::new();
        for (content, id) in added {
            let Some(id) = id.as_u64() else { return Err(format!("the id of {} is {id}", quoted(&content))) };
            let special = special.contains(content.as_str());
            let token = json!({
                "content": content, "lstrip": false, "normalized": !special, "rstrip": false, "single_word": false,
                "special": special
            });
            if let Some(other) = decoder.insert(id.to_string(), token) {
                let other = other.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(format!("{} and {} both have the id {id}", quoted(&other), quoted(&content)));
            }
        }
        self.others.insert(DECODER.to_owned(), ADDED);
        self.settings.insert(DECODER.to_owned(), Value::Object(decoder));
        Ok(())
    }

    /// The names that a template can read, with the text of each token: `bos_token` and its like.
    pub(super) fn named(&self) -> Refused<Vec<(String, String)>> {
        let names = self.names()?.into_iter();
        Ok(names.filter_map(|name| Some((name.name?, name.token.content))).collect())
    }

    /// What is to be added to a tokenizer that knows some tokens already: in the order of transformers, by which ids are
    /// given.
    pub(super) fn tokens(&self, known: &HashMap<String, AddedToken>) -> Refused<Vec<Token>> {
        if self
            .settings
            .get("split_special_tokens")
            .is_some_and(|value| *value != Value::Bool(false) && !value.is_null())
        {
            return Err(format!(
                "split_special_tokens of {CONFIG} is set, so that the tokens of a chat template would be cut into letters\n\
                 hint: set it to false, as the model was made"
            ));
        }
        let mut tokens = self.listed()?;
        let mut places: HashMap<String, usize> =
            tokens.iter().enumerate().map(|(at, one)| (one.token.content.clone(), at)).collect();
        for Name { token, key, .. } in self.names()?.into_iter().filter(|name| !name.token.content.is_empty()) {
            // What has a name is special, whatever else is said of it.
            match (places.get(&token.content), known.get(&token.content)) {
                (Some(at), _) => tokens[*at].token.special = true,
                (None, known) => {
                    let token = AddedToken { special: true, ..known.cloned().unwrap_or(token) };
                    places.insert(token.content.clone(), tokens.len());
                    tokens.push(Token { id: None, token, file: self.file(&key) });
                }
            }
        }
        Ok(tokens
            .into_iter()
            .filter(|one| known.get(&one.token.content) != Some(&one.token) || one.id.is_some())
            .collect())
    }

    /// What the settings give an id, by id.
    fn listed(&self) -> Refused<Vec<Token>> {
        let file = self.file(DECODER);
        let list = match self.settings.get(DECODER) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Object(list)) => list,
            Some(_) => return Err(format!("{DECODER} of {file} is not an object")),
        };
        let entry = |(id, value): (&String, &Value)| -> Refused<Token> {
            let what = || format!("{DECODER} of {file} has no token under the id {}", quoted(id));
            let token = token_of(value, false).ok_or_else(what)?;
            Ok(Token { id: Some(id.parse().map_err(|_| what())?), token, file })
        };
        let mut tokens: Vec<Token> = list.iter().map(entry).collect::<Refused<_>>()?;
        tokens.sort_by_key(|one| one.id);
        Ok(tokens)
    }

    /// Every token that has a name or is in a list of special ones.
    fn names(&self) -> Refused<Vec<Name>> {
        let (mut names, mut taken) = (Vec::new(), HashSet::new());
        let mut put = |key: &str, name: Option<&str>, value: &Value| -> Refused<()> {
            if value.is_null() {
                return Ok(());
            }
            let Some(token) = token_of(value, true) else {
                return Err(format!("{key} of {} is neither a text nor a token", self.file(key)));
            };
            // The same name under two keys: the first counts.
            if name.is_some_and(|name| !taken.insert(name.to_owned())) {
                return Ok(());
            }
            if taken.len() > MOST_NAMES {
                return Err(format!("more than {MOST_NAMES} names of tokens in {}", self.file(key)));
            }
            names.push(Name { key: key.to_owned(), name: name.map(str::to_owned), token });
            Ok(())
        };
        for role in ROLES {
            if let Some(value) = self.settings.get(role) {
                put(role, Some(role), value)?;
            }
        }
        // Names of a model's own, such as `image_token`; a flag such as `add_bos_token` is none.
        let is_own = |(key, value): &(&String, &Value)| {
            key.ends_with("_token") && !ROLES.contains(&key.as_str()) && token_of(value, true).is_some()
        };
        for (key, value) in self.settings.iter().filter(is_own) {
            put(key.as_str(), Some(key.as_str()), value)?;
        }
        for list in LISTS {
            match self.settings.get(list) {
                None | Some(Value::Null) => {}
                Some(Value::Array(tokens)) => tokens.iter().try_for_each(|value| put(list, None, value))?,
                Some(Value::Object(tokens)) => {
                    tokens.iter().try_for_each(|(name, value)| put(list, Some(name.as_str()), value))?;
                }
                Some(_) => return Err(format!("{list} of {} is neither a list nor an object", self.file(list))),
            }
        }
        Ok(names)
    }

    /// Which file a key of the settings is from.
    fn file(&self, key: &str) -> &'static str {
        self.others.get(key).copied().unwrap_or(CONFIG)
    }
}

/// A special token, as it is named.
struct Name {
    /// The key of the settings under which it stands.
    key: String,
    /// What a template calls it.
    name: Option<String>,
    token: AddedToken,
}

/// A token is a text, or an object with the text under `content` and flags beside it.
fn token_of(value: &Value, special: bool) -> Option<AddedToken> {
    let map = match value {
        Value::String(content) => return Some(AddedToken::from(content.as_str(), special)),
        Value::Object(map) => map,
        _ => return None,
    };
    let flag = |name: &str, usual: bool| map.get(name).and_then(Value::as_bool).unwrap_or(usual);
    let special = flag("special", special);
    Some(AddedToken {
        content: map.get("content")?.as_str()?.to_owned(),
        single_word: flag("single_word", false),
        lstrip: flag("lstrip", false),
        rstrip: flag("rstrip", false),
        normalized: flag("normalized", !special),
        special,
    })
}

/// A JSON object that need not be there.
fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match foreign::optional_json(path, Kind::TokenizerConfig)? {
        None => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(Error::malformed(path, "not a JSON object")),
    }
}
