//! Spans: named entities with their place and type, as JSON or as a tag sequence.
//! Knows nothing about reading, aligning or matching; those are `crate::spans`.

use crate::task::Figures;
use serde::{Deserialize, Serialize};

use super::{Answer, Scored, Scorer, Tally, Target, best, written};
use crate::json::without_fence;
use crate::spans::read::{Problem, Reading};
use crate::spans::{Decoding, Mode, matching, read, tags};
use crate::work::{TooMuch, Work};
use crate::{Error, Parse, Reason};

/// What `Scored::sums` holds, in this order.
pub const SUMS: [&str; 2] = ["spans said twice", "spans not in the text"];

/// What a task may say about this scorer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How answers and targets are written.
    pub form: Form,
    /// When a span is right; the mode is part of the metric's name.
    pub mode: Mode,
    /// How tag sequences are read, for `form = "tags"`.
    pub decoding: Decoding,
    /// Remove one code fence around the whole answer.
    pub lenient: bool,
}

/// How answers and targets are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A list of objects with `type` or `label`, and either `start` and `end` or `text`.
    #[default]
    Json,
    /// One IOB2 tag for each token of the row; the target says how many tokens there are.
    Tags,
}

/// F1 over the spans of a row, with counts by type.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    options: Options,
}

impl Spans {
    /// With the default options.
    pub const fn plain() -> Self {
        Self { options: Options { form: Form::Json, mode: Mode::Strict, decoding: Decoding::Conll, lenient: false } }
    }

    /// The scorer of these options.
    ///
    /// # Errors
    /// When a decoding of tags is asked for and answers are not tags.
    pub fn build(options: Options) -> Result<Self, Error> {
        if options.form == Form::Json && options.decoding != Decoding::default() {
            return Err(Error::BadOption { option: "decoding", expected: "left out unless form is \"tags\"" });
        }
        Ok(Self { options })
    }

    fn judge(self, text: Result<&str, &Scored>, wanted: &str, source: &str, work: &mut Work) -> Scored {
        let (wanted, num_tokens) = match self.wanted(wanted, source, work) {
            Ok(wanted) => wanted,
            Err(problem) => return Scored::unscored(format!("the target cannot be read: {problem}")),
        };
        let missed = |scored: Scored| {
            let tally = matching::tally(self.options.mode, &[], &wanted.spans, &mut Work::of_a_judgement());
            let counts = tally.map(Tally::into_counts).unwrap_or_default();
            Scored { counts, sums: vec![0.0; SUMS.len()], ..scored }
        };
        let text = match text {
            Ok(text) if self.options.lenient => without_fence(text),
            Ok(text) => text,
            Err(scored) => return missed(scored.clone()),
        };
        match self.predicted(text, source, num_tokens, work) {
            // What it would have missed counts, so that the figures over all rows do not rise without it.
            Ok(predicted) => match self.compare(&predicted, &wanted, work) {
                Ok(scored) => scored,
                Err(much) => missed(Scored::unscored(much.to_string())),
            },
            Err(scored) if scored.score.is_none() && source.is_empty() => scored,
            Err(scored) => missed(scored),
        }
    }

    fn compare(self, predicted: &Reading, wanted: &Reading, work: &mut Work) -> Result<Scored, TooMuch> {
        let mut tally: Tally = matching::tally(self.options.mode, &predicted.spans, &wanted.spans, work)?;
        predicted.not_in_text.iter().for_each(|kind| tally.predicted(kind));
        let tally = tally.checked()?;
        let (duplicates, not_in_text) = (predicted.duplicates, predicted.not_in_text.len());
        let scored = Scored::graded(tally.f1());
        let note = (duplicates + not_in_text > 0)
            .then(|| format!("{duplicates} spans said twice, {not_in_text} spans not in the text"));
        Ok(Scored { counts: tally.into_counts(), sums: vec![duplicates as f64, not_in_text as f64], note, ..scored })
    }

    /// The right spans and, for tags, how many tokens there are.
    fn wanted(self, text: &str, source: &str, work: &mut Work) -> Result<(Reading, usize), String> {
        if self.options.form == Form::Tags {
            let tags = tags::read(text)?;
            return Ok((self.decoded(&tags), tags.len()));
        }
        let reading = read::read(text, source, work).map_err(|problem| match problem {
            Problem::NotJson(message) | Problem::OtherShape(message) => message,
            Problem::NoSource => NO_SOURCE.to_owned(),
            Problem::TooMuch(much) => much.to_string(),
        })?;
        match reading.not_in_text.first() {
            Some(kind) => Err(format!("a span of type {kind} is not in the text")),
            None => Ok((reading, 0)),
        }
    }

    fn predicted(self, text: &str, source: &str, num_tokens: usize, work: &mut Work) -> Result<Reading, Scored> {
        if self.options.form == Form::Tags {
            let bad = |message| Scored::unparsed(Reason::BadTags).with_note(message);
            let tags = tags::read(text).map_err(bad)?;
            if tags.len() != num_tokens {
                return Err(bad(format!("{} tags for {num_tokens} tokens", tags.len())));
            }
            return Ok(self.decoded(&tags));
        }
        read::read(text, source, work).map_err(|problem| match problem {
            Problem::NotJson(message) => Scored::unparsed(Reason::InvalidJson).with_note(message),
            Problem::OtherShape(message) => Scored::unparsed(Reason::SchemaViolation).with_note(message),
            Problem::NoSource => Scored::unscored(NO_SOURCE),
            Problem::TooMuch(much) => Scored::unscored(much.to_string()),
        })
    }

    fn decoded(self, tags: &[tags::Tag]) -> Reading {
        Reading { spans: tags::decode(tags, self.options.decoding), ..Reading::default() }
    }
}

const NO_SOURCE: &str = "spans are given by their text and the row has no source text";

impl Scorer for Spans {
    fn name(&self) -> &'static str {
        match (self.options.decoding, self.options.mode) {
            (Decoding::Conll, Mode::Strict) => "spans",
            (Decoding::Conll, Mode::Exact) => "spans_exact",
            (Decoding::Conll, Mode::Type) => "spans_type",
            (Decoding::Conll, Mode::Partial) => "spans_partial",
            (Decoding::Iob2, Mode::Strict) => "spans_iob2",
            (Decoding::Iob2, Mode::Exact) => "spans_iob2_exact",
            (Decoding::Iob2, Mode::Type) => "spans_iob2_type",
            (Decoding::Iob2, Mode::Partial) => "spans_iob2_partial",
        }
    }

    fn policy(&self) -> String {
        let fence = if self.options.lenient { "one code fence around the whole answer is removed; " } else { "" };
        let mode = match self.options.mode {
            Mode::Strict => "the same start, end and type are right",
            Mode::Exact => "the same start and end are right, types are not read",
            Mode::Type => "the same type and an overlap of at least 1 % of the wanted span are right",
            Mode::Partial => {
                "the same start and end are right, an overlap of at least 1 % of the wanted span gives half a credit, types are not read"
            }
        };
        let form = match (self.options.form, self.options.decoding) {
            (Form::Json, _) => {
                "a JSON list of spans with half-open offsets in Unicode scalar values, or with texts that take the first unused exact occurrence; what is not in the text is a false positive, what is said twice is removed, and both are counted; further keys are not read"
            }
            (Form::Tags, Decoding::Conll) => {
                "one IOB2 tag for each token; an I- that continues no span opens one; any other number of tags cannot be read"
            }
            (Form::Tags, Decoding::Iob2) => {
                "one IOB2 tag for each token; an I- that continues no span is none; any other number of tags cannot be read"
            }
        };
        format!("{fence}F1 over spans; {mode}; {form}; a row without spans on both sides scores 1")
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid, Figures::Fields]
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        match written(answer) {
            // No answer at all is missing, and what is missing counts nowhere.
            Err(scored) if matches!(scored.parse, Parse::Unscored { .. }) => scored,
            text => {
                let mut work = Work::of_a_judgement();
                best(target, |wanted| self.judge(text.as_deref(), wanted, target.source, &mut work))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish};

    const TAGS: Options = Options { form: Form::Tags, mode: Mode::Strict, decoding: Decoding::Conll, lenient: false };

    fn score(options: Options, text: &str, wanted: &str, source: &str, finish: Finish) -> Scored {
        let completion = Completion::of(text, finish);
        let target = Target { text: wanted, source, ..Target::default() };
        Spans::build(options).unwrap().score(Answer::Written(&completion), target)
    }

    fn count(scored: &Scored, name: &str) -> (f64, f64, f64) {
        let count = scored.counts.iter().find(|count| count.name == name).unwrap();
        (count.credit, count.predicted, count.wanted)
    }

    #[test]
    fn the_sentences_of_seqeval_give_its_values_in_both_decodings() {
        let sentences = [
            ("O O B-MISC I-MISC I-MISC O", "O O B-MISC I-MISC O O"),
            ("B-PER I-PER O I-LOC O", "B-PER I-PER O I-LOC B-LOC"),
        ];
        for (decoding, expect) in [(Decoding::Conll, 0.571_428_571_428_571_5), (Decoding::Iob2, 0.4)] {
            let mut sums = [0.0; 3];
            for (wanted, predicted) in sentences {
                let scored = score(Options { decoding, ..TAGS }, predicted, wanted, "", Finish::Stop);
                for count in &scored.counts {
                    sums = [sums[0] + count.credit, sums[1] + count.predicted, sums[2] + count.wanted];
                }
            }
            assert!((2.0 * sums[0] / (sums[1] + sums[2]) - expect).abs() < 1e-12, "{decoding:?}");
        }
    }

    #[test]
    fn texts_are_looked_up_in_the_source_and_what_is_not_there_is_a_false_positive() {
        let wanted = r#"[{"type": "PER", "start": 0, "end": 3}, {"type": "LOC", "start": 12, "end": 16}]"#;
        let said =
            r#"[{"type": "PER", "text": "Ann"}, {"type": "PER", "text": "Bob"}, {"type": "PER", "text": "Ann"}]"#;
        let scored = score(Options::default(), said, wanted, "Ann went to Rome", Finish::Stop);
        assert_eq!(scored.score, Some(0.5));
        assert_eq!((count(&scored, "PER"), count(&scored, "LOC")), ((1.0, 2.0, 1.0), (0.0, 0.0, 1.0)));
        assert_eq!(scored.sums, [1.0, 1.0]);
        assert_eq!(scored.note.as_deref(), Some("1 spans said twice, 1 spans not in the text"));
    }

    #[test]
    fn no_spans_wanted_and_none_said_is_right() {
        assert_eq!(score(Options::default(), "[]", "[]", "x", Finish::Stop).score, Some(1.0));
        assert_eq!(score(TAGS, "O O", "O O", "", Finish::Stop).score, Some(1.0));
        let said = r#"[{"type": "A", "text": "x"}]"#;
        assert_eq!(score(Options::default(), said, "[]", "x", Finish::Stop).score, Some(0.0));
    }

    #[test]
    fn an_answer_that_cannot_be_read_misses_every_wanted_span() {
        let wanted = r#"[{"type": "PER", "start": 0, "end": 3}]"#;
        for (text, finish, reason) in [
            ("[", Finish::Stop, Reason::InvalidJson),
            ("{}", Finish::Stop, Reason::SchemaViolation),
            (wanted, Finish::Length, Reason::Truncated),
            (wanted, Finish::Timeout, Reason::TimedOut),
        ] {
            let scored = score(Options::default(), text, wanted, "Ann", finish);
            assert_eq!((scored.score, &scored.parse), (Some(0.0), &Parse::Unparsed { reason }), "{text}");
            assert_eq!(count(&scored, "PER"), (0.0, 0.0, 1.0));
        }
        let tags = score(TAGS, "B-PER", "B-PER O", "", Finish::Stop);
        assert_eq!(tags.parse, Parse::Unparsed { reason: Reason::BadTags });
        assert_eq!((tags.note.as_deref(), count(&tags, "PER")), (Some("1 tags for 2 tokens"), (0.0, 0.0, 1.0)));
    }

    #[test]
    fn a_fault_of_the_data_is_unscored_and_never_a_pass() {
        let text = r#"[{"type": "PER", "text": "Ann"}]"#;
        for (said, wanted, source) in [(text, text, ""), (text, text, "Bob"), (text, "[]", ""), ("[]", "no list", "x")]
        {
            let scored = score(Options::default(), said, wanted, source, Finish::Stop);
            assert_eq!((scored.score, scored.counts.len()), (None, 0), "{wanted}");
        }
    }

    #[test]
    fn options_are_strict() {
        let options = Options { decoding: Decoding::Iob2, ..Options::default() };
        assert!(Spans::build(options).unwrap_err().to_string().starts_with("decoding must be left out"));
        assert!(toml::from_str::<Options>("mode = \"fuzzy\"").is_err());
        assert!(toml::from_str::<Options>("modes = \"strict\"").is_err());
        let fenced = "```json\n[]\n```";
        assert_eq!(
            score(Options { lenient: true, ..Options::default() }, fenced, "[]", "x", Finish::Stop).score,
            Some(1.0)
        );
    }
}
