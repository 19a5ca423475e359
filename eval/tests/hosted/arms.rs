//! What concerns an arm as a whole: wrong keys, stops, caches, repeats, equal requests, caps without a price, secrets.
//! Knows nothing about single faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eval::provider::hosted::{Ask, CallOutcome, HostedModel, HostedSettings, Journal, Shared};
use eval::wire::{Anthropic, Form, Key, KeyHeader, SystemAs, Usd};
use eval::{Error, Finish};

use crate::clocks::SleepClock;
use crate::questions::{
    KEY, answer, answer_all, ask, asks, golden_cost, journal, model, settings, shared, tariff, with_clock,
};
use crate::server::{Behaviour, Server};

fn in_memory() -> Shared {
    shared(Journal::in_memory("run").unwrap(), None)
}

#[test]
fn a_wrong_key_stops_the_arm_after_one_call_and_is_not_shown() {
    let body = format!(r#"{{"type":"error","error":{{"type":"authentication_error","message":"no key {KEY}"}}}}"#);
    let server = Server::start(move |_, _| Behaviour::Body(401, Vec::new(), body.clone()));
    let shared = in_memory();
    let error = answer_all(&model(&Anthropic, settings(&server.url), shared.clone()), &asks(1_000)).unwrap_err();
    let shown = format!("{error} {error:?} {:?}", shared.journal.attempts().unwrap());
    assert!(shown.contains("ANTHROPIC_API_KEY") && !shown.contains(KEY), "{shown}");
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn a_request_that_every_row_repeats_in_vain_stops_the_arm_early() {
    let server = Server::start(|_, _| Behaviour::Status(400, "invalid_request_error", Vec::new()));
    let settings = HostedSettings { max_concurrency: 4, ..settings(&server.url) };
    let error = answer_all(&model(&Anthropic, settings, in_memory()), &asks(1_000)).unwrap_err();
    assert!(error.to_string().contains("max_tokens"), "{error}");
    assert!(server.calls().len() < 10);
}

#[test]
fn a_field_that_is_refused_stops_the_arm_after_one_call_and_says_what_to_leave_out() {
    let body = r#"{"type":"error","error":{"type":"invalid_request_error","message":"temperature: Extra inputs are not permitted"}}"#;
    let server = Server::start(move |_, _| Behaviour::Body(400, Vec::new(), body.to_owned()));
    let mut asks = asks(1_000);
    asks.iter_mut().for_each(|ask| ask.request.temperature = Some(0.0));
    let error = answer_all(&model(&Anthropic, settings(&server.url), in_memory()), &asks).unwrap_err().to_string();
    assert!(error.contains("it refuses `temperature`"), "{error}");
    assert!(error.ends_with("\nhint: take temperature out of the arm"), "{error}");
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn another_version_is_asked_again_and_another_header_for_the_key_is_not() {
    let server = Server::start(|_, _| Behaviour::Well);
    let model = model(&Anthropic, settings(&server.url), in_memory());
    let calls_with = |form: Form| {
        let mut asks = asks(2);
        asks.iter_mut().for_each(|ask| ask.request.form = form.clone());
        answer_all(&model, &asks).map(|_| server.calls().len())
    };
    let old = Form { api_version: Some("2023-06-01".to_owned()), ..Form::default() };
    assert_eq!(calls_with(Form::default()).unwrap(), 2);
    assert_eq!(calls_with(old.clone()).unwrap(), 4);
    assert_eq!(calls_with(Form { key_header: Some(KeyHeader::ApiKey), ..old }).unwrap(), 4);
    assert_eq!(calls_with(Form { system_as: Some(SystemAs::User), ..Form::default() }).unwrap(), 6);
    let cannot = calls_with(Form { system_as: Some(SystemAs::Developer), ..Form::default() }).unwrap_err().to_string();
    assert!(cannot.ends_with("\nhint: write system_as = one of: field, system, user"), "{cannot}");
    assert_eq!(server.calls().len(), 6);
}

#[test]
fn a_provider_that_stays_down_stops_the_arm_and_the_same_call_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|row, call| match (row, call) {
        (0..20, _) | (_, 3..) => Behaviour::Well,
        _ => Behaviour::Status(529, "overloaded_error", Vec::new()),
    });
    let shared = with_clock(journal(folder.path()), None, Arc::new(SleepClock::default()));
    let model = model(&Anthropic, HostedSettings { max_concurrency: 2, ..settings(&server.url) }, shared);
    let error = answer_all(&model, &asks(80)).unwrap_err();
    assert!(matches!(error, Error::ProviderDown { rows: 50, .. }), "{error}");
    assert!(error.to_string().contains("run the same command again"));
    let answered = answer_all(&model, &asks(80)).unwrap();
    assert!(answered[..60].iter().all(|row| row.record.outcome == CallOutcome::Ok));
    assert_eq!(server.calls().iter().filter(|call| call.row < 20).count(), 20);
}

#[test]
fn a_stopped_run_sends_nothing_more_and_ends_what_is_in_flight() {
    let server = Server::start(|_, _| Behaviour::Well);
    let shared = in_memory();
    let model = model(&Anthropic, settings(&server.url), shared.clone());
    let stop = AtomicBool::new(false);
    let progress = |progress: eval::provider::hosted::CallProgress| {
        if progress.num_done == 30 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let answered = model.answer_all(&asks(500), &stop, &progress).unwrap();
    let count = |outcome| answered.iter().filter(|row| row.record.outcome == outcome).count();
    assert_eq!(count(CallOutcome::Ok), server.calls().len());
    assert_eq!(count(CallOutcome::Ok) + count(CallOutcome::Cancelled), 500);
    assert!(count(CallOutcome::Ok) >= 30 && count(CallOutcome::Cancelled) > 300);
    assert!(shared.journal.attempts().unwrap().iter().all(|attempt| attempt.spend.is_some()));
    assert!(matches!(answered[499].completion.finish, Finish::Failed { .. }));
}

#[test]
fn another_run_takes_answers_from_the_cache_with_their_first_latency_and_spends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.sqlite");
    let server = Server::start(|_, _| Behaviour::Well);
    let first = shared(Journal::open(&path, "first").unwrap(), None);
    let answered = answer_all(&model(&Anthropic, settings(&server.url), first), &asks(20)).unwrap();
    let second = shared(Journal::open(&path, "second").unwrap(), Some("0.000001".parse().unwrap()));
    let again = answer_all(&model(&Anthropic, settings(&server.url), second.clone()), &asks(20)).unwrap();
    assert_eq!(server.calls().len(), 20);
    assert_eq!(second.budget.spent().total(), Usd::ZERO);
    for (before, after) in answered.iter().zip(&again) {
        assert_eq!((before.record.cached, after.record.cached), (false, true));
        let latencies = (before.record.latency_secs.unwrap(), after.record.latency_secs.unwrap());
        assert!((latencies.0 - latencies.1).abs() < 1e-9);
        assert_eq!(before.completion, after.completion);
    }
}

#[test]
fn repeats_are_asked_apart_and_equal_requests_once() {
    let server = Server::start(|_, _| Behaviour::Well);
    let shared = in_memory();
    let model = model(&Anthropic, settings(&server.url), shared.clone());
    let repeated = Ask::repeated([("a".to_owned(), ask(0).request), ("b".to_owned(), ask(1).request)], 3);
    let answered = answer_all(&model, &repeated).unwrap();
    assert_eq!(server.calls().len(), 6);
    let places: Vec<(&str, u32)> = answered.iter().map(|row| (row.id.as_str(), row.repeat)).collect();
    assert_eq!(places, [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]);

    let twins: Vec<Ask> = (0..5).map(|at| Ask { id: format!("twin-{at}"), ..ask(2) }).collect();
    let answered = answer_all(&model, &twins).unwrap();
    assert_eq!(server.calls().len(), 7);
    assert_eq!(answered.iter().filter(|row| row.record.cached).count(), 4);
    assert!(answered.iter().all(|row| row.completion.text == answer(2)));
    assert_eq!(shared.budget.spent().exact, [0, 0, 0, 1, 1, 1, 2].into_iter().map(golden_cost).sum());
    assert!(matches!(answer_all(&model, &[ask(3), ask(3)]), Err(Error::DuplicateId { .. })));
}

#[test]
fn without_a_price_a_cap_refuses_the_arm_and_without_a_cap_the_cost_is_unknown() {
    let server = Server::start(|_, _| Behaviour::Well);
    let key = || Key::from_environment("KEY", |_| Some(KEY.to_owned())).unwrap();
    let capped = shared(Journal::in_memory("run").unwrap(), Some("5".parse().unwrap()));
    let error = HostedModel::new(&Anthropic, key(), None, settings(&server.url), capped).err().unwrap();
    assert!(error.to_string().contains("hint: add the model to a price table"), "{error}");
    let free = HostedModel::new(&Anthropic, key(), None, settings(&server.url), in_memory()).unwrap();
    let answered = answer_all(&free, &asks(3)).unwrap();
    assert!(answered.iter().all(|row| row.record.cost_usd.is_none() && row.record.usage.is_some()));
}

#[test]
fn the_worst_case_of_a_batch_is_known_before_anything_is_sent() {
    let server = Server::start(|_, _| Behaviour::Well);
    let model = model(&Anthropic, settings(&server.url), in_memory());
    let worst = model.worst_case_of(&asks(10)).unwrap().unwrap();
    assert!(worst > (0..10).map(golden_cost).sum());
    assert!(worst >= tariff(&Anthropic).worst_case(0, 640).unwrap());
    assert!(server.calls().is_empty());
}

#[test]
fn an_address_that_is_not_encrypted_is_refused_before_anything_is_sent() {
    let settings = settings("http://api.example.com");
    let error = answer_all(&model(&Anthropic, settings, in_memory()), &asks(1)).unwrap_err();
    assert!(matches!(error, Error::BadAddress { .. }), "{error}");
}
