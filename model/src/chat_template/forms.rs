//! Templates over the forms that public ones use, against the texts and assistant masks of Jinja2 as transformers sets it
//! up. The golden file is written by `tests/golden/template_forms.py`, which also writes longer ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// The first line: what every template can read.
#[derive(serde::Deserialize)]
struct Head {
    /// So many lines come first that are always the same.
    fixed: usize,
    data: serde_json::Map<String, serde_json::Value>,
    conversations: Vec<Vec<ChatMessage>>,
}

/// One rendering.
#[derive(serde::Deserialize)]
struct Line {
    template: String,
    conversation: usize,
    prompt: bool,
    /// None where Jinja2 refuses the template.
    text: Option<String>,
    /// Places of letters.
    spans: Vec<[usize; 2]>,
}

/// Renderings, those among them that are refused here by the name of what is not here, and how others differ.
struct Compared {
    lines: usize,
    not_here: usize,
    fixed_not_here: usize,
    differences: Vec<String>,
}

fn compared(file: &str) -> Compared {
    let mut rows = file.lines();
    let head: Head = serde_json::from_str(rows.next().unwrap()).unwrap();
    let mut found = Compared { lines: 0, not_here: 0, fixed_not_here: 0, differences: Vec::new() };
    for row in rows {
        let line: Line = serde_json::from_str(row).unwrap();
        found.lines += 1;
        let rendered = ChatTemplate::new(&line.template, SpecialTokens::default()).and_then(|template| {
            let template = head.data.iter().fold(template.at_time(1_772_323_200), |template, (name, value)| {
                template.with_variable(name, value.clone())
            });
            template.render_marked(&head.conversations[line.conversation], line.prompt)
        });
        let difference = match (&line.text, rendered) {
            (None, Err(_)) => continue,
            // Refused by name, or by a limit.
            (Some(_), Err(error)) if ["not here", "this limit"].iter().any(|why| error.to_string().contains(why)) => {
                found.not_here += 1;
                found.fixed_not_here += usize::from(found.lines <= head.fixed);
                continue;
            }
            (Some(text), Ok((ours, _))) if *text != ours => format!("{text:?}\n  here {ours:?}"),
            (Some(text), Ok((_, spans))) => {
                let byte = |letter: usize| text.char_indices().nth(letter).map_or(text.len(), |(byte, _)| byte);
                let expected: Vec<_> = line.spans.iter().map(|[start, end]| byte(*start)..byte(*end)).collect();
                if mask(text, &spans) == mask(text, &expected) {
                    continue;
                }
                format!("marks {expected:?}\n  here {spans:?}")
            }
            (Some(text), Err(error)) => format!("{text:?}\n  here {error}"),
            (None, Ok((ours, _))) => format!("an error\n  here {ours:?}"),
        };
        found.differences.push(format!("{}\n  Jinja2 {difference}", line.template));
    }
    found
}

/// Which bytes are marked: a block inside another marks nothing new.
fn mask(text: &str, spans: &[std::ops::Range<usize>]) -> Vec<bool> {
    let mut mask = vec![false; text.len()];
    for span in spans {
        mask[span.clone()].fill(true);
    }
    mask
}

#[test]
fn every_form_is_rendered_and_marked_as_jinja2_does_it() {
    let found = compared(include_str!("../../../tests/golden/template_forms.jsonl"));
    assert!(found.lines > 700, "{}", found.lines);
    assert!(found.differences.is_empty(), "{} differ:\n{}", found.differences.len(), found.differences.join("\n"));
    assert_eq!(found.fixed_not_here, 0, "the fixed forms are those that public templates use: all of them are here");
}

/// `python tests/golden/template_forms.py --count 5000 --seed 7 --out forms.jsonl` writes such a file.
#[test]
#[ignore = "reads the file that TRAINER_FORMS names"]
fn renderings_of_a_file_equal_those_of_jinja2() {
    let path = std::env::var_os("TRAINER_FORMS").expect("TRAINER_FORMS names a file of tests/golden/template_forms.py");
    let file = std::fs::read_to_string(path).unwrap();
    let found = compared(&file);
    let shown = found.differences.len().min(20);
    assert!(
        found.differences.is_empty(),
        "{} of {} differ, {} are not here:\n{}",
        found.differences.len(),
        found.lines,
        found.not_here,
        found.differences[..shown].join("\n")
    );
}
