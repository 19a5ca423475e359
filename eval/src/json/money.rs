//! Sums of money as people write them: an amount and the currency beside it.
//! Knows nothing about exchange rates; a currency is what its sign or code says.

use super::written_number::{self, NumberFormat};

/// An amount with its currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Money {
    /// How much, in the unit of the currency.
    pub amount: f64,
    /// The code of ISO 4217; none when only a number was written.
    pub currency: Option<String>,
}

/// Signs by currency, longer ones first, so that `US$` is not read as `$`; a bare `$` is the US dollar and `¥` the yen.
const SIGNS: [(&str, &str); 31] = [
    ("US$", "USD"),
    ("CA$", "CAD"),
    ("AU$", "AUD"),
    ("NZ$", "NZD"),
    ("HK$", "HKD"),
    ("NT$", "TWD"),
    ("MX$", "MXN"),
    ("CN¥", "CNY"),
    ("JP¥", "JPY"),
    ("R$", "BRL"),
    ("C$", "CAD"),
    ("A$", "AUD"),
    ("S$", "SGD"),
    ("Fr.", "CHF"),
    ("zł", "PLN"),
    ("Kč", "CZK"),
    ("Ft", "HUF"),
    ("$", "USD"),
    ("€", "EUR"),
    ("£", "GBP"),
    ("¥", "JPY"),
    ("₹", "INR"),
    ("₽", "RUB"),
    ("₩", "KRW"),
    ("₺", "TRY"),
    ("₫", "VND"),
    ("₴", "UAH"),
    ("₪", "ILS"),
    ("฿", "THB"),
    ("₦", "NGN"),
    ("₱", "PHP"),
];

/// Reads a text that is one sum of money and nothing else; the currency may stand on either side, as a sign or as a code.
///
/// None for two currencies, for words such as "dollars" or "million", and for signs that several countries share (`kr`).
pub fn read(text: &str, format: NumberFormat) -> Option<Money> {
    let text = text.trim();
    // A sign before the currency belongs to the amount.
    let (sign, text) = match text.strip_prefix(['-', '−']) {
        Some(rest) => ("-", rest.trim_start()),
        None => ("", text),
    };
    let (before, rest) = match currency_at_start(text) {
        Some((currency, rest)) => (Some(currency), rest.trim_start()),
        None => (None, text),
    };
    let (after, number) = match currency_at_end(rest) {
        Some((currency, number)) => (Some(currency), number.trim_end()),
        None => (None, rest),
    };
    let is_plain = |c: char| c.is_ascii_digit() || c.is_whitespace() || ".,'’_+-−\u{a0}\u{202f}\u{2009}".contains(c);
    if before.is_some() && after.is_some() || !number.chars().all(is_plain) {
        return None;
    }
    let amount = written_number::whole(&format!("{sign}{number}"), format)?;
    Some(Money { amount, currency: before.or(after) })
}

fn currency_at_start(text: &str) -> Option<(String, &str)> {
    for (sign, code) in SIGNS {
        if let Some(rest) = text.strip_prefix(sign) {
            return Some((code.to_owned(), rest));
        }
    }
    let rest = text.get(3..).filter(|rest| !rest.starts_with(char::is_alphabetic))?;
    Some((code(text.get(..3)?)?, rest))
}

fn currency_at_end(text: &str) -> Option<(String, &str)> {
    for (sign, code) in SIGNS {
        if let Some(rest) = text.strip_suffix(sign) {
            return Some((code.to_owned(), rest));
        }
    }
    let at = text.len().checked_sub(3)?;
    let rest = text.get(..at).filter(|rest| !rest.ends_with(char::is_alphabetic))?;
    Some((code(text.get(at..)?)?, rest))
}

fn code(text: &str) -> Option<String> {
    text.bytes().all(|byte| byte.is_ascii_alphabetic()).then(|| text.to_ascii_uppercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Option<(f64, Option<&str>)>) {
        let money = read(text, NumberFormat::default());
        let found = money.as_ref().map(|money| (money.amount, money.currency.as_deref()));
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn signs_and_codes_on_either_side_mean_the_same() {
        for text in ["$1,200.50", "USD 1,200.50", "1200.5 usd", "US$ 1,200.50", "1,200.50$", "$ 1200.50"] {
            check(text, Some((1200.5, Some("USD"))));
        }
        check("-€5", Some((-5.0, Some("EUR"))));
        check("€-5", Some((-5.0, Some("EUR"))));
        check("R$ 10", Some((10.0, Some("BRL"))));
        check("120 zł", Some((120.0, Some("PLN"))));
        check("1,200", Some((1200.0, None)));
        let comma = NumberFormat { decimal_comma: true, ..NumberFormat::default() };
        assert_eq!(read("1.200,50 €", comma), Some(Money { amount: 1200.5, currency: Some("EUR".to_owned()) }));
    }

    #[test]
    fn what_is_not_one_sum_is_no_money() {
        for text in
            ["", "USD", "$5 USD", "5 dollars", "about $5", "$5 million", "$5 to $6", "5%", "kr 5", "$5e3", "--$5"]
        {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-−$€ a-zA-Zł0-9.,]{0,12}|.{0,20}") {
            read(&text, NumberFormat::default());
        }
    }
}
