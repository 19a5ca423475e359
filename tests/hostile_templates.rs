//! Models with a chat template that loops, grows, nests or holds itself without end: refused by name whichever command
//! renders it, and `show` shows the rest of the folder.

use std::fs;
use std::time::{Duration, Instant};

use crate::util::Scene;

/// Templates, and a word of the limit that each meets. All kinds are tested beside the code.
fn templates() -> Vec<(String, &'static str)> {
    vec![
        ("{{ 'a' * 10**8 }}".to_owned(), "a value of more than"),
        ("{% for i in range(1000) %}{{ 'a' * 10**7 }}{% endfor %}".to_owned(), "writes more than"),
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}".to_owned(), "steps"),
        ("{% set n = namespace() %}{% set n.n = n %}{{ n }}".to_owned(), "one that holds itself"),
        (format!("{{{{ {}1 }}}}", "not ".repeat(5000)), "deep"),
        (format!("{{{{ 1{} }}}}", " - 1".repeat(50_000)), "in one tag"),
        (" ".repeat(300_000), "the limit is"),
    ]
}

#[test]
fn a_template_without_end_is_refused_and_shown() {
    let scene = Scene::new();
    let model = scene.copy_model("base");
    let shown = model.display().to_string();
    for (template, told) in templates() {
        fs::write(model.join("chat_template.jinja"), &template).unwrap();
        let start = Instant::now();
        scene.run(&["generate", "--model", &shown, "--max-tokens", "2", "hello"]).refused(&["chat template", told]);
        scene.fit("run", &["--set", &format!("model.base={shown}")]).refused(&["chat template", told]);
        scene.nothing_written("run");
        scene.run(&["show", &shown]).good();
        assert!(start.elapsed() < Duration::from_secs(30), "{told}: {:?}", start.elapsed());
    }
}

#[test]
fn a_prompt_of_a_config_has_the_same_limits() {
    let scene = Scene::new();
    scene.edit_config("[data]\n", "[data]\nprompt = \"prompt.jinja\"\n");
    scene.write("prompt.jinja", "{{ text * 10**9 }}");
    scene.fit("run", &[]).refused(&["a value of more than"]);
    scene.write("prompt.jinja", format!("{{{{ text }}}}{{{{ {}1 }}}}", "not ".repeat(5000)));
    scene.fit("run", &[]).refused(&["data.prompt", "deep"]);
    scene.nothing_written("run");
}
