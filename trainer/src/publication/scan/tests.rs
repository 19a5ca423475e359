//! That nothing planted in a text goes by unseen, wherever and however it stands there.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::secret::tests::samples;

/// A card, a file of settings and a page, as a publication has them.
const HOSTS: [(&str, &str); 3] = [
    (
        "README.md",
        "# legal\n\nA low-rank adapter.\n\n| what | value |\n|---|---|\n| steps | 12 |\n\n- see https://example.org/a/b\n",
    ),
    (
        "trainer/summary.json",
        "{\n  \"status\": \"finished\",\n  \"settings\": { \"r\": 16 },\n  \"sha256\": \"0a0a\"\n}\n",
    ),
    ("trainer/report.html", "<html><body><p>All rows</p><pre>termination</pre></body></html>\n"),
];
const ROW: &str = "The seller shall not be liable for any loss of profit howsoever caused under this agreement";

fn texts() -> Texts {
    let mut texts = Texts::default();
    texts.add("training row 1", ROW);
    texts.add("training row 2", "Either party may end this agreement with a notice of thirty days in writing");
    texts
}

fn found(path: &str, text: &str) -> Vec<Fault> {
    let files = [Scanned { path, bytes: text.as_bytes(), of_the_base: false }];
    let places = Places::of(Path::new("/"), [Path::new("/srv/firm/runs/legal")]);
    scan(&files, &Known::default(), &places, &texts())
}

fn planted() -> impl Strategy<Value = String> {
    let words: Vec<&str> = ROW.split(' ').collect();
    let part = (0..words.len() - 8).prop_map(move |start| words[start..start + 8].join(" "));
    let path = ("[a-z]{2,8}", 0..3_usize).prop_map(|(name, kind)| match kind {
        0 => format!("{}/{name}/a.toml", concat!("/ho", "me")),
        1 => format!("/mnt/{name}/rows.jsonl"),
        _ => format!("D:\\{name}\\rows.jsonl"),
    });
    prop_oneof![proptest::sample::select(samples()), part, path]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_planted_is_found(text in planted(), host in 0..HOSTS.len(), place in 0.0..1.0_f64, form in 0..3_usize) {
        let (path, host) = HOSTS[host];
        let lines: Vec<&str> = host.lines().collect();
        let at = ((lines.len() as f64) * place) as usize;
        let json = serde_json::Value::from(text.as_str()).to_string();
        let planted = match form {
            0 => text.clone(),
            1 => format!("\"note\": {},", json.replace('/', "\\/")),
            _ => format!("<p title=\"{}\"></p>", text.replace('&', "&amp;").replace('"', "&quot;").replace('/', "&#x2f;")),
        };
        let whole: Vec<&str> = lines[..at].iter().copied().chain([planted.as_str()]).chain(lines[at..].iter().copied()).collect();
        prop_assert!(!found(path, &whole.join("\n")).is_empty(), "{planted}");
    }
}

#[test]
fn a_clean_publication_has_no_finding() {
    for (path, text) in HOSTS {
        assert_eq!(found(path, text), []);
    }
}

#[test]
fn paths_and_phrases_of_the_base_are_its_own_and_its_secrets_are_not() {
    let text = format!("{{\"vocab\": {{\"{}/a\": 1, \"hf_{}\": 2}}}}", concat!("/ho", "me/x"), "aB3".repeat(12));
    let files = [Scanned { path: "tokenizer.json", bytes: text.as_bytes(), of_the_base: true }];
    let found = scan(&files, &Known::default(), &Places::of(Path::new("/"), []), &texts());
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("Hugging Face"));
}
