//! What a call costs: a dated table of prices, looked up by provider, exact model name, day and class of service.
//! Knows nothing about budgets, or about where a user keeps a table of his own; a model that is not listed has an unknown cost, never none.

mod file;

use std::cmp::Ordering;

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::{Usage, Usd};
use crate::Error;

/// The table that comes with the program.
const BUNDLED: &str = include_str!("../../../../configs/prices/2026-11.toml");
const BUNDLED_NAME: &str = "configs/prices/2026-11.toml";

/// All known prices.
#[derive(Clone, Debug)]
pub struct PriceTable {
    rows: Vec<Row>,
    stamps: Vec<Stamp>,
}

/// Which file prices come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file.
    pub file: String,
    /// The day its prices were looked up.
    pub date: Date,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// The class of service a call is billed under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The usual one.
    #[default]
    Standard,
    /// Answers within a day.
    Batch,
    /// Cheaper and slower.
    Flex,
    /// Dearer and faster.
    Priority,
}

/// The prices of one model under one class of service.
#[derive(Clone, Debug)]
pub struct Rate {
    row: Row,
    multiplier: Multiplier,
}

/// One row of a table.
#[derive(Clone, Debug)]
struct Row {
    provider: String,
    /// The exact name and its aliases.
    names: Vec<String>,
    valid_from: Date,
    source: String,
    /// By the tokens of the whole input above which they hold; the first holds from 0, the others follow in order.
    tiers: Vec<(u64, Prices)>,
    /// The longest input that the prices are known for.
    known_up_to: Option<u64>,
    batch: Option<Multiplier>,
    flex: Option<Multiplier>,
    priority: Option<Multiplier>,
}

/// Prices of one token in picodollars.
#[derive(Clone, Copy, Debug)]
struct Prices {
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    /// None when the provider has no such cache: a use of it then has an unknown cost.
    cache_write_1h: Option<u64>,
    output: u64,
}

/// A factor in millionths.
#[derive(Clone, Copy, Debug)]
struct Multiplier(u64);

impl PriceTable {
    /// The table that comes with the program.
    ///
    /// # Errors
    /// `Error::BadPrices`; a test keeps that from being shipped.
    pub fn bundled() -> Result<Self, Error> {
        Self::parse(BUNDLED_NAME, BUNDLED)
    }

    /// Reads the text of a table; `file` names it in errors and reports.
    ///
    /// # Errors
    /// `Error::BadPrices` with everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let bad = |problems| Error::BadPrices { file: file.to_owned(), problems };
        let (date, rows) = file::read(text).map_err(bad)?;
        let sha256 = hexadecimal(Sha256::digest(text));
        Ok(Self { rows, stamps: vec![Stamp { file: file.to_owned(), date, sha256 }] })
    }

    /// This table with the rows of a user's: a model that the user's table names in any row is priced by that table alone.
    #[must_use]
    pub fn overridden_by(mut self, user: Self) -> Self {
        let named = |row: &Row| {
            let same = |theirs: &&Row| {
                theirs.provider == row.provider && theirs.names.iter().any(|name| row.names.contains(name))
            };
            user.rows.iter().find(same).is_some()
        };
        self.rows.retain(|row| !named(row));
        self.rows.extend(user.rows);
        self.stamps.extend(user.stamps);
        self
    }

    /// The files behind the table, the user's last.
    pub fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    /// One SHA-256 for all files: that of the file if there is one, else that of their hashes in order.
    pub fn sha256(&self) -> String {
        match self.stamps.as_slice() {
            [only] => only.sha256.clone(),
            stamps => {
                let mut hash = Sha256::new();
                stamps.iter().for_each(|stamp| hash.update(&stamp.sha256));
                hexadecimal(hash.finalize())
            }
        }
    }

    /// The prices of a model on a day: those of its latest row that is valid by then. `dialect` is the name of a dialect; one provider may have two.
    ///
    /// None when the model is not listed, not listed yet, or has no known factor for this class of service.
    pub fn rate(&self, dialect: &str, model: &str, on: Date, service: Service) -> Option<Rate> {
        let provider = if dialect == "openai-responses" { "openai" } else { dialect };
        let known = self.rows.iter().filter(|row| row.provider == provider && row.valid_from <= on);
        let row = known.filter(|row| row.names.iter().any(|name| name == model)).max_by_key(|row| row.valid_from)?;
        let multiplier = match service {
            Service::Standard => Multiplier(file::WHOLE),
            Service::Batch => row.batch?,
            Service::Flex => row.flex?,
            Service::Priority => row.priority?,
        };
        Some(Rate { row: row.clone(), multiplier })
    }
}

impl Service {
    /// What the field `service_tier` of a request or an answer means; none for a class without a price here.
    pub fn from_tier(tier: Option<&str>) -> Option<Self> {
        match tier {
            None | Some("auto" | "default" | "standard" | "standard_only") => Some(Self::Standard),
            Some("batch") => Some(Self::Batch),
            Some("flex") => Some(Self::Flex),
            Some("priority") => Some(Self::Priority),
            Some(_) => None,
        }
    }
}

impl Rate {
    /// What a call costs, exactly; reasoning is billed as output.
    ///
    /// None when a cache was used that has no price, or when the input is longer than the prices are known for.
    pub fn cost(&self, usage: &Usage) -> Option<Usd> {
        let whole = [usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h];
        let input: u128 = whole.into_iter().map(u128::from).sum();
        if self.row.known_up_to.is_some_and(|longest| input > u128::from(longest)) {
            return None;
        }
        let prices = self.row.tiers.iter().rev().find(|(above, _)| *above == 0 || input > u128::from(*above))?.1;
        let written_1h = match (usage.cache_write_1h, prices.cache_write_1h) {
            (0, _) => 0,
            (_, price) => price?,
        };
        let picodollars = times(usage.input_uncached, prices.input)
            + times(usage.cache_read, prices.cache_read)
            + times(usage.cache_write_5m, prices.cache_write_5m)
            + times(usage.cache_write_1h, written_1h)
            + times(usage.output_visible, prices.output)
            + times(usage.output_reasoning, prices.output);
        Some(self.amount(picodollars))
    }

    /// The most that a call can cost whose prompt has at most `input_tokens` and whose answer, thoughts included, at most `output_tokens`.
    ///
    /// All of the input is taken at the dearest price it could have, in the dearest tier it could reach.
    /// None when it could be longer than the prices are known for.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Option<Usd> {
        if self.row.known_up_to.is_some_and(|longest| input_tokens > longest) {
            return None;
        }
        let reachable = self.row.tiers.iter().filter(|(above, _)| *above == 0 || input_tokens > *above);
        let costs = reachable.map(|(_, prices)| {
            let dearest = [prices.cache_read, prices.cache_write_5m, prices.cache_write_1h.unwrap_or(0)];
            let input = dearest.into_iter().fold(prices.input, u64::max);
            times(input_tokens, input) + times(output_tokens, prices.output)
        });
        costs.max().map(|picodollars| self.amount(picodollars))
    }

    /// The page these prices were read from.
    pub fn source(&self) -> &str {
        &self.row.source
    }

    /// The day from which they hold.
    pub fn valid_from(&self) -> Date {
        self.row.valid_from
    }

    /// The table refuses factors that would leave a fraction of a picodollar, so nothing is rounded here.
    fn amount(&self, picodollars: u128) -> Usd {
        let amount = picodollars.saturating_mul(u128::from(self.multiplier.0)) / u128::from(file::WHOLE);
        Usd::from_picodollars(u64::try_from(amount).unwrap_or(u64::MAX))
    }
}

fn times(tokens: u64, price: u64) -> u128 {
    u128::from(tokens) * u128::from(price)
}

fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rows in the order of their provider, name and day, so that doubles stand side by side.
fn order(a: &Row, b: &Row) -> Ordering {
    (&a.provider, &a.names, a.valid_from).cmp(&(&b.provider, &b.names, b.valid_from))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TABLE: &str = r#"
        version = 1
        date = "2026-11-23"

        [[price]]
        provider = "anthropic"
        model = "sonnet-20250101"
        aliases = ["sonnet"]
        valid_from = "2025-01-01"
        source = "https://example.com/prices"
        input_usd_per_million_tokens = 3.00
        cache_read_usd_per_million_tokens = 0.30
        cache_write_5m_usd_per_million_tokens = 3.75
        cache_write_1h_usd_per_million_tokens = 6.00
        output_usd_per_million_tokens = 15.00
        multipliers = { batch = 0.5 }

        [[price.tier]]
        above_input_tokens = 200_000
        input_usd_per_million_tokens = 6.00
        cache_read_usd_per_million_tokens = 0.60
        output_usd_per_million_tokens = 22.50

        [[price]]
        provider = "anthropic"
        model = "sonnet-20250101"
        aliases = ["sonnet"]
        valid_from = "2026-01-01"
        source = "https://example.com/prices"
        input_usd_per_million_tokens = 1
        output_usd_per_million_tokens = 2

        [[price]]
        provider = "openai"
        model = "haiku"
        valid_from = "2025-01-01"
        source = "https://example.com/prices"
        input_usd_per_million_tokens = 0.80
        cache_read_usd_per_million_tokens = 0.08
        output_usd_per_million_tokens = 4.00
    "#;

    fn table() -> PriceTable {
        PriceTable::parse("prices.toml", TABLE).unwrap()
    }

    fn sonnet() -> Rate {
        table().rate("anthropic", "sonnet", date(2025, 6, 1), Service::Standard).unwrap()
    }

    #[test]
    fn known_invoices_come_out_to_the_last_digit() {
        // https://github.com/BerriAI/litellm/issues/9812: not 0.091311.
        let written = Usage { input_uncached: 3, cache_write_5m: 12_304, output_visible: 550, ..Usage::default() };
        assert_eq!(sonnet().cost(&written).unwrap().to_string(), "0.054399");
        // https://github.com/BerriAI/litellm/issues/11789: not 0.002059. The exact amount is 0.0002916, which that report rounds.
        let read = Usage { input_uncached: 4, cache_read: 2_455, output_visible: 23, ..Usage::default() };
        let haiku = table().rate("openai", "haiku", date(2025, 6, 1), Service::Standard).unwrap();
        let cost = haiku.cost(&read).unwrap();
        assert_eq!((cost.to_string().as_str(), format!("{cost:.6}").as_str()), ("0.0002916", "0.000292"));
    }

    #[test]
    fn a_model_that_is_not_listed_has_no_cost() {
        let rate = |dialect, model, on, service| table().rate(dialect, model, on, service).is_some();
        let day = date(2025, 6, 1);
        assert!(rate("anthropic", "sonnet-20250101", day, Service::Batch));
        assert!(rate("openai-responses", "haiku", day, Service::Standard));
        assert!(!rate("anthropic", "sonnet-2", day, Service::Standard));
        assert!(!rate("gemini", "sonnet", day, Service::Standard));
        assert!(!rate("anthropic", "sonnet", date(2024, 12, 31), Service::Standard));
        assert!(!rate("anthropic", "sonnet", day, Service::Priority), "an unknown factor is not 1");
        assert_eq!(Service::from_tier(Some("fast")), None);
    }

    #[test]
    fn the_latest_row_that_is_valid_counts() {
        let usage = Usage { input_uncached: 1_000_000, ..Usage::default() };
        let cost = |on| table().rate("anthropic", "sonnet", on, Service::Standard).unwrap().cost(&usage).unwrap();
        assert_eq!(cost(date(2025, 12, 31)).to_string(), "6");
        assert_eq!(cost(date(2026, 1, 1)).to_string(), "1");
    }

    #[test]
    fn a_long_prompt_pays_the_tier_for_all_of_its_tokens() {
        let cost = |cache_read| {
            let usage = Usage { input_uncached: 100_000, cache_read, output_reasoning: 1_000, ..Usage::default() };
            sonnet().cost(&usage).unwrap().to_string()
        };
        assert_eq!(cost(100_000), "0.345");
        assert_eq!(cost(100_001), "0.6825006");
    }

    #[test]
    fn the_batch_factor_halves_everything() {
        let usage =
            Usage { input_uncached: 1, cache_read: 1, cache_write_1h: 1, output_visible: 1, ..Usage::default() };
        let batch = table().rate("anthropic", "sonnet", date(2025, 6, 1), Service::Batch).unwrap();
        assert_eq!(batch.cost(&usage).unwrap().picodollars() * 2, sonnet().cost(&usage).unwrap().picodollars());
    }

    #[test]
    fn a_cache_without_a_price_makes_the_cost_unknown_and_reads_without_a_discount_pay_in_full() {
        let rate = table().rate("anthropic", "sonnet", date(2026, 6, 1), Service::Standard).unwrap();
        assert_eq!(rate.cost(&Usage { cache_write_1h: 1, ..Usage::default() }), None);
        let cached = Usage { cache_read: 1_000_000, cache_write_5m: 1_000_000, ..Usage::default() };
        assert_eq!(rate.cost(&cached).unwrap().to_string(), "2");
    }

    #[test]
    fn an_input_beyond_the_known_prices_has_an_unknown_cost() {
        let text = TABLE.replace("model = \"haiku\"", "model = \"haiku\"\nknown_up_to_input_tokens = 1000");
        let table = PriceTable::parse("prices.toml", &text).unwrap();
        let rate = table.rate("openai", "haiku", date(2026, 6, 1), Service::Standard).unwrap();
        let usage = |cache_read| Usage { input_uncached: 400, cache_read, ..Usage::default() };
        assert!(rate.cost(&usage(600)).is_some() && rate.worst_case(1000, 5).is_some());
        assert_eq!((rate.cost(&usage(601)), rate.worst_case(1001, 5)), (None, None));
    }

    #[test]
    fn the_worst_case_is_never_below_the_cost() {
        let rate = sonnet();
        for input in [0, 1, 1_000, 199_999, 200_000, 200_001, 1_000_000] {
            for cached in [0, input / 3, input] {
                let usage = Usage {
                    input_uncached: input - cached,
                    cache_read: cached / 2,
                    cache_write_1h: cached - cached / 2,
                    output_visible: 77,
                    output_reasoning: 23,
                    ..Usage::default()
                };
                if let Some(cost) = rate.cost(&usage) {
                    assert!(rate.worst_case(input, 100).unwrap() >= cost, "{input} {cached}");
                }
            }
        }
        assert_eq!(rate.worst_case(1_000, 100).unwrap().to_string(), "0.0075");
    }

    #[test]
    fn absurd_counts_end_at_the_largest_amount_and_do_not_wrap() {
        let usage = Usage { input_uncached: u64::MAX, output_visible: u64::MAX, ..Usage::default() };
        assert_eq!(sonnet().cost(&usage), Some(Usd::MAX));
        assert_eq!(sonnet().worst_case(u64::MAX, u64::MAX), Some(Usd::MAX));
    }

    #[test]
    fn a_users_table_replaces_the_models_it_names_and_shows_in_the_hash() {
        let user = r#"
            version = 1
            date = "2026-12-01"
            [[price]]
            provider = "anthropic"
            model = "sonnet"
            valid_from = "2025-01-01"
            source = "our contract"
            input_usd_per_million_tokens = 2.5
            output_usd_per_million_tokens = 10
        "#;
        let ours = table();
        let theirs = PriceTable::parse("mine.toml", user).unwrap();
        let both = ours.clone().overridden_by(theirs);
        let rate = both.rate("anthropic", "sonnet", date(2026, 6, 1), Service::Standard).unwrap();
        assert_eq!((rate.source(), rate.valid_from()), ("our contract", date(2025, 1, 1)));
        assert!(both.rate("openai", "haiku", date(2026, 6, 1), Service::Standard).is_some());
        assert_eq!(
            both.stamps().iter().map(|stamp| stamp.file.as_str()).collect::<Vec<_>>(),
            ["prices.toml", "mine.toml"]
        );
        assert_ne!(both.sha256(), ours.sha256());
        assert_eq!(ours.sha256().len(), 64);
    }

    #[test]
    fn the_table_that_comes_with_the_program_can_be_read() {
        let table = PriceTable::bundled().unwrap();
        assert_eq!(table.stamps()[0].date, date(2026, 11, 23));
        for (dialect, model) in
            [("anthropic", "claude-haiku-4-5"), ("openai", "gpt-4.1-mini"), ("gemini", "gemini-2.5-flash")]
        {
            assert!(table.rate(dialect, model, date(2026, 11, 23), Service::Standard).is_some(), "{model}");
        }
        assert!(table.rows.iter().all(|row| row.source.starts_with("https://")));
    }
}
