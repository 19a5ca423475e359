//! How long the call path waits before it asks again, for each way in which a provider can say so.
//! Knows nothing about real time: the clock moves by sleeping alone.

use std::sync::Arc;

use eval::Clock;
use eval::provider::hosted::{Answered, CallOutcome, HostedSettings, Journal};
use eval::wire::retry::Policy;
use eval::wire::{Anthropic, Dialect, Gemini, OpenAiChat};
use serde_json::json;

use crate::clocks::SleepClock;
use crate::questions::{answer_all, asks, model, settings, with_clock};
use crate::server::{Behaviour, Server};

/// Asks one row that fails once with `first`; the seconds slept, the answer, and the calls that the server saw.
fn slept(dialect: &'static dyn Dialect, policy: Policy, first: Behaviour, then: Behaviour) -> (f64, Answered, usize) {
    let server = Server::start(move |_, call| if call == 0 { first.clone() } else { then.clone() });
    let clock = Arc::new(SleepClock::default());
    let shared = with_clock(Journal::in_memory("run").unwrap(), None, Arc::<SleepClock>::clone(&clock));
    let settings = HostedSettings { policy, max_concurrency: 1, ..settings(&server.url) };
    let answered = answer_all(&model(dialect, settings, shared), &asks(1)).unwrap().remove(0);
    (clock.now_secs(), answered, server.calls().len())
}

fn limited(headers: &[(&'static str, &str)]) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Behaviour::Status(429, "rate_limit_error", headers)
}

#[track_caller]
fn check(first: Behaviour, seconds: std::ops::RangeInclusive<f64>) {
    let (slept, answered, num_calls) = slept(&Anthropic, Policy::default(), first, Behaviour::Well);
    assert!(seconds.contains(&slept), "slept {slept} s");
    assert_eq!((answered.record.outcome, answered.record.retries, num_calls), (CallOutcome::Ok, 1, 2));
}

fn about(seconds: f64) -> std::ops::RangeInclusive<f64> {
    seconds - 1e-6..=seconds + 1e-6
}

#[test]
fn every_style_of_header_is_waited_for() {
    check(limited(&[("retry-after", "7")]), about(7.0));
    check(limited(&[("retry-after-ms", "1500"), ("retry-after", "7")]), about(1.5));
    let date = [("date", "Mon, 23 Nov 2026 07:00:00 GMT"), ("retry-after", "Mon, 23 Nov 2026 07:00:20 GMT")];
    check(limited(&date), about(20.0));
}

#[test]
fn without_a_usable_wait_our_own_is_taken() {
    let first_backoff = 0.375..=0.5 + 1e-6;
    check(limited(&[]), first_backoff.clone());
    check(limited(&[("retry-after", "61")]), first_backoff.clone());
    check(limited(&[("retry-after", "-1")]), first_backoff.clone());
    check(Behaviour::Status(529, "overloaded_error", Vec::new()), first_backoff.clone());
    check(Behaviour::Cut, first_backoff.clone());
    check(Behaviour::Reset { billed: true }, first_backoff);
}

#[test]
fn the_delay_in_a_gemini_body_is_waited_for_and_a_quota_per_day_is_not() {
    let body = |detail: serde_json::Value| {
        let error = json!({"code": 429, "message": "as planned", "status": "RESOURCE_EXHAUSTED", "details": [detail]});
        Behaviour::Body(429, Vec::new(), json!([{"error": error}]).to_string())
    };
    let good = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "label 0"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 3, "totalTokenCount": 43},
    });
    let good = Behaviour::Body(200, Vec::new(), good.to_string());
    let delay = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"});
    let (seconds, answered, _) = slept(&Gemini, Policy::default(), body(delay), good.clone());
    assert!(about(12.5).contains(&seconds), "slept {seconds} s");
    assert_eq!((answered.record.outcome, answered.completion.text.as_str()), (CallOutcome::Ok, "label 0"));
    assert_eq!(answered.record.cost_usd.unwrap().to_string(), "0.000165");

    let violations = json!([{"quotaId": "GenerateRequestsPerDayPerProject"}]);
    let day = body(json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}));
    let server = Server::start(move |_, _| day.clone());
    let shared = with_clock(Journal::in_memory("run").unwrap(), None, Arc::new(SleepClock::default()));
    let error = answer_all(&model(&Gemini, settings(&server.url), shared), &asks(50)).unwrap_err().to_string();
    assert!(error.contains("used up") && server.calls().len() == 1, "{error}");
}

#[test]
fn an_openai_server_that_ignores_the_wish_for_a_stream_is_understood() {
    let good = json!({
        "id": "chat", "model": "served", "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "label 0"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43},
    });
    let good = Behaviour::Body(200, vec![("x-request-id", "req-7".to_owned())], good.to_string());
    let (_, answered, _) = slept(&OpenAiChat, Policy::default(), limited(&[("retry-after", "1")]), good);
    assert_eq!((answered.record.outcome, answered.completion.text.as_str()), (CallOutcome::Ok, "label 0"));
    assert_eq!(answered.record.request_id.as_deref(), Some("req-7"));
    assert_eq!(answered.record.cost_usd.unwrap().to_string(), "0.000165");
}

#[test]
fn zero_retries_and_the_time_of_a_call_are_honoured() {
    let none = Policy { max_retries: 0, ..Policy::default() };
    let (seconds, answered, num_calls) = slept(&Anthropic, none, limited(&[("retry-after", "1")]), Behaviour::Well);
    assert_eq!((seconds, answered.record.outcome, num_calls), (0.0, CallOutcome::ProviderOutage, 1));
    let short = Policy { total_secs: 5.0, ..Policy::default() };
    let (seconds, answered, num_calls) = slept(&Anthropic, short, limited(&[("retry-after", "7")]), Behaviour::Well);
    assert_eq!((seconds, answered.record.outcome, num_calls), (0.0, CallOutcome::ProviderOutage, 1));
}
