//! Which placeholder stands for which value, and the way back. It lives in memory only: it cannot be serialised and does not print its values.
//! Knows nothing about how values are found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// The values that one prompt hides.
#[derive(Clone, Default)]
pub struct Originals {
    by_placeholder: HashMap<String, String>,
    by_value: HashMap<(String, String), String>,
    numbers: HashMap<String, usize>,
    taken: HashSet<String>,
    hidden: BTreeMap<String, usize>,
}

/// An answer with its values back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The text.
    pub text: String,
    /// How many placeholders became values.
    pub num_restored: usize,
    /// Placeholders of the labels in use that stand for nothing: the model made them up.
    pub unknown: Vec<String>,
}

impl Originals {
    /// How many values are hidden, by kind; the same value counts each time it occurs.
    pub fn hidden(&self) -> &BTreeMap<String, usize> {
        &self.hidden
    }

    /// How many placeholders there are.
    pub fn num_values(&self) -> usize {
        self.by_placeholder.len()
    }

    /// Puts the values back into an answer.
    ///
    /// An answer that is JSON stays JSON: values are escaped as its strings demand. A value with several spellings
    /// comes back in the first one.
    pub fn restore(&self, answer: &str) -> Restored {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(answer).is_ok();
        let (mut text, mut num_restored, mut unknown) = (String::with_capacity(answer.len()), 0, Vec::new());
        let mut at = 0;
        for found in shape().into_iter().flat_map(|shape| shape.find_iter(answer)) {
            text.push_str(&answer[at..found.start()]);
            at = found.end();
            match self.by_placeholder.get(found.as_str()) {
                Some(value) => {
                    num_restored += 1;
                    text.push_str(&if is_json { escaped(value) } else { value.clone() });
                }
                None => {
                    if label(found.as_str()).is_some_and(|label| self.numbers.contains_key(label)) {
                        unknown.push(found.as_str().to_owned());
                    }
                    text.push_str(found.as_str());
                }
            }
        }
        text.push_str(&answer[at..]);
        Restored { text, num_restored, unknown }
    }

    /// Keeps a placeholder that is already in the prompt from being given to a value.
    pub(super) fn reserve(&mut self, placeholder: &str) {
        if !self.by_placeholder.contains_key(placeholder) {
            self.taken.insert(placeholder.to_owned());
        }
    }

    /// The placeholder of a value; `canonical` is what its spellings have in common.
    pub(super) fn placeholder(&mut self, kind: &str, canonical: String, original: &str) -> String {
        *self.hidden.entry(kind.to_owned()).or_default() += 1;
        let label = kind.to_ascii_uppercase();
        let key = (label.clone(), canonical);
        if let Some(known) = self.by_value.get(&key) {
            return known.clone();
        }
        let number = self.numbers.entry(label.clone()).or_default();
        let placeholder = loop {
            *number += 1;
            let candidate = format!("[{label}_{number}]");
            if !self.taken.contains(&candidate) {
                break candidate;
            }
        };
        self.by_value.insert(key, placeholder.clone());
        self.by_placeholder.insert(placeholder.clone(), original.to_owned());
        placeholder
    }
}

impl fmt::Debug for Originals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Originals").field("hidden", &self.hidden).finish_non_exhaustive()
    }
}

/// What looks like a placeholder of any label; none if the expression did not compile.
pub(super) fn shape() -> Option<&'static Regex> {
    static SHAPE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\[[A-Z](?:_?[A-Z0-9]+)*_[1-9][0-9]{0,4}\]").ok());
    SHAPE.as_ref()
}

/// The label of a placeholder.
pub(super) fn label(placeholder: &str) -> Option<&str> {
    placeholder.trim_matches(['[', ']']).rsplit_once('_').map(|(label, _)| label)
}

fn escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_made_up_placeholders_are_told() {
        let mut originals = Originals::default();
        assert_eq!(originals.placeholder("name", "a".into(), "say \"A\""), "[NAME_1]");
        let restored = originals.restore("[NAME_1] met [NAME_2] in [ROOM_1]");
        assert_eq!((restored.text.as_str(), restored.num_restored), ("say \"A\" met [NAME_2] in [ROOM_1]", 1));
        assert_eq!(restored.unknown, ["[NAME_2]"]);
        assert_eq!(originals.restore("{\"who\":\"[NAME_1]\"}").text, r#"{"who":"say \"A\""}"#);
    }

    #[test]
    fn debug_output_holds_counts_and_no_values() {
        let mut originals = Originals::default();
        originals.placeholder("email", "a@b.de".into(), "a@b.de");
        let shown = format!("{originals:?}");
        assert!(shown.contains("\"email\": 1") && !shown.contains("a@b.de"), "{shown}");
    }
}
