//! A server of Anthropic Messages that fails as it is told, and keeps a ledger of what it would bill.
//! Knows nothing about the client: one thread for each connection, on the standard library alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use eval::wire::Usd;
use serde_json::{Value, json};

use crate::questions::{KEY, answer, golden_cost, tokens};

/// How the server answers one call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// Well, and bills it.
    Well,
    /// Well, byte by byte, so that characters and lines are split.
    Bytewise,
    /// A refusal, which is billed.
    Refusal,
    /// An answer that reaches the token limit.
    Truncated,
    /// Well, with no usage, a negative one, or one of a billion tokens.
    NoUsage,
    NegativeUsage,
    AbsurdUsage,
    /// Nothing for so long, then well.
    Late(Duration),
    /// Half a stream, which is billed.
    Cut,
    /// An event that is not JSON, after the model ran.
    MalformedEvent,
    /// Bytes that are not UTF-8, after the model ran.
    NotUtf8,
    /// An error inside the stream.
    ErrorInStream,
    /// The connection is reset, before or after the model ran.
    Reset {
        billed: bool,
    },
    /// A status with headers and an error of this type; 500 and 504 bill although they fail.
    Status(u16, &'static str, Vec<(&'static str, String)>),
    /// A status with this whole body.
    Body(u16, Vec<(&'static str, String)>, String),
}

/// One call as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Billed {
    pub(crate) row: usize,
    pub(crate) amount: Usd,
}

type Plan = dyn Fn(usize, u32) -> Behaviour + Send + Sync;

/// A running server; it ends with the process.
pub(crate) struct Server {
    pub(crate) url: String,
    ledger: Arc<Mutex<Vec<Billed>>>,
}

impl Server {
    /// Starts; `plan` says how each call of a row is answered, given how many calls of that row came before.
    pub(crate) fn start(plan: impl Fn(usize, u32) -> Behaviour + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ledger = Arc::new(Mutex::new(Vec::new()));
        let (plan, calls): (Arc<Plan>, _) = (Arc::new(plan), Arc::clone(&ledger));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (plan, calls) = (Arc::clone(&plan), Arc::clone(&calls));
                // A client that hangs up in the middle is part of the test.
                thread::spawn(move || while let Some(true) = serve(&socket, &*plan, &calls) {});
            }
        });
        Self { url, ledger }
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Billed> {
        self.ledger.lock().unwrap().clone()
    }

    /// What is on the invoice.
    pub(crate) fn billed(&self) -> Usd {
        self.calls().iter().map(|call| call.amount).sum()
    }
}

/// Serves one request; false ends the connection, none too, because it broke.
fn serve(socket: &TcpStream, plan: &Plan, ledger: &Mutex<Vec<Billed>>) -> Option<bool> {
    socket.set_nodelay(true).ok()?;
    // Unbuffered, so that a reset can leave the last byte of a request unread, which is what makes it a reset.
    let mut reader = BufReader::with_capacity(1, socket);
    let mut length = 0;
    let mut has_key = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        has_key |= lower.contains(KEY);
    }
    assert!(has_key, "a request without the key");
    let mut body = vec![0; length - 1];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let row: usize = text.split_once("row-").unwrap().1[..4].parse().unwrap();
    let behaviour = {
        let mut ledger = ledger.lock().unwrap();
        let num_before = ledger.iter().filter(|call| call.row == row).count();
        let behaviour = plan(row, u32::try_from(num_before).unwrap());
        ledger.push(Billed { row, amount: amount(&behaviour, row) });
        behaviour
    };
    if let Behaviour::Reset { .. } = behaviour {
        return None;
    }
    reader.read_exact(&mut [0]).ok()?;
    respond(socket, &behaviour, row)
}

fn amount(behaviour: &Behaviour, row: usize) -> Usd {
    match behaviour {
        Behaviour::Status(500 | 504, ..) | Behaviour::Reset { billed: true } => golden_cost(row),
        Behaviour::Status(..) | Behaviour::Body(..) | Behaviour::Reset { billed: false } => Usd::ZERO,
        _ => golden_cost(row),
    }
}

fn respond(mut socket: &TcpStream, behaviour: &Behaviour, row: usize) -> Option<bool> {
    match behaviour {
        Behaviour::Status(status, kind, headers) => {
            let body = json!({"type": "error", "error": {"type": kind, "message": "as planned"}}).to_string();
            plain(socket, *status, headers, &body)
        }
        Behaviour::Body(status, headers, body) => plain(socket, *status, headers, body),
        Behaviour::Late(pause) => {
            thread::sleep(*pause);
            respond(socket, &Behaviour::Well, row)
        }
        _ => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nrequest-id: req\r\n\r\n";
            socket.write_all(head.as_bytes()).ok()?;
            let stream = stream(behaviour, row);
            let cut = matches!(behaviour, Behaviour::Cut | Behaviour::ErrorInStream);
            let piece = if *behaviour == Behaviour::Bytewise { 1 } else { 97 };
            for bytes in stream.chunks(piece) {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend_from_slice(bytes);
                chunk.extend_from_slice(b"\r\n");
                socket.write_all(&chunk).ok()?;
            }
            if cut {
                return Some(false);
            }
            socket.write_all(b"0\r\n\r\n").ok()?;
            Some(true)
        }
    }
}

fn plain(mut socket: &TcpStream, status: u16, headers: &[(&str, String)], body: &str) -> Option<bool> {
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{extra}\r\n",
        body.len()
    );
    socket.write_all((head + body).as_bytes()).ok()?;
    Some(true)
}

fn stream(behaviour: &Behaviour, row: usize) -> Vec<u8> {
    let (input, output) = tokens(row);
    let usage = match behaviour {
        Behaviour::NoUsage => [json!({}), json!({})],
        Behaviour::NegativeUsage => [json!({"input_tokens": -5, "output_tokens": 1}), json!({"output_tokens": -1})],
        Behaviour::AbsurdUsage => {
            [json!({"input_tokens": 1_000_000_000}), json!({"output_tokens": 9_000_000_000_000_u64})]
        }
        _ => [json!({"input_tokens": input, "output_tokens": 1}), json!({"output_tokens": output})],
    };
    let stop = match behaviour {
        Behaviour::Refusal => json!({"stop_reason": "refusal", "stop_details": {"category": "bio"}}),
        Behaviour::Truncated => json!({"stop_reason": "max_tokens"}),
        _ => json!({"stop_reason": "end_turn"}),
    };
    let text = answer(row);
    let middle = text.char_indices().nth(9).unwrap().0;
    let delta =
        |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let mut bytes = b": comment\r\n\r\n".to_vec();
    let mut event = |value: &Value| {
        let name = value["type"].as_str().unwrap();
        bytes.extend_from_slice(format!("event: {name}\r\ndata: {value}\r\n\r\n").as_bytes());
    };
    event(&json!({"type": "message_start", "message": {"id": "msg", "model": "served-model", "usage": usage[0]}}));
    event(&json!({"type": "ping"}));
    event(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
    event(&delta(&text[..middle]));
    match behaviour {
        Behaviour::Cut => return bytes,
        Behaviour::ErrorInStream => {
            event(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "as planned"}}));
            return bytes;
        }
        Behaviour::MalformedEvent => {
            bytes.extend_from_slice(b"event: content_block_delta\ndata: {\"type\": \"cont\n\n")
        }
        Behaviour::NotUtf8 => bytes.extend_from_slice(b"event: content_block_delta\ndata: \xff\xfe\n\n"),
        _ => {}
    }
    let mut event = |value: &Value| {
        let name = value["type"].as_str().unwrap();
        bytes.extend_from_slice(format!("event: {name}\ndata: {value}\n\n").as_bytes());
    };
    event(&delta(&text[middle..]));
    event(&json!({"type": "content_block_stop", "index": 0}));
    event(&json!({"type": "message_delta", "delta": stop, "usage": usage[1]}));
    event(&json!({"type": "message_stop"}));
    bytes
}
