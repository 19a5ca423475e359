//! What a caller asks of a price table, and the most that a request can use.
//! Knows nothing about the files that prices come from.

use serde_json::Value;

use crate::wire::prices::Rate;
use crate::wire::{PriceTable, Request, Usage, Usd};

/// Tokens that a provider may put around a request: the template of each message, and hidden instructions for tools and schemas.
const TOKENS_PER_MESSAGE: u64 = 64;
const TOKENS_PER_REQUEST: u64 = 1_024;

/// What one model costs.
pub trait Tariff: Send + Sync {
    /// The SHA-256 of the price table, in hexadecimal digits.
    fn table_sha256(&self) -> &str;
    /// What a call costs; none when the table cannot say.
    fn cost(&self, usage: &Usage) -> Option<Usd>;
    /// The most that a call with at most so many tokens can cost, whatever bucket they fall in; none when the table cannot say.
    fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Option<Usd>;
}

/// The prices of one model out of a table.
#[derive(Clone, Debug)]
pub struct Priced {
    rate: Rate,
    table_sha256: String,
}

impl Priced {
    /// `rate` must come from `table`.
    pub fn new(table: &PriceTable, rate: Rate) -> Self {
        Self { rate, table_sha256: table.sha256() }
    }
}

impl Tariff for Priced {
    fn table_sha256(&self) -> &str {
        &self.table_sha256
    }

    fn cost(&self, usage: &Usage) -> Option<Usd> {
        self.rate.cost(usage)
    }

    fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Option<Usd> {
        self.rate.worst_case(input_tokens, output_tokens)
    }
}

/// The most tokens that a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// The bound of a request whose body is `body`, of `num_bytes` bytes.
///
/// A token of a byte-level or byte-fallback tokenizer stands for at least one byte of the text, and a text is at least
/// as long in JSON. What tools of the provider add on its side is not in it and would show as usage above the bound.
/// The limit of the answer is read from the body, because what the user added there wins over the request.
pub(super) fn bound(request: &Request, body: &Value, num_bytes: usize) -> Bound {
    let number = |pointer: &str| body.pointer(pointer).and_then(Value::as_u64);
    let limits = [
        "/max_tokens",
        "/max_completion_tokens",
        "/max_output_tokens",
        "/generationConfig/maxOutputTokens",
        "/options/num_predict",
    ];
    let answers = ["/n", "/best_of", "/generationConfig/candidateCount"];
    let limit = limits.iter().filter_map(|pointer| number(pointer)).fold(request.max_tokens as u64, u64::max);
    let num_answers = answers.iter().filter_map(|pointer| number(pointer)).fold(1, u64::max);
    let around = TOKENS_PER_REQUEST.saturating_add(TOKENS_PER_MESSAGE.saturating_mul(request.messages.len() as u64));
    Bound { input_tokens: (num_bytes as u64).saturating_add(around), output_tokens: limit.saturating_mul(num_answers) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::wire::Form;
    use crate::{Message, Role};

    #[test]
    fn what_the_user_wrote_into_the_body_raises_the_bound() {
        let request = Request {
            model: "m".to_owned(),
            messages: vec![Message::new(Role::User, "q")],
            max_tokens: 10,
            temperature: None,
            schema: None,
            stream: false,
            extra: Map::new(),
            form: Form::default(),
        };
        let output = |body: Value| bound(&request, &body, 100).output_tokens;
        assert_eq!(output(json!({"max_tokens": 10})), 10);
        assert_eq!(output(json!({"max_tokens": 500})), 500);
        assert_eq!(output(json!({"max_completion_tokens": 7, "n": 3})), 30);
        assert_eq!(output(json!({"generationConfig": {"maxOutputTokens": 20, "candidateCount": 2}})), 40);
        assert_eq!(bound(&request, &json!({}), 100).input_tokens, 100 + 64 + 1_024);
    }
}
