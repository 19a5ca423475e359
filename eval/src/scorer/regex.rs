//! Regex: finds the answer in a text by a pattern.
//! Knows nothing about numbers or labels: what was found is compared as text.

use crate::task::Figures;
use ::regex::RegexBuilder;
use serde::{Deserialize, Serialize};

use super::{Answer, Scored, Scorer, Target, best, normal_form, readable};
use crate::{Error, Reason, work};

/// The capture group that is compared with the target.
pub const GROUP: &str = "answer";

/// Bytes of a pattern that is read.
const MOST_PATTERN_BYTES: usize = 64 << 10;
/// Bytes of an answer times bytes of a compiled pattern, some tens of which are one state.
const MOST_BYTES_TIMES_SIZE: usize = 1 << 36;
/// Characters of a bad pattern that are shown.
const SHOWN_CHARS: usize = 200;

/// What a task says about this scorer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The pattern; the first match counts. With a group `(?<answer>...)` what it captured must equal the target,
    /// without one a match is enough and the target is not read.
    pub pattern: String,
    /// Compare what was captured without case. The pattern itself folds case with `(?i)`.
    #[serde(default)]
    pub fold_case: bool,
}

/// 1 when the pattern matches and what it captured, if it captures, is the target.
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: ::regex::Regex,
    /// The longest answer that is matched, in bytes.
    most_bytes: usize,
    captures: bool,
    fold_case: bool,
}

impl Regex {
    /// The scorer of these options.
    ///
    /// # Errors
    /// When the pattern is no regular expression.
    pub fn build(options: Options) -> Result<Self, Error> {
        let bad = |message: String| {
            let pattern = options.pattern.chars().take(SHOWN_CHARS).collect();
            Error::BadRegex { pattern, message }
        };
        if options.pattern.len() > MOST_PATTERN_BYTES {
            return Err(bad(format!(
                "it has {} bytes, and at most {MOST_PATTERN_BYTES} are read",
                options.pattern.len()
            )));
        }
        let pattern = ::regex::Regex::new(&options.pattern).map_err(|error| bad(error.to_string()))?;
        // A match takes at worst the length of the answer times the size of the compiled pattern.
        let fits = |size: &usize| RegexBuilder::new(&options.pattern).size_limit(*size).build().is_ok();
        let size = (14..24).step_by(2).map(|bits| 1 << bits).find(fits).unwrap_or(1 << 24);
        let most_bytes = (MOST_BYTES_TIMES_SIZE / size).min(work::MOST_BYTES);
        let captures = pattern.capture_names().any(|name| name == Some(GROUP));
        Ok(Self { pattern, most_bytes, captures, fold_case: options.fold_case })
    }

    fn form(&self, text: &str) -> String {
        let text = normal_form(text);
        if self.fold_case { text.to_lowercase() } else { text }
    }
}

impl Scorer for Regex {
    fn name(&self) -> &'static str {
        "regex"
    }

    fn policy(&self) -> String {
        let pattern = self.pattern.as_str();
        let case = if self.fold_case { "case is folded" } else { "case counts" };
        if self.captures {
            format!(
                "the first match of `{pattern}` in Unicode normal form C; what its group `{GROUP}` captured must equal the target, trimmed, {case}; no match cannot be read and scores 0"
            )
        } else {
            format!("the answer, in Unicode normal form C, matches `{pattern}`; the target is not read")
        }
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid]
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let text = match readable(answer) {
            Ok(text) => text,
            Err(scored) => return scored,
        };
        if text.len() > self.most_bytes {
            return Scored::unscored(format!(
                "an answer of {} bytes is not matched with this pattern, one of at most {} is",
                text.len(),
                self.most_bytes
            ));
        }
        if !self.captures {
            return Scored::right_or_wrong(self.pattern.is_match(&text));
        }
        let Some(found) = self.pattern.captures(&text).and_then(|captures| captures.name(GROUP)) else {
            return Scored::unparsed(Reason::NoMatch);
        };
        let found = self.form(found.as_str());
        best(target, |wanted| Scored::right_or_wrong(self.form(wanted) == found))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish, Parse};

    fn check(pattern: &str, text: &str, target: &str, expect: (f64, Parse)) {
        let completion = Completion::of(text, Finish::Stop);
        let scorer = Regex::build(Options { pattern: pattern.to_owned(), fold_case: true }).unwrap();
        let scored = scorer.score(Answer::Written(&completion), Target { text: target, ..Target::default() });
        assert_eq!((scored.score, scored.parse), (Some(expect.0), expect.1), "{text:?}");
    }

    #[test]
    fn what_the_group_captured_is_compared_and_a_text_without_a_match_cannot_be_read() {
        let pattern = "(?i)answer: *(?<answer>[a-z]+)";
        check(pattern, "I think so.\nANSWER: Blue", "blue", (1.0, Parse::Parsed));
        check(pattern, "answer: red", "blue", (0.0, Parse::Parsed));
        check(pattern, "blue", "blue", (0.0, Parse::Unparsed { reason: Reason::NoMatch }));
        // A group that took no part in the match captured nothing.
        check("x|(?<answer>y)", "x", "y", (0.0, Parse::Unparsed { reason: Reason::NoMatch }));
    }

    #[test]
    fn without_the_group_a_match_alone_is_right() {
        check(r"^\d{4}$", "2024", "anything", (1.0, Parse::Parsed));
        check(r"^\d{4}$", "in 2024", "anything", (0.0, Parse::Parsed));
    }

    #[test]
    fn large_patterns_are_matched_with_short_answers_only() {
        let of = |pattern: &str| Regex::build(Options { pattern: pattern.to_owned(), fold_case: false }).unwrap();
        assert_eq!(of("answer: (?<answer>[a-z]+)").most_bytes, work::MOST_BYTES);
        let large = of(r"(\w{1,30} ){1,3}x");
        assert!((4_000..200_000).contains(&large.most_bytes), "{}", large.most_bytes);
        let text = "a".repeat(large.most_bytes + 1);
        let completion = Completion::of(text, Finish::Stop);
        let scored = large.score(Answer::Written(&completion), Target::default());
        assert!(matches!(scored.parse, Parse::Unscored { .. }), "{:?}", scored.parse);
        let long = Regex::build(Options { pattern: "a".repeat(100_000), fold_case: false }).unwrap_err().to_string();
        assert!(long.contains("100000 bytes") && long.len() < 1_000, "{long}");
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_refused_with_a_hint() {
        let error = Regex::build(Options { pattern: "(".to_owned(), fold_case: false }).unwrap_err().to_string();
        assert!(error.starts_with("the pattern \"(\" is no regular expression"), "{error}");
        assert!(error.contains("\nhint: "), "{error}");
    }
}
