//! Owns an answer of the hub as a value: its status, what the hub says about it, how long it asks to wait, its JSON.
//! Knows no connection; sizes are limited before it is made.

use anyhow::{Result, bail};
use eval::wire::{Headers, wait};
use serde::de::DeserializeOwned;

use super::listing::HINT;
use super::patience::Attempt;

/// The longest text of a refusal that is shown, in characters.
const LONGEST_WORDS: usize = 200;

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Headers,
    body: Vec<u8>,
    /// What the hub says about it.
    said: Option<String>,
}

impl Answer {
    /// `hide` takes out of text what must not be shown.
    pub(super) fn new(status: u16, headers: Headers, body: Vec<u8>, hide: impl Fn(&str) -> String) -> Self {
        let said = find(&headers, "x-error-message").map(str::to_owned).or_else(|| {
            let json: serde_json::Value = serde_json::from_slice(&body).ok().filter(|_| status >= 300)?;
            Some(json.get("error").or_else(|| json.get("message"))?.as_str()?.to_owned())
        });
        let said = said.map(|said| hide(said.trim()).chars().take(LONGEST_WORDS).collect());
        Self { status, headers, body, said }
    }

    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A failure after which the same request may be answered otherwise.
    pub(super) fn passing<T>(&self) -> Option<Attempt<T>> {
        let passes = matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504);
        passes.then(|| Attempt::Passing { why: self.words(), asked_secs: self.asked_secs() })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The hub's own word for a refusal.
    pub(super) fn code(&self) -> Option<&str> {
        self.header("x-error-code")
    }

    /// How long the hub asks to wait: `Retry-After`, else the end of the window that `RateLimit` counts in.
    pub(super) fn asked_secs(&self) -> Option<f64> {
        wait::asked(&self.headers, wait::served_at(&self.headers)).or_else(|| until_reset(self.header("ratelimit")?))
    }

    /// The status, and what the hub says about it.
    pub(super) fn words(&self) -> String {
        let what = if self.status == 429 {
            "the hub limits the rate of requests".to_owned()
        } else {
            format!("the hub answered {}", self.status)
        };
        match self.said.as_ref().filter(|said| !said.is_empty()) {
            Some(said) => format!("{what} ({said})"),
            None => what,
        }
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(value),
            // Only its kind and place: its words would repeat what the hub wrote.
            Err(error) => bail!(
                "the hub answered in a way that this program does not know: {:?} in line {}, column {}\n{}",
                error.classify(),
                error.line(),
                error.column(),
                HINT
            ),
        }
    }
}

/// The first value of a header, by its name in lower case.
pub(super) fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// `"api";r=0;t=55` of the IETF draft on rate limits: nothing remains for 55 seconds.
fn until_reset(header: &str) -> Option<f64> {
    let field = |name: &str| {
        header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    (field("r")? == 0.0).then(|| field("t")).flatten().filter(|secs| *secs > 0.0)
}

#[cfg(test)]
impl Answer {
    /// An answer that came well.
    pub(super) fn good(body: &[u8]) -> Self {
        Self { status: 200, headers: Headers::new(), body: body.to_vec(), said: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer::new(status, headers, body.as_bytes().to_vec(), |text| text.replace("hf_x", "[key]"))
    }

    #[test]
    fn a_wait_is_read_from_either_header() {
        assert_eq!(answer(429, &[("retry-after", "7")], "").asked_secs(), Some(7.0));
        assert_eq!(answer(429, &[("ratelimit", "\"api\";r=0;t=55")], "").asked_secs(), Some(55.0));
        assert_eq!(answer(429, &[("ratelimit", "\"api\";r=3;t=55")], "").asked_secs(), None);
        let dated = [("date", "Fri, 27 Nov 2026 08:00:00 GMT"), ("retry-after", "Fri, 27 Nov 2026 08:00:09 GMT")];
        assert_eq!(answer(503, &dated, "").asked_secs(), Some(9.0));
    }

    #[test]
    fn what_the_hub_says_is_told_without_the_token_and_at_a_bearable_length() {
        assert_eq!(
            answer(403, &[], r#"{"error":"no rights for hf_x"}"#).words(),
            "the hub answered 403 (no rights for [key])"
        );
        assert_eq!(answer(429, &[], "").words(), "the hub limits the rate of requests");
        let long = answer(500, &[("x-error-message", &"x".repeat(9_000))], "").words();
        assert_eq!(long.len(), "the hub answered 500 ()".len() + LONGEST_WORDS);
    }
}
