//! Every scorer of the list against answers of megabytes: judged or unscored with a reason, in seconds and within memory.
//! Knows nothing about what a right judgement is; that is told beside each scorer.

use std::time::{Duration, Instant};

use super::{ALL, Answer, JsonFields, JsonValid, Regex, Scored, Scorer, Spans, Target, json_fields, regex, spans};
use crate::{Completion, Finish, Parse};

/// Seconds on a busy machine; in practice it is one or two.
const MOST_TIME: Duration = Duration::from_secs(60);

fn words(prefix: &str, number: usize) -> String {
    (0..number).map(|at| format!("{prefix}{at}")).collect::<Vec<_>>().join(" ")
}

fn turned(text: &str, by: char) -> String {
    text.split(by).rev().collect::<Vec<_>>().join(&by.to_string())
}

fn numbers(number: usize) -> String {
    (0..number).map(|at| at.to_string()).collect::<Vec<_>>().join(",")
}

/// Answers and targets, each pair of a shape that took time or memory with the square of its length somewhere. `share` of
/// the longest that are judged: what takes the square shows at a twentieth too, in a four-hundredth of the time.
fn shapes(share: usize) -> Vec<(&'static str, String, String)> {
    let of = |most: usize| most / share;
    let different = words("w", of(300_000));
    let list = format!("[{}]", numbers(of(200_000)));
    let objects: Vec<String> = (0..of(30_000)).map(|at| format!("{{\"id\":{at},\"x\":\"t{at}\"}}")).collect();
    let objects = format!("[{}]", objects.join(","));
    let fields: Vec<String> = (0..of(60_000)).map(|at| format!("\"key{at}\":{at}")).collect();
    let fields = format!("{{{}}}", fields.join(","));
    let spans: Vec<String> =
        (0..of(40_000)).map(|at| format!("{{\"type\":\"A\",\"start\":{at},\"end\":{}}}", 1_000_000 - at)).collect();
    let spans = format!("[{}]", spans.join(","));
    let quotes: Vec<String> = (0..of(60_000)).map(|at| format!("{{\"type\":\"A\",\"text\":\"w{at}\"}}")).collect();
    let quotes = format!("[{}]", quotes.join(","));
    let tags = |tag: &str| vec![tag; of(300_000)].join(" ");
    vec![
        ("different words against few", different.clone(), "one two three".to_owned()),
        ("different words in another order", different.clone(), turned(&different, ' ')),
        ("two words by turns", "ab cd ".repeat(of(300_000)), "cd ab ".repeat(of(300_000))),
        ("one letter", "a".repeat(of(2_000_000)), "a".repeat(of(2_000_000) - 1)),
        ("words without a space", "ab".repeat(of(1_000_000)), "ba".repeat(of(1_000_000))),
        ("lines that share a word", "the x\n".repeat(of(200_000)), "the y\n".repeat(of(200_000))),
        ("white space", format!("x{}x", " ".repeat(of(2_000_000))), "x".to_owned()),
        ("letters with marks", "e\u{301}".repeat(of(500_000)), "\u{e9}".repeat(of(500_000))),
        (
            "many different letters",
            ('\u{4e00}'..'\u{9fa5}').cycle().take(of(600_000)).collect(),
            "\u{4e00}".repeat(of(600_000)),
        ),
        ("digits and signs", "1.2,3-4/5:".repeat(of(200_000)), "7".to_owned()),
        ("money signs", "$".repeat(of(2_000_000)), "$5".to_owned()),
        ("brackets", "[".repeat(of(2_000_000)), "[]".to_owned()),
        ("one string", format!("\"{}\"", "ab".repeat(of(1_000_000))), format!("\"{}\"", "ba".repeat(of(1_000_000)))),
        ("a list", list.clone(), format!("[{}]", turned(&list[1..list.len() - 1], ','))),
        ("objects", objects.clone(), objects.replace("\"x\":\"t", "\"x\":\"u")),
        ("fields", fields.clone(), fields.replace(":1", ":2")),
        ("a long key above others", format!("{{\"{}\":{fields}}}", "k".repeat(of(1_000_000))), fields),
        ("spans upon each other", spans.clone(), spans.replace(":1", ":2")),
        ("spans by their text", quotes.clone(), quotes),
        ("tags", tags("B-A"), tags("I-A")),
    ]
}

type Judge = Box<dyn Fn(Answer<'_>, Target<'_>) -> (String, Scored)>;

/// Scorers of the list, and those that a config can ask for beside them.
fn scorers() -> Vec<Judge> {
    fn judge(scorer: impl Scorer + 'static) -> Judge {
        Box::new(move |answer, target| (scorer.name().to_owned(), scorer.score(answer, target)))
    }
    let mut all: Vec<Judge> = Vec::new();
    for scorer in ALL {
        all.push(Box::new(move |answer, target| (scorer.name().to_owned(), scorer.score(answer, target))));
    }
    for rule in [
        r#"{"path": "$", "compare": "fuzzy"}"#,
        r#"{"path": "$", "compare": "set"}"#,
        r#"{"path": "$", "list": "assignment"}"#,
        r#"{"path": "$", "list": "by_key", "key": "id"}"#,
        r#"{"path": "$", "compare": "number", "absolute_tolerance": 0.5}"#,
        r#"{"path": "$", "compare": "money"}"#,
        r#"{"path": "$", "compare": "folded"}"#,
    ] {
        let rule: json_fields::FieldRule = serde_json::from_str(rule).unwrap();
        all.push(judge(JsonFields::build(json_fields::Options { field: vec![rule], ..Default::default() }).unwrap()));
    }
    for mode in [
        spans::Options::default().mode,
        crate::spans::Mode::Exact,
        crate::spans::Mode::Type,
        crate::spans::Mode::Partial,
    ] {
        all.push(judge(Spans::build(spans::Options { mode, ..Default::default() }).unwrap()));
    }
    let tags = spans::Options { form: spans::Form::Tags, ..Default::default() };
    all.push(judge(Spans::build(tags).unwrap()));
    for pattern in ["(?<answer>[a-z]+)$", r"(\w+ ?)*x", "(a?){50}a{50}", r"(?i)(\w{1,40} ){1,5}(?<answer>z)"] {
        all.push(judge(Regex::build(regex::Options { pattern: pattern.to_owned(), fold_case: true }).unwrap()));
    }
    for schema in [
        serde_json::json!({"uniqueItems": true}),
        serde_json::json!({"pattern": "^(a|b|ab)*c$"}),
        serde_json::json!({"pattern": "^(?=(a+)+$)b"}),
        serde_json::json!({"$defs": {"l": {"anyOf": [{"type": "integer"}, {"items": {"$ref": "#/$defs/l"}}]}}, "$ref": "#/$defs/l"}),
        serde_json::json!({"items": {"enum": (0..2_000).collect::<Vec<_>>()}}),
    ] {
        all.push(judge(JsonValid::with_schema(false, &schema, std::path::Path::new("schema")).unwrap()));
    }
    all
}

/// The most memory that this process ever held, where the system tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").trim().parse().ok()
}

#[test]
fn no_scorer_takes_the_square_of_a_long_answer() {
    judged_in_bounds(20, Duration::from_secs(10));
}

#[test]
#[ignore = "minutes and gigabytes; cargo test --release --workspace --lib -- --ignored the_longest_answers"]
fn the_longest_answers_are_judged_in_bounds() {
    judged_in_bounds(1, MOST_TIME);
}

fn judged_in_bounds(share: usize, most: Duration) {
    let labels = vec!["yes".to_owned(), "no".to_owned()];
    let source = words("w", 60_000);
    let (scorers, mut slowest) = (scorers(), (Duration::ZERO, String::new()));
    for (shape, text, wanted) in shapes(share) {
        assert!(text.len().max(wanted.len()) <= crate::work::MOST_BYTES, "{shape}");
        let completion = Completion::of(text, Finish::Stop);
        let target = Target { text: &wanted, labels: &labels, source: &source, ..Target::default() };
        for scorer in &scorers {
            let started = Instant::now();
            let (name, scored) = scorer(Answer::Written(&completion), target);
            let took = started.elapsed();
            assert!(took < most, "{name} took {took:?} for {shape}");
            let told = match &scored.parse {
                Parse::Unscored { reason } => scored.score.is_none() && !reason.is_empty(),
                _ => scored.score.is_some_and(|score| (0.0..=1.0).contains(&score)),
            };
            assert!(told, "{name} for {shape}: {:?} {:?}", scored.score, scored.parse);
            if took > slowest.0 {
                slowest = (took, format!("{name} for {shape}"));
            }
        }
    }
    println!("slowest: {slowest:?}, peak memory of all tests: {:?} KiB", peak_kib());
    if let Some(peak) = peak_kib() {
        assert!(peak < 2 << 20, "{peak} KiB");
    }
}

#[test]
fn the_answers_of_the_cases_are_judged_and_not_only_refused() {
    let judge = |scorer: &dyn Scorer, text: String, wanted: &str| {
        let completion = Completion::of(text, Finish::Stop);
        scorer.score(Answer::Written(&completion), Target { text: wanted, ..Target::default() }).score
    };
    let field = |rule: &str| {
        let field = vec![serde_json::from_str(rule).unwrap()];
        JsonFields::build(json_fields::Options { field, ..Default::default() }).unwrap()
    };
    let rouge = super::Rouge(crate::text::rouge::Variant::L);
    assert_eq!(judge(&rouge, words("w", 300_000), "one two three"), Some(0.0));
    let fuzzy = field(r#"{"path": "a", "compare": "fuzzy"}"#);
    let of = |text: &str| format!("{{\"a\": \"{}\"}}", text.repeat(100_000));
    assert_eq!(judge(&fuzzy, of("ab"), &of("ba")), Some(1.0));
    let set = field(r#"{"path": "a", "compare": "set"}"#);
    let list = numbers(20_000);
    let wanted = format!("{{\"a\": [{}]}}", turned(&list, ','));
    assert_eq!(judge(&set, format!("{{\"a\": [{list}]}}"), &wanted), Some(1.0));
}
