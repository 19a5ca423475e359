//! That no text of a config and no override makes the program panic, talk without end, or repeat a secret. Runs for
//! `TRAINER_FUZZ_SECONDS` where that is set.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::fuzz;

/// A config with every kind of value.
const SEED: &str = r#"version = 1
name = "legal"
[model]
base = "smollm2-135m-instruct"
[data]
set = "legal-provisions"
system = "Answer briefly."
max_tokens = 512
jaccard = 0.8
[lora]
r = 16
target_modules = ["q_proj", "v_proj"]
[train]
epochs = 2.0
learning_rate = 1e-3
schedule = "cosine"
[eval]
labels = ["a", "b"]
egress = "private"
[[eval.arm]]
name = "tuned"
provider = "tuned"
[[eval.arm]]
name = "front"
provider = "openai-compatible"
model = "m"
url = "http://127.0.0.1:9/v1"
key_variable = "TEAM_KEY"
repeats = 2
extra = { service_tier = "flex", stop = ["x"] }
[[eval.scorer]]
kind = "label"
aliases = { a = ["first"] }
[[eval.scorer]]
kind = "json_fields"
field = [{ path = "a", compare = "fuzzy", threshold = 0.9 }]
[decision]
bin_edges = [100.0, 200.0]
guardrail = [{ kind = "latency_p95", limit_secs = 2.0 }]
[redact]
pattern = [{ label = "case_number", pattern = "AZ-[0-9]{4,}" }]
"#;

const SECRETS: [&str; 3] =
    ["sk-live-NOTAKEY0123456789", "hf_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3", "AKIAZ7Z7Z7Z7Z7Z7Z7Z7"];

/// What is put into a text: what TOML is made of, numbers beyond every range, and bytes of any kind.
const PIECES: [&str; 24] = [
    "=",
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ".",
    ",",
    "\n",
    "#",
    "\\u0000",
    "\u{1b}[2J",
    "\u{202e}",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "nan",
    "inf",
    "18446744073709551615",
    "a.a.a.a.a.a.a.a.a",
];

#[derive(Debug, Clone)]
enum Change {
    Piece(usize),
    Secret(usize),
    /// In place of what stands between the next two quotes, or behind the next `=`.
    Value(usize),
    Byte(u8),
    Take(usize),
    Twice(usize),
}

fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
    let change = prop_oneof![
        (0..PIECES.len()).prop_map(Change::Piece),
        (0..SECRETS.len()).prop_map(Change::Secret),
        (0..SECRETS.len()).prop_map(Change::Value),
        any::<u8>().prop_map(Change::Byte),
        (1..40_usize).prop_map(Change::Take),
        (1..200_usize).prop_map(Change::Twice),
    ];
    proptest::collection::vec((0..4096_usize, change), 1..8)
}

fn changed(text: &str, changes: &[(usize, Change)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, change) in changes {
        let at = at % (bytes.len() + 1);
        let end = |length: usize| (at + length).min(bytes.len());
        match change {
            Change::Piece(piece) => drop(bytes.splice(at..at, PIECES[*piece].bytes())),
            Change::Secret(secret) => drop(bytes.splice(at..at, SECRETS[*secret].bytes())),
            Change::Value(secret) => {
                let Some(start) = bytes[at..].iter().position(|byte| *byte == b'=').map(|start| at + start + 1) else {
                    continue;
                };
                let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| start + end);
                bytes.splice(start..end, format!(" \"{}\"", SECRETS[*secret]).into_bytes());
            }
            Change::Byte(byte) => bytes.insert(at, *byte),
            Change::Take(length) => drop(bytes.drain(at..end(*length))),
            Change::Twice(length) => {
                let piece = bytes[at..end(*length)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a text holds a secret as a word of its own; letters before it would make it another word.
fn leaks(text: &str) -> Option<&'static str> {
    SECRETS.into_iter().find(|secret| {
        text.match_indices(*secret).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + secret.len()..].chars().next();
            let apart = |sign: Option<char>| !sign.is_some_and(|sign| sign.is_alphanumeric() || sign == '_');
            apart(before) && apart(after)
        })
    })
}

fn holds(text: &str, overrides: &[String]) -> Result<(), TestCaseError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/fuzz.toml");
    let start = Instant::now();
    let said = match parse(text, &path, overrides) {
        Ok(config) => config.to_toml().unwrap() + &config.to_json().unwrap().to_string(),
        Err(errors) => errors.to_string(),
    };
    prop_assert!(start.elapsed() < Duration::from_secs(10), "{:?} for {text}", start.elapsed());
    prop_assert!(said.len() < 1 << 20, "{} bytes for {text}", said.len());
    prop_assert_eq!(leaks(&said), None, "{}\nfor\n{}", said, text);
    Ok(())
}

#[test]
fn a_changed_config_never_panics_and_repeats_no_secret() {
    holds(SEED, &[]).unwrap();
    assert!(leaks("x \"sk-live-NOTAKEY0123456789\"").is_some());
    fuzz::run(2000, &changes(), |changes| holds(&changed(SEED, &changes), &[]));
}

#[test]
fn a_changed_override_never_panics_and_repeats_no_secret() {
    let overrides = (0..schema::KEYS.len(), changes(), 0..SECRETS.len()).prop_map(|(key, changes, secret)| {
        let path = schema::KEYS[key].path();
        [changed(&format!("{path}=1"), &changes), format!("{path}={}", SECRETS[secret])]
    });
    fuzz::run(1000, &overrides, |overrides| holds(SEED, &overrides));
}

#[test]
fn a_secret_in_place_of_any_value_is_refused_unshown() {
    for secret in SECRETS {
        for key in schema::KEYS.iter() {
            for form in [format!("{}={secret}", key.path()), format!("{}=[\"{secret}\"]", key.path())] {
                let errors = parse(SEED, Path::new("/x/a.toml"), std::slice::from_ref(&form)).unwrap_err().to_string();
                assert_eq!(leaks(&errors), None, "{form}: {errors}");
                assert!(errors.contains(&format!("--set {}: ", key.path())), "{form}: {errors}");
            }
        }
    }
}

#[test]
fn what_grows_without_end_is_refused_in_time() {
    let many = |line: &dyn Fn(usize) -> String| (0..30_000).map(line).collect::<String>();
    let start = Instant::now();
    for text in [
        many(&|number| format!("k{number} = 1\n")),
        many(&|number| format!("[s{number}]\n")),
        format!("[eval]\nlabels = [{}]\n", many(&|number| format!("\"{number}\","))),
        format!("[eval]\nlabels = [{}]\n", many(&|number| format!("{number},"))),
        many(&|number| format!("[[eval.arm]]\nname=\"{number}\"\nprovider=\"base\"\n")),
        format!("[train]\n{}", many(&|number| format!("k{number} = 1\n"))),
        format!("{} = 1", "a.".repeat(100_000) + "a"),
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("\"{}\" = 1", "k".repeat(1 << 21)),
        format!("[model]\nbase = \"./{}\"", "k".repeat(1 << 21)),
    ] {
        let start = Instant::now();
        let errors =
            parse(&format!("version = 1\n{text}"), Path::new("/x/a.toml"), &[]).map(drop).map_err(|e| e.to_string());
        assert!(errors.is_err_and(|errors| errors.len() < 1 << 20), "{}", &text[..80]);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?} for {}", start.elapsed(), &text[..80]);
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
