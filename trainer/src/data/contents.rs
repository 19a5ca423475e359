//! Owns what the content of a message may be and where it has to stand: it is text and never control, and a chat template
//! leaves none of it out. Rows that are learnt, rows that are scored and prompts that are asked pass here alike.
//! Knows messages and what was rendered of them; knows no row, no file and no count.

use std::fmt;
use std::ops::Range;

use eval::reasoning::{MARKS, content};
use model::chat_template::{ChatMessage, holds};
use model::tokenizer::Tokenizer;

/// What is wrong with a template, a tokenizer or a message, shown at one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\nhint: {}", self.what, self.hint)
    }
}

impl std::error::Error for Mismatch {}

/// The first special token that a message writes as text: once encoded it would end a turn or begin another.
#[must_use]
pub fn control(tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Option<String> {
    messages.iter().find_map(|message| {
        // Reasoning stands between marks that are special tokens in some models; an answer may write them.
        let is_mark =
            |token: &String| message.role == "assistant" && MARKS.iter().any(|(a, b)| token == a || token == b);
        tokenizer.special_tokens_in(&message.content).into_iter().find(|one| !is_mark(one))
    })
}

/// The same as an error, for whoever asks and has no row to leave out.
pub fn refuse_control(tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Result<(), Mismatch> {
    control(tokenizer, messages).map_or(Ok(()), |token| Err(of_control(&token)))
}

/// A message that holds a special token.
pub(super) fn of_control(token: &str) -> Mismatch {
    mismatch(
        format!("a message holds the special token {token} as text"),
        "content is text and never control: take the token out, or write it in another way; what a model sees around a \
         message is written by its chat template",
    )
}

/// What messages say must stand in the text that was rendered of them: a template may drop a system message, or reasoning
/// that is to be learnt. `spans` are those of the last answers; with `all`, what stands outside of them is learnt too.
/// `system` is the system message that is given to rows without one.
pub fn check(
    messages: &[ChatMessage],
    text: &str,
    spans: &[Range<usize>],
    all: bool,
    system: Option<&str>,
) -> Result<(), Mismatch> {
    let answers = messages.iter().filter(|message| message.role == "assistant").count();
    let mut spans = std::iter::repeat_n(None, answers.saturating_sub(spans.len())).chain(spans.iter().map(Some));
    let mut read = 0;
    for message in messages {
        let span = if message.role == "assistant" { spans.next().flatten() } else { None };
        let is_learnt = span.is_some() || all;
        // Reasoning of an answer that is only read is dropped when the model serves, too.
        let content = if is_learnt { message.content.as_str() } else { content(&message.content) }.trim();
        // Messages mostly stand in their order, so that each is looked for behind the one before it.
        match text[read..].find(content) {
            Some(at) => read += at + content.len(),
            None if stands_elsewhere(messages, text, content) => {}
            None => return Err(left_out(message, is_learnt, system)),
        }
        if let Some(span) = span
            && !holds(&text[span.clone()], content_of_answer(content))
        {
            return Err(left_out(message, is_learnt, system));
        }
    }
    Ok(())
}

/// Whether a message stands in a text out of its order, or with other white space; as often as messages say it.
fn stands_elsewhere(messages: &[ChatMessage], text: &str, content: &str) -> bool {
    match messages.iter().filter(|message| message.content.trim() == content).count() {
        0 | 1 => holds(text, content),
        said => text.matches(content).count() >= said,
    }
}

/// What comes behind the reasoning of an answer.
fn content_of_answer(text: &str) -> &str {
    content(text).trim()
}

/// A template that does not write all of a message.
fn left_out(message: &ChatMessage, is_learnt: bool, system: Option<&str>) -> Mismatch {
    const SHOWN: usize = 60;
    let reasons = is_learnt && content(&message.content).len() < message.content.len();
    let shown: String = message.content.trim().chars().take(SHOWN).collect();
    let (what, hint) = match message.role.as_str() {
        "system" if system == Some(message.content.as_str()) => (
            "the system text of data.system or --system",
            "leave out data.system and --system, and say it around the question with data.prompt, a file with {{ text }} \
             in it",
        ),
        "system" => (
            "the system text of the row",
            "write it into the first question of the row, or around every question with data.prompt, a file with \
             {{ text }} in it",
        ),
        "assistant" if reasons => (
            "the reasoning of the answer",
            "this chat template drops think blocks from written answers: take them out of the rows, or take a base whose \
             template keeps them",
        ),
        _ => ("a message", "use the chat template that the model was made for, or take the row out"),
    };
    mismatch(format!("the chat template leaves out {what}: {shown:?}"), hint)
}

pub(super) fn mismatch(what: impl Into<String>, hint: impl Into<String>) -> Mismatch {
    Mismatch { what: what.into(), hint: hint.into() }
}
