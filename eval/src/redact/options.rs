//! What a config says about redaction, and the redactor that it asks for.
//! Knows nothing about other sections of a config.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ALL, Kind, NATIONAL, Names, Pattern, Redactor, national};
use crate::Error;

/// The most patterns of one config.
const MOST_PATTERNS: usize = 64;

/// The section `[redact]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactOptions {
    /// Kinds to hide, by name; `national_id` means every national number. All kinds unless said otherwise.
    pub kinds: Vec<String>,
    /// A file with one name on each line.
    pub names: Option<PathBuf>,
    /// Patterns of your own.
    pub patterns: Vec<PatternOptions>,
}

/// One pattern of your own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternOptions {
    /// Small letters, digits and underscores; `case_number` gives `[CASE_NUMBER_1]`.
    pub label: String,
    /// A regular expression (syntax of the Rust crate `regex`), matched against the folded text.
    pub pattern: String,
}

impl Default for RedactOptions {
    fn default() -> Self {
        Self {
            kinds: ALL.iter().map(|kind| kind.name().to_owned()).chain([NATIONAL.to_owned()]).collect(),
            names: None,
            patterns: Vec::new(),
        }
    }
}

impl RedactOptions {
    /// The redactor; a relative path of the names file starts at `folder`.
    ///
    /// # Errors
    /// Everything that is wrong, at once: unknown kinds, a names file that cannot be read or used, bad patterns, labels that
    /// occur twice, and options that hide nothing at all.
    pub fn redactor(&self, folder: &Path) -> Result<Redactor, Vec<Error>> {
        let (mut kinds, mut errors): (Vec<Box<dyn Kind>>, _) = (Vec::new(), Vec::new());
        if let Some(path) = &self.names {
            match read_names(&folder.join(path)) {
                Ok(names) => kinds.push(Box::new(names)),
                Err(error) => errors.push(error),
            }
        }
        let built_in = || ALL.into_iter().chain(national::ALL);
        for name in &self.kinds {
            let known = name == NATIONAL || built_in().any(|kind| kind.name() == name);
            if !known {
                let names = built_in().map(|kind| kind.name().to_owned()).chain([NATIONAL.to_owned()]);
                errors.push(Error::UnknownKind { name: name.clone(), known: names.collect() });
            }
        }
        let wanted = |kind: &dyn Kind, group: Option<&str>| {
            self.kinds.iter().any(|name| name == kind.name() || Some(name.as_str()) == group)
        };
        kinds.extend(ALL.into_iter().filter(|kind| wanted(*kind, None)).map(boxed));
        kinds.extend(national::ALL.into_iter().filter(|kind| wanted(*kind, Some(NATIONAL))).map(boxed));
        if self.patterns.len() > MOST_PATTERNS {
            return Err(vec![Error::TooManyPatterns { found: self.patterns.len(), most: MOST_PATTERNS }]);
        }
        for PatternOptions { label, pattern } in &self.patterns {
            match Pattern::new(label, pattern) {
                Ok(_) if label == "name" || label == NATIONAL || built_in().any(|kind| kind.name() == label) => {
                    errors.push(Error::TakenLabel { label: label.clone() });
                }
                Ok(_) if kinds.iter().any(|kind| kind.name() == label) => {
                    errors.push(Error::TakenLabel { label: label.clone() });
                }
                Ok(pattern) => kinds.push(Box::new(pattern)),
                Err(error) => errors.push(error),
            }
        }
        if kinds.is_empty() && errors.is_empty() {
            errors.push(Error::HidesNothing);
        }
        if errors.is_empty() { Ok(Redactor::new(kinds)) } else { Err(errors) }
    }
}

fn boxed(kind: &'static dyn Kind) -> Box<dyn Kind> {
    Box::new(kind)
}

fn read_names(path: &Path) -> Result<Names, Error> {
    let text = ground::read::text(path, ground::read::Kind::Prompt)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Names::from_lines(&text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_config_becomes_a_redactor() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names.txt"), "Jane Roe\n").unwrap();
        let options: RedactOptions = toml::from_str(
            "kinds = [\"email\", \"national_id\"]\nnames = \"names.txt\"\n[[patterns]]\nlabel = \"docket\"\npattern = 'No\\. [0-9]+'\n",
        )
        .unwrap();
        let redactor = options.redactor(folder.path()).unwrap();
        let (text, _) = redactor.redact_text("Jane Roe, a@b.de, AB123456C, No. 7, 030 1234567");
        assert_eq!(text, "[NAME_1], [EMAIL_1], [UK_NINO_1], [DOCKET_1], 030 1234567");
    }

    #[test]
    fn all_errors_come_at_once_with_hints() {
        let options = RedactOptions {
            kinds: vec!["emial".to_owned()],
            names: Some("nowhere.txt".into()),
            patterns: vec![
                PatternOptions { label: "x".to_owned(), pattern: "(".to_owned() },
                PatternOptions { label: "email".to_owned(), pattern: "y".to_owned() },
            ],
        };
        let errors = options.redactor(Path::new("folder")).unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert!(
            messages.iter().all(|message| message.contains("hint: ") || message.contains("nowhere.txt")),
            "{messages:?}"
        );
        let nothing = RedactOptions { kinds: Vec::new(), ..RedactOptions::default() };
        assert!(nothing.redactor(Path::new("")).unwrap_err()[0].to_string().starts_with("the redactor hides nothing"));
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        assert!(toml::from_str::<RedactOptions>("kind = [\"email\"]").is_err());
    }
}
