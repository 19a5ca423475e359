//! Owns the shapes of row that are read: messages, prompt and completion, Alpaca, ShareGPT. One JSON object in, one record
//! out, nothing dropped on the way, and what every row may have is read alike in all. Knows nothing about files and lines.

use serde_json::{Map, Value};

use crate::error::Fault;
use crate::record::{Record, Role};
use crate::turn::{Turns, content, expected, is_nothing, kind};
use crate::weight::{Weight, Weights};

/// The shapes, as a hint names them.
const READ: &str = "rows read are {\"messages\"}, {\"prompt\",\"completion\"}, {\"instruction\",\"input\",\"output\"} (Alpaca) \
                    and {\"conversations\"} (ShareGPT), each with \"id\", \"group\", \"meta\", \"system\" and \"weight\" if you like";

/// Keys that ask for something that is not done, with what to do: silence would train on something else.
const NOT_DONE: [(&[&str], &str); 3] = [
    (
        &[
            "tools",
            "functions",
            "function_call",
            "tool_calls",
            "tool_choice",
            "parallel_tool_calls",
            "image",
            "images",
            "audio",
            "audios",
            "video",
            "videos",
            "history",
            "documents",
            "chosen",
            "rejected",
            "rejected_response",
            "rejected_messages",
            "preferred_output",
            "non_preferred_output",
            "kto_tag",
        ],
        "rows are text turns with one right answer: write such rows as `messages`, or remove them",
    ),
    (
        &["chat_template", "chat_template_kwargs"],
        "one chat template and its variables hold for all rows of a run: leave it out of the row",
    ),
    (
        &["loss_weight", "sample_weight", "loss_mask"],
        "write `weight`, which is 0 or 1, or move what means something else under `meta`",
    ),
];
/// Keys that every row may have and that change what is learnt; a misspelt one would be kept as a fact about the row.
const FREE_TO_HAVE: [&str; 4] = ["group", "weight", "system", "meta"];

/// How a row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `{"messages"}`: our own record, or as hosted fine-tuning services take it.
    Messages,
    /// `{"prompt","completion"}`, text or lists of messages.
    PromptCompletion,
    /// `{"instruction","input","output"}`.
    Alpaca,
    /// `{"conversations": [{"from","value"}]}`.
    ShareGpt,
}

/// Turns one object into a record. `place` is the id of a row that brings none.
pub(crate) fn parse(mut row: Map<String, Value>, place: &str) -> Result<(Record, Shape), Fault> {
    let shape = recognise(&row)?;
    refuse_what_is_not_done(&row, shape)?;
    let id = take_name(&mut row, "id")?.unwrap_or_else(|| place.to_string());
    let group = take_name(&mut row, "group")?.unwrap_or_else(|| id.clone());
    let weight = Weight::read(&take(&mut row, "weight"))?;
    let mut meta = match take(&mut row, "meta") {
        Value::Null => Map::new(),
        Value::Object(meta) => meta,
        other => return Err(expected("`meta`", "an object", &other)),
    };
    let turns = turns(&mut row, shape)?;
    for (key, value) in row.into_iter().filter(|(_, value)| !value.is_null()) {
        if let Some(known) = misspelt(&key, shape) {
            let hint = format!("did you mean `{known}`? Anything else goes under `meta`");
            return Err(Fault::new(format!("unknown key `{key}`"), hint));
        }
        if meta.contains_key(&key) {
            return Err(Fault::new(format!("`{key}` stands in the row and in `meta`"), "keep one of them"));
        }
        meta.insert(key, value);
    }
    let weights = Weights { row: weight, messages: turns.weights };
    Ok((Record { weights, ..Record::new(id, turns.messages, group, meta)? }, shape))
}

/// A row that reads as two shapes is refused: which answer counts is not ours to choose.
fn recognise(row: &Map<String, Value>) -> Result<Shape, Fault> {
    // A table of rows of several shapes has the columns of all, null where a row has another. A row whose own columns are
    // null is told which of them is.
    let mut found = shapes(|key| row.get(key).is_some_and(|value| !value.is_null()));
    if found.is_empty() {
        found = shapes(|key| row.contains_key(key));
    }
    match found.as_slice() {
        [(shape, _)] => Ok(*shape),
        [] => {
            let keys = row.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let keys = if keys.is_empty() { "none".to_string() } else { keys };
            Err(Fault::new(format!("unknown shape of row, its keys are {keys}"), READ))
        }
        [(_, first), (_, second), ..] => {
            Err(Fault::new(format!("the row has both `{first}` and `{second}`"), "keep the one that holds the answer"))
        }
    }
}

/// The shapes of which a row has all that they need, with those keys in words.
fn shapes(has: impl Fn(&str) -> bool) -> Vec<(Shape, &'static str)> {
    let mut found = Vec::new();
    if has("messages") {
        found.push((Shape::Messages, "messages"));
    }
    if has("prompt") && has("completion") {
        found.push((Shape::PromptCompletion, "prompt` and `completion"));
    }
    if has("instruction") && has("output") {
        found.push((Shape::Alpaca, "instruction` and `output"));
    }
    if has("conversations") {
        found.push((Shape::ShareGpt, "conversations"));
    }
    found
}

fn refuse_what_is_not_done(row: &Map<String, Value>, shape: Shape) -> Result<(), Fault> {
    let said = |key: &&&str| row.get(**key).is_some_and(|value| !is_nothing(value));
    for (keys, hint) in NOT_DONE {
        if let Some(key) = keys.iter().find(said) {
            return Err(Fault::new(format!("`{key}` is not supported"), hint));
        }
    }
    // The rows of KTO: a completion with `"label": false` is one that a model should not write.
    if shape == Shape::PromptCompletion && row.get("label").is_some_and(Value::is_boolean) {
        return Err(Fault::new(
            "`label` is true or false, as for preference training, which is not supported",
            "leave out the rows of false and the key, or move what means something else under `meta`",
        ));
    }
    Ok(())
}

/// The key that a misspelt one stands for, if it is one letter away: a first letter is seldom wrong, and `height` is no `weight`.
fn misspelt(key: &str, shape: Shape) -> Option<&'static str> {
    let of_shape = (shape == Shape::Alpaca).then_some("input");
    let typed = key.to_lowercase();
    FREE_TO_HAVE.into_iter().chain(of_shape).find(|known| {
        // The distance takes memory and time with the product of the lengths.
        typed.len() <= known.len() + 1
            && typed.chars().next() == known.chars().next()
            && strsim::damerau_levenshtein(known, &typed) <= 1
    })
}

/// The turns of a row in which every key of its shape is taken.
fn turns(row: &mut Map<String, Value>, shape: Shape) -> Result<Turns, Fault> {
    let mut turns = Turns::default();
    // The `system` key that several tools put beside the turns.
    let system = match take(row, "system") {
        Value::Null => String::new(),
        value => content(value, "system")?,
    };
    let beside = !system.trim().is_empty();
    if beside {
        turns.say(Role::System, system);
    }
    match shape {
        Shape::Messages => turns.read(take(row, "messages"), "messages")?,
        Shape::ShareGpt => turns.read(take(row, "conversations"), "conversations")?,
        Shape::PromptCompletion => prompt_completion(row, &mut turns)?,
        Shape::Alpaca => alpaca(row, &mut turns)?,
    }
    if beside && turns.messages.iter().skip(1).any(|message| message.role == Role::System) {
        return Err(Fault::new("the row has `system` and a system turn", "keep one of them"));
    }
    Ok(turns)
}

fn prompt_completion(row: &mut Map<String, Value>, turns: &mut Turns) -> Result<(), Fault> {
    match (take(row, "prompt"), take(row, "completion")) {
        (Value::String(prompt), Value::String(completion)) => {
            turns.say(Role::User, prompt);
            turns.say(Role::Assistant, completion);
            Ok(())
        }
        (prompt @ Value::Array(_), completion @ Value::Array(_)) => {
            turns.read(prompt, "prompt")?;
            turns.read(completion, "completion")
        }
        (prompt, completion) => {
            let what = format!("`prompt` is {} and `completion` is {}", kind(&prompt), kind(&completion));
            Err(Fault::new(what, "both are text, or both are lists of messages"))
        }
    }
}

/// No preamble is added around the instruction: that is the chat template's work.
fn alpaca(row: &mut Map<String, Value>, turns: &mut Turns) -> Result<(), Fault> {
    let instruction = take_text(row, "instruction")?.unwrap_or_default();
    let input = take_text(row, "input")?.unwrap_or_default();
    let output = take_text(row, "output")?.unwrap_or_default();
    let question = if input.trim().is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
    turns.say(Role::User, question);
    turns.say(Role::Assistant, output);
    Ok(())
}

fn take(row: &mut Map<String, Value>, key: &str) -> Value {
    row.shift_remove(key).unwrap_or(Value::Null)
}

fn take_text(row: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Fault> {
    match row.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(expected(&format!("`{key}`"), "text", &other)),
    }
}

/// An id or a group: text, or a whole number as many exports have it.
fn take_name(row: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Fault> {
    match row.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Ok(Some(number.to_string())),
        Some(other) => Err(expected(&format!("`{key}`"), "text", &other)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
