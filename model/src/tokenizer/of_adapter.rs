//! Owns the tokenizer and the chat template that an adapter folder brings: what it was trained with, where it fits the base.
//! Knows no weights.

use std::path::Path;

use super::side_files::{FILES, Told};
use super::{Tokenizer, templates};
use crate::error::{Error, Result};
use crate::foreign::{self, quoted};

/// What an adapter folder brings that is not as in its base. Both are used in place of the base's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Tokens, or the names of some.
    pub tokenizer: bool,
    /// A chat template.
    pub template: bool,
}

impl Tokenizer {
    /// The tokenizer of an adapter folder, over that of its base: what the folder does not have is the base's. `None` where it
    /// has neither a tokenizer nor a template.
    pub(crate) fn of_adapter(folder: &Path, base: Option<&Tokenizer>) -> Result<Option<Self>> {
        let file = folder.join(FILES[0].0);
        if foreign::is_there(&file) {
            let mut own = Self::from_file(&file)?;
            own.template = own.template.or_else(|| base?.template.clone());
            return Ok(Some(own));
        }
        // A tokenizer in a form that is not read here still names its tokens.
        let names_tokens = Told::is_in(folder);
        let Some(base) = base.filter(|_| names_tokens || templates::is_in(folder)) else { return Ok(None) };
        let mut told = Told::read(folder)?;
        told.template = told.template.or_else(|| base.template.clone());
        if !names_tokens {
            told.settings = base.settings.clone();
        }
        Self::from_parts(base.json.clone(), told).map(Some).map_err(|error| match error {
            Error::Tokenizer { what } => Error::Adapter { path: folder.to_path_buf(), what },
            other => other,
        })
    }

    /// Refuses a tokenizer that reads an id otherwise than that of the base, which the weights were made with.
    pub(crate) fn refuse_other_ids(&self, base: &Tokenizer, folder: &Path) -> Result<()> {
        if self.json == base.json {
            return Ok(());
        }
        let vocabulary = self.inner.get_vocab(true);
        let is_other = |(token, id): &(&String, &u32)| match base.inner.token_to_id(token) {
            Some(of_base) => of_base != **id,
            None => base.inner.id_to_token(**id).is_some(),
        };
        let Some((token, id)) = vocabulary.iter().filter(is_other).min_by_key(|(_, id)| **id) else { return Ok(()) };
        let in_base = match (base.inner.token_to_id(token), base.inner.id_to_token(*id)) {
            (Some(of_base), _) => format!("the base gives it {of_base}"),
            (None, other) => format!("in the base {id} is {}", quoted(&other.unwrap_or_default())),
        };
        let what = format!(
            "its tokenizer gives token {} the id {id}, and {in_base}\n\
             hint: name the base that it was trained on; if it is this one, take the tokenizer's files out of the folder, \
             and those of the base are used",
            quoted(token)
        );
        Err(Error::Adapter { path: folder.to_path_buf(), what })
    }

    /// In what this differs from the tokenizer of a base.
    pub(crate) fn brings(&self, base: Option<&Tokenizer>) -> Brought {
        let Some(base) = base else { return Brought { tokenizer: true, template: self.template.is_some() } };
        let ids = self.json != base.json || self.fingerprint() != base.fingerprint();
        Brought { tokenizer: ids || self.special != base.special, template: self.template != base.template }
    }
}
