//! Frames of templates that write a turn otherwise than they ask for it: one small template for each way.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::chat_template::{Rendered, SpecialTokens};

const OPENS: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}<end>{% endfor %}\
                     {% if add_generation_prompt %}<|assistant|><think>\n{% endif %}";
const CUTS: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}<end>{% endfor %}\
                    {% if add_generation_prompt %}<|assistant|>{% endif %}";
const PREFACE: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}Answer: {% endif %}{{ m.content }}\
                       {% if m.role == 'assistant' %}.{% endif %}<end>\n{% endfor %}\
                       {% if add_generation_prompt %}<|assistant|>{% endif %}";
/// The system text stands in the last turn if that is the user's, as in templates of Mistral.
const SYSTEM_LAST: &str = "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] \
                           {% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}\
                           {{ m.content }}[/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    let all = ["<end>", "<s>", "</s>"].map(String::from).to_vec();
    ChatTemplate::new(source, SpecialTokens { bos_token: Some("<s>".into()), all, ..SpecialTokens::default() }).unwrap()
}

fn messages(pairs: &[(&str, &str)]) -> Vec<ChatMessage> {
    pairs.iter().map(|(role, content)| ChatMessage { role: role.to_string(), content: content.to_string() }).collect()
}

fn learnt(rendered: &Rendered) -> &str {
    &rendered.text[rendered.assistant[0].span.clone()]
}

#[test]
fn what_stands_around_an_answer_is_found_and_taken_off() {
    let asked = messages(&[("user", "why?")]);
    let frame = template(PREFACE).frame(&asked).unwrap();
    assert_eq!((frame.before.as_str(), frame.after.as_str(), frame.end.as_str()), ("Answer: ", ".<end>", "<end>"));
    for (written, content) in [
        ("Answer: yes.", "yes"),
        ("yes", "yes"),
        ("Answer: yes", "yes"),
        (" Answer: yes.\n", "yes"),
        ("Answer", "Answer"),
    ] {
        assert_eq!(frame.content(written), content, "{written}");
    }
    let plain = template(CUTS).frame(&asked).unwrap();
    assert_eq!((plain.content(" yes "), plain.opened.as_str()), (" yes ", ""));
}

#[test]
fn reasoning_that_a_template_cuts_is_learnt_as_it_is_asked() {
    let talk = messages(&[("user", "prime?"), ("assistant", "<think>\nodd\n</think>\n\nyes")]);
    for rendered in [template(CUTS).render_last_span(&talk).unwrap(), template(CUTS).render_with_spans(&talk).unwrap()]
    {
        assert_eq!(learnt(&rendered), "<think>\nodd\n</think>\n\nyes<end>");
        assert!(rendered.text.starts_with("<|user|>prime?<end><|assistant|>"));
    }
}

#[test]
fn a_block_that_the_prompt_opens_is_gone_on_with_or_closed() {
    let with = messages(&[("user", "prime?"), ("assistant", "<think>\nodd\n</think>\n\nyes")]);
    let without = messages(&[("user", "prime?"), ("assistant", "yes")]);
    let opens = template(OPENS);
    assert_eq!(opens.frame(&with[..1]).unwrap().opened, "<think>\n");
    let rendered = opens.render_last_span(&with).unwrap();
    assert_eq!(learnt(&rendered), "odd\n</think>\n\nyes<end>");
    assert!(rendered.text.ends_with("<|assistant|><think>\nodd\n</think>\n\nyes<end>"));
    let refused = opens.render_last_span(&without).unwrap_err().to_string();
    assert!(refused.contains("opens a think block") && refused.contains("hint: ") && refused.contains("</think>"));
    for rendered in [
        opens.render_last_answer(&without).unwrap(),
        opens.clone().with_closed_block(true).render_last_span(&without).unwrap(),
    ] {
        assert_eq!(learnt(&rendered), "\n</think>\n\nyes<end>");
    }
    assert_ne!(opens.sha256(), opens.clone().with_closed_block(true).sha256());
}

#[test]
fn a_system_text_that_only_the_prompt_holds_is_in_what_is_learnt() {
    let talk = messages(&[("system", "Be brief."), ("user", "why?"), ("assistant", "so")]);
    let rendered = template(SYSTEM_LAST).render_last_span(&talk).unwrap();
    assert_eq!(rendered.text, "<s>[INST] Be brief.\n\nwhy?[/INST] so</s>");
    assert_eq!(learnt(&rendered), " so</s>");
    let longer =
        messages(&[("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    let rendered = template(SYSTEM_LAST).render_last_span(&longer).unwrap();
    assert_eq!(rendered.text, "<s>[INST] a[/INST] b</s>[INST] Be brief.\n\nc[/INST] d</s>");
    assert!(template(SYSTEM_LAST).render_with_spans(&longer).unwrap_err().to_string().contains("train_on"));
}

#[test]
fn the_end_of_an_answer_is_the_token_behind_it() {
    assert_eq!(template(PREFACE).end_of_answer().as_deref(), Some("<end>"));
    assert_eq!(template(SYSTEM_LAST).end_of_answer().as_deref(), Some("</s>"));
    assert_eq!(template("{% for m in messages %}{{ m.content }}\n{% endfor %}").end_of_answer(), None);
}

#[test]
fn variables_count_and_go_along_with_the_source() {
    let source = "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}";
    let plain = template(source);
    let set = plain.clone().with_variable("enable_thinking", false.into());
    assert_ne!(plain.sha256(), set.sha256());
    assert_eq!(plain.source_with_variables(), source);
    for source in [source.to_owned(), format!("\n {source}")] {
        let set = template(&source).with_variable("enable_thinking", false.into());
        let alone = template(&set.source_with_variables());
        // Set again it is the same template.
        let again = alone.clone().with_variable("enable_thinking", false.into());
        assert_eq!((again.source_with_variables(), again.sha256()), (set.source_with_variables(), set.sha256()));
        assert_eq!(alone.sha256(), set.sha256());
        assert_eq!(alone.variables().collect::<Vec<_>>(), ["enable_thinking"]);
        assert_eq!(alone.render(&[], false).unwrap(), set.render(&[], false).unwrap());
        let told = alone.with_variable("enable_thinking", true.into()).render(&[], false).unwrap();
        assert_eq!(told.trim(), "");
    }
}
