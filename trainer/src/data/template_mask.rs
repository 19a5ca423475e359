//! Owns the way from a conversation to token ids with a mask of what is learnt. The mask comes from the spans that the
//! chat template rendered, never from token ids and never from searching the text.
//! Knows no file and no count of rows: it decides about one row, and says why.

use std::ops::Range;

use model::chat_template::{ChatMessage, ChatTemplate, SpecialTokens};
use model::tokenizer::Tokenizer;

use super::contents::{self, Mismatch, mismatch};
use crate::config::raw::{Overflow, TrainOn};

/// Messages of a talk whose answers are found without another thought.
const FEW_MESSAGES: usize = 64;
/// Answers times messages of a talk in which every answer is learnt: a talk of 1,400 messages, some seconds of work.
const MOST_RENDERINGS: usize = 1_000_000;

/// One row, ready to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Of the record.
    pub id: String,
    /// Document or owner of the record.
    pub group: String,
    /// The whole conversation.
    pub ids: Vec<u32>,
    /// Whether a token is learnt.
    pub supervised: Vec<bool>,
    /// Tokens before the target: what the model is given when it is asked.
    pub prompt_tokens: usize,
}

impl Sample {
    /// Tokens that are learnt. The first token has nothing before it and never counts.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        self.supervised.iter().skip(1).filter(|supervised| **supervised).count()
    }
}

/// How rows become samples.
#[derive(Debug, Clone, Copy)]
pub struct Masking<'a> {
    /// Text to ids.
    pub tokenizer: &'a Tokenizer,
    /// Messages to text.
    pub template: &'a ChatTemplate,
    /// Which tokens are learnt.
    pub train_on: TrainOn,
    /// The longest row.
    pub max_tokens: usize,
    /// What happens to a longer one.
    pub overflow: Overflow,
    /// The system message that the config gives to rows without one.
    pub system: Option<&'a str>,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is used, whole or cut.
    Used(Sample, Option<Cut>),
    /// It is left out.
    Refused(Refusal),
}

/// What was cut off a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Tokens that are gone.
    pub tokens: usize,
    /// Tokens that would have been learnt and are not.
    pub supervised_tokens: usize,
}

/// Why a row is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A message holds the text of a special token, which would end a turn or begin another.
    SpecialToken(String),
    /// Nothing in it would be learnt.
    NothingSupervised,
    /// It has more answers than can be told apart in its text in reasonable time.
    TooManyTurns,
    /// It has more tokens than allowed.
    TooLong(usize),
    /// Cutting it to the limit would take away what is to be learnt.
    TargetCut(usize),
}

impl Refusal {
    /// Tokens of a row that is too long.
    #[must_use]
    pub fn tokens(&self) -> Option<usize> {
        match self {
            Refusal::TooLong(tokens) | Refusal::TargetCut(tokens) => Some(*tokens),
            _ => None,
        }
    }
}

impl Masking<'_> {
    /// Makes a sample of a conversation that ends with the target. Answers whose place is among `unlearnt`, which is in
    /// order, are not learnt.
    pub fn sample(
        &self,
        id: &str,
        group: &str,
        messages: &[ChatMessage],
        unlearnt: &[usize],
    ) -> Result<Outcome, Mismatch> {
        if let Some(token) = contents::control(self.tokenizer, messages) {
            return Ok(Outcome::Refused(Refusal::SpecialToken(token)));
        }
        if let Some(refusal) = self.too_many_turns(messages)? {
            return Ok(Outcome::Refused(refusal));
        }
        let rendered = match self.train_on {
            TrainOn::Assistant => self.template.render_with_spans(messages),
            TrainOn::Last | TrainOn::All => self.template.render_last_span(messages),
        };
        let rendered = rendered.map_err(|error| of_model(&error))?;
        let text = rendered.text;
        let learnt: Vec<bool> =
            rendered.assistant.iter().map(|turn| unlearnt.binary_search(&turn.message).is_err()).collect();
        let spans: Vec<Range<usize>> = rendered.assistant.into_iter().map(|turn| turn.span).collect();
        let Some(target) = spans.last().cloned() else { return Ok(Outcome::Refused(Refusal::NothingSupervised)) };
        let prompt = rendered.prompt;
        check_prompt(&prompt, &text, &target)?;
        contents::check(messages, &text, &spans, self.train_on == TrainOn::All, self.system)?;
        let tokens = self.tokenizer.encode_with_offsets(&text).map_err(|error| of_model(&error))?;
        let ids: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
        let pieces = Pieces::new(&text, tokens.into_iter().map(|(_, range)| range).collect());
        self.check_start(&ids)?;
        let turns: Vec<Range<usize>> = spans.iter().map(|span| pieces.within(span)).collect::<Result<_, _>>()?;
        let prompt_tokens = pieces.before(prompt.len())?;
        let served = self.tokenizer.encode(&prompt).map_err(|error| of_model(&error))?;
        if ids.get(..prompt_tokens) != Some(served.as_slice()) {
            return Err(mismatch(
                "the tokens of the generation prompt are not those the training text begins with",
                "the tokenizer joins prompt and answer: end the template's generation prompt where a token ends",
            ));
        }
        let turn = turns.last().cloned().unwrap_or_default();
        let answer = messages.last().map_or("", |answer| answer.content.trim());
        self.check_end(&ids, &pieces, &turn, answer, &prompt)?;
        let turns = turns.into_iter().zip(learnt).filter_map(|(turn, learnt)| learnt.then_some(turn));
        let turns: Vec<Range<usize>> = turns.collect();
        let mut supervised = vec![self.train_on == TrainOn::All; ids.len()];
        supervised.iter_mut().take(1).for_each(|first| *first = false);
        if self.train_on != TrainOn::All {
            turns.iter().for_each(|turn| supervised[turn.clone()].fill(true));
        }
        let sample = Sample { id: id.to_owned(), group: group.to_owned(), ids, supervised, prompt_tokens };
        if sample.supervised_tokens() == 0 {
            return Ok(Outcome::Refused(Refusal::NothingSupervised));
        }
        Ok(self.fit(sample, &turns))
    }

    /// A template that marks nothing is rendered again for each answer that is learnt, so that the time grows with the
    /// square of the turns. Of a long talk it is looked first whether it is too long to be learnt anyway.
    fn too_many_turns(&self, messages: &[ChatMessage]) -> Result<Option<Refusal>, Mismatch> {
        if self.train_on != TrainOn::Assistant || messages.len() <= FEW_MESSAGES || self.template.marks_generation() {
            return Ok(None);
        }
        if self.overflow == Overflow::Refuse {
            let text = self.template.render(messages, false).map_err(|error| of_model(&error))?;
            let tokens = self.tokenizer.encode(&text).map_err(|error| of_model(&error))?.len();
            if tokens > self.max_tokens {
                return Ok(Some(Refusal::TooLong(tokens)));
            }
        }
        let answers = messages.iter().filter(|message| message.role == "assistant").count();
        let renderings = answers.saturating_mul(messages.len());
        Ok((renderings > MOST_RENDERINGS).then_some(Refusal::TooManyTurns))
    }

    fn check_start(&self, ids: &[u32]) -> Result<(), Mismatch> {
        let Some(bos) = &self.tokenizer.special_tokens().bos_token else { return Ok(()) };
        let id = self.tokenizer.token_id(bos);
        match ids {
            [first, second, ..] if Some(*first) == id && first == second => Err(mismatch(
                format!("the row begins with {bos} twice"),
                "the template writes the start token more than once: take one out",
            )),
            _ => Ok(()),
        }
    }

    /// The target must hold a token that ends a turn, or the model never learns to stop.
    ///
    /// It is the last one, but for text of the template behind it that is marked as generated too, such as a line end:
    /// that is learnt, as transformers does it, and never asked for. What stands before the answer ends nothing.
    fn check_end(
        &self,
        ids: &[u32],
        pieces: &Pieces<'_>,
        turn: &Range<usize>,
        answer: &str,
        prompt: &str,
    ) -> Result<(), Mismatch> {
        let special = self.tokenizer.special_tokens();
        let name = |at: usize| ids.get(at).and_then(|id| self.tokenizer.token(*id));
        let ends = |at: &usize| name(*at).is_some_and(|token| special.all.contains(&token));
        let last = turn.end.checked_sub(1).filter(|last| turn.contains(last));
        if last.is_some_and(|last| ends(&last)) {
            return Ok(());
        }
        let end = turn.clone().rev().find(ends).filter(|_| self.template.marks_generation());
        if let Some(end) = end {
            let (before, behind) = (pieces.text(turn.start..end), pieces.text(end + 1..turn.end));
            if behind.trim().is_empty() && !before.trim().is_empty() || !answer.is_empty() && before.contains(answer) {
                return Ok(());
            }
        }
        match last.and_then(name) {
            Some(token) => Err(mismatch(
                format!("the answer ends with {token:?}, not with an end-of-turn token, so the model would never stop"),
                format!(
                    "write an end-of-turn token after each answer in the chat template: {}",
                    ends_of_turn(special, prompt).join(", ")
                ),
            )),
            None => Err(mismatch("the answer has no token", "look at the chat template")),
        }
    }

    /// Leaves a row as it is, cuts it or refuses it.
    fn fit(&self, mut sample: Sample, turns: &[Range<usize>]) -> Outcome {
        let tokens = sample.ids.len();
        let Some(over) = tokens.checked_sub(self.max_tokens).filter(|over| *over > 0) else {
            return Outcome::Used(sample, None);
        };
        let kept = match self.overflow {
            Overflow::Refuse => return Outcome::Refused(Refusal::TooLong(tokens)),
            Overflow::TruncateLeft => over..tokens,
            Overflow::TruncateRight => 0..self.max_tokens,
        };
        // A token is learnt from those before it, so one has to be left in front of the target.
        let whole = |turn: &Range<usize>| turn.start > kept.start && turn.end <= kept.end;
        let stays = match (self.overflow, self.train_on) {
            (Overflow::TruncateRight, TrainOn::All) => true,
            (Overflow::TruncateRight, TrainOn::Assistant) => turns.iter().any(whole),
            _ => turns.last().is_some_and(whole),
        };
        if !stays {
            return Outcome::Refused(Refusal::TargetCut(tokens));
        }
        let before = sample.supervised_tokens();
        if self.train_on != TrainOn::All {
            // Half an answer is not learnt.
            turns.iter().filter(|turn| !whole(turn)).for_each(|turn| sample.supervised[turn.clone()].fill(false));
        }
        sample.ids = sample.ids[kept.clone()].to_vec();
        sample.supervised = sample.supervised[kept.clone()].to_vec();
        sample.supervised.iter_mut().take(1).for_each(|first| *first = false);
        sample.prompt_tokens = sample.prompt_tokens.saturating_sub(kept.start).min(sample.ids.len());
        let cut = Cut { tokens: over, supervised_tokens: before - sample.supervised_tokens() };
        Outcome::Used(sample, Some(cut))
    }
}

/// The text the model is given when it is asked must be how the training text begins, up to where the target does.
fn check_prompt(prompt: &str, text: &str, target: &Range<usize>) -> Result<(), Mismatch> {
    if !text.starts_with(prompt) {
        return Err(mismatch(
            "the generation prompt is not how the training text begins",
            "the template writes a turn differently when it asks for one: what is trained would never be served",
        ));
    }
    if prompt.len() < target.start {
        return Err(mismatch(
            format!("the model would have to write {:?} first, which is not learnt", &text[prompt.len()..target.start]),
            "begin the template's {% generation %} where its generation prompt ends",
        ));
    }
    Ok(())
}

/// The bytes of each token of a text.
struct Pieces<'a> {
    text: &'a str,
    ranges: Vec<Range<usize>>,
    /// Whether starts and ends come in the order of the text, as those of every tokenizer in use do.
    is_ordered: bool,
}

impl<'a> Pieces<'a> {
    fn new(text: &'a str, ranges: Vec<Range<usize>>) -> Self {
        let is_ordered = ranges.is_sorted_by(|one, next| one.start <= next.start && one.end <= next.end);
        Self { text, ranges, is_ordered }
    }

    /// The tokens that lie in a span. A token that lies partly in it is a mismatch.
    fn within(&self, span: &Range<usize>) -> Result<Range<usize>, Mismatch> {
        Ok(self.before(span.start)?..self.before(span.end)?)
    }

    /// The text of tokens that stand one after the other.
    fn text(&self, tokens: Range<usize>) -> &'a str {
        match self.ranges.get(tokens) {
            Some([first, .., last]) => self.text.get(first.start..last.end).unwrap_or_default(),
            Some([only]) => self.text.get(only.clone()).unwrap_or_default(),
            _ => "",
        }
    }

    /// Number of tokens that end at or before a byte.
    fn before(&self, edge: usize) -> Result<usize, Mismatch> {
        let across = |range: &&Range<usize>| range.start < edge && edge < range.end;
        let is_before = |range: &Range<usize>| range.end <= edge && range.start < edge;
        // A look-up for each edge: a talk has as many edges as turns, and as many tokens again.
        let (count, found) = if self.is_ordered {
            let count = self.ranges.partition_point(is_before);
            let ended = self.ranges.partition_point(|range| range.end <= edge);
            (count, self.ranges.get(ended).filter(across))
        } else {
            (self.ranges.iter().take_while(|range| is_before(range)).count(), self.ranges.iter().find(across))
        };
        match found {
            Some(range) => Err(mismatch(
                format!(
                    "the token of {:?} lies across the edge of an answer",
                    self.text.get(range.clone()).unwrap_or("…")
                ),
                "the tokenizer joins template and answer: put a special token or a line end between them",
            )),
            None => Ok(count),
        }
    }
}

/// The tokens that may end a turn: the one that is named for it, else those that neither begin a text or a turn nor stand
/// for nothing.
fn ends_of_turn<'a>(special: &'a SpecialTokens, prompt: &str) -> Vec<&'a str> {
    if let Some(named) = &special.eos_token {
        return vec![named];
    }
    let stands = special.all.iter().filter(|token| !token.is_empty() && prompt.contains(token.as_str()));
    let opens = stands.max_by_key(|token| prompt.rfind(token.as_str()));
    let others = [special.bos_token.as_ref(), special.pad_token.as_ref(), special.unk_token.as_ref(), opens];
    special.all.iter().filter(|token| !others.contains(&Some(*token))).map(String::as_str).collect()
}

/// An error of the template with its own hint, if it has one.
fn of_model(error: &model::Error) -> Mismatch {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((what, hint)) => mismatch(what, hint),
        None => mismatch(text, "the chat template does not take this row: correct the row or the template"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
