//! Label: reads a written answer as one of the closed labels, forgiving case, quotes and a final full stop.
//! Knows nothing about synonyms: an answer that only contains a label is not that label.

use super::{Answer, Scored, Scorer, Target, normal_form, readable};
use crate::Reason;
use crate::task::Figures;

/// 1 when the normalised answer is the target's label; unparsed when it is no label at all.
#[derive(Clone, Copy, Debug)]
pub struct Label;

impl Scorer for Label {
    fn name(&self) -> &'static str {
        "label"
    }

    fn policy(&self) -> String {
        "white space, one pair of quotes and a final full stop are removed, case is folded, Unicode normal form C; the rest must equal one of the labels".to_owned()
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid, Figures::Labels]
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let text = match readable(answer) {
            Ok(text) => text,
            Err(scored) => return scored,
        };
        let wanted = normalise(&text);
        match target.labels.iter().find(|label| normalise(label) == wanted) {
            Some(label) => {
                Scored { label: Some(label.clone()), ..Scored::right_or_wrong(normalise(target.text) == wanted) }
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
        let completion =
            Completion { text: text.to_owned(), finish: Finish::Stop, prompt_tokens: 1, completion_tokens: 1 };
        let target = Target { text: "Termination", labels: &labels, ..Target::default() };
        let scored = Label.score(Answer::Written(&completion), target);
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
}
