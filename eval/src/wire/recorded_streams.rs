//! Our dialects against what the official clients of Anthropic, OpenAI and Google understood of the same bytes.
//! Knows nothing about Python: `tests/oracles/wire_streams.py` wrote down bodies and understanding.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use serde::Deserialize;

use super::prices::Service;
use super::{Answer, CallError, Headers, PriceTable, by_name, sse, wait};
use crate::Finish;

#[derive(Debug, Deserialize)]
struct Clients {
    cases: Vec<Case>,
    waits: Vec<Wait>,
}

#[derive(Debug, Deserialize)]
struct Case {
    file: Option<String>,
    dialect: String,
    name: String,
    form: String,
    status: u16,
    understood: Understood,
    body: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Understood {
    Error { error: String },
    Answer { text: String, finish: String, category: Option<String>, model: Option<String>, usage: Option<Totals> },
}

#[derive(Debug, Deserialize, PartialEq)]
struct Totals {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

#[derive(Debug, Deserialize)]
struct Wait {
    headers: std::collections::BTreeMap<String, String>,
    secs: Option<f64>,
}

#[test]
fn recorded_streams_are_read_as_the_official_clients_read_them() {
    let clients = clients();
    assert!(clients.cases.len() > 100, "{}", clients.cases.len());
    let wrong: Vec<String> = clients.cases.iter().filter_map(|case| differs(case, &bytes(case))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs cases written by tests/oracles/wire_streams.py --cases 1500 --out FILE, named in WIRE_STREAM_CASES"]
fn generated_streams_are_read_as_the_official_clients_read_them() {
    let path = std::env::var("WIRE_STREAM_CASES").expect("WIRE_STREAM_CASES names the file of the cases");
    let cases: Vec<Case> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 1000, "{} cases are too few", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| differs(case, &bytes(case))).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong[..wrong.len().min(20)].join("\n"));
}

#[test]
fn waits_are_those_of_the_official_clients() {
    for case in clients().waits {
        let headers: Headers = case.headers.into_iter().collect();
        // The clients hand on what their next step then refuses.
        assert_eq!(wait::asked(&headers, None), case.secs.filter(|secs| *secs > 0.0), "{headers:?}");
    }
}

#[test]
fn golden_costs_come_out_of_the_raw_bytes_in_both_forms() {
    let table = r#"
        version = 1
        date = "2026-11-23"
        [[price]]
        provider = "anthropic"
        model = "write"
        valid_from = "2025-01-01"
        source = "https://github.com/BerriAI/litellm/issues/9812"
        input_usd_per_million_tokens = 3.00
        cache_write_5m_usd_per_million_tokens = 3.75
        output_usd_per_million_tokens = 15.00
        [[price]]
        provider = "anthropic"
        model = "read"
        valid_from = "2025-01-01"
        source = "https://github.com/BerriAI/litellm/issues/11789"
        input_usd_per_million_tokens = 0.80
        cache_read_usd_per_million_tokens = 0.08
        output_usd_per_million_tokens = 4.00
    "#;
    let table = PriceTable::parse("golden.toml", table).unwrap();
    let clients = clients();
    for (name, model, exact, rounded) in [
        ("golden-cache-write", "write", "0.054399", "0.054399"),
        ("golden-cache-read", "read", "0.0002916", "0.000292"),
    ] {
        let cases: Vec<&Case> = clients.cases.iter().filter(|case| case.name == name).collect();
        // Each in both forms; the second also as OpenAI writes it, whose prompt contains what was cached.
        assert_eq!(cases.len(), if model == "read" { 4 } else { 2 });
        for case in cases {
            let answer = read(case, &bytes(case), 5).unwrap();
            let rate = table.rate("anthropic", model, date(2026, 1, 1), Service::Standard).unwrap();
            let cost = rate.cost(&answer.usage.unwrap()).unwrap();
            assert_eq!((cost.to_string().as_str(), format!("{cost:.6}").as_str()), (exact, rounded), "{case:?}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_is_cut_or_whole_and_never_shorter() {
    for case in clients().cases.iter().filter(|case| case.form == "stream" && case.status == 200) {
        let bytes = bytes(case);
        let Ok(whole) = read(case, &bytes, usize::MAX) else { continue };
        for end in 0..bytes.len() {
            match read(case, &bytes[..end], usize::MAX) {
                // What comes behind the reason can only be the usage.
                Ok(answer) => {
                    assert_eq!((&answer.text, &answer.finish), (&whole.text, &whole.finish), "{case:?} {end}")
                }
                Err(CallError::Cut { characters }) => {
                    assert!(characters <= whole.text.chars().count(), "{case:?} {end}")
                }
                Err(error) => panic!("{error} at {end} of {case:?}"),
            }
        }
    }
}

/// What is put into bytes that are changed.
const PIECES: [&[u8]; 14] = [
    b"\n\n",
    b"\r",
    b"data: ",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b"\"",
    b"{",
    b"[",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"\\ud83d",
    b"\xff\xfe\x00",
];

/// Reads bytes in every way that a server can have them read: whole, as a stream in pieces, as the body of an error.
fn read_in_every_way(name: &str, bytes: &[u8], piece: usize) -> usize {
    let dialect = by_name(name).unwrap();
    let mut good = 0;
    let mut keep = |said: Result<Answer, CallError>| match said {
        Ok(answer) => {
            good += 1;
            // What JSON spells is never longer than its spelling.
            let finish = serde_json::to_string(&answer.finish).unwrap();
            assert!(answer.text.len() <= bytes.len() && finish.len() <= 6 * bytes.len() + 200, "{name}");
        }
        Err(error) => assert!(error.to_string().len() <= 2 * bytes.len() + 2_000, "{name}: {error}"),
    };
    keep(dialect.read(bytes));
    let (mut reader, mut events) = (sse::EventReader::new(1 << 16), Vec::new());
    let pushed = bytes.chunks(piece.max(1)).try_for_each(|piece| reader.push(piece, &mut events));
    let mut stream = dialect.stream();
    let taken = events.iter().try_for_each(|event| stream.event(event.name.as_deref(), &event.data).map(drop));
    keep(pushed.and(taken).and_then(|()| stream.finish()));
    for status in [200, 400, 429, 500] {
        keep(Err(dialect.error(status, &Headers::new(), bytes)));
    }
    good
}

/// Some seconds; `TRAINER_FUZZ_SECONDS=600` goes on for ten minutes.
#[test]
fn streams_answers_and_errors_that_somebody_bent_are_read_or_refused() {
    let limit = ground::mutate::asked();
    let bodies: Vec<Vec<u8>> = clients().cases.iter().map(bytes).collect();
    let (mut good, start) = (0, std::time::Instant::now());
    for round in 0_u64.. {
        if limit.map_or(round >= 3_000, |limit| start.elapsed() >= limit) {
            break;
        }
        let body = &bodies[round as usize % bodies.len()];
        let bent = ground::mutate::mutated(body, &PIECES, round);
        // Each in its own dialect and in all others: a server may speak any.
        for dialect in super::ALL {
            good += read_in_every_way(dialect.name(), &bent, round as usize % 40);
        }
    }
    assert!(good > 100, "only {good} could still be read, so nothing was tested");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/wire")
}

fn clients() -> Clients {
    serde_json::from_str(&fs::read_to_string(folder().join("clients.json")).unwrap()).unwrap()
}

fn bytes(case: &Case) -> Vec<u8> {
    match (&case.body, &case.file) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, Some(file)) => fs::read(folder().join(file)).unwrap(),
        (None, None) => panic!("{case:?} has no body"),
    }
}

fn read(case: &Case, body: &[u8], piece: usize) -> Result<Answer, CallError> {
    let dialect = by_name(&case.dialect).unwrap();
    if case.status != 200 {
        return Err(dialect.error(case.status, &Headers::new(), body));
    }
    if case.form == "plain" {
        return dialect.read(body);
    }
    let (mut reader, mut events) = (sse::EventReader::new(1 << 20), Vec::new());
    for piece in body.chunks(piece) {
        reader.push(piece, &mut events)?;
    }
    assert_eq!(events, sse::parse(body).unwrap());
    let (mut stream, mut streamed) = (dialect.stream(), String::new());
    for event in events {
        streamed += &stream.event(event.name.as_deref(), &event.data)?;
    }
    let answer = stream.finish()?;
    assert_eq!(answer.text, streamed, "what the events added is the answer");
    Ok(answer)
}

fn differs(case: &Case, body: &[u8]) -> Option<String> {
    [1, 3, 7, 1000].into_iter().find_map(|piece| {
        let ours = read(case, body, piece);
        let same = match (&case.understood, &ours) {
            (Understood::Error { error }, Err(CallError::Api { kind, .. })) => error == kind,
            (Understood::Answer { finish, .. }, Err(CallError::Cut { .. })) => finish == "none",
            (Understood::Answer { text, finish, category, model, usage }, Ok(answer)) => {
                let (our_finish, our_category) = in_their_words(&answer.finish);
                *text == answer.text
                    && finish == our_finish
                    && *category == our_category
                    && *model == answer.model
                    && *usage == answer.usage.map(totals)
            }
            _ => false,
        };
        (!same).then(|| {
            format!("{} {} {}: the client {:?}, we {ours:?}", case.dialect, case.name, case.form, case.understood)
        })
    })
}

fn totals(usage: super::Usage) -> Totals {
    Totals {
        input: usage.input(),
        cache_read: usage.cache_read,
        cache_write: usage.cache_write_5m + usage.cache_write_1h,
        output: usage.output(),
        reasoning: usage.output_reasoning,
    }
}

fn in_their_words(finish: &Finish) -> (&'static str, Option<String>) {
    match finish {
        Finish::Stop => ("stop", None),
        Finish::Length => ("length", None),
        Finish::Refusal { category: Some(word) }
            if matches!(word.as_str(), "tool_use" | "tool_calls" | "function_call" | "functionCall") =>
        {
            ("tool", None)
        }
        Finish::Refusal { category } => ("refusal", category.clone()),
        Finish::ContentFilter { category } => ("content_filter", category.clone()),
        Finish::Failed { .. } => ("unknown", None),
        Finish::Timeout => ("timeout", None),
    }
}
