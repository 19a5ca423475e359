//! Owns the numbers of a command line: each has the range of the key of a config that means the same, and is refused with
//! it. Knows no command.

use std::str::FromStr;

use crate::config::schema;
use crate::config::shape::Range;

/// A whole number in the range of a key.
pub(super) fn whole<T: TryFrom<u64>>(key: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| whole_within(text, of(key)?)
}

/// The same, or 0 for none.
pub(super) fn whole_or_none<T: TryFrom<u64>>(
    key: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| whole_within(text, Range { least: Some(0.0), above: None, ..of(key)? })
}

/// A number in the range of a key.
pub(super) fn number<T: FromStr + Into<f64> + Copy>(
    key: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| {
        let range = of(key)?;
        let refused = || format!("not in range\nhint: write a number {}", range.words());
        let number: T = text.parse().map_err(|_| refused())?;
        if range.contains(number.into()) { Ok(number) } else { Err(refused()) }
    }
}

fn whole_within<T: TryFrom<u64>>(text: &str, range: Range) -> Result<T, String> {
    let number: Option<u64> = text.parse().ok().filter(|number| range.contains_whole(i128::from(*number)));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("not in range\nhint: write a whole number {}", range.words()))
}

fn of(key: &str) -> Result<Range, String> {
    schema::range(key).ok_or_else(|| format!("the program has no range for {key}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    fn read(words: &str) -> Result<(), String> {
        let words = std::iter::once("trainer").chain(words.split(' '));
        Cli::try_parse_from(words).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn every_number_has_a_range_and_is_refused_beyond_it() {
        let options = [
            ("fit c.toml --max-steps", "1000", "0"),
            ("eval c.toml --limit", "232", "0"),
            ("score --model m rows.jsonl --limit", "232", "0"),
            ("compare a b --margin", "0.03", "1"),
            ("compare a b --min-groups", "6", "1"),
            ("generate --model m --max-tokens", "4096", "0"),
            ("generate --model m --temperature", "0.7", "-1"),
            ("merge run --out o --kl-rows", "0", "-1"),
            ("export run --out o --kl-rows", "64", "1e3"),
        ];
        for (option, good, bad) in options {
            assert_eq!(read(&format!("{option}={good}")), Ok(()), "{option}");
            for wrong in [bad, "18446744073709551615", "9223372036854775808", "NaN", "inf", "1e308", "x"] {
                let error = read(&format!("{option}={wrong}")).err().unwrap_or_default();
                assert!(error.contains("\nhint: write a ") && error.contains("number "), "{option}={wrong}: {error}");
            }
        }
        assert_eq!(read("generate --model m --seed 18446744073709551615"), Ok(()));
    }
}
