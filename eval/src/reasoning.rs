//! What a thinking model writes before its answer: a block between two marks. It is taken off before anything is judged,
//! of every arm and of the targets, and its tokens count all the same.
//! Knows the marks; knows no rows and no scorer.

/// What opens and closes a block, as thinking models and their templates write it.
pub const MARKS: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
];

/// A text without the closed blocks it begins with. A block that a prompt opened has only its end in the text; one that
/// is not closed is left, since nobody knows where the answer would have begun.
#[must_use]
pub fn content(text: &str) -> &str {
    let mut rest = text;
    while let Some(behind) = behind_block(rest) {
        rest = behind;
    }
    // Only a text that begins inside a block has the end of one alone.
    if rest.len() < text.len() { rest } else { behind_end(text).unwrap_or(text) }
}

/// What follows a closed block that a text begins with.
fn behind_block(text: &str) -> Option<&str> {
    let start = text.trim_start();
    let (inside, close) = MARKS.iter().find_map(|(open, close)| Some((start.strip_prefix(open)?, close)))?;
    inside.split_once(close).map(|(_, behind)| behind.trim_start())
}

/// What follows the first end of a block, if nothing in front of it opened one.
fn behind_end(text: &str) -> Option<&str> {
    let ends = MARKS.iter().filter_map(|(open, close)| Some((text.find(close)?, *open, *close)));
    let (at, open, close) = ends.min_by_key(|(at, ..)| *at)?;
    (!text[..at].contains(open)).then(|| text[at + close.len()..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_blocks_in_front_are_taken_off() {
        for (text, expected) in [
            ("yes", "yes"),
            (" yes\n", " yes\n"),
            ("<think>\n\n</think>\n\nyes", "yes"),
            ("\n<think>why</think><think>and</think> yes </think>", "yes </think>"),
            ("[THINK]why[/THINK]yes", "yes"),
            ("◁think▷why◁/think▷yes", "yes"),
            ("the prompt opened this\n</think>\n\nyes", "yes"),
            ("\n</think>\n\nyes", "yes"),
            ("<think>\nnot done", "<think>\nnot done"),
            ("<think></think>", ""),
            ("say <think>why</think> yes", "say <think>why</think> yes"),
            ("a <b> and </b>", "a <b> and </b>"),
        ] {
            assert_eq!(content(text), expected, "{text}");
        }
    }
}
