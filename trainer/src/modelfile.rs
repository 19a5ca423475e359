//! Owns the Ollama Modelfile beside a GGUF file: template, system message, stop words, context. Knows Ollama's words; knows
//! no weights and no run.
//!
//! Ollama renders chats with templates of Go, not with the Jinja of the file, and takes the bare prompt where it does not
//! recognise the Jinja. So a family is written only where it renders the same text as the model's own template on sample
//! chats; otherwise the file says what is missing.
//!
//! Format: <https://github.com/ollama/ollama/blob/main/docs/modelfile.md>

use anyhow::{Result, bail};
use ground::terminal::shown_in_line;
use model::Checkpoint;
use model::chat_template::{ChatMessage, ChatTemplate};

use crate::data::messages::{Around, Wording};

/// What the GGUF file holds.
pub enum Content {
    /// A whole model.
    Model,
    /// An adapter alone.
    Adapter {
        /// The base, by name.
        base: String,
    },
}

/// A Modelfile, and what it cannot say.
pub struct Modelfile {
    /// Its text.
    pub text: String,
    /// What its reader must know.
    pub notes: Vec<String>,
}

/// A family of templates: its name, its text in Go, and the same in Rust, for comparing.
struct Family {
    name: &'static str,
    go: &'static str,
    render: fn(&[ChatMessage]) -> String,
}

/// Every family, one entry each.
const FAMILIES: [Family; 3] = [
    Family {
        name: "chatml",
        go: "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
        render: |messages| {
            let turn = |one: &ChatMessage| format!("<|im_start|>{}\n{}<|im_end|>\n", one.role, one.content);
            messages.iter().map(turn).collect::<String>() + "<|im_start|>assistant\n"
        },
    },
    Family {
        name: "llama3",
        go: "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>\n{{- end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
        render: |messages| {
            let head = |role: &str| format!("<|start_header_id|>{role}<|end_header_id|>\n\n");
            let turn = |one: &ChatMessage| format!("{}{}<|eot_id|>", head(&one.role), one.content);
            messages.iter().map(turn).collect::<String>() + &head("assistant")
        },
    },
    Family {
        name: "mistral",
        go: "{{- range $index, $_ := .Messages }}\n{{- if eq .Role \"user\" }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}{{ $.System }}\n\n{{ end }}{{ .Content }}[/INST]\n{{- else if eq .Role \"assistant\" }} {{ .Content }}</s>\n{{- end }}\n{{- end }}",
        render: |messages| {
            let system = messages.iter().find(|one| one.role == "system");
            let said: Vec<&ChatMessage> = messages.iter().filter(|one| one.role != "system").collect();
            let turn = |(at, one): (usize, &&ChatMessage)| match (one.role.as_str(), system) {
                ("user", Some(system)) if at + 1 == said.len() => {
                    format!("[INST] {}\n\n{}[/INST]", system.content, one.content)
                }
                ("user", _) => format!("[INST] {}[/INST]", one.content),
                _ => format!(" {}</s>", one.content),
            };
            said.iter().enumerate().map(turn).collect()
        },
    },
];

/// Where a family writes what is said, in Go.
const CONTENT: &str = "{{ .Content }}";

/// Whether a turn is the question that is answered next, in Go: the prompt template stands around no earlier one.
const IS_LAST_QUESTION: &str = "and (eq .Role \"user\") (eq (len (slice $.Messages $index)) 1)";

/// Longest context that is set by itself; Ollama's own default cuts longer prompts without a word.
const MOST_CONTEXT: usize = 8192;

/// The Modelfile for `file`, which lies beside it, with the words that the model is asked with.
pub fn text(file: &str, content: &Content, checkpoint: &Checkpoint, wording: &Wording) -> Result<Modelfile> {
    if shown_in_line(file) != file {
        bail!(
            "{}: a Modelfile cannot name this file\nhint: --out with a name of letters, digits, - and _",
            shown_in_line(file)
        );
    }
    let mut notes = Vec::new();
    let mut text = match content {
        Content::Model => format!("# ollama create NAME -f THIS\nFROM ./{file}\n"),
        Content::Adapter { base } => {
            let line =
                format!("base.gguf must be {}: trainer export MODEL --type f16 --out base.gguf", shown_in_line(base));
            notes.push(line.clone());
            format!("# {line}\n# ollama create NAME -f THIS\nFROM ./base.gguf\nADAPTER ./{file}\n")
        }
    };
    let tokenizer = checkpoint.tokenizer()?;
    let around = wording.around();
    let mut says_prompt = around == Around::Nothing;
    let mut system = wording.system().map(str::to_owned);
    match tokenizer.chat_template()?.map(|template| recognised(&template)) {
        None => notes.push("the model has no chat template, so Ollama takes the bare prompt".to_owned()),
        Some(None) => {
            let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            let line = format!(
                "the chat template is none of {}: write it as TEMPLATE in the language of Go, or Ollama guesses",
                names.join(", ")
            );
            text.push_str(&format!("# {line}\n"));
            notes.push(line);
        }
        Some(Some((family, default))) => {
            text.push_str(&format!("TEMPLATE \"\"\"{}\"\"\"\n", go(family, &around)));
            says_prompt |= matches!(around, Around::Words { .. });
            system = system.or(default);
        }
    }
    match system.as_deref().map(quoted) {
        Some(Some(system)) => text.push_str(&format!("SYSTEM {system}\n")),
        Some(None) => {
            notes.push("the system message has quotes that a Modelfile cannot hold: give it with each chat".to_owned())
        }
        None => {}
    }
    if !says_prompt {
        let line = "each question must stand in the prompt template of the run, which a Modelfile cannot say here: put it there \
                    before it is sent";
        text.push_str(&format!("# {line}\n"));
        notes.push(line.to_owned());
    }
    let mut ends: Vec<String> = checkpoint.config.eos_token_ids.iter().filter_map(|id| tokenizer.token(*id)).collect();
    let learnt = tokenizer.chat_template()?.and_then(|template| template.end_of_answer());
    ends.extend(learnt.filter(|end| !ends.contains(end)));
    for token in ends {
        match quoted(&token) {
            Some(token) => text.push_str(&format!("PARAMETER stop {token}\n")),
            None => notes.push(format!("a Modelfile cannot name the end token {}", shown_in_line(&token))),
        }
    }
    let context = checkpoint.config.max_position_embeddings.min(checkpoint.config.sliding_window.unwrap_or(usize::MAX));
    // As this program evaluates: the most likely token each time.
    text.push_str(&format!("PARAMETER num_ctx {}\nPARAMETER temperature 0\n", context.min(MOST_CONTEXT)));
    Ok(Modelfile { text, notes })
}

/// The text of a family in Go, with the words around the question that is answered.
fn go(family: &Family, around: &Around) -> String {
    let Around::Words { before, after } = around else { return family.go.to_owned() };
    // A string of JSON is one of Go, and a quote in it stands behind a backslash, so three of them never meet.
    let said = |words: &str| match words {
        "" => String::new(),
        words => format!("{{{{ {} }}}}", serde_json::Value::from(words)),
    };
    let question = format!(
        "{{{{ if {IS_LAST_QUESTION} }}}}{}{CONTENT}{}{{{{ else }}}}{CONTENT}{{{{ end }}}}",
        said(before),
        said(after)
    );
    family.go.replacen("range .Messages", "range $index, $_ := .Messages", 1).replace(CONTENT, &question)
}

/// A text as one value; none where the language has no way to say it, because a quote would end it early.
fn quoted(text: &str) -> Option<String> {
    let is_plain = !text.contains(['"', '\n', '\r']) && !text.is_empty();
    let can_be_long = !text.contains("\"\"\"") && !text.starts_with('"') && !text.ends_with('"') && !text.is_empty();
    let marks = if is_plain { "\"" } else { "\"\"\"" };
    (is_plain || can_be_long).then(|| format!("{marks}{text}{marks}"))
}

/// The family that renders as a template does, and the system message that it puts where there is none.
fn recognised(template: &ChatTemplate) -> Option<(&'static Family, Option<String>)> {
    // A start token that the template writes itself is written by whoever encodes instead; where it begins a turn, as in
    // some chatml models, it is part of the turn.
    let starts = ["", template.bos_token().unwrap_or_default()];
    let pairs = FAMILIES.iter().flat_map(|family| starts.map(|start| (family, start)));
    pairs.into_iter().find_map(|(family, start)| Some((family, default_system(template, start, family)?)))
}

/// `Some` where the family renders the same after `start`: the default system message inside, if there is one.
fn default_system(template: &ChatTemplate, start: &str, family: &Family) -> Option<Option<String>> {
    const MARK: &str = "\u{1}";
    let say = |role: &str, content: &str| ChatMessage { role: role.to_owned(), content: content.to_owned() };
    let ours = |messages: &[ChatMessage]| Some(template.render(messages, true).ok()?.strip_prefix(start)?.to_owned());
    let question = say("user", "Which law governs?");
    let asked = ours(std::slice::from_ref(&question))?;
    let system = if asked == (family.render)(std::slice::from_ref(&question)) {
        None
    } else {
        let marked = (family.render)(&[say("system", MARK), question.clone()]);
        let (before, after) = marked.split_once(MARK)?;
        Some(asked.strip_prefix(before)?.strip_suffix(after)?.to_owned())
    };
    let with_default = |turns: Vec<ChatMessage>| -> Vec<ChatMessage> {
        system.iter().map(|text| say("system", text)).chain(turns).collect()
    };
    let turns = vec![question.clone(), say("assistant", "That of France."), say("user", "And then?")];
    if ours(&turns)? != (family.render)(&with_default(turns)) {
        return None;
    }
    // A template that refuses system messages says nothing about them.
    let told = [say("system", "Be brief."), question];
    match ours(&told) {
        Some(text) if text != (family.render)(&told) => None,
        _ => Some(system),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use model::chat_template::SpecialTokens;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let special =
            SpecialTokens { bos_token: Some("<s>".into()), eos_token: Some("</s>".into()), ..SpecialTokens::default() };
        ChatTemplate::new(source, special).unwrap()
    }

    #[test]
    fn a_text_is_one_value_or_none() {
        assert_eq!(quoted("<|im_end|>").as_deref(), Some("\"<|im_end|>\""));
        assert_eq!(quoted("a\nFROM b").as_deref(), Some("\"\"\"a\nFROM b\"\"\""));
        assert_eq!(quoted("say \"x\" now").as_deref(), Some("\"\"\"say \"x\" now\"\"\""));
        for lost in ["x\"\nFROM evil", "\"a\nb", "a\"\"\"\nFROM evil\nb"] {
            let value = quoted(lost);
            // A line break after a quote ends a value that began with one quote; three do not end at one.
            assert!(
                value.is_none_or(|value| value.starts_with("\"\"\"") && value.matches("\"\"\"").count() == 2),
                "{lost}"
            );
        }
        assert_eq!(quoted("a\"\"\"b"), None);
        assert_eq!(quoted("ends with \""), None);
    }

    #[test]
    fn the_words_of_a_prompt_template_stand_around_the_last_question_alone() {
        let words = Around::Words { before: "Say \"x\" {{ y }}:\n".into(), after: String::new() };
        assert_eq!(go(&FAMILIES[0], &Around::Nothing), FAMILIES[0].go);
        assert_eq!(go(&FAMILIES[0], &Around::Else), FAMILIES[0].go);
        let expected = "{{- range $index, $_ := .Messages }}<|im_start|>{{ .Role }}\n\
            {{ if and (eq .Role \"user\") (eq (len (slice $.Messages $index)) 1) }}\
            {{ \"Say \\\"x\\\" {{ y }}:\\n\" }}{{ .Content }}{{ else }}{{ .Content }}{{ end }}<|im_end|>\n\
            {{ end }}<|im_start|>assistant\n";
        assert_eq!(go(&FAMILIES[0], &words), expected);
        for family in &FAMILIES {
            let written = go(family, &Around::Words { before: "\"\"\"".into(), after: "\"\"\"\"".into() });
            assert!(!written.contains("\"\"\""), "{}: it would end the value early: {written}", family.name);
            assert!(written.contains("range $index, $_ := .Messages"), "{}", family.name);
            assert_eq!(
                written.matches("{{ else }}{{ .Content }}{{ end }}").count(),
                family.go.matches(CONTENT).count()
            );
        }
    }

    #[test]
    fn a_family_is_recognised_by_what_it_renders_with_its_default_system_message() {
        let chatml = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let (family, system) = recognised(&template(chatml)).unwrap();
        assert_eq!((family.name, system), ("chatml", None));
        let smol = format!(
            "{{% if messages[0]['role'] != 'system' %}}{{{{ '<|im_start|>system\nI am Smol<|im_end|>\n' }}}}{{% endif %}}{chatml}"
        );
        let (family, system) = recognised(&template(&smol)).unwrap();
        assert_eq!((family.name, system.as_deref()), ("chatml", Some("I am Smol")));
        let llama = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
        assert_eq!(recognised(&template(llama)).unwrap().0.name, "llama3");
        assert!(recognised(&template("{% for m in messages %}{{ m['content'] }}{% endfor %}")).is_none());
    }
}
