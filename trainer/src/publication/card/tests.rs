//! Proofs that text of others is nothing but text on a card: whatever it says, the card has the same parts.

use eval::held_out::HeldOut;
use eval::provider::scripted::{Scripted, says};
use eval::{Arm, EvaluateOptions, Identity, Message, Results, Role, Row, Task, evaluate_arms};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser};
use serde_json::json;

use super::*;
use crate::publication::licences::{Licence, Work};

/// Results of two arms whose every text is `text`.
fn results(text: &str) -> Results {
    let rows = (0..6).map(|row| Row {
        id: row.to_string(),
        group: Some((row / 2).to_string()),
        prompt: vec![Message::new(Role::User, row.to_string())],
        target: "yes".to_owned(),
        ..Row::default()
    });
    let held_out = HeldOut::new(rows.collect(), None).unwrap().grouped_by(text);
    let task = Task::standard(None, None).unwrap();
    let mut models = [1, 2].map(|arm| Scripted::new("fake", move |prompt, _| says(prompt, ["no", "yes"][arm % 2])));
    let arms = models.iter_mut().zip(["tuned", "other"]).map(|(model, name)| Arm::Model {
        name: name.to_owned(),
        identity: Identity::default(),
        model,
    });
    let options = EvaluateOptions::default();
    let scored = evaluate_arms(&held_out, &task, arms.collect(), &options, &mut |_| {}).unwrap();
    let mut results = Results::new(&held_out, &task, scored, Some("tuned"), 0).unwrap();
    results.no_verdict = Some(text.to_owned());
    results.provenance.set = text.to_owned();
    results.provenance.set_sha256 = text.to_owned();
    for metric in &mut results.measured.metrics {
        metric.named.title = text.to_owned();
    }
    for arm in &mut results.arms {
        arm.name += text;
    }
    results.comparisons.iter_mut().for_each(|found| found.baseline = text.to_owned());
    results
}

/// A card whose every text of others is `text`.
fn card(text: &str) -> String {
    let origin = |of: Work| Origin {
        name: text.to_owned(),
        hub: matches!(of, Work::Base).then(|| "tiny/chat".to_owned()),
        licence: Some(Licence { of, name: text.to_owned(), licence: text.to_owned(), accepted: true }),
        attribution: Some(text.to_owned()),
    };
    let (base, data, results) = (origin(Work::Base), origin(Work::Data), results(text));
    let summary = json!({
        "base": { "source": text, "sha256": text },
        "data": { "rows": text, "sha256": text },
        "adapter": { "sha256": text },
        "device": text,
        "program": text,
        "tokenizer_sha256": text,
        "chat_template_sha256": text,
        "vllm_max_lora_rank": 8,
        "settings": {
            "model": { "template": { "enable_thinking": false, "language": text } },
            "lora": { "r": 8, "target_modules": [text, text] },
            "train": { "schedule": text },
            "data": { "system": text, "max_tokens": text },
            "prompt_template": text,
        },
    });
    let tuned = results.arms[0].name.clone();
    render(&Facts {
        repo: "roe/legal",
        hub: "https://hub.example",
        base: &base,
        data: &data,
        task: Some(text),
        languages: &[],
        summary: &summary,
        found: Some((&results, &tuned)),
    })
}

/// The head with every quoted text taken out, and the kinds of parts that a reader finds below it.
fn parts(card: &str) -> (String, Vec<String>) {
    let (head, body) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let quoted = regex::Regex::new(r#""(?:[^"\\]|\\.)*""#).unwrap();
    let found =
        Parser::new_ext(body, Options::all() & !Options::ENABLE_SMART_PUNCTUATION).filter_map(|event| match event {
            Event::Text(_) | Event::Code(_) => None,
            other => Some(format!("{other:?}")),
        });
    (quoted.replace_all(head, "text").into_owned(), found.collect())
}

#[test]
fn a_description_with_headings_links_and_tags_is_a_sentence() {
    let evil = "Contracts\n\n# Proven best\n[free](http://evil.example) ![x](y) <script>z</script>\n---\nlicense: mit\n---\n```";
    let card = card(evil);
    assert_eq!(parts(&card), parts(&self::card("Contracts of a firm")), "{card}");
    // In code and in the head it stands as it is; in sentences its signs are escaped.
    assert!(card.contains("\\# Proven best \\[free\\]\\(http`:`//evil.example)"), "{card}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_changes_the_parts_of_a_card(
        pieces in prop::collection::vec(prop_oneof![
            3 => prop::sample::select(vec![
                "\n", "\n\n", "# ", "---", "===", "- ", "1. ", "> ", "```", "~~~", "`", "|", "\\", "[", "](", "]: ", "![",
                "<b>", "<!--", "http://a.b", "www.c.d", "e@f.gh", "_", "**", "$", ": ", "\"", "\t", "\u{2028}", "\u{202e}",
            ]).prop_map(str::to_owned),
            1 => any::<String>(),
        ], 0..10),
    ) {
        // A word at the end, so that no text is empty.
        let text = pieces.concat() + "x";
        let card = card(&text);
        prop_assert_eq!(parts(&card), parts(&self::card("x")), "{}", card);
    }
}
