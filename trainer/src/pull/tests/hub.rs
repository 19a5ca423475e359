//! Faults of the hub: transfers that break, refusals, files that are not the listed ones, and where the token is read.
//!
//! Knows the places of the tests above; nothing here reaches a network.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// A hub with one repository. It serves whole answers until its patience for file requests ends.
pub(super) struct FakeHub {
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// Answer to the first question instead of the repository: status line and error code.
    pub(super) refusal: Option<(&'static str, &'static str)>,
    pub(super) patience: Mutex<usize>,
    pub(super) ranges: Mutex<Vec<String>>,
}

impl FakeHub {
    pub(super) fn start(self) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(self);
        let served = Arc::clone(&hub);
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| served.answer(stream)));
        (hub, address)
    }

    pub(super) fn with_files(files: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self { files, refusal: None, patience: Mutex::new(usize::MAX), ranges: Mutex::new(Vec::new()) }
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let authorised = headers.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer secret-token"));
        assert!(authorised, "{headers:?}");
        let range = headers.iter().find_map(|line| line.strip_prefix("range: bytes="));
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (status, extra, body) = self.respond(path, method, range);
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{extra}\r\n");
        let _ = stream.write_all(head.as_bytes());
        if method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }

    fn respond(&self, path: &str, method: &str, range: Option<&str>) -> (&'static str, String, Vec<u8>) {
        let path = path.split('?').next().unwrap();
        if let Some((status, code)) = self.refusal {
            return (status, format!("x-error-code: {code}\r\n"), b"{}".to_vec());
        }
        if path == "/api/models/owner/tiny" {
            return ("200 OK", String::new(), format!("{{\"id\":\"owner/tiny\",\"sha\":\"{COMMIT}\"}}").into_bytes());
        }
        if path.starts_with("/api/models/owner/tiny/tree/") {
            let entries: Vec<String> = self.files.iter().map(|(name, content)| listing(name, content)).collect();
            return ("200 OK", String::new(), format!("[{}]", entries.join(",")).into_bytes());
        }
        let name = path.rsplit('/').next().unwrap();
        let Some((_, content)) = self.files.iter().find(|(file, _)| *file == name) else {
            return ("404 Not Found", "x-error-code: EntryNotFound\r\n".to_owned(), Vec::new());
        };
        let Some(range) = range.filter(|_| method == "GET") else {
            return ("200 OK", String::new(), content.clone());
        };
        let mut patience = self.patience.lock().unwrap();
        if *patience == 0 {
            return ("403 Forbidden", String::new(), Vec::new());
        }
        *patience -= 1;
        self.ranges.lock().unwrap().push(format!("{name} {range}"));
        let (from, to) = range.split_once('-').unwrap();
        let piece = content[from.parse().unwrap()..=to.parse().unwrap()].to_vec();
        ("206 Partial Content", String::new(), piece)
    }
}

/// Weights are listed as pointers, everything else as itself; the file `broken` is listed with another's hash.
fn listing(name: &str, content: &[u8]) -> String {
    let object = match name {
        "model.safetensors" => git_object::pointer_id(&sha256(content), content.len() as u64),
        "tokenizer.json" if content == b"broken" => git_object::blob_id(b"other"),
        _ => git_object::blob_id(content),
    };
    format!("{{\"type\":\"file\",\"path\":\"{name}\",\"oid\":\"{object}\",\"size\":{}}}", content.len())
}

pub(super) fn small_repository(tokenizer: &[u8]) -> FakeHub {
    FakeHub::with_files(vec![
        ("README.md", b"not wanted".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("consolidated.safetensors", b"the same weights again".to_vec()),
        ("model.safetensors", b"0123456789".to_vec()),
        ("tokenizer.json", tokenizer.to_vec()),
    ])
}

#[test]
fn a_checkpoint_comes_from_the_hub_without_the_files_it_does_not_need() {
    let (_, address) = small_repository(b"{}").start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    place.config(HUB_SOURCE);
    let pulled = place.pull().0.unwrap();
    assert_eq!(pulled.source, format!("hub owner/tiny at {COMMIT}"));
    assert_eq!(fs::read(pulled.path.join("model.safetensors")).unwrap(), b"0123456789");
    assert!(!pulled.path.join("README.md").exists() && !pulled.path.join("consolidated.safetensors").exists());
    place.hub = hub_settings("http://127.0.0.1:1");
    assert!(place.pull().0.unwrap().from_cache);
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let mut hub = small_repository(b"{}");
    // config.json takes one request, then two of the pieces of the weights get through.
    hub.patience = Mutex::new(3);
    let (hub, address) = hub.start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    place.hub.piece_bytes = 4;
    place.config(HUB_SOURCE);
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("this account may not read owner/tiny"), "{error}");
    assert!(!place.path("cache/entries").exists());
    *hub.patience.lock().unwrap() = usize::MAX;
    hub.ranges.lock().unwrap().clear();
    let pulled = place.pull().0.unwrap();
    assert_eq!(fs::read(pulled.path.join("model.safetensors")).unwrap(), b"0123456789");
    assert_eq!(*hub.ranges.lock().unwrap(), ["model.safetensors 8-9", "tokenizer.json 0-1"]);
}

#[test]
fn a_file_that_is_not_the_listed_one_is_refused_and_removed() {
    let (_, address) = small_repository(b"broken").start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    place.config(HUB_SOURCE);
    let error = format!("{:#}", place.pull().0.unwrap_err());
    let (expected, found) = (git_object::blob_id(b"other"), git_object::blob_id(b"broken"));
    assert!(error.contains(&expected) && error.contains(&found), "{error}");
    assert!(!place.path("cache/entries").exists());
}

#[test]
fn a_byte_now_and_then_is_not_waited_for_and_what_came_is_kept() {
    let files = vec![("config.json", vec![b'{'; 1_000]), ("model.safetensors", b"w".to_vec())];
    let hub = Arc::new(FakeHub::with_files(files));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let ranges = Arc::clone(&asked);
    let serve = |mut stream: TcpStream, hub: &FakeHub, ranges: &Mutex<Vec<String>>| {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let path = head[0].split(' ').nth(1).unwrap();
        if path.starts_with("/api/") {
            let (status, extra, body) = hub.respond(path, "GET", None);
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            return;
        }
        let range = head.iter().find_map(|line| line.strip_prefix("range: bytes=")).unwrap();
        ranges.lock().unwrap().push(range.to_owned());
        let _ = stream.write_all(b"HTTP/1.1 206 X\r\nconnection: close\r\n\r\n");
        // Not for ever: a test that fails must end.
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(200));
            if stream.write_all(b"{").is_err() {
                break;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (hub, ranges) = (Arc::clone(&hub), Arc::clone(&ranges));
            std::thread::spawn(move || serve(stream, &hub, &ranges));
        }
    });
    let mut place = Place::new();
    place.hub = hub_settings(&format!("http://{slow}"));
    place.hub.silence = Duration::from_millis(700);
    place.config(HUB_SOURCE);
    let started = Instant::now();
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("the hub is too slow"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let asked = asked.lock().unwrap();
    assert!(asked.len() == 4 && asked[0] == "0-999", "{asked:?}");
    // Every attempt goes on behind what the one before it brought.
    let starts: Vec<u32> = asked.iter().map(|range| range.split_once('-').unwrap().0.parse().unwrap()).collect();
    assert!(starts.is_sorted_by(|one, next| one < next), "{asked:?}");
}

#[test]
fn refusals_of_the_hub_are_told_apart() {
    for (status, code, words) in [
        ("401 Unauthorized", "GatedRepo", "is gated and needs a login"),
        ("401 Unauthorized", "RepoNotFound", "no repository named owner/tiny, or it is private"),
        ("401 Unauthorized", "", "the hub refused the token"),
        ("403 Forbidden", "GatedRepo", "this account has no access yet"),
        ("404 Not Found", "RepoNotFound", "no repository named owner/tiny"),
        ("503 Service Unavailable", "", "the hub answered 503"),
    ] {
        let mut hub = FakeHub::with_files(Vec::new());
        hub.refusal = Some((status, code));
        let (_, address) = hub.start();
        let mut place = Place::new();
        place.hub = hub_settings(&address);
        place.config(HUB_SOURCE);
        let error = format!("{:#}", place.pull().0.unwrap_err());
        assert!(error.contains(words) && !error.contains("secret-token"), "{status} {code}: {error}");
    }
}

#[test]
fn the_token_is_read_from_the_usual_places_in_order() {
    let place = Place::new();
    fs::write(place.path("token"), "from-home\n").unwrap();
    fs::write(place.path("other"), "from-path\n").unwrap();
    let settings = |pairs: &[(&str, &str)]| {
        let lookup = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        HubSettings::from_lookup(&lookup, &place.path("token")).token().map(str::to_owned)
    };
    let other = place.path("other").display().to_string();
    let path = ("HF_TOKEN_PATH", other.as_str());
    assert_eq!(settings(&[]).as_deref(), Some("from-home"));
    assert_eq!(settings(&[path]).as_deref(), Some("from-path"));
    assert_eq!(settings(&[path, ("HUGGING_FACE_HUB_TOKEN", "old")]).as_deref(), Some("old"));
    assert_eq!(settings(&[("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", "new")]).as_deref(), Some("new"));
    assert_eq!(settings(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
}
