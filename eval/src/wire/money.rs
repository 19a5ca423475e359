//! Exact money: whole picodollars, so that a million small prices add up to what the invoice says.
//! Knows nothing about price tables or budgets.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One price per million tokens with six decimals is a whole number of these per token.
const PICODOLLARS_PER_USD: u64 = 1_000_000_000_000;
const DECIMALS: usize = 12;

/// An amount of US dollars, never negative, exact to 10⁻¹² dollars, at most 9.2 million dollars (what a database integer holds).
///
/// In JSON it is a decimal text such as `"0.054399"`: a number there would be rounded by many readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount; sums stop there instead of wrapping, which makes a cap refuse.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// An amount in 10⁻¹² dollars, cut to the largest amount.
    pub fn from_picodollars(picodollars: u64) -> Self {
        Self(picodollars.min(Self::MAX.0))
    }

    /// The amount in 10⁻¹² dollars.
    pub fn picodollars(self) -> u64 {
        self.0
    }

    /// The sum, at most the largest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::from_picodollars(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The product, at most the largest amount.
    #[must_use]
    pub fn times(self, factor: u64) -> Self {
        Self::from_picodollars(self.0.saturating_mul(factor))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// Every digit there is, or with a precision (`{:.6}`) so many, rounded to the nearest.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(decimals) = f.precision().map(|decimals| decimals.min(DECIMALS)) {
            let step = 10_u64.pow((DECIMALS - decimals) as u32);
            let steps = self.0.saturating_add(step / 2) / step;
            let per_usd = PICODOLLARS_PER_USD / step;
            return match decimals {
                0 => write!(f, "{steps}"),
                _ => write!(f, "{}.{:0decimals$}", steps / per_usd, steps % per_usd),
            };
        }
        let (whole, part) = (self.0 / PICODOLLARS_PER_USD, self.0 % PICODOLLARS_PER_USD);
        let digits = format!("{part:012}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

/// A text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an amount of dollars with at most 12 decimals, such as 2.50")]
pub struct BadAmount {
    text: String,
}

impl FromStr for Usd {
    type Err = BadAmount;

    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let amount = || {
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(part) || part.len() > DECIMALS {
                return None;
            }
            let whole = whole.parse::<u64>().ok()?.checked_mul(PICODOLLARS_PER_USD)?;
            let total = whole.checked_add(format!("{part:0<12}").parse().ok()?)?;
            (total <= Self::MAX.0).then_some(Self(total))
        };
        amount().ok_or_else(|| BadAmount { text: text.to_owned() })
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_and_read_without_loss() {
        for text in ["0", "0.054399", "12.5", "0.000000000001", "9223372.036854775807"] {
            assert_eq!(text.parse::<Usd>().unwrap().to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Usd::from_picodollars(292_000_000)).unwrap(), "\"0.000292\"");
        assert_eq!(serde_json::from_str::<Usd>("\"0.000292\"").unwrap().picodollars(), 292_000_000);
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "-1", "1.", ".5", "1e3", "0.0000000000001", "9223373", "1,5", "+1", "1.2.3"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_precision_rounds_to_the_nearest() {
        let amount: Usd = "0.0002916".parse().unwrap();
        assert_eq!([format!("{amount:.6}"), format!("{amount:.2}"), format!("{amount:.0}")], ["0.000292", "0.00", "0"]);
        let amount: Usd = "12.995".parse().unwrap();
        assert_eq!(
            [format!("{amount:.2}"), format!("{amount:.4}"), format!("{amount:.20}")],
            ["13.00", "12.9950", "12.995000000000"]
        );
    }

    #[test]
    fn sums_stop_at_the_largest_amount_instead_of_wrapping() {
        assert_eq!(Usd::MAX.plus(Usd::MAX), Usd::MAX);
        assert_eq!(Usd::MAX.times(3), Usd::MAX);
        assert_eq!(Usd::ZERO.minus(Usd::MAX), Usd::ZERO);
    }
}
