//! A hub and a store on two ports of loopback that answer as they are told, and keep what they were asked: for pulls.
//! Knows the addresses of the real ones; nothing about the program that asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hub_hashes::{blob_id, pointer, sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_StaysStaysStaysStaysStaysStays";
pub(crate) const REPO: &str = "owner/tiny";

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// `hub` or `store`.
    pub(crate) place: &'static str,
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) token: bool,
    range: Option<(usize, Option<usize>)>,
    /// Further headers that are not those of every request.
    pub(crate) odd_headers: Vec<String>,
}

/// What follows a head.
pub(crate) enum Body {
    Whole(Vec<u8>),
    /// These bytes behind a length of one's own choice; then nothing, and the connection stays.
    Announced(u64, Vec<u8>),
    /// These bytes, then blanks until nobody reads any more, without a length.
    Endless(Vec<u8>),
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Whole(value.to_string().into_bytes()) }
    }

    pub(crate) fn to(address: String) -> Self {
        Self { status: 307, headers: vec![("location", address)], body: Body::Whole(Vec::new()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Where the two are, for answers that name them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) hub: String,
    pub(crate) store: String,
}

type Odd = dyn Fn(&Asked, &Places) -> Option<Reply> + Send + Sync;
type Files = Vec<(String, Vec<u8>)>;

/// Both, running; they end with the process.
pub(crate) struct OddHub {
    pub(crate) places: Places,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl OddHub {
    /// With these files; `odd` is asked first, and where it says nothing the answer is right.
    pub(crate) fn start(files: Files, odd: impl Fn(&Asked, &Places) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [hub, store] = listeners.each_ref().map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        let places = Places { hub, store };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared: Arc<(Files, Box<Odd>, Places)> = Arc::new((files, Box::new(odd), places.clone()));
        for (listener, place) in listeners.into_iter().zip(["hub", "store"]) {
            let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
            thread::spawn(move || {
                for socket in listener.incoming().flatten() {
                    let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
                    thread::spawn(move || {
                        let mut reader = BufReader::new(&socket);
                        while let Some(one) = receive(&mut reader, place) {
                            asked.lock().unwrap().push(one.clone());
                            let (files, odd, places) = &*shared;
                            let reply = odd(&one, places).unwrap_or_else(|| right(&one, files));
                            if send(&socket, reply).is_none() {
                                break;
                            }
                        }
                    });
                }
            });
        }
        Self { places, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked, as `place method path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|one| format!("{} {} {}", one.place, one.method, one.path)).collect()
    }
}

/// The page of files as the hub lists them.
pub(crate) fn page(files: &Files) -> Value {
    let entry = |(name, bytes): &(String, Vec<u8>)| {
        let large = name.ends_with(".safetensors");
        let oid = sha256(bytes);
        let object = if large { blob_id(pointer(&oid, bytes.len()).as_bytes()) } else { blob_id(bytes) };
        let mut entry = json!({"type": "file", "oid": object, "size": bytes.len(), "path": name});
        if large {
            entry["lfs"] = json!({"oid": oid, "size": bytes.len(), "pointerSize": pointer(&oid, bytes.len()).len()});
            entry["xetHash"] = json!("e".repeat(64));
        }
        entry
    };
    Value::Array(files.iter().map(entry).collect())
}

fn right(asked: &Asked, files: &Files) -> Reply {
    let path = asked.path.split('?').next().unwrap();
    if path == format!("/api/models/{REPO}") {
        return Reply::json(&json!({"id": REPO, "sha": COMMIT, "private": false}));
    }
    if path == format!("/api/models/{REPO}/tree/{COMMIT}") {
        return Reply::json(&page(files));
    }
    let name = path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/")).or_else(|| path.strip_prefix("/blob/"));
    let Some((_, bytes)) = files.iter().find(|(file, _)| Some(file.as_str()) == name) else {
        return Reply { status: 404, headers: Vec::new(), body: Body::Whole(b"{}".to_vec()) };
    };
    let (start, end) = asked.range.unwrap_or((0, None));
    let end = end.map_or(bytes.len(), |end| (end + 1).min(bytes.len()));
    let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    Reply { status: 206, headers: vec![("content-range", range)], body: Body::Whole(bytes[start..end].to_vec()) }
        // What a file that is stored by Xet says of itself; nobody is to follow it.
        .with("x-xet-hash", "e".repeat(64))
        .with("x-linked-size", (1_u64 << 62).to_string())
}

fn receive(reader: &mut BufReader<&TcpStream>, place: &'static str) -> Option<Asked> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut token, mut range, mut length, mut odd_headers) = (false, None, 0, Vec::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        token |= value.contains(TOKEN);
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
                range = Some((start.parse().ok()?, end.parse().ok()));
            }
            "content-length" => length = value.parse().ok()?,
            "host" | "accept" | "user-agent" | "authorization" | "accept-encoding" => {}
            other => odd_headers.push(other.to_owned()),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { place, method, path, token, range, odd_headers })
}

/// Sends an answer; none ends the connection.
fn send(mut socket: &TcpStream, reply: Reply) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} Word\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.body {
        Body::Whole(bytes) => {
            head.push_str(&format!("content-length: {}\r\n\r\n", bytes.len()));
            socket.write_all(head.as_bytes()).ok()?;
            socket.write_all(&bytes).ok()
        }
        Body::Announced(length, bytes) => {
            head.push_str(&format!("content-length: {length}\r\n\r\n"));
            socket.write_all(head.as_bytes()).ok()?;
            socket.write_all(&bytes).ok()?;
            thread::sleep(Duration::from_secs(20));
            None
        }
        Body::Endless(first) => {
            head.push_str("connection: close\r\n\r\n");
            socket.write_all(head.as_bytes()).ok()?;
            socket.write_all(&first).ok()?;
            let blanks = vec![b' '; 1 << 20];
            while socket.write_all(&blanks).is_ok() {}
            None
        }
    }
}
