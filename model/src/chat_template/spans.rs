//! Which bytes of a rendered conversation the assistant must produce.
//! Taken from the template's `generation` marks where it has them, else from rendering the conversation turn by turn.
//! Never from searching the text for marker strings.

use std::ops::Range;

use super::{ChatMessage, ChatTemplate};
use crate::error::{Error, Result};

/// The bytes that one assistant message contributes, as the model must produce them.
///
/// Found turn by turn, they begin where the generation prompt ends and end with the end-of-turn token; template text
/// after that token is not part. Marked by the template, they are exactly what it marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssistantSpan {
    /// Index of the message.
    pub message: usize,
    /// Byte range of the rendered text.
    pub span: Range<usize>,
}

/// A rendered conversation with its assistant spans in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text, as [`ChatTemplate::render`] gives it without a generation prompt.
    pub text: String,
    /// What a model is given when the last of these answers is asked for.
    pub prompt: String,
    /// One span for each assistant message that was asked for.
    pub assistant: Vec<AssistantSpan>,
}

impl ChatTemplate {
    /// Renders a conversation with the span of every assistant message.
    ///
    /// Fails if the template writes an earlier turn differently once it is history: then the text that would be trained
    /// is not what the model writes when it serves.
    pub fn render_with_spans(&self, messages: &[ChatMessage]) -> Result<Rendered> {
        let turns: Vec<usize> = (0..messages.len()).filter(|at| messages[*at].role == "assistant").collect();
        if !self.marks_generation && turns == [messages.len() - 1] {
            return self.render_last_span(messages);
        }
        let (text, marked) = self.render_marked(messages, false)?;
        if self.marks_generation {
            let assistant = attribute(marked, &turns)?;
            let last = turns.last().map(|last| self.render(&messages[..*last], true)).transpose()?;
            return Ok(Rendered { text, prompt: last.unwrap_or_default(), assistant });
        }
        let (mut assistant, mut prompt) = (Vec::<AssistantSpan>::with_capacity(turns.len()), String::new());
        for message in turns {
            let so_far = self.render(&messages[..=message], false)?;
            prompt = self.render(&messages[..message], true)?;
            let span = self.turn(&prompt, message, &so_far)?;
            let expected = so_far.get(..span.end).unwrap_or(&so_far);
            if !text.starts_with(expected) || assistant.last().is_some_and(|last| last.span.end > span.start) {
                return Err(Error::template(format!(
                    "message {message} is written differently once more messages follow\nhint: this template rewrites \
                     history (for instance, it drops earlier reasoning); train with train_on = \"last\", or split the \
                     conversation so that each answer comes last once"
                )));
            }
            assistant.push(AssistantSpan { message, span });
        }
        Ok(Rendered { text, prompt, assistant })
    }

    /// Renders a conversation with the span of its last message, which must be the assistant's.
    ///
    /// Where the template writes that turn differently from what it asks for, or leaves out some of what it says, the text
    /// is the generation prompt with the answer and the end of a turn: what a model sees and writes when it serves.
    pub fn render_last_span(&self, messages: &[ChatMessage]) -> Result<Rendered> {
        self.last_span(messages, self.closes_block)
    }

    /// The same for an answer that need not be a row: where the prompt opens a think block that the answer does not go on
    /// with, it is closed first.
    pub fn render_last_answer(&self, messages: &[ChatMessage]) -> Result<Rendered> {
        self.last_span(messages, true)
    }

    fn last_span(&self, messages: &[ChatMessage], close: bool) -> Result<Rendered> {
        let message = match messages.last() {
            Some(last) if last.role == "assistant" => messages.len() - 1,
            _ => return Err(Error::template("the last message is not the assistant's")),
        };
        let messages = &*self.once(messages);
        let (before, content) = (&messages[..message], messages[message].content.as_str());
        let (text, marked) = self.render_marked(messages, false)?;
        let prompt = self.render(before, true)?;
        let span = if self.marks_generation {
            let turns: Vec<usize> = (0..messages.len()).filter(|at| messages[*at].role == "assistant").collect();
            // A template may mark only what it would be trained on, the last turn.
            let turns = if marked.len() == 1 { vec![message] } else { turns };
            let last = attribute(marked, &turns)?.pop();
            last.ok_or_else(|| Error::template("the template marks nothing as generated"))?.span
        } else {
            match text.strip_prefix(prompt.as_str()) {
                Some(produced) if says(&prompt, produced, content) => {
                    prompt.len()..prompt.len() + self.length_of_turn(message, produced)?
                }
                _ => {
                    let text = self.as_asked(before, content, close)?;
                    let span = prompt.len()..text.len();
                    return Ok(Rendered { text, prompt, assistant: vec![AssistantSpan { message, span }] });
                }
            }
        };
        Ok(Rendered { text, prompt, assistant: vec![AssistantSpan { message, span }] })
    }

    /// The span of a message in the conversation that ends with it, behind the prompt that asks for it.
    fn turn(&self, prompt: &str, message: usize, so_far: &str) -> Result<Range<usize>> {
        let Some(produced) = so_far.strip_prefix(prompt) else {
            return Err(Error::template(format!(
                "message {message} does not follow the generation prompt: with it the text so far ends {:?}, without \
                 it the turn is written as {:?}\nhint: if it is the last turn alone that is asked for so, learn that: \
                 --set 'data.train_on=\"last\"'",
                tail(prompt),
                tail(so_far)
            )));
        };
        Ok(prompt.len()..prompt.len() + self.length_of_turn(message, produced)?)
    }

    /// How much of what follows the prompt is the turn.
    fn length_of_turn(&self, message: usize, produced: &str) -> Result<usize> {
        let length = self.end_of_turn(produced);
        if produced[..length].trim().is_empty() {
            return Err(Error::template(format!("message {message} renders to nothing")));
        }
        Ok(length)
    }

    /// Where the model is done: after the first of the special tokens that end the text, else at the end of the text.
    pub(super) fn end_of_turn(&self, produced: &str) -> usize {
        let mut end = produced.len();
        let mut rest = produced.trim_end();
        while let Some(token) =
            self.special.all.iter().filter(|token| rest.ends_with(token.as_str())).max_by_key(|t| t.len())
        {
            if token.is_empty() {
                break;
            }
            end = rest.len();
            rest = rest[..rest.len() - token.len()].trim_end();
        }
        end
    }
}

/// Gives each marked span to its message.
fn attribute(marked: Vec<Range<usize>>, turns: &[usize]) -> Result<Vec<AssistantSpan>> {
    if marked.len() != turns.len() {
        return Err(Error::template(format!(
            "{} parts are marked as generated, but the conversation has {} assistant messages",
            marked.len(),
            turns.len()
        )));
    }
    if let Some((message, _)) = turns.iter().zip(&marked).find(|(_, span)| span.is_empty()) {
        return Err(Error::template(format!("message {message} renders to nothing")));
    }
    Ok(turns.iter().zip(marked).map(|(message, span)| AssistantSpan { message: *message, span }).collect())
}

/// Whether a text holds another; a template may change white space around and inside.
pub fn holds(text: &str, content: &str) -> bool {
    text.contains(content.trim()) || squeezed(text).contains(&squeezed(content))
}

/// Whether what follows a prompt says `content`; the prompt may have begun it, as one that opens a think block does.
fn says(prompt: &str, produced: &str, content: &str) -> bool {
    if holds(produced, content) {
        return true;
    }
    let (prompt, content) = (squeezed(tail(prompt)), squeezed(content));
    let begun = content.char_indices().map(|(at, letter)| at + letter.len_utf8()).filter(|end| *end <= prompt.len());
    begun.filter(|end| prompt.ends_with(&content[..*end])).any(|end| squeezed(produced).contains(&content[end..]))
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The end of a text, for a message.
pub(super) fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(59).map_or(0, |(at, _)| at);
    &text[start..]
}
