//! Templates against the renderings of Jinja2, and the spans against what a reader would mark.
//! The golden file is written by `tests/golden/chat_templates.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::*;

#[derive(serde::Deserialize)]
struct Golden {
    templates: BTreeMap<String, String>,
    conversations: BTreeMap<String, Vec<ChatMessage>>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    bos_token: Option<String>,
    eos_token: Option<String>,
    text: Option<String>,
    error: Option<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/chat_templates.json")).unwrap()
}

fn template(name: &str) -> ChatTemplate {
    let golden = golden();
    let case = golden.cases.iter().find(|case| case.template == name).unwrap();
    let all = ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<s>", "</s>"].map(String::from).to_vec();
    let special = SpecialTokens {
        bos_token: case.bos_token.clone(),
        eos_token: case.eos_token.clone(),
        all,
        ..Default::default()
    };
    ChatTemplate::new(&golden.templates[name], special).unwrap().at_time(1_772_323_200)
}

fn messages(pairs: &[(&str, &str)]) -> Vec<ChatMessage> {
    pairs.iter().map(|(role, content)| ChatMessage { role: role.to_string(), content: content.to_string() }).collect()
}

fn texts(rendered: &Rendered) -> Vec<(usize, &str)> {
    rendered.assistant.iter().map(|one| (one.message, &rendered.text[one.span.clone()])).collect()
}

#[test]
fn renderings_equal_those_of_jinja2() {
    let golden = golden();
    assert!(golden.cases.len() > 50);
    for case in &golden.cases {
        let found =
            template(&case.template).render(&golden.conversations[&case.conversation], case.add_generation_prompt);
        let place = format!("{} {} {}", case.template, case.conversation, case.add_generation_prompt);
        match (&case.text, &case.error) {
            (Some(text), None) => assert_eq!(&found.unwrap(), text, "{place}"),
            (None, Some(error)) => {
                let message = found.expect_err(&place).to_string();
                assert!(message.contains(error.as_str()), "{place}: {message}");
            }
            _ => panic!("{place}"),
        }
    }
}

#[test]
fn spans_run_from_the_generation_prompt_to_the_end_of_turn_token() {
    let talk = messages(&[("system", "s"), ("user", "a"), ("assistant", "b é"), ("user", "c"), ("assistant", "d")]);
    for (name, end, lead) in [
        ("chatml", "<|im_end|>", ""),
        ("chatml_generation", "<|im_end|>", ""),
        ("llama3", "<|eot_id|>", ""),
        ("qwen2.5", "<|im_end|>", ""),
    ] {
        let template = template(name);
        let rendered = template.render_with_spans(&talk).unwrap();
        assert_eq!(rendered.text, template.render(&talk, false).unwrap());
        let expected = [format!("{lead}b é{end}"), format!("{lead}d{end}")];
        assert_eq!(texts(&rendered), [(2, expected[0].as_str()), (4, expected[1].as_str())], "{name}");
        let last = template.render_last_span(&talk).unwrap();
        assert_eq!(texts(&last), [(4, expected[1].as_str())], "{name}");
    }
    let talk = messages(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    let mistral = template("mistral").render_with_spans(&talk).unwrap();
    assert_eq!(texts(&mistral), [(1, " b</s>"), (3, " d</s>")]);
}

#[test]
fn a_template_that_rewrites_history_is_refused_unless_only_the_last_turn_is_trained() {
    let qwen3 = template("qwen3");
    let talk = golden().conversations["thinking"].clone();
    let message = qwen3.render_with_spans(&talk).unwrap_err().to_string();
    assert!(message.contains("message 1") && message.contains("history") && message.contains("hint"), "{message}");
    let last = qwen3.render_last_span(&talk).unwrap();
    assert_eq!(texts(&last), [(3, "<think>\nso\n</think>\n\nd<|im_end|>")]);
}

#[test]
fn the_empty_thinking_block_is_prompt_or_answer_as_the_variable_says() {
    let talk = messages(&[("user", "a"), ("assistant", "b")]);
    let thinking = template("qwen3").render_last_span(&talk).unwrap();
    assert_eq!(texts(&thinking), [(1, "<think>\n\n</think>\n\nb<|im_end|>")]);
    let plain = template("qwen3").with_variable("enable_thinking", false.into()).render_last_span(&talk).unwrap();
    assert_eq!(texts(&plain), [(1, "b<|im_end|>")]);
}

#[test]
fn a_prompt_that_the_turn_does_not_continue_is_refused() {
    let source = "{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}<go>{% endif %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let message = template.render_with_spans(&messages(&[("user", "a"), ("assistant", "b")])).unwrap_err().to_string();
    assert!(message.contains("message 1") && message.contains("generation prompt"), "{message}");
}

#[test]
fn a_turn_that_renders_to_nothing_is_refused() {
    let source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let talk = messages(&[("user", "a"), ("assistant", "b")]);
    assert!(template.render_with_spans(&talk).unwrap_err().to_string().contains("renders to nothing"));
    assert!(template.render_last_span(&talk).unwrap_err().to_string().contains("renders to nothing"));
    assert!(template.render_last_span(&talk[..1]).is_err());
}

#[test]
fn marked_parts_must_be_as_many_as_assistant_messages() {
    let source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let message = template.render_with_spans(&messages(&[("user", "a"), ("assistant", "b")])).unwrap_err().to_string();
    assert!(message.contains("2 parts") && message.contains("1 assistant"), "{message}");
}

#[test]
fn no_letter_of_a_message_is_taken_for_a_mark() {
    let talk = messages(&[("user", "\u{FDD0}x\u{FDD1}"), ("assistant", "b\u{FDD0}")]);
    let rendered = template("chatml_generation").render_with_spans(&talk).unwrap();
    assert!(rendered.text.contains("\u{FDD0}x\u{FDD1}"));
    assert_eq!(texts(&rendered), [(1, "b\u{FDD0}<|im_end|>")]);
}

/// A test of the engine that answers otherwise than Jinja2 would refuse a template, or make it write what it does not.
#[test]
fn tools_that_are_none_cannot_be_iterated() {
    let source = "{%- if tools is iterable and tools | length > 0 %}{{- 'tools\n' }}{% endif -%}\
                  {%- for m in messages %}{{- m.role + ': ' + m.content + '\n' }}{% endfor -%}";
    let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
    let talk = messages(&[("user", "a"), ("assistant", "b")]);
    assert_eq!(template.render(&talk, false).unwrap(), "user: a\nassistant: b\n");
}

#[test]
fn broken_templates_and_absent_tokens_are_errors_with_a_place() {
    let message = ChatTemplate::new("a\n{% if %}", SpecialTokens::default()).unwrap_err().to_string();
    assert!(message.contains("line 2"), "{message}");
    let none = ChatTemplate::new("{{ bos_token + 'x' }}{{ strftime_now('%Y') }}", SpecialTokens::default()).unwrap();
    assert!(none.uses_clock() && none.render(&[], false).is_err());
    assert_eq!(
        ChatTemplate::new("[{{ bos_token }}]", SpecialTokens::default()).unwrap().render(&[], true).unwrap(),
        "[]"
    );
}

#[test]
fn a_template_that_asks_for_too_much_is_refused_with_the_limit_that_it_met() {
    let talk = messages(&[("user", "a"), ("assistant", "b")]);
    for (source, words) in [
        ("{{ 'a' * 10**9 }}".to_string(), "it makes a value of more than"),
        ("{{ messages | tojson(indent=9223372036854775807) }}".to_string(), "it indents JSON by more than"),
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_string(), "steps"),
        (
            "{% generation %}{% for a in range(99) %}{{ 'a' * 10**7 }}{% endfor %}{% endgeneration %}".to_string(),
            "writes",
        ),
        (format!("{{{{ {}1 }}}}", "not ".repeat(4000)), "deep"),
        ("{{".repeat(1 << 20), "the limit is"),
    ] {
        let refused = ChatTemplate::new(&source, SpecialTokens::default())
            .and_then(|template| template.render_with_spans(&talk))
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with("chat template: ") && refused.contains(words), "{refused}");
        assert!(refused.contains("hint: the fault is in the template"), "{refused}");
    }
    for (source, words) in [
        ("{{ strftime_now('%Y' * 10**6) }}", "a format of at most"),
        ("{{ raise_exception('a' * 10**6) }}", "aaa..."),
        ("{{ raise_exception(messages) }}", "'role': 'user'"),
    ] {
        let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
        let refused = template.render(&talk, false).unwrap_err().to_string();
        assert!(refused.contains(words) && refused.len() < 2000, "{refused}");
    }
}
