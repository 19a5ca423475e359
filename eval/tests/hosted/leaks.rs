//! What a server may not do by what it answers: have the key written down, or make answers longer than was asked for.
//! Knows nothing about scores; looks at every byte that is left on disk.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eval::Finish;
use eval::provider::hosted::CallOutcome;
use eval::wire::Anthropic;
use serde_json::json;

use crate::questions::{KEY, MAX_TOKENS, answer_all, asks, journal, model, settings, shared};
use crate::server::{Behaviour, Server};

/// The key as it is, and in the spellings that a server or a later reader may give it.
fn spellings() -> Vec<String> {
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // base64 of the key, and of a letter and the key.
    vec![
        KEY.to_owned(),
        escaped,
        percent,
        "c2stdGVzdC0wMTIzNDU2Nzg5".to_owned(),
        "eHNrLXRlc3QtMDEyMzQ1Njc4OQ==".to_owned(),
    ]
}

#[test]
fn a_key_that_a_server_repeats_is_on_no_disk_and_in_no_answer() {
    let plan = |row: usize, _: u32| {
        let all = spellings();
        let spelt = all[row % all.len()].clone();
        let headers = vec![("request-id", format!("req {spelt}"))];
        if row.is_multiple_of(3) {
            let error =
                json!({"type": "error", "error": {"type": format!("kind {spelt}"), "message": format!("key {spelt}")}});
            return Behaviour::Body(400, headers, error.to_string());
        }
        let text = format!("said: {spelt} and {{\"inside\": \"{spelt}\"}}");
        let message = json!({
            "id": format!("msg {spelt}"), "model": format!("m {spelt}"), "content": [{"type": "text", "text": text}],
            "stop_reason": if row % 3 == 1 { "end_turn".to_owned() } else { format!("stop {spelt}") },
            "usage": {"input_tokens": 20, "output_tokens": 5},
        });
        Behaviour::Body(200, headers, message.to_string())
    };
    let server = Server::start(plan);
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&server.url);
    settings.stop = eval::provider::hosted::StopRules { same_refusals: 0, outages: 0 };
    // A refusal before any answer stops the arm, so one call at a time, the answers first.
    settings.max_concurrency = 1;
    let mut asks = asks(30);
    asks.sort_by_key(|ask| ask.id[4..].parse::<usize>().unwrap() % 3 == 0);
    let answered = answer_all(&model(&Anthropic, settings, shared(journal(folder.path()), None)), &asks).unwrap();
    assert_eq!(answered.len(), 30);
    let told = serde_json::to_string(&answered).unwrap();
    assert!(told.contains("said: [key] and ") && told.contains("kind [key]"), "{told}");
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for spelt in spellings() {
            // Text in JSON has its backslashes doubled.
            for form in [spelt.clone(), spelt.replace('\\', "\\\\"), spelt.trim_end_matches('=').to_owned()] {
                assert!(!text.contains(&form) && !told.contains(&form), "{form}");
            }
        }
        files += 1;
    }
    assert!(files >= 1);
}

/// A server that answers with a head and then `piece` for as long as anybody reads; counts the bytes it could send.
fn endless(head: &'static str, piece: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim_end().to_ascii_lowercase().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(_) => {}
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let _ = socket.write_all(head.as_bytes());
            while socket.write_all(piece.as_bytes()).is_ok() {
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    });
    (url, sent)
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";

#[test]
fn a_stream_of_text_without_end_is_left_where_its_token_limit_ends() {
    let text = "word ".repeat(20);
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let (url, sent) = endless(STREAM, format!("event: content_block_delta\ndata: {delta}\n\n"));
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let model = model(&Anthropic, settings(&url), shared(journal(folder.path()), None));
    let answered = answer_all(&model, &asks(1)).unwrap().remove(0);
    assert_eq!((answered.record.outcome, &answered.completion.finish), (CallOutcome::Truncated, &Finish::Length));
    let length = answered.completion.text.len();
    assert!(length > MAX_TOKENS * 10 && length <= MAX_TOKENS * 128 + 1024, "{length}");
    // What it cost is not known, and is not taken for nothing.
    assert!(answered.record.cost_usd.is_none() && answered.record.possibly_spent_usd.picodollars() > 0);
    std::thread::sleep(Duration::from_millis(300));
    let before = sent.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sent.load(Ordering::SeqCst), before, "the connection is still open");
    // What the system holds on the way counts as sent.
    assert!(before < 16 << 20, "{before}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_stream_of_anything_else_without_end_is_refused_long_before_the_last_limit() {
    let (url, sent) = endless(STREAM, format!(": {}\n\n", "wait ".repeat(2_000)));
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&url);
    settings.policy.max_retries = 0;
    let model = model(&Anthropic, settings, shared(journal(folder.path()), None));
    let answered = answer_all(&model, &asks(1)).unwrap().remove(0);
    assert_eq!(answered.record.outcome, CallOutcome::Malformed, "{:?}", answered.record);
    std::thread::sleep(Duration::from_millis(200));
    assert!(sent.load(Ordering::SeqCst) < 20 << 20, "{}", sent.load(Ordering::SeqCst));
}
