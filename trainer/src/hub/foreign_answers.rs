//! Every reader of an answer of the hub on answers that somebody bent: it gives a value or words, and both are bounded.
//! Some seconds at most; `TRAINER_FUZZ_SECONDS=600` goes on for ten minutes.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use ground::mutate::{asked, mutated};

use super::answer::Answer;
use super::local_file::LocalFile;
use super::wire::{Request, Wire};
use super::{HubSettings, account, large, listing, origin, publish};

const ROUNDS: u64 = 3_000;
const PIECES: [&[u8]; 20] = [
    b"\"", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1", b"1e999", b"18446744073709551616",
    b"4611686018427387904", b"\\ud800", b"\\u0000", b"\x00", b"\xff\xfe", b"../../x", b"\"type\":\"file\",",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Answers as the hub gives them: about a repository, a page of files, an account, how files go, what was made.
const ANSWERS: [&str; 6] = [
    r#"{"_id":"1","id":"a/b","sha":"0123456789abcdef0123456789abcdef01234567","private":false,"siblings":[{"rfilename":"x"}]}"#,
    r#"[{"type":"file","oid":"0123456789abcdef0123456789abcdef01234567","size":12,"path":"config.json","lfs":{"oid":"ab","size":12,"pointerSize":130},"xetHash":"e"},{"type":"directory","oid":"x","path":"d"}]"#,
    r#"{"type":"user","name":"roe","orgs":[{"name":"firm","roleInOrg":"write"}],"auth":{"accessToken":{"role":"fineGrained","fineGrained":{"global":["x"],"scoped":[{"entity":{"name":"roe"},"permissions":["repo.write"]}]}}}}"#,
    r#"{"files":[{"path":"a.bin","uploadMode":"lfs","shouldIgnore":false,"oid":null}]}"#,
    r#"{"transfer":"multipart","objects":[{"oid":"OID","size":3,"actions":{"upload":{"href":"https://s/x","header":{"chunk_size":"5","00001":"https://s/1"}},"verify":{"href":"https://h/v"}}}]}"#,
    r#"{"success":true,"commitOid":"0123456789abcdef0123456789abcdef01234567","commitUrl":"https://h/c"}"#,
];

fn file() -> LocalFile {
    LocalFile { path: "a.bin".to_owned(), at: "nowhere".into(), bytes: 3, sha256: "OID".to_owned() }
}

/// Gives an answer to every reader; what any of them says is short.
fn read_by_all(bytes: &[u8], wire: &Wire) -> usize {
    let answer = || Answer::good(bytes);
    let file = file();
    let mut ask = |_: Request<'_>| Ok(answer());
    let results = [
        listing::head(&answer()).map(|head| head.commit.unwrap_or_default()),
        listing::tree(wire, "a/b", "c", true, &mut ask)
            .map(|files| files.into_keys().max_by_key(String::len).unwrap_or_default()),
        answer().json().and_then(|who| account::may_write(&who, "roe/x")),
        large::modes_of(&answer(), "a/b", &[&file]).map(|modes| format!("{modes:?}")),
        large::uploads(&answer(), &[&file]).map(|uploads| uploads.len().to_string()),
        publish::made_commit(&answer()),
    ];
    let good = results.iter().filter(|result| result.is_ok()).count();
    for result in results {
        let said = result.unwrap_or_else(|error| format!("{error:#}"));
        assert!(said.len() <= 4_000, "{} bytes from {}", said.len(), String::from_utf8_lossy(bytes));
    }
    good
}

#[test]
fn answers_that_somebody_bent_are_read_or_refused() {
    let wire = Wire::new(&HubSettings::from_lookup(&|_| None, Path::new("nowhere")), "http://127.0.0.1:1").unwrap();
    for answer in ANSWERS {
        assert!(read_by_all(answer.as_bytes(), &wire) >= 1, "{answer}");
    }
    let start = Instant::now();
    for round in 0.. {
        if asked().map_or(round >= ROUNDS, |limit| start.elapsed() >= limit) {
            break;
        }
        let answer = ANSWERS[round as usize % ANSWERS.len()];
        read_by_all(&mutated(answer.as_bytes(), &PIECES, round), &wire);
        let link = mutated(b"<https://h/api?cursor=x>; rel=\"next\", </y>", &PIECES, round);
        let link = String::from_utf8_lossy(&link).into_owned();
        if let Some(next) = origin::next_page(&link)
            && let Ok(next) = origin::resolve("https://hub.example/a", next)
        {
            assert!(
                next.to_ascii_lowercase().starts_with("http") && next.len() < 3 * link.len() + 40,
                "{link}: {next}"
            );
        }
    }
}
