//! What a template writes around an answer: where its prompt ends, what stands before and behind the content, and the
//! token that ends the turn. Found by rendering an answer that nobody says, never by knowing a template.
//! Knows text and messages; knows no token ids and no rows.

use super::own_block::empty_block;
use super::{ChatMessage, ChatTemplate};
use crate::error::{Error, Result};

/// A word that no message says.
const PROBE: &str = "Vqx7kZ9w";
/// Most bytes that are looked through for where a written turn leaves the prompt.
const MOST_BYTES: usize = 4096;

/// What stands around an answer to a conversation. `prompt` ends with `opened`; a written answer is
/// `before + content + after`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// What the model is given: the messages with the generation prompt.
    pub prompt: String,
    /// The end of the prompt that is part of what the answer says: a block that the prompt opens and no written turn has.
    pub opened: String,
    /// Between the prompt and the content.
    pub before: String,
    /// Behind the content, up to the end of the token that ends the turn.
    pub after: String,
    /// The token that ends the turn, which `after` ends with; empty where it is no special token.
    pub end: String,
}

impl Frame {
    /// The content in what a model wrote, without the token that ended it: the template's own text is taken off where it
    /// stands as it was learnt.
    #[must_use]
    pub fn content<'text>(&self, written: &'text str) -> &'text str {
        let behind = self.after.strip_suffix(&self.end).unwrap_or(&self.after);
        let text = written.strip_prefix(&self.before).unwrap_or(written);
        let text = text.strip_suffix(behind).unwrap_or(text);
        // A token at the edge may take white space of both sides with it.
        let whole = |framed: &str| framed.trim().len();
        if text.len() < written.len() || whole(&self.before) + whole(behind) == 0 {
            return text;
        }
        let text = written.trim_start().strip_prefix(self.before.trim()).map_or(written, str::trim_start);
        text.trim_end().strip_suffix(behind.trim()).map_or(text, str::trim_end)
    }

    /// What the model has to write after the prompt so that it says `content`, without `after`.
    ///
    /// Where the prompt opens a block, content that opens it goes on from there, and with `close` other content closes it
    /// first; without, it is an error.
    fn answer(&self, content: &str, close: bool) -> Result<String> {
        let mark = self.opened.trim();
        if mark.is_empty() {
            return Ok(format!("{}{content}", self.before));
        }
        if let Some(rest) = content.trim_start().strip_prefix(mark) {
            let line = |text: &str| text.ends_with('\n');
            return Ok(if line(&self.opened) { rest.strip_prefix('\n').unwrap_or(rest) } else { rest }.to_owned());
        }
        match closing(mark) {
            Some(closing) if close => Ok(format!("\n{closing}\n\n{content}")),
            Some(closing) => Err(Error::template(format!(
                "the generation prompt opens a think block ({mark}), and the answer has no reasoning\nhint: write the \
                 reasoning into the rows as {mark}...{closing} before the answer (nothing in between closes the block at \
                 once), or learn it closed with data.close_think_block = true"
            ))),
            None => Err(Error::template(format!(
                "the generation prompt ends with {mark:?}, which a written answer does not have\nhint: the template \
                 writes a turn differently when it asks for one: begin the answers of the rows with it"
            ))),
        }
    }
}

impl ChatTemplate {
    /// What the template writes around an answer to these messages.
    ///
    /// # Errors
    /// When the template does not render, leaves the answer out, or asks and writes so differently that nobody can tell
    /// where the answer begins.
    pub fn frame(&self, messages: &[ChatMessage]) -> Result<Frame> {
        let prompt = self.render(messages, true)?;
        let (start, rest) = self.around_answer(messages)?;
        let (start, rest) = (start.as_str(), rest.as_str());
        let after = &rest[..self.end_of_turn(rest)];
        let ends = self.special.all.iter().filter(|token| !token.is_empty() && after.ends_with(token.as_str()));
        let end = ends.max_by_key(|token| token.len()).cloned().unwrap_or_default();
        let (opened, before) = if let Some(before) = start.strip_prefix(prompt.as_str()) {
            (String::new(), before.to_owned())
        } else if let Some(opened) = prompt.strip_prefix(start) {
            // A block that the prompt closes too is none that an answer goes on with.
            let closed = matches!(empty_block(opened), Some((_, "")));
            (if closed { String::new() } else { opened.to_owned() }, String::new())
        } else {
            let last = messages.last().map_or("", |message| message.content.trim());
            let before = leaves(&prompt, start, last).ok_or_else(|| {
                Error::template(format!(
                    "message {} does not follow the generation prompt: with it the text so far ends {:?}, without it the \
                     turn is written after {:?}",
                    messages.len(),
                    super::spans::tail(&prompt),
                    super::spans::tail(start)
                ))
            })?;
            (String::new(), before.to_owned())
        };
        Ok(Frame { prompt, opened, before, after: after.to_owned(), end })
    }

    /// The text in front of an answer that nobody says, and the text behind it.
    pub(super) fn around_answer(&self, messages: &[ChatMessage]) -> Result<(String, String)> {
        let answer = ChatMessage { role: "assistant".to_owned(), content: PROBE.to_owned() };
        let written = self.render(&[messages, &[answer]].concat(), false)?;
        let around = written.rsplit_once(PROBE).map(|(start, rest)| (start.to_owned(), rest.to_owned()));
        around.ok_or_else(|| {
            let what = "the template leaves out what the assistant says";
            Error::template(format!("message {} renders to nothing: {what}", messages.len()))
        })
    }

    /// The token that ends an answer, as it is learnt; none where a special token does not end it.
    #[must_use]
    pub fn end_of_answer(&self) -> Option<String> {
        let frame = self.frame(&[question()]).ok()?;
        (!frame.end.is_empty()).then_some(frame.end)
    }

    /// The text that is learnt where a written turn is not what the model is asked for, or leaves out some of what it
    /// says: the prompt, the content, the end. It is what a model sees and writes when it serves.
    pub(super) fn as_asked(&self, messages: &[ChatMessage], content: &str, close: bool) -> Result<String> {
        let frame = self.frame(messages)?;
        let answer = frame.answer(content, close)?;
        Ok(format!("{}{answer}{}", frame.prompt, frame.after))
    }
}

/// A question that every template takes.
pub(super) fn question() -> ChatMessage {
    ChatMessage { role: "user".to_owned(), content: "?".to_owned() }
}

/// Of a text that goes on from a prompt with another beginning, what follows where the two last agree. They must agree on
/// the last message.
fn leaves<'text>(prompt: &str, text: &'text str, last: &str) -> Option<&'text str> {
    let agreed = |until: usize| -> usize {
        let both = text.as_bytes()[..until].iter().rev().zip(prompt.as_bytes().iter().rev());
        both.take_while(|(one, other)| one == other).count()
    };
    let ends = (text.len().saturating_sub(MOST_BYTES)..=text.len()).rev().filter(|end| text.is_char_boundary(*end));
    let best = ends.map(|end| (agreed(end), end)).max();
    let (agreed, end) = best.unwrap_or_default();
    let common = String::from_utf8_lossy(&text.as_bytes()[end - agreed..end]);
    (agreed > 0 && common.contains(last)).then(|| &text[end..])
}

/// How a block that was opened with a mark is closed: `<x>` by `</x>`, `[X]` by `[/X]`.
pub(super) fn closing(mark: &str) -> Option<String> {
    let (open, close) = [('<', '>'), ('[', ']')].into_iter().find(|(open, _)| mark.starts_with(*open))?;
    let name = mark.strip_prefix(open)?.strip_suffix(close)?;
    let is_name = !name.is_empty() && !name.contains([open, close, '/']) && !name.contains(char::is_whitespace);
    is_name.then(|| format!("{open}/{name}{close}"))
}

#[cfg(test)]
mod tests;
