//! Calls that never left this machine, whatever stopped them: they cost nothing and use up no cap. Calls that left and were
//! not answered may have been billed. Knows nothing about the errors by name, only what is written down about money.

use std::net::TcpListener;

use eval::provider::hosted::{CallOutcome, HostedModel, HostedSettings, Journal, Spend, Spent, TransportSettings};
use eval::wire::{Anthropic, Key, Usd};

use crate::questions::{KEY, answer_all, asks, journal, model, settings, shared};
use crate::server::{Behaviour, Server};

/// Money for one call at a time: a call that counted as spent would leave none for the next.
const CAP: &str = "0.008";

fn once(url: &str) -> HostedSettings {
    let mut settings = settings(url);
    settings.policy.max_retries = 0;
    settings.policy.connect_secs = 2.0;
    settings.transport = TransportSettings { allow_plain_http: true, use_proxy: false, ..settings.transport };
    settings
}

/// An address at which nobody listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn what_never_left_is_settled_at_nothing_and_uses_up_no_cap() {
    let server = Server::start(|_, _| Behaviour::Well);
    let without_tls = server.url.replace("http://", "https://");
    for url in [closed_port(), "http://name.invalid".to_owned(), without_tls] {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(journal(folder.path()), Some(CAP.parse().unwrap()));
        let answered = answer_all(&model(&Anthropic, once(&url), shared.clone()), &asks(3)).unwrap();
        for row in answered {
            let record = row.record;
            assert_eq!(record.outcome, CallOutcome::ProviderOutage, "{url}: {record:?}");
            assert_eq!((record.possibly_spent_usd, record.latency_secs), (Usd::ZERO, None), "{url}");
        }
        assert_eq!(shared.budget.spent(), Spent::default(), "{url}");
        assert_eq!(shared.journal.spent().unwrap(), Spent::default(), "{url}");
        let attempts = shared.journal.attempts().unwrap();
        assert_eq!(attempts.len(), 3, "{url}");
        assert!(attempts.iter().all(|attempt| attempt.spend == Some(Spend::Nothing)), "{url}: {attempts:?}");
    }
    assert!(server.calls().is_empty());
}

#[test]
fn what_left_and_was_not_answered_takes_its_worst_case_from_the_cap() {
    let server = Server::start(|_, _| Behaviour::Reset { billed: true });
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(journal(folder.path()), Some(CAP.parse().unwrap()));
    let answered = answer_all(&model(&Anthropic, once(&server.url), shared.clone()), &asks(3)).unwrap();
    let count = |outcome| answered.iter().filter(|row| row.record.outcome == outcome).count();
    assert_eq!((count(CallOutcome::ProviderOutage), count(CallOutcome::Budget)), (1, 2));
    let attempts = shared.journal.attempts().unwrap();
    assert!(matches!(attempts[..], [ref only] if matches!(only.spend, Some(Spend::Possible(_)))), "{attempts:?}");
    assert!(shared.budget.spent().possible > Usd::ZERO);
}

#[test]
fn what_never_left_is_known_to_cost_nothing_also_without_a_price() {
    let key = Key::from_environment("KEY", |_| Some(KEY.to_owned())).unwrap();
    let shared = shared(Journal::in_memory("run").unwrap(), None);
    let free = HostedModel::new(&Anthropic, key, None, once(&closed_port()), shared.clone()).unwrap();
    answer_all(&free, &asks(2)).unwrap();
    let attempts = shared.journal.attempts().unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.spend).collect::<Vec<_>>(), [Some(Spend::Nothing); 2]);
}
