//! Owns what a run may set of its chat template, and how others are told of it: only what the template reads, as the kind
//! that is meant. Knows names and values; renders nothing.

use anyhow::{Result, bail};
use ground::terminal::shown_in_line;
use model::chat_template::ChatTemplate;

use crate::config::{Config, Variable, keys};

/// Texts that stand for no text.
const NO_TEXTS: [&str; 4] = ["true", "false", "none", "null"];
/// As many names of a template are told.
const MOST_NAMED: usize = 20;
/// What llama.cpp sets itself, whatever the template of a file does where it is not set.
const OF_LLAMA_CPP: &str = "enable_thinking";

/// Refuses a variable that the template does not read, and a text where a yes or no is meant.
pub fn check(config: &Config, template: &ChatTemplate) -> Result<()> {
    let known: Vec<&str> = template.variables().collect();
    let mut wrong: Vec<String> = Vec::new();
    for (name, value) in &config.template {
        if !known.contains(&name.as_str()) {
            wrong.push(unread(name, &known));
        } else if let Some(text) = value.text().filter(|text| is_no_text(text, template.source())) {
            wrong.push(format!(
                "model.template sets {name} to the text {text:?}, which a template takes for true\n\
                 hint: write {name} = true or {name} = false, without quotes; left out, it is not set"
            ));
        }
    }
    if !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    Ok(())
}

fn unread(name: &str, known: &[&str]) -> String {
    let near = keys::nearest_word(name, known);
    let others = known.iter().filter(|other| !near.iter().any(|near| near == *other));
    let reads = near.iter().map(String::as_str).chain(others.copied()).take(MOST_NAMED);
    let reads: Vec<_> = reads.map(shown_in_line).collect();
    let hint = match reads.as_slice() {
        [] => "it reads none but the messages; take `template` out of [model]".to_owned(),
        _ => keys::did_you_mean(&near, String::new) + " it reads " + &reads.join(", "),
    };
    format!("model.template sets `{name}`, which the chat template of the base does not read\nhint: {}", hint.trim())
}

/// A template that asks for this very text has it in quotes.
fn is_no_text(text: &str, source: &str) -> bool {
    let is_meant = ['\'', '"'].iter().any(|quote| source.contains(&format!("{quote}{text}{quote}")));
    NO_TEXTS.contains(&text.trim().to_ascii_lowercase().as_str()) && !is_meant
}

/// The variables of a run as one JSON object; `None` where it sets none.
pub fn json(config: &Config) -> Option<String> {
    (!config.template.is_empty()).then(|| serde_json::json!(config.template).to_string())
}

/// What llama.cpp has to be told beside a GGUF file of a run: of a whole model, which brings its template, or of an adapter.
pub fn notes(run: Option<&Config>, whole: bool) -> Vec<String> {
    let Some(sets) = run.and_then(json) else { return Vec::new() };
    let why = match (whole, run.and_then(|run| run.template.get(OF_LLAMA_CPP))) {
        (true, None) => return Vec::new(),
        (true, Some(Variable::Flag(true))) => return Vec::new(),
        (true, Some(_)) => format!("llama.cpp sets {OF_LLAMA_CPP} itself, whatever the template of the file says"),
        (false, _) => {
            "llama.cpp takes the chat template of the base file, which knows no variables of the run".to_owned()
        }
    };
    vec![format!("{why}: start llama-server with --chat-template-kwargs '{sets}'")]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const TEMPLATE: &str = "{% if not date is defined %}{% set date = 1 %}{% endif %}{{ date }}{{ effort == 'none' }}\
        {% for m in messages %}{{ bos_token }}{{ m.content }}{% if enable_thinking %}{{ tools }}{% endif %}{% endfor %}";

    fn config(template: &str) -> Config {
        let text = "version = 1\nname = \"a\"\n[model]\nbase = \"smollm2-135m-instruct\"\n[data]\nset = \"legal-provisions\"\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/test.toml");
        config::parse(text, &file, &[format!("model.template={template}")]).unwrap()
    }

    fn said(template: &str, source: &str) -> Result<(), String> {
        let source = ChatTemplate::new(source, Default::default()).unwrap();
        check(&config(template), &source).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_the_template_reads_is_set_and_as_what_it_is_meant() {
        for good in
            ["{ enable_thinking = false }", "{ date = \"1 May\", enable_thinking = 1 }", "{ effort = \"none\" }"]
        {
            assert_eq!(said(good, TEMPLATE), Ok(()), "{good}");
        }
        for (template, told) in [
            (
                "{ enable_thinkin = false }",
                vec!["`enable_thinkin`", "did you mean `enable_thinking`? it reads enable_thinking, date, effort"],
            ),
            ("{ m = 1 }", vec!["`m`", "hint: it reads date, effort, enable_thinking"]),
            ("{ date = \"None\" }", vec!["date", "\"None\"", "without quotes"]),
            ("{ enable_thinking = \"false\" }", vec!["\"false\"", "enable_thinking = false"]),
            ("{ enable_thinking = \"TRUE\", x = 1 }", vec!["\"TRUE\"", "`x`"]),
        ] {
            let words = said(template, TEMPLATE).unwrap_err();
            assert!(told.iter().all(|part| words.contains(part)), "{template}: {words}");
        }
        let none = said("{ enable_thinking = false }", "{{ messages[0].content }}").unwrap_err();
        assert!(none.contains("it reads none but the messages"), "{none}");
    }

    #[test]
    fn what_a_file_cannot_say_to_llama_cpp_is_told() {
        let notes = |template: &str, whole| notes(Some(&config(template)), whole).concat();
        assert!(
            notes("{ enable_thinking = false }", true).contains("--chat-template-kwargs '{\"enable_thinking\":false}'")
        );
        assert_eq!((notes("{ enable_thinking = true }", true), notes("{ date = \"a\" }", true)), Default::default());
        assert!(notes("{ date = \"a\" }", false).contains("chat template of the base file"));
    }
}
