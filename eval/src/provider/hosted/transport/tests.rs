//! Requests to servers that answer, break off, hang and are not there: what comes back, and how far each request got.
//! Knows nothing about dialects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A server that says `answer` to its one caller, then waits `hold_ms` and hangs up.
fn serve(answer: &'static str, hold_ms: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).unwrap();
        socket.write_all(answer.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(hold_ms));
    });
    format!("http://{address}/v1")
}

fn post(url: &str, settings: TransportSettings) -> Result<Response, Failure> {
    let headers = vec![("x-api-key".to_owned(), "secret".to_owned())];
    Transport::new(settings, 5.0, url, 1).post(ask(url, &headers))
}

fn ask<'a>(url: &'a str, headers: &'a Headers) -> Post<'a> {
    Post { url, headers, body: b"{}", is_stream: true, total_secs: 30.0, max_bytes: u64::MAX }
}

#[test]
fn a_name_that_leads_elsewhere_later_is_not_asked_there() {
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", 0);
    let url = url.replace("127.0.0.1", "llm.lan");
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked_up);
    // The second and third time it has a public address too, or alone; nobody is to be asked at either.
    let answers: [&[[u8; 4]]; 3] = [&[[127, 0, 0, 1]], &[[127, 0, 0, 1], [203, 0, 113, 9]], &[[203, 0, 113, 9]]];
    let look_up = move |name: &str| -> Vec<IpAddr> {
        assert_eq!(name, "llm.lan");
        answers[count.fetch_add(1, Ordering::SeqCst)].iter().map(|address| IpAddr::from(*address)).collect()
    };
    let settings = TransportSettings {
        allow_plain_http: true,
        use_proxy: false,
        egress: Egress::Private,
        ..TransportSettings::default()
    };
    let reach = Reach::with(&settings, &url, Arc::new(look_up));
    let transport = Transport::within(reach, settings, 5.0, false, 1);
    let headers = vec![("x-api-key".to_owned(), "secret".to_owned())];
    assert_eq!(transport.post(ask(&url, &headers)).unwrap().read_all().unwrap(), b"{}");
    for _ in 0..2 {
        let failure = transport.post(ask(&url, &headers)).err().unwrap();
        let what = "llm.lan now leads to an address that is public, and prompts of this arm may go to private ones";
        let error = CallError::Connection { what: what.to_owned() };
        assert_eq!(failure, Failure { error, stage: Stage::Name });
    }
    assert_eq!(looked_up.load(Ordering::SeqCst), 3);
}

#[test]
fn what_is_not_encrypted_stays_in_the_own_network_whatever_its_name_leads_to() {
    let url = "http://localhost:9/v1";
    let settings = TransportSettings { use_proxy: false, ..TransportSettings::default() };
    let reach = Reach::with(&settings, url, Arc::new(|_| vec![IpAddr::from([203, 0, 113, 9])]));
    let headers = Headers::new();
    let failure = Transport::within(reach, settings, 5.0, false, 1).post(ask(url, &headers)).err().unwrap();
    assert!(failure.error.to_string().contains("that is public"), "{}", failure.error);
    assert_eq!(failure.stage, Stage::Name);
}

#[test]
fn the_name_of_a_host_without_an_address_is_told_as_such() {
    let url = "http://llm.lan/v1";
    let settings = TransportSettings { egress: Egress::Private, allow_plain_http: true, ..Default::default() };
    let reach = Reach::with(&settings, url, Arc::new(|_| Vec::new()));
    let headers = Headers::new();
    let failure = Transport::within(reach, settings, 5.0, false, 1).post(ask(url, &headers)).err().unwrap();
    assert!(failure.error.to_string().contains("host not found"), "{}", failure.error);
    assert_eq!(failure.stage, Stage::Name);
}

#[test]
fn a_name_that_nobody_can_look_up_was_not_sent() {
    let url = "http://name.invalid/v1";
    let settings = TransportSettings { allow_plain_http: true, use_proxy: false, ..Default::default() };
    let headers = Headers::new();
    let failure = Transport::new(settings.clone(), 2.0, url, 1).post(ask(url, &headers)).err().unwrap();
    assert!(matches!(failure.error, CallError::Connection { .. }), "{}", failure.error);
    assert_eq!(failure.stage, Stage::Name);
    // Nor does it matter which limit ends the wait for the name.
    for (connect_secs, total_secs) in [(0.05, 30.0), (5.0, 0.05)] {
        let slow = Arc::new(|_: &str| {
            std::thread::sleep(Duration::from_millis(400));
            vec![IpAddr::from([127, 0, 0, 1])]
        });
        let transport = Transport::within(Reach::with(&settings, url, slow), settings.clone(), connect_secs, false, 1);
        let failure = transport.post(Post { total_secs, ..ask(url, &headers) }).err().unwrap();
        let error = CallError::Connection { what: "no connection within 0.05 s".to_owned() };
        assert_eq!(failure, Failure { error, stage: Stage::Name });
    }
}

/// What becomes of an encrypted request to a server that says `answer` to whatever it is told first.
fn encrypted(answer: &'static str, hold_ms: u64, total_secs: f64) -> Failure {
    let url = serve(answer, hold_ms).replace("http://", "https://");
    let settings = TransportSettings { use_proxy: false, ..TransportSettings::default() };
    let headers = Headers::new();
    Transport::new(settings, 5.0, &url, 1).post(Post { total_secs, ..ask(&url, &headers) }).err().unwrap()
}

#[test]
fn a_request_waits_until_the_other_side_has_shown_who_it_is() {
    let garbled = encrypted("HTTP/1.1 400 Bad Request\r\n\r\n", 0, 30.0);
    let hung_up = encrypted("", 0, 30.0);
    let silent = encrypted("", 600, 0.1);
    for failure in [garbled, hung_up, silent] {
        assert!(matches!(failure.error, CallError::Connection { .. }), "{}", failure.error);
        assert_eq!(failure.stage, Stage::Connection, "{}", failure.error);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let url = serve("HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 0);
    assert_eq!(post(&url, TransportSettings::default()).unwrap().status, 307);
}

#[test]
fn a_refused_connection_was_not_sent_whatever_was_before_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for _ in 0..2 {
        let failure = post(&url, TransportSettings::default()).err().unwrap();
        assert_eq!(failure.stage, Stage::Connection);
        assert!(matches!(failure.error, CallError::Connection { .. }), "{failure:?}");
        // The next one is asked for on the thread of a request that was sent.
        post(&serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 0), TransportSettings::default()).unwrap();
    }
}

#[test]
fn a_connection_that_breaks_after_the_request_may_have_been_billed() {
    let failure = post(&serve("", 0), TransportSettings::default()).err().unwrap();
    assert_eq!(failure.stage, Stage::Sent);
    assert!(matches!(failure.error, CallError::Connection { .. }), "{failure:?}");
}

#[test]
fn silence_longer_than_the_stall_limit_is_a_timeout() {
    let settings = TransportSettings { stall_secs: 0.05, ..TransportSettings::default() };
    let failure = post(&serve("", 400), settings.clone()).err().unwrap();
    assert_eq!(failure, Failure { error: CallError::Timeout { seconds: 0.05 }, stage: Stage::Sent });
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 400);
    let error = post(&url, settings).unwrap().read_all().unwrap_err();
    assert_eq!(error, CallError::Timeout { seconds: 0.05 });
}

#[test]
fn a_body_that_breaks_off_is_cut_and_one_that_is_too_large_is_malformed() {
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 0);
    let error = post(&url, TransportSettings::default()).unwrap().read_all().unwrap_err();
    assert_eq!(error, CallError::Cut { characters: 0 });
    let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcdefghi", 0);
    let settings = TransportSettings { max_answer_bytes: 8, ..TransportSettings::default() };
    assert!(matches!(post(&url, settings).unwrap().read_all(), Err(CallError::Malformed { .. })));
}
