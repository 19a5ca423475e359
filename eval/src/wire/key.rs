//! The key of a provider, which no log, report or error can show.
//! Knows nothing about the environment but the question it asks of it.

use std::fmt;

use crate::Error;

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
