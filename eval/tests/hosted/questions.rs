//! The rows of the tests, what a right answer to each is, and what it costs.
//! Knows nothing about faults.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use eval::provider::hosted::{
    Answered, Ask, HostedModel, HostedSettings, Journal, Priced, Shared, Tariff, TransportSettings,
};
use eval::wire::prices::{PriceTable, Service};
use eval::wire::retry::Policy;
use eval::wire::{Dialect, Form, Key, Request, Usd};
use eval::{Clock, Error, Message, Role};

use crate::clocks::FastClock;

pub(crate) const MODEL: &str = "test-model";
pub(crate) const KEY: &str = "sk-test-0123456789";
pub(crate) const MAX_TOKENS: usize = 64;
/// Picodollars per token, as in the table below.
const INPUT_PRICE: u64 = 3_000_000;
const OUTPUT_PRICE: u64 = 15_000_000;
const TABLE: &str = r#"
version = 1
date = "2026-11-01"

[[price]]
provider = "anthropic"
model = "test-model"
valid_from = "2025-01-01"
source = "https://example.com/prices"
input_usd_per_million_tokens = 3.00
output_usd_per_million_tokens = 15.00

[[price]]
provider = "openai"
model = "test-model"
valid_from = "2025-01-01"
source = "https://example.com/prices"
input_usd_per_million_tokens = 3.00
output_usd_per_million_tokens = 15.00

[[price]]
provider = "gemini"
model = "test-model"
valid_from = "2025-01-01"
source = "https://example.com/prices"
input_usd_per_million_tokens = 3.00
output_usd_per_million_tokens = 15.00
"#;

pub(crate) fn row_id(row: usize) -> String {
    format!("row-{row:04}")
}

pub(crate) fn ask(row: usize) -> Ask {
    let text = format!("{} Which label fits this clause, größer als 😀?", row_id(row));
    let request = Request {
        model: MODEL.to_owned(),
        messages: vec![Message::new(Role::System, "Answer with one label."), Message::new(Role::User, text)],
        max_tokens: MAX_TOKENS,
        temperature: None,
        schema: None,
        stream: true,
        extra: serde_json::Map::new(),
        form: Form::default(),
    };
    Ask { id: row_id(row), repeat: 0, request }
}

pub(crate) fn asks(num_rows: usize) -> Vec<Ask> {
    (0..num_rows).map(ask).collect()
}

/// The right answer, with characters of two, three and four bytes.
pub(crate) fn answer(row: usize) -> String {
    format!("label {} — größer 😀", row % 7)
}

/// Input and output tokens of a right answer.
pub(crate) fn tokens(row: usize) -> (u64, u64) {
    (40 + row as u64 % 11, 8 + row as u64 % 5)
}

/// What a right answer costs.
pub(crate) fn golden_cost(row: usize) -> Usd {
    let (input, output) = tokens(row);
    Usd::from_picodollars(input * INPUT_PRICE + output * OUTPUT_PRICE)
}

pub(crate) fn tariff(dialect: &dyn Dialect) -> Arc<dyn Tariff> {
    let table = PriceTable::parse("prices.toml", TABLE).unwrap();
    let day = "2026-11-01".parse().unwrap();
    Arc::new(Priced::new(&table, table.rate(dialect.name(), MODEL, day, Service::Standard).unwrap()))
}

pub(crate) fn settings(url: &str) -> HostedSettings {
    HostedSettings {
        url: Some(url.to_owned()),
        max_concurrency: 24,
        // On the fast clock of the tests, hours pass.
        policy: Policy { total_secs: 1e6, ..Policy::default() },
        transport: TransportSettings { stall_secs: 2.0, ..TransportSettings::default() },
        ..HostedSettings::new("frontier")
    }
}

pub(crate) fn shared(journal: Journal, cap: Option<Usd>) -> Shared {
    with_clock(journal, cap, Arc::new(FastClock::new(200.0)))
}

pub(crate) fn with_clock(journal: Journal, cap: Option<Usd>, clock: Arc<dyn Clock>) -> Shared {
    Shared { clock, ..Shared::new(journal, cap).unwrap() }
}

pub(crate) fn journal(folder: &Path) -> Journal {
    Journal::open(&folder.join("calls.sqlite"), "run").unwrap()
}

pub(crate) fn model(dialect: &'static dyn Dialect, settings: HostedSettings, shared: Shared) -> HostedModel {
    let key = Key::from_environment("KEY", |_| Some(KEY.to_owned())).unwrap();
    HostedModel::new(dialect, key, Some(tariff(dialect)), settings, shared).unwrap()
}

pub(crate) fn answer_all(model: &HostedModel, asks: &[Ask]) -> Result<Vec<Answered>, Error> {
    model.answer_all(asks, &AtomicBool::new(false), &|_| {})
}
