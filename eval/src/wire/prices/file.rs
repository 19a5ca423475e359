//! The file of a price table: what its keys are, which values can be true, and how dollars per million tokens become whole picodollars per token.
//! Knows nothing about looking a price up.

use std::collections::HashSet;

use jiff::civil::Date;
use serde::Deserialize;

use super::{Multiplier, Prices, Row, order};

/// The version of the format.
const VERSION: u64 = 1;
/// A factor of 1.
pub(super) const WHOLE: u64 = 1_000_000;
/// Picodollars per token of one dollar per million tokens.
const PICODOLLARS: u64 = 1_000_000;
/// No model has cost more than this per million tokens.
const TOO_DEAR_USD: f64 = 1000.0;
/// No model has cost less than this per million tokens, and no model has cost more than this per token.
const TOO_CHEAP_USD: f64 = 0.001;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    /// Of the format.
    version: u64,
    /// The day the prices were looked up.
    date: String,
    price: Vec<RowFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowFile {
    /// As in the names of dialects.
    provider: String,
    /// The exact name.
    model: String,
    /// Other names of the same model, such as dated snapshots.
    #[serde(default)]
    aliases: Vec<String>,
    /// The first day of these prices.
    valid_from: String,
    /// The page they stand on.
    source: String,
    input_usd_per_million_tokens: f64,
    /// Left out when a read is billed like any input.
    cache_read_usd_per_million_tokens: Option<f64>,
    /// Left out when a write is billed like any input.
    cache_write_5m_usd_per_million_tokens: Option<f64>,
    /// Left out when there is no such cache.
    cache_write_1h_usd_per_million_tokens: Option<f64>,
    /// Reasoning pays it too.
    output_usd_per_million_tokens: f64,
    /// The longest input that these prices are known for; left out when they hold for any.
    known_up_to_input_tokens: Option<u64>,
    /// Prices of longer prompts.
    #[serde(default)]
    tier: Vec<TierFile>,
    #[serde(default)]
    multipliers: MultipliersFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierFile {
    /// Tokens of the whole input above which all tokens of the call pay these prices.
    above_input_tokens: u64,
    input_usd_per_million_tokens: f64,
    cache_read_usd_per_million_tokens: Option<f64>,
    cache_write_5m_usd_per_million_tokens: Option<f64>,
    cache_write_1h_usd_per_million_tokens: Option<f64>,
    output_usd_per_million_tokens: f64,
}

/// Factors on all prices of a row; one that is left out is unknown.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MultipliersFile {
    batch: Option<f64>,
    flex: Option<f64>,
    priority: Option<f64>,
}

/// Reads a table, or says everything that is wrong with it.
pub(super) fn read(text: &str) -> Result<(Date, Vec<Row>), Vec<String>> {
    // The line and the rule, never the line itself: a file that is no table of prices may hold anything.
    let broken = |error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
        vec![format!("line {line}: {}", error.message().trim_end())]
    };
    let file: TableFile = toml::from_str(text).map_err(broken)?;
    let mut problems = Vec::new();
    if file.version != VERSION {
        problems.push(format!("version {} is not {VERSION}, which this program reads", file.version));
    }
    let day = date(&file.date).unwrap_or_else(|problem| {
        problems.push(format!("date: {problem}"));
        Date::default()
    });
    let mut rows = Vec::new();
    for row in file.price {
        let name = format!("{}/{} from {}", row.provider, row.model, row.valid_from);
        match read_row(row) {
            Ok(row) => rows.push(row),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}"))),
        }
    }
    problems.extend(doubles(&rows));
    rows.sort_by(order);
    if problems.is_empty() { Ok((day, rows)) } else { Err(problems) }
}

fn read_row(row: RowFile) -> Result<Row, Vec<String>> {
    let mut problems = Vec::new();
    let first = TierFile {
        above_input_tokens: 0,
        input_usd_per_million_tokens: row.input_usd_per_million_tokens,
        cache_read_usd_per_million_tokens: row.cache_read_usd_per_million_tokens,
        cache_write_5m_usd_per_million_tokens: row.cache_write_5m_usd_per_million_tokens,
        cache_write_1h_usd_per_million_tokens: row.cache_write_1h_usd_per_million_tokens,
        output_usd_per_million_tokens: row.output_usd_per_million_tokens,
    };
    let bounds: Vec<_> = row.tier.iter().map(|tier| tier.above_input_tokens).collect();
    if bounds.first() == Some(&0) || !bounds.is_sorted_by(|a, b| a < b) {
        problems.push("the tiers must start above 0 and rise".to_owned());
    }
    let mut tiers = Vec::new();
    for tier in std::iter::once(&first).chain(&row.tier) {
        match read_tier(tier) {
            Ok(prices) => tiers.push((tier.above_input_tokens, prices)),
            Err(found) => problems.extend(found),
        }
    }
    let valid_from =
        date(&row.valid_from).map_err(|problem| problems.push(format!("valid_from: {problem}"))).unwrap_or_default();
    if row.source.trim().is_empty() {
        problems.push("source: say which page the prices were read from".to_owned());
    }
    let mut factor = |key: &str, value: Option<f64>| {
        let factor = value.map(|value| read_factor(value, &tiers));
        factor.transpose().map_err(|problem| problems.push(format!("multipliers.{key}: {problem}"))).ok().flatten()
    };
    let (batch, flex) = (factor("batch", row.multipliers.batch), factor("flex", row.multipliers.flex));
    let priority = factor("priority", row.multipliers.priority);
    if !problems.is_empty() {
        return Err(problems);
    }
    let names = std::iter::once(row.model).chain(row.aliases).collect();
    let known_up_to = row.known_up_to_input_tokens;
    Ok(Row { provider: row.provider, names, valid_from, source: row.source, tiers, known_up_to, batch, flex, priority })
}

fn read_tier(tier: &TierFile) -> Result<Prices, Vec<String>> {
    let mut problems = Vec::new();
    let mut read = |key: &str, value: Option<f64>| {
        let price = value.map(price).transpose();
        price.map_err(|problem| problems.push(format!("{key}_usd_per_million_tokens: {problem}"))).ok().flatten()
    };
    let input = read("input", Some(tier.input_usd_per_million_tokens));
    let cache_read = read("cache_read", tier.cache_read_usd_per_million_tokens);
    let cache_write_5m = read("cache_write_5m", tier.cache_write_5m_usd_per_million_tokens);
    let cache_write_1h = read("cache_write_1h", tier.cache_write_1h_usd_per_million_tokens);
    let output = read("output", Some(tier.output_usd_per_million_tokens));
    let (Some(input), Some(output), true) = (input, output, problems.is_empty()) else { return Err(problems) };
    let prices = Prices {
        input,
        cache_read: cache_read.unwrap_or(input),
        cache_write_5m: cache_write_5m.unwrap_or(input),
        cache_write_1h,
        output,
    };
    if prices.cache_read > input || input > output {
        let hint = "hint: cache_read is at most input and input at most output; is one of them in another unit?";
        return Err(vec![format!("the prices are out of order\n{hint}")]);
    }
    Ok(prices)
}

/// A factor that leaves every price of the row a whole number of picodollars, so that no cost is ever rounded.
fn read_factor(value: f64, tiers: &[(u64, Prices)]) -> Result<Multiplier, String> {
    if !(value > 0.0 && value <= 10.0) {
        return Err(format!("{value} is not between 0 and 10"));
    }
    let millionths = scaled(value, WHOLE).ok_or_else(|| format!("{value} has more than six decimals"))?;
    let all = tiers.iter().flat_map(|(_, prices)| {
        [prices.input, prices.cache_read, prices.cache_write_5m, prices.cache_write_1h.unwrap_or(0), prices.output]
    });
    for price in all {
        if u128::from(price) * u128::from(millionths) % u128::from(WHOLE) != 0 {
            return Err(format!("{value} of a price has more than six decimals"));
        }
    }
    Ok(Multiplier(millionths))
}

fn price(value: f64) -> Result<u64, String> {
    if !(value > 0.0 && value < TOO_DEAR_USD) {
        return Err(format!(
            "{value} is not between 0 and {TOO_DEAR_USD}\nhint: prices are in US dollars per million tokens"
        ));
    }
    if value < TOO_CHEAP_USD {
        let hint = "hint: it looks like a price per token; multiply it by 1,000,000";
        return Err(format!("{value} is less than any model costs\n{hint}"));
    }
    scaled(value, PICODOLLARS).ok_or_else(|| format!("{value} has more than six decimals"))
}

/// A decimal number times a million as it was written, or none when that is not whole.
fn scaled(value: f64, factor: u64) -> Option<u64> {
    // The shortest text that reads back as this number is what the author wrote.
    let text = value.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    if part.len() > 6 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(format!("{part:0<6}").parse().ok()?)
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a day such as 2026-11-23"))
}

fn doubles(rows: &[Row]) -> Vec<String> {
    let mut seen = HashSet::new();
    let named = rows.iter().flat_map(|row| row.names.iter().map(move |name| (&row.provider, name, row.valid_from)));
    named
        .filter(|key| !seen.insert(*key))
        .map(|(provider, name, from)| format!("{provider}/{name} has two prices from {from}"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const ROW: &str = r#"version = 1
date = "2026-11-23"
[[price]]
provider = "p"
model = "m"
valid_from = "2025-01-01"
source = "page"
input_usd_per_million_tokens = 3.0
cache_read_usd_per_million_tokens = 0.3
output_usd_per_million_tokens = 15.0
"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(ROW.contains(from));
        read(&ROW.replace(from, to)).unwrap_err().join("\n")
    }

    #[test]
    fn a_price_per_token_is_refused_with_a_hint() {
        let said = refused("input_usd_per_million_tokens = 3.0", "input_usd_per_million_tokens = 0.000003");
        assert!(said.contains("p/m from 2025-01-01: input_usd_per_million_tokens: 0.000003"), "{said}");
        assert!(said.contains("hint: it looks like a price per token"), "{said}");
    }

    #[test]
    fn values_that_cannot_be_true_are_refused() {
        for value in ["0.0", "-1.0", "1000.0", "nan", "inf", "3.0000001"] {
            refused("input_usd_per_million_tokens = 3.0", &format!("input_usd_per_million_tokens = {value}"));
        }
        assert!(refused("= 0.3", "= 3.5").contains("out of order"));
        assert!(refused("= 15.0", "= 2.5").contains("out of order"));
        assert!(refused("2025-01-01", "2025-13-01").contains("valid_from"));
        assert!(refused("\"page\"", "\" \"").contains("source"));
        assert!(refused("version = 1", "version = 2").contains("version 2"));
    }

    #[test]
    fn a_misspelt_or_missing_key_is_refused() {
        assert!(refused("cache_read_usd", "cached_usd").contains("unknown field"));
        assert!(refused("output_usd_per_million_tokens = 15.0\n", "").contains("output_usd_per_million_tokens"));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = ROW.replace("= 3.0", "= 0.000003").replace("= 15.0", "= 5000").replace("2026-11-23", "today");
        assert_eq!(read(&text).unwrap_err().len(), 3);
    }

    #[test]
    fn two_prices_for_one_name_and_day_are_refused() {
        let row = &ROW[ROW.find("[[price]]").unwrap()..];
        let alias = row.replace("model = \"m\"", "model = \"n\"\naliases = [\"m\"]");
        assert_eq!(read(&format!("{ROW}{alias}")).unwrap_err(), ["p/m has two prices from 2025-01-01"]);
    }

    #[test]
    fn a_factor_that_would_need_rounding_is_refused() {
        let with = |factor: &str| read(&format!("{ROW}multipliers = {{ flex = {factor} }}"));
        assert!(with("0.5").is_ok() && with("1.8").is_ok());
        for factor in ["0", "-1", "11", "0.3333333"] {
            assert!(with(factor).is_err(), "{factor}");
        }
        let fine = ROW.replace("= 0.3\n", "= 0.300001\n");
        assert!(read(&format!("{fine}multipliers = {{ flex = 0.5 }}")).unwrap_err()[0].contains("multipliers.flex"));
    }

    #[test]
    fn tiers_must_rise() {
        let tier = |above: u64| {
            format!(
                "[[price.tier]]\nabove_input_tokens = {above}\ninput_usd_per_million_tokens = 4\noutput_usd_per_million_tokens = 20\n"
            )
        };
        assert!(read(&format!("{ROW}{}{}", tier(100), tier(200))).is_ok());
        for (first, second) in [(0, 1), (5, 5), (9, 3)] {
            assert!(read(&format!("{ROW}{}{}", tier(first), tier(second))).is_err());
        }
    }

    #[test]
    fn decimals_are_taken_as_written() {
        assert_eq!(scaled(0.1, PICODOLLARS), Some(100_000));
        assert_eq!(scaled(2.675, PICODOLLARS), Some(2_675_000));
        assert_eq!(scaled(0.075, PICODOLLARS), Some(75_000));
        assert_eq!(scaled(999.999999, PICODOLLARS), Some(999_999_999));
        assert_eq!(scaled(0.0000001, PICODOLLARS), None);
    }
}
