//! A hosted model for tests: Anthropic Messages and OpenAI Chat Completions, streamed and whole, on the standard library alone.
//! Knows nothing about the program that calls it. What left the machine is kept, so that a test can look at it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What the server says it used for each answer, in tokens.
pub(crate) const INPUT_TOKENS: u64 = 20;
pub(crate) const OUTPUT_TOKENS: u64 = 4;

/// How one call is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// With this text.
    Says(String),
    /// With this status, these further headers, and an error of this type.
    Fails(u16, &'static str, &'static [(&'static str, &'static str)]),
    /// With status 400 and this message.
    Refuses(&'static str),
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// As it came over the wire.
    pub(crate) body: String,
    /// The last message of the user.
    pub(crate) prompt: String,
    /// What stands before the conversation, wherever the dialect puts it.
    pub(crate) system: Option<String>,
}

type Plan = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// A running server; it ends with the process.
pub(crate) struct HostedServer {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl HostedServer {
    /// Starts a server that answers every prompt.
    pub(crate) fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::planned(move |prompt, _| Reply::Says(answer(prompt)))
    }

    /// Starts a server; `plan` is given a prompt and how many calls with that prompt came before.
    pub(crate) fn planned(plan: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (plan, seen): (Arc<Plan>, _) = (Arc::new(plan), Arc::clone(&calls));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (plan, seen) = (Arc::clone(&plan), Arc::clone(&seen));
                // A client that hangs up ends its own connection and nothing else.
                thread::spawn(move || {
                    let mut reader = BufReader::new(&socket);
                    while let Some(()) = serve(&mut reader, &*plan, &seen) {}
                });
            }
        });
        Self { url, calls }
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn num_calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// Serves one request; none ends the connection.
fn serve(reader: &mut BufReader<&TcpStream>, plan: &Plan, seen: &Mutex<Vec<Call>>) -> Option<()> {
    let call = receive(reader)?;
    let request: Value = serde_json::from_str(&call.body).unwrap();
    let (path, prompt) = (call.path.clone(), call.prompt.clone());
    let num_before = {
        let mut seen = seen.lock().unwrap();
        let num_before = seen.iter().filter(|earlier| earlier.prompt == prompt).count();
        seen.push(call);
        num_before
    };
    let streams = request["stream"] == true;
    let (status, headers, kind, body) = match plan(&prompt, num_before) {
        Reply::Fails(status, error, headers) => {
            let error = json!({"type": "error", "error": {"type": error, "message": "as planned"}});
            (status, headers, "application/json", error.to_string())
        }
        Reply::Refuses(message) => {
            let error = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
            (400, [].as_slice(), "application/json", error.to_string())
        }
        Reply::Says(text) if streams => (200, [].as_slice(), "text/event-stream", streamed(&path, &text)),
        Reply::Says(text) => (200, [].as_slice(), "application/json", whole(&path, &text).to_string()),
    };
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    let mut socket = *reader.get_ref();
    socket.write_all((head + &body).as_bytes()).ok()
}

fn receive(reader: &mut BufReader<&TcpStream>) -> Option<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let header = |line: &String| line.split_once(':').map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned()));
    let headers: HashMap<String, String> = lines[1..].iter().filter_map(header).collect();
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    let request: Value = serde_json::from_str(&body).unwrap();
    let said = |role: &str| {
        let messages = request["messages"].as_array().into_iter().flatten();
        messages.rev().find(|message| message["role"] == role)?["content"].as_str().map(str::to_owned)
    };
    let system = request["system"].as_str().map(str::to_owned).or_else(|| said("system"));
    Some(Call { path, headers, prompt: said("user").unwrap_or_default(), system, body })
}

/// A whole answer in the dialect of the path.
fn whole(path: &str, text: &str) -> Value {
    if path.ends_with("/messages") {
        let usage = json!({"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS});
        let content = json!([{"type": "text", "text": text}]);
        return json!({"id": "msg", "model": "served", "content": content, "stop_reason": "end_turn", "usage": usage});
    }
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS});
    json!({"id": "chat", "model": "served", "choices": [choice], "usage": usage})
}

/// The same answer as a stream, its text in two pieces.
fn streamed(path: &str, text: &str) -> String {
    let (first, rest) = text.split_at(text.char_indices().nth(1).map_or(text.len(), |(at, _)| at));
    if path.ends_with("/messages") {
        let delta = |text| json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}});
        let message =
            json!({"id": "msg", "model": "served", "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}});
        let usage = json!({"output_tokens": OUTPUT_TOKENS});
        let events = [
            json!({"type": "message_start", "message": message}),
            delta(first),
            delta(rest),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
            json!({"type": "message_stop"}),
        ];
        let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        return events.iter().map(event).collect();
    }
    let chunk = |delta: Value, finish: Value| json!({"id": "chat", "model": "served", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let usage = json!({"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS});
    let chunks = [
        chunk(json!({"role": "assistant", "content": first}), Value::Null),
        chunk(json!({"content": rest}), Value::Null),
        chunk(json!({}), "stop".into()),
        json!({"id": "chat", "model": "served", "choices": [], "usage": usage}),
    ];
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}
