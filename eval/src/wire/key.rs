//! The key of a provider, which no log, report or error can show.
//! Knows nothing about the environment but the question it asks of it.

use std::fmt;

use super::spelling;
use crate::Error;

/// The longest key that may be a word, such as the `EMPTY` or `ollama` that servers of one's own are given.
const LONGEST_WORD: usize = 11;

/// A key; printing it in any way shows `[key]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key that `lookup` has under `variable`; none when it is unset or blank.
    ///
    /// # Errors
    /// When it could not stand in a header.
    pub fn from_environment(variable: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let Some(value) = lookup(variable) else { return Ok(None) };
        // A key read from a file by a shell often ends in a line break.
        let value = value.trim();
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::BadKey { variable: variable.to_owned() });
        }
        Ok((!value.is_empty()).then(|| Self(value.to_owned())))
    }

    /// The key itself, for the one header it stands in.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Text that came from outside, with `[key]` wherever the key stands in it, however it is spelt.
    pub fn hide(&self, text: &str) -> String {
        spelling::without(text, &self.0).into_owned()
    }

    /// Whether it is no secret but a word that stands for one, which an answer may hold for its own reasons.
    pub fn is_word(&self) -> bool {
        let letters = self.0.bytes().all(|byte| byte.is_ascii_alphabetic());
        self.0.len() < 6 || letters && self.0.len() <= LONGEST_WORD
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn read(value: Option<&str>) -> Result<Option<Key>, Error> {
        Key::from_environment("OPENAI_API_KEY", |name| {
            assert_eq!(name, "OPENAI_API_KEY");
            value.map(str::to_owned)
        })
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let key = read(Some(" sk-secret\n")).unwrap().unwrap();
        assert_eq!(key.reveal(), "sk-secret");
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "[key] [key] Some([key])");
    }

    #[test]
    fn a_word_that_stands_for_a_key_is_told_from_a_secret() {
        for word in ["x", "EMPTY", "ollama", "dummy"] {
            assert!(read(Some(word)).unwrap().unwrap().is_word(), "{word}");
        }
        for secret in ["sk-test", "sk-secret", "gsk_1234", "abcdefghijklmnop"] {
            assert!(!read(Some(secret)).unwrap().unwrap().is_word(), "{secret}");
        }
    }

    #[test]
    fn unset_and_blank_are_no_key() {
        assert_eq!(read(None).unwrap(), None);
        assert_eq!(read(Some(" \n")).unwrap(), None);
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_without_being_shown() {
        for value in ["sk-a\nb", "sk-ä", "two words"] {
            let error = read(Some(value)).unwrap_err().to_string();
            assert!(error.contains("OPENAI_API_KEY") && !error.contains(value), "{error}");
        }
    }
}
