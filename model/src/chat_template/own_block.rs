//! Owns the empty think block that a template writes in front of an answer by itself: an answer that brings it too would have
//! it twice. Knows how a block is closed; knows no mark by its name.

use std::borrow::Cow;

use super::frame::{closing, question};
use super::{ChatMessage, ChatTemplate};

impl ChatTemplate {
    /// The messages without the empty blocks in front of answers that this template writes itself.
    pub(super) fn once<'messages>(&self, messages: &'messages [ChatMessage]) -> Cow<'messages, [ChatMessage]> {
        let brought = |message: &ChatMessage| {
            let block = (message.role == "assistant").then(|| empty_block(&message.content)).flatten();
            block.map(|(mark, content)| (mark.to_owned(), content.to_owned()))
        };
        if !messages.iter().any(|message| brought(message).is_some()) {
            return Cow::Borrowed(messages);
        }
        let own = self.own_blocks();
        let mut messages = messages.to_vec();
        for message in &mut messages {
            if let Some((_, content)) = brought(message).filter(|(mark, _)| own.contains(mark)) {
                message.content = content;
            }
        }
        Cow::Owned(messages)
    }

    /// The marks of the empty blocks that stand right in front of what an answer says: in a written turn, and in a prompt.
    fn own_blocks(&self) -> Vec<String> {
        let asked = [question()];
        let written = self.around_answer(&asked).map(|(start, _)| start);
        let texts = [written, self.render(&asked, true)];
        texts.iter().flatten().filter_map(|text| block_at_end(text)).map(str::to_owned).collect()
    }
}

/// An empty block that a text begins with: its mark, and what follows.
pub(super) fn empty_block(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (mark, rest) = text.split_at(text.find(['>', ']'])? + 1);
    let rest = rest.trim_start().strip_prefix(closing(mark)?.as_str())?;
    Some((mark, rest.trim_start()))
}

/// The mark of an empty block that a text ends with.
fn block_at_end(text: &str) -> Option<&str> {
    // The two last marks of the text are those that open it and close it.
    let marks = text.rmatch_indices(['<', '[']).take(2);
    marks.filter_map(|(at, _)| empty_block(&text[at..])).find_map(|(mark, rest)| rest.is_empty().then_some(mark))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chat_template::SpecialTokens;

    #[test]
    fn an_empty_block_is_found_at_either_end_of_a_text() {
        for (text, found) in [
            ("<think>\n\n</think>\n\nyes", Some(("<think>", "yes"))),
            ("\n[THINK][/THINK]", Some(("[THINK]", ""))),
            ("<think>why</think>yes", None),
            ("<think>\n", None),
            ("yes <think></think>", None),
            ("a > b", None),
            ("</x></x>", None),
            ("", None),
        ] {
            assert_eq!(empty_block(text), found, "{text}");
        }
        for (text, found) in [
            ("<|assistant|><think>\n\n</think>\n\n", Some("<think>")),
            ("ask [THINK] [/THINK]\n", Some("[THINK]")),
            ("<think>\n\n</think>\n\nyes", None),
            ("<think>\nodd</think>", None),
            ("<|assistant|>", None),
        ] {
            assert_eq!(block_at_end(text), found, "{text}");
        }
    }

    /// Writes a turn with `before` in front of an answer, and asks with `asks`.
    fn template(before: &str, asks: &str) -> ChatTemplate {
        let source = format!(
            "{{% for m in messages %}}<|{{{{ m.role }}}}|>{{% if m.role == 'assistant' %}}{{{{ '{before}' }}}}{{% endif %}}\
             {{{{ m.content }}}}<end>{{% endfor %}}{{% if add_generation_prompt %}}<|assistant|>{{{{ '{asks}' }}}}{{% endif %}}"
        );
        let all = vec!["<end>".to_owned()];
        ChatTemplate::new(&source, SpecialTokens { all, ..SpecialTokens::default() }).unwrap()
    }

    fn talk(contents: &[&str]) -> Vec<ChatMessage> {
        let role = |at: usize| if at.is_multiple_of(2) { "user" } else { "assistant" };
        let turn = |(at, content): (usize, &&str)| ChatMessage { role: role(at).into(), content: (*content).into() };
        contents.iter().enumerate().map(turn).collect()
    }

    #[test]
    fn a_block_that_answer_and_template_write_stands_once_and_one_that_only_the_answer_writes_stays() {
        let block = "<think>\n\n</think>\n\n";
        let written = "<think>\\n\\n</think>\\n\\n";
        let brought = format!("{block}yes");
        // In the turn; in turn and prompt; in the prompt alone; begun by the prompt.
        for (before, asks) in [(written, ""), (written, written), ("", written), (written, "<think>\\n")] {
            let template = template(before, asks);
            for close in [false, true] {
                let rendered = |answer: &str| {
                    let talk = talk(&["prime?", answer]);
                    if close { template.render_last_answer(&talk) } else { template.render_last_span(&talk) }.unwrap()
                };
                let plain = rendered("yes");
                assert_eq!(plain, rendered(&brought), "{before} {asks}");
                assert_eq!(plain.text, format!("<|user|>prime?<end><|assistant|>{block}yes<end>"), "{before} {asks}");
            }
        }
        let every = template(written, "");
        let (plain, own) = (talk(&["a", "b", "c", "d"]), [format!("{block}b"), format!("{block}d")]);
        let own = talk(&["a", &own[0], "c", &own[1]]);
        assert_eq!(every.render_with_spans(&plain).unwrap(), every.render_with_spans(&own).unwrap());
        assert_eq!(every.render(&plain[..3], true).unwrap(), every.render(&own[..3], true).unwrap());
        // Nobody else writes it, or it is reasoning: it is what the answer says.
        let bare = template("", "");
        assert!(bare.render(&own, false).unwrap().contains(&format!("<|assistant|>{block}b<end>")));
        let thinks = talk(&["a", "<think>\nodd\n</think>\n\nb"]);
        assert!(every.render(&thinks, false).unwrap().contains("<think>\nodd\n</think>"));
    }
}
