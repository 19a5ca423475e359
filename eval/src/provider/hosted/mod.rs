//! Hosted models: many calls at once, each paid, timed, retried and written down as the rules say.
//! Knows nothing about scores or reports, and about a provider only what its dialect says.
//!
//! The path of one row: `journal` (is it answered already?) → `limiter` (is there a place?) → `budget` (is there money for the
//! worst case?) → `journal` (written down before it is sent) → `transport` → `journal` and `budget` (settled) → retry or done.

mod address;
mod answers;
mod attempt;
mod batch;
mod call;
mod health;
mod reach;
mod stage;
mod transport;

pub mod budget;
pub mod cache_key;
pub mod journal;
pub mod limiter;
pub mod record;
pub mod tariff;

use std::sync::Arc;

pub use answers::answers;
pub use budget::{Budget, Spend, Spent};
pub use cache_key::CacheKey;
pub use health::StopRules;
pub use journal::{Journal, Place};
pub use limiter::Limiter;
pub use reach::look_up;
pub use record::{Answered, CallOutcome, CallRecord, UsageProblem};
pub use tariff::{Priced, Tariff};
pub use transport::TransportSettings;

use crate::Error;
use crate::clock::Clock;
use crate::wire::retry::Policy;
use crate::wire::{Dialect, Key, Request, Usd};

/// One question: a row, its request, and which repeat of it this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The row.
    pub id: String,
    /// From 0; repeats of one row are asked and cached apart, which is what makes self-agreement measurable.
    pub repeat: u32,
    /// What is asked.
    pub request: Request,
}

impl Ask {
    /// `repeats` questions for each row, all repeats of a row side by side.
    pub fn repeated(rows: impl IntoIterator<Item = (String, Request)>, repeats: u32) -> Vec<Self> {
        let ask = |(id, request): (String, Request)| {
            (0..repeats).map(move |repeat| Self { id: id.clone(), repeat, request: request.clone() })
        };
        rows.into_iter().flat_map(ask).collect()
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallProgress {
    /// Rows that are done, the one that this is about included.
    pub num_done: usize,
    /// Rows of the batch.
    pub num_rows: usize,
    /// How the row ended.
    pub outcome: CallOutcome,
    /// Whether it was paid for elsewhere.
    pub cached: bool,
    /// What the run has spent.
    pub spent: Spent,
    /// Calls that may be in flight now.
    pub concurrency: usize,
}

/// The settings of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct HostedSettings {
    /// The name of the arm.
    pub name: String,
    /// Where the API is; none takes the address of the dialect.
    pub url: Option<String>,
    /// The variable that the key is read from, for hints; none is that of the dialect.
    pub key_variable: Option<String>,
    /// The most calls in flight.
    pub max_concurrency: usize,
    /// Retries and times.
    pub policy: Policy,
    /// Limits of one request.
    pub transport: TransportSettings,
    /// When to stop the arm as a whole.
    pub stop: StopRules,
    /// What the jitter of waits starts from.
    pub seed: u64,
}

impl HostedSettings {
    /// The defaults for an arm of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: None,
            key_variable: None,
            max_concurrency: 32,
            policy: Policy::default(),
            transport: TransportSettings::default(),
            stop: StopRules::default(),
            seed: 0,
        }
    }
}

/// What the arms of one run share.
#[derive(Clone)]
pub struct Shared {
    /// Where calls are written down.
    pub journal: Arc<Journal>,
    /// What they may cost together.
    pub budget: Arc<Budget>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Shared {
    /// A journal, a cap in dollars if there is one, less what the run has spent before, and the clock of the machine.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(journal: Journal, cap: Option<Usd>) -> Result<Self, Error> {
        let budget = Arc::new(Budget::new(cap, journal.spent()?));
        Ok(Self { journal: Arc::new(journal), budget, clock: Arc::new(crate::clock::SystemClock::default()) })
    }
}

/// A hosted model under one arm.
pub struct HostedModel {
    dialect: &'static dyn Dialect,
    key: Option<Key>,
    tariff: Option<Arc<dyn Tariff>>,
    settings: HostedSettings,
    shared: Shared,
}

impl HostedModel {
    /// A hosted model; without a `tariff` its costs are unknown, and a cap refuses it.
    ///
    /// # Errors
    /// When there is a cap and no price.
    pub fn new(
        dialect: &'static dyn Dialect,
        key: Option<Key>,
        tariff: Option<Arc<dyn Tariff>>,
        settings: HostedSettings,
        shared: Shared,
    ) -> Result<Self, Error> {
        let model = Self { dialect, key, tariff, settings, shared };
        model.worst_case(1, 1)?;
        Ok(model)
    }

    /// The name of the arm.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What the calls of a batch cost at most if none is cached: what a cap must allow. None without a price.
    ///
    /// # Errors
    /// When a request cannot be written.
    pub fn worst_case_of(&self, asks: &[Ask]) -> Result<Option<Usd>, Error> {
        let mut total = Usd::ZERO;
        for ask in asks {
            let bound = self.wire_request(ask)?.bound;
            let Some(worst) = self.worst_case(bound.input_tokens, bound.output_tokens)? else { return Ok(None) };
            total = total.plus(worst);
        }
        Ok(Some(total))
    }

    /// The address of a request.
    fn url(&self, request: &Request) -> Result<String, Error> {
        let base = self.settings.url.as_deref().or(self.dialect.default_url());
        let path = self.dialect.path(request);
        address::join(&self.settings.name, base, &path, self.settings.transport.allow_plain_http)
    }

    fn wire_request(&self, ask: &Ask) -> Result<attempt::WireRequest, Error> {
        if let Some((problem, hint)) = ask.request.form.fault(self.dialect) {
            return Err(Error::BadForm { model: self.settings.name.clone(), problem, hint });
        }
        let url = self.url(&ask.request)?;
        Ok(attempt::WireRequest::new(self.dialect, url, self.key.as_ref(), &ask.request, ask.repeat)?)
    }

    /// The most that a call can cost; none without a price, which a cap does not allow.
    fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Result<Option<Usd>, Error> {
        let worst = self.tariff.as_ref().and_then(|tariff| tariff.worst_case(input_tokens, output_tokens));
        match (worst, self.shared.budget.cap()) {
            (None, Some(cap)) => {
                Err(Error::UnknownPrice { model: self.settings.name.clone(), cap_usd: cap.to_string() })
            }
            _ => Ok(worst),
        }
    }
}
