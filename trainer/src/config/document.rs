//! Writes the tables of keys in `configs/README.md` from the schema, and fails where the file says something else;
//! `UPDATE_EXPECT=1` writes it. Owns how a key is documented; knows no meaning of any.

use expect_test::expect_file;
use serde_json::Value;

use super::schema::{FILE, KEYS, Key};
use super::shape::{Field, LeftOut, Shape};

/// What stands before and behind a table that is written here.
fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name}: written by a test of trainer/src/config/document.rs -->\n"), "<!-- end -->\n".to_owned())
}

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/README.md");
/// Words of a key whose meanings stand beside it.
const MOST_WORDS: usize = 8;

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rule = vec!["---"; heads.len()].join("|");
    let rows: String = rows.map(|cells| row(&cells)).collect();
    format!("{}|{rule}|\n{rows}", row(&heads))
}

/// What a key takes, in a few words.
fn takes(shape: &Shape) -> String {
    match shape {
        Shape::Text(_) => "text".to_owned(),
        Shape::Flag => "`true`, `false`".to_owned(),
        Shape::Whole(range) => format!("whole number {}", range.words()),
        Shape::Number(range) => format!("number {}", range.words()),
        Shape::Words(words) => words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Shape::List { of, .. } => match &**of {
            Shape::Text(_) => "texts".to_owned(),
            Shape::Number(range) => format!("numbers {}", range.words()),
            _ => "tables".to_owned(),
        },
        Shape::Named { of, .. } => format!("table of {}", takes(of)),
        Shape::Table(_) | Shape::Tagged { .. } | Shape::Free => "table".to_owned(),
        Shape::Either(shapes) => shapes.iter().map(takes).collect::<Vec<_>>().join(", or "),
    }
}

fn left_out(field: &Field) -> String {
    match &field.left_out {
        LeftOut::Needed => "needed".to_owned(),
        LeftOut::Words(words) => words.clone(),
        LeftOut::Nothing => "–".to_owned(),
        LeftOut::Is(Value::Array(list)) if list.is_empty() => "none".to_owned(),
        LeftOut::Is(Value::Object(table)) if table.is_empty() => "none".to_owned(),
        LeftOut::Is(value) => format!("`{value}`"),
    }
}

fn cells(name: &str, field: &Field) -> Vec<String> {
    let mut meaning = sentence(&field.doc);
    // More words have a table of their own.
    if let Shape::Words(words) = &field.shape
        && words.len() <= MOST_WORDS
        && words.iter().any(|(_, doc)| !doc.is_empty())
    {
        let words = words.iter().map(|(word, doc)| format!("`\"{word}\"`: {}", sentence(doc)));
        meaning = format!("{meaning}; {}", words.collect::<Vec<_>>().join("; "));
    }
    vec![format!("`{name}`"), takes(&field.shape), left_out(field), meaning]
}

/// Without a full stop, and small where a sentence would begin large: these are cells.
fn sentence(doc: &str) -> String {
    let doc = doc.strip_suffix('.').unwrap_or(doc);
    let mut letters = doc.chars();
    match letters.next() {
        Some(first) if doc.chars().nth(1).is_some_and(char::is_lowercase) || doc.starts_with("A ") => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => doc.to_owned(),
    }
}

const HEADS: [&str; 4] = ["key", "takes", "default", "meaning"];

fn keys() -> String {
    table(&HEADS, KEYS.iter().map(|key| cells(&key.path(), key.field)))
}

fn list(path: &str) -> &'static Shape {
    match Key::find(path).map(|key| &key.field.shape) {
        Some(Shape::List { of, .. }) => of,
        _ => panic!("{path} is no list"),
    }
}

fn arms() -> String {
    table(&HEADS, list("eval.arm").fields().iter().map(|field| cells(&field.name, field)))
}

fn patterns() -> String {
    table(&HEADS, list("redact.pattern").fields().iter().map(|field| cells(&field.name, field)))
}

/// The keys of each kind of a tagged list; `fields` of a list within it have a table of their own.
fn kinds(path: &str) -> String {
    let Shape::Tagged { kinds, .. } = list(path) else { panic!("{path} has no kinds") };
    let rows = kinds.iter().flat_map(|kind| {
        kind.fields.iter().map(|field| {
            let mut cells = cells(&field.name, field);
            cells.insert(0, format!("`{}`", kind.word));
            cells
        })
    });
    table(&["kind", "key", "takes", "default", "meaning"], rows)
}

fn fields() -> String {
    let Shape::Tagged { kinds, .. } = list("eval.scorer") else { panic!("scorers have no kinds") };
    let field = kinds.iter().flat_map(|kind| &kind.fields).find(|field| field.name == "field").unwrap();
    table(&HEADS, field.shape.fields().iter().map(|field| cells(&field.name, field)))
}

#[test]
fn the_documentation_of_configs_is_that_of_the_structs() {
    let mut text = std::fs::read_to_string(README).unwrap();
    for (name, table) in [
        ("keys", keys()),
        ("arms", arms()),
        ("scorers", kinds("eval.scorer")),
        ("fields", fields()),
        ("guardrails", kinds("decision.guardrail")),
        ("patterns", patterns()),
    ] {
        let (start, end) = marks(name);
        let from = text.find(&start).unwrap_or_else(|| panic!("no line {start}")) + start.len();
        let to = from + text[from..].find(&end).unwrap_or_else(|| panic!("{name} has no end"));
        text.replace_range(from..to, &table);
    }
    assert!(FILE.len() > 10);
    expect_file![README].assert_eq(&text);
}
