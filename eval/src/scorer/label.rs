//! Label: reads a written answer as one of the closed labels, forgiving case, quotes and a final full stop.
//! Knows no synonyms but those that were declared: an answer that only contains a label is not that label.

use crate::task::Figures;
use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Answer, OfTarget, Scored, Scorer, Target, normal_form, readable};
use crate::{Error, Reason};

/// What a task may say about this scorer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// For each label other ways to write it: `{ termination = ["end of term"] }`.
    pub aliases: BTreeMap<String, Vec<String>>,
}

/// 1 when the normalised answer is the target's label or a declared alias of it; unparsed when it is no label at all.
#[derive(Clone, Debug)]
pub struct Label {
    /// The label of each alias, both normalised.
    aliases: BTreeMap<String, String>,
    /// Where each normalised label stands among the closed labels; empty when they are not known beforehand.
    places: BTreeMap<String, usize>,
}

impl Label {
    /// Without aliases.
    pub const fn plain() -> Self {
        Self { aliases: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// The scorer of these options over the closed labels, which must not mean the same among themselves.
    ///
    /// # Errors
    /// When two labels are the same, when aliases belong to no label, or when an alias is empty or could mean two labels.
    pub fn build(options: Options, labels: &[String]) -> Result<Self, Error> {
        // What each written form means, to find the second meaning.
        let mut meanings: BTreeMap<String, &str> = BTreeMap::new();
        for label in labels {
            if let Some(first) = meanings.insert(normalise(label), label) {
                return Err(Error::DuplicateLabel { first: first.to_owned(), second: label.clone() });
            }
        }
        let mut aliases = BTreeMap::new();
        let known: HashSet<&String> = labels.iter().collect();
        for (label, others) in &options.aliases {
            if !known.contains(label) {
                return Err(Error::UnknownAliasLabel { label: label.clone(), known: labels.to_vec() });
            }
            for alias in others {
                let form = normalise(alias);
                if form.is_empty() {
                    return Err(Error::BadOption { option: "aliases", expected: "texts that are not empty" });
                }
                match meanings.insert(form.clone(), label) {
                    Some(other) if other != label => {
                        let (alias, label, other) = (alias.clone(), label.clone(), other.to_owned());
                        return Err(Error::AmbiguousAlias { alias, label, other });
                    }
                    _ => aliases.insert(form, normalise(label)),
                };
            }
        }
        let places = labels.iter().enumerate().map(|(at, label)| (normalise(label), at)).collect();
        Ok(Self { aliases, places })
    }
}

impl Scorer for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn policy(&self) -> String {
        let mut policy = "white space, one pair of quotes and a final full stop are removed, case is folded, Unicode normal form C; the rest must equal one of the labels".to_owned();
        if !self.aliases.is_empty() {
            let aliases: Vec<_> =
                self.aliases.iter().map(|(alias, label)| format!("\"{alias}\" = \"{label}\"")).collect();
            policy.push_str(&format!(" or a declared alias: {}", aliases.join(", ")));
        }
        policy
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid, Figures::Labels]
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn of_target(&self) -> OfTarget {
        OfTarget::Right
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let form = match readable(answer) {
            Ok(text) => normalise(&text),
            Err(scored) => return scored,
        };
        let named = self.aliases.get(&form).unwrap_or(&form);
        // One look-up, where the labels are those that the scorer was made of: each answer would else read all of them.
        let found = match self.places.get(named).and_then(|&at| target.labels.get(at)) {
            Some(label) if normalise(label) == *named => Some(label),
            None if self.places.len() == target.labels.len() => None,
            _ => target.labels.iter().find(|label| normalise(label) == *named),
        };
        match found {
            Some(label) => {
                Scored { label: Some(label.clone()), ..Scored::right_or_wrong(normalise(target.text) == *named) }
            }
            None => Scored::unparsed(Reason::NotALabel),
        }
    }
}

/// A label or an answer in the form in which they are compared.
pub fn normalise(text: &str) -> String {
    let text = normal_form(text);
    let without_stop = strip_stop(&text);
    let inner = strip_quotes(without_stop);
    // The full stop may stand inside the quotes or outside, but only one is removed.
    let inner = if without_stop.len() == text.len() { strip_stop(inner) } else { inner };
    inner.trim().to_lowercase()
}

fn strip_stop(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text).trim_end()
}

fn strip_quotes(text: &str) -> &str {
    const PAIRS: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»')];
    PAIRS.iter().find_map(|&(open, close)| text.strip_prefix(open)?.strip_suffix(close)).unwrap_or(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish, Parse};

    fn check(text: &str, expect: Option<&str>) {
        let labels = vec!["Termination".to_owned(), "no. 2".to_owned()];
        let completion = Completion::of(text, Finish::Stop);
        let target = Target { text: "Termination", labels: &labels, ..Target::default() };
        let scored = Label::plain().score(Answer::Written(&completion), target);
        assert_eq!(scored.label.as_deref(), expect, "{text:?}");
        let right = expect == Some("Termination");
        assert_eq!(scored.score, Some(if right { 1.0 } else { 0.0 }), "{text:?}");
        assert_eq!(scored.parse == Parse::Parsed, expect.is_some(), "{text:?}");
    }

    #[test]
    fn case_quotes_and_one_full_stop_are_forgiven_and_nothing_else() {
        for text in ["termination", " TERMINATION. ", "\"termination\"", "“Termination.”", "'termination'."] {
            check(text, Some("Termination"));
        }
        check("no. 2.", Some("no. 2"));
        for text in ["termination..", "the termination", "\"termination", "termination clause", ".", "\"\""] {
            check(text, None);
        }
    }

    fn build(labels: &[&str], aliases: &[(&str, &[&str])]) -> Result<Label, Error> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let aliases = aliases.iter().map(|&(label, others)| (label.to_owned(), owned(others))).collect();
        Label::build(Options { aliases }, &owned(labels))
    }

    #[test]
    fn a_declared_alias_names_its_label_and_is_forgiven_the_same() {
        let labels = ["Termination".to_owned(), "Assignment".to_owned()];
        let scorer = build(&["Termination", "Assignment"], &[("Termination", &["ending", "End of Contract"])]).unwrap();
        let score = |text: &str| {
            let completion = Completion::of(text, Finish::Stop);
            let target = Target { text: "Termination", labels: &labels, ..Target::default() };
            let scored = scorer.score(Answer::Written(&completion), target);
            (scored.label, scored.score)
        };
        assert_eq!(score("\"ENDING.\""), (Some("Termination".to_owned()), Some(1.0)));
        assert_eq!(score("end of contract"), (Some("Termination".to_owned()), Some(1.0)));
        assert_eq!(score("termination"), (Some("Termination".to_owned()), Some(1.0)));
        assert_eq!(score("assignment"), (Some("Assignment".to_owned()), Some(0.0)));
        assert_eq!(score("end"), (None, Some(0.0)));
        assert!(scorer.policy().contains("\"ending\" = \"termination\""));
    }

    #[test]
    fn an_alias_that_could_mean_two_labels_is_refused() {
        let message = |labels: &[&str], aliases: &[(&str, &[&str])]| build(labels, aliases).unwrap_err().to_string();
        let ambiguous = message(&["a", "b"], &[("a", &["x"]), ("b", &["X."])]);
        assert!(ambiguous.starts_with("alias \"X.\" of label \"b\" already means label \"a\""), "{ambiguous}");
        assert!(
            message(&["a", "b"], &[("a", &["B"])]).starts_with("alias \"B\" of label \"a\" already means label \"b\"")
        );
        assert!(message(&["a"], &[("c", &["x"])]).starts_with("aliases are declared for \"c\""));
        assert!(message(&["a", "A."], &[]).starts_with("labels \"a\" and \"A.\" are the same"));
        assert!(message(&["a"], &[("a", &["."])]).starts_with("aliases must be"));
        // A label that is declared as its own alias, or twice, says nothing new.
        assert!(build(&["a", "b"], &[("a", &["A", "x", "X"])]).is_ok());
    }
}
