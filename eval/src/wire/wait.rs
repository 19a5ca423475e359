//! How long a provider asks to wait, read out of headers and messages.
//! Knows nothing about whether the wait is honoured, and nothing about the clock: the time comes as an argument.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::Headers;

/// The wait that `retry-after-ms`, else `retry-after` (seconds or an HTTP date) asks for, in seconds; none when it is absent, not above 0 or unreadable.
///
/// A date needs `now`; `served_at` gives the clock of the server itself, which no wrong clock of ours can spoil.
pub fn asked(headers: &Headers, now: Option<Timestamp>) -> Option<f64> {
    let milliseconds = header(headers, "retry-after-ms").and_then(number).map(|milliseconds| milliseconds / 1000.0);
    milliseconds.and_then(positive).or_else(|| {
        let value = header(headers, "retry-after")?;
        let seconds = number(value).or_else(|| (http_date(value)? - now?).total(jiff::Unit::Second).ok());
        seconds.and_then(positive)
    })
}

/// The time on the server when it answered, from the header `date`.
pub fn served_at(headers: &Headers) -> Option<Timestamp> {
    header(headers, "date").and_then(http_date)
}

/// The longest wait until a limit that is used up is filled again, from `x-ratelimit-remaining-…` and `x-ratelimit-reset-…`.
///
/// Hosts that write −1 or 0 without a unit mean nothing by it.
pub fn until_reset(headers: &Headers) -> Option<f64> {
    let limits = ["requests", "tokens"].into_iter().filter_map(|limit| {
        let remaining = header(headers, &format!("x-ratelimit-remaining-{limit}")).and_then(number)?;
        let reset = header(headers, &format!("x-ratelimit-reset-{limit}")).and_then(duration)?;
        (remaining == 0.0).then_some(reset)
    });
    limits.reduce(f64::max)
}

/// The wait in a message such as "Please retry in 45.837906927s." or "Please try again in 1m0s."
pub fn in_message(message: &str) -> Option<f64> {
    ["retry in ", "try again in "].into_iter().find_map(|words| {
        let after = &message[message.find(words)? + words.len()..];
        let value = after.split(|letter: char| letter.is_whitespace() || letter == ',').next()?;
        duration(value.trim_end_matches('.'))
    })
}

/// A duration in the notation of the Go language (`12ms`, `1m0s`, `45.837906927s`) in seconds; none when it is not above 0.
///
/// Units and grammar: <https://pkg.go.dev/time#ParseDuration>.
pub fn duration(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text.trim();
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (amount, after) = rest.split_at(digits);
        // "1m" must not be read as the start of "1ms".
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        seconds += amount.parse::<f64>().ok()? * factor;
        rest = after;
    }
    positive(seconds)
}

/// The value of a header; names are in lower case.
pub(super) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim())
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn positive(seconds: f64) -> Option<f64> {
    (seconds.is_finite() && seconds > 0.0).then_some(seconds)
}

fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn close(found: Option<f64>, wanted: f64) {
        assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?} is not {wanted}");
    }

    #[test]
    fn go_durations_are_read_to_the_nanosecond_and_nonsense_is_not() {
        for (text, seconds) in [
            ("12ms", 0.012),
            ("1m0s", 60.0),
            ("6m12.172s", 372.172),
            ("45.837906927s", 45.837906927),
            ("1h2m3s", 3723.0),
            ("250µs", 0.00025),
            ("7us", 7e-6),
        ] {
            close(duration(text), seconds);
        }
        for text in ["", "0", "0s", "-1", "-1s", "5", "s", "1x", "1m0", "..s", "1 s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn milliseconds_stand_before_seconds_and_both_before_nothing() {
        close(asked(&headers(&[("retry-after", "7"), ("retry-after-ms", "1500")]), None), 1.5);
        close(asked(&headers(&[("retry-after", "0.25")]), None), 0.25);
        close(asked(&headers(&[("retry-after-ms", "-1"), ("retry-after", "3")]), None), 3.0);
        for value in ["0", "-1", "soon", "NaN", "inf", ""] {
            assert_eq!(asked(&headers(&[("retry-after", value)]), None), None, "{value}");
        }
    }

    #[test]
    fn a_date_counts_from_the_clock_of_the_server() {
        let mut answer = headers(&[("retry-after", "Wed, 21 Oct 2026 07:28:30 GMT")]);
        assert_eq!(asked(&answer, served_at(&answer)), None, "without a clock a date says nothing");
        answer.extend(headers(&[("date", "Wed, 21 Oct 2026 07:28:00 GMT")]));
        close(asked(&answer, served_at(&answer)), 30.0);
        let past =
            headers(&[("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT"), ("date", "Wed, 21 Oct 2026 07:28:00 GMT")]);
        assert_eq!(asked(&past, served_at(&past)), None);
    }

    #[test]
    fn only_a_limit_that_is_used_up_makes_us_wait_for_its_reset() {
        let both = headers(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m0s"),
        ]);
        close(until_reset(&both), 60.0);
        let spare = headers(&[("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "1m0s")]);
        assert_eq!(until_reset(&spare), None);
        for reset in ["-1", "0"] {
            let host = headers(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", reset)]);
            assert_eq!(until_reset(&host), None);
        }
    }

    #[test]
    fn the_number_in_a_message_is_found() {
        close(in_message("You exceeded your quota. Please retry in 45.837906927s."), 45.837906927);
        close(in_message("Rate limit reached. Please try again in 6m0s. Visit the page."), 360.0);
        close(in_message("Please try again in 350ms, or later"), 0.35);
        assert_eq!(in_message("try again in a moment"), None);
        assert_eq!(in_message("retry in "), None);
    }
}
