//! Anthropic Messages: <https://platform.claude.com/docs/en/api/messages>.
//! Knows nothing about sockets, retries or prices.

use serde_json::{Map, Value, json};

use super::body::Talk;
use super::fault::{self, Fault};
use super::field::{append, count, json as read_json, malformed, owned, present, text};
use super::{Answer, CallError, Dialect, Form, Headers, KeyHeader, Request, StreamReader, SystemAs, Usage, body};
use crate::Finish;

/// The version of the provider's own client, from which on a key is a bearer token and a conversation may hold system messages.
const NEWEST: &str = "2026-10-21";

/// The dialect of `POST /v1/messages`.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn key_variable(&self) -> &'static str {
        "ANTHROPIC_API_KEY"
    }

    fn default_url(&self) -> Option<&'static str> {
        Some("https://api.anthropic.com")
    }

    fn api_version(&self) -> Option<&'static str> {
        Some(NEWEST)
    }

    fn systems(&self, form: &Form) -> &'static [SystemAs] {
        if is_old(form) {
            &[SystemAs::Field, SystemAs::User]
        } else {
            &[SystemAs::Field, SystemAs::System, SystemAs::User]
        }
    }

    fn path(&self, _request: &Request) -> String {
        "/v1/messages".to_owned()
    }

    fn headers(&self, form: &Form, key: Option<&str>) -> Headers {
        let own = if is_old(form) { KeyHeader::XApiKey } else { KeyHeader::Authorization };
        let mut headers = form.headers(own, key);
        headers.push(("anthropic-version".to_owned(), form.version(self).unwrap_or(NEWEST).to_owned()));
        headers
    }

    fn body(&self, request: &Request) -> Value {
        let talk = Talk::new(&request.messages, request.form.system_place(self));
        let (model, max_tokens) = (&request.model, request.max_tokens);
        let mut fields = json!({"model": model, "max_tokens": max_tokens, "messages": talk.plain_turns()});
        body::set(&mut fields, "system", talk.system);
        body::set(&mut fields, "temperature", request.temperature);
        if let Some(schema) = &request.schema {
            fields["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
        }
        if request.stream {
            fields["stream"] = true.into();
        }
        body::with_extra(fields, &request.extra)
    }

    fn read(&self, body: &[u8]) -> Result<Answer, CallError> {
        let message = read_json(body)?;
        if fault::object(&message).is_some() {
            return Err(api_error(&message, 200, &Headers::new()));
        }
        let Some(Value::Array(content)) = message.get("content") else {
            return Err(malformed("a message without `content`"));
        };
        let mut answer = String::new();
        for block in content.iter().filter(|block| text(block, "type") == Some("text")) {
            append(&mut answer, block, "text")?;
        }
        let reason = text(&message, "stop_reason").ok_or_else(|| malformed("a message without `stop_reason`"))?;
        Ok(Answer {
            text: answer,
            finish: finish(reason, &message),
            usage: message.get("usage").and_then(usage),
            model: owned(&message, "model"),
            id: owned(&message, "id"),
        })
    }

    fn stream(&self) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn error(&self, status: u16, headers: &Headers, body: &[u8]) -> CallError {
        match read_json(body) {
            Ok(json) if fault::object(&json).is_some() => api_error(&json, status, headers),
            _ => fault::opaque(status, headers, body),
        }
    }
}

/// Versions are days, so that the older one is the smaller text.
fn is_old(form: &Form) -> bool {
    form.api_version.as_deref().is_some_and(|version| version < NEWEST)
}

#[derive(Debug, Default)]
struct Reader {
    started: bool,
    text: String,
    finish: Option<Finish>,
    usage: Map<String, Value>,
    model: Option<String>,
    id: Option<String>,
}

impl StreamReader for Reader {
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<String, CallError> {
        if name == Some("ping") {
            return Ok(String::new());
        }
        let event = read_json(data.as_bytes())?;
        let kind = text(&event, "type").or(name).unwrap_or_default();
        match kind {
            "error" => return Err(api_error(&event, 200, &Headers::new())),
            "message_start" if self.started => return Err(malformed("a second `message_start`")),
            "message_start" => {
                let message = present(&event, "message").ok_or_else(|| malformed("`message_start` without message"))?;
                self.started = true;
                self.model = owned(message, "model");
                self.id = owned(message, "id");
                self.replace_usage(message);
            }
            "content_block_start" | "content_block_delta" | "message_delta" | "message_stop" if !self.started => {
                return Err(malformed(format!("`{kind}` before `message_start`")));
            }
            // The other blocks and deltas are thoughts, signatures, tool input and citations.
            "content_block_start" => {
                if let Some(block) = event.get("content_block").filter(|block| text(block, "type") == Some("text")) {
                    return append(&mut self.text, block, "text").map(str::to_owned);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = event.get("delta").filter(|delta| text(delta, "type") == Some("text_delta")) {
                    return append(&mut self.text, delta, "text").map(str::to_owned);
                }
            }
            "message_delta" => {
                if let Some(delta) = event.get("delta")
                    && let Some(reason) = text(delta, "stop_reason")
                {
                    self.finish = Some(finish(reason, delta));
                }
                self.replace_usage(&event);
            }
            // `content_block_stop`, `message_stop`, and events that are newer than this program.
            _ => {}
        }
        Ok(String::new())
    }

    fn finish(self: Box<Self>) -> Result<Answer, CallError> {
        // An answer with its stop reason is whole, even if the very last event got lost: asking again would be paid twice.
        let Some(finish) = self.finish else { return Err(CallError::Cut { characters: self.text.chars().count() }) };
        let usage = usage(&Value::Object(self.usage));
        Ok(Answer { text: self.text, finish, usage, model: self.model, id: self.id })
    }
}

impl Reader {
    /// Counts are cumulative: each one that is given replaces the one before, the others stay.
    fn replace_usage(&mut self, holder: &Value) {
        if let Some(Value::Object(counts)) = holder.get("usage") {
            let given = counts.iter().filter(|(_, count)| !count.is_null());
            self.usage.extend(given.map(|(name, count)| (name.clone(), count.clone())));
        }
    }
}

fn finish(reason: &str, holder: &Value) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        // A paused turn would go on if it were sent back, so what is there is not the whole answer either.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => Finish::Length,
        "refusal" => {
            Finish::Refusal { category: holder.get("stop_details").and_then(|details| owned(details, "category")) }
        }
        "tool_use" => Finish::Refusal { category: Some(reason.to_owned()) },
        _ => Finish::Failed { reason: format!("anthropic ended the answer with the unknown stop reason `{reason}`") },
    }
}

/// None when the counts contradict each other: a guess that is marked as one is better than a wrong bill.
fn usage(counts: &Value) -> Option<Usage> {
    let input_uncached = counts.get("input_tokens")?.as_u64()?;
    let output = counts.get("output_tokens")?.as_u64()?;
    let written_5m = count(counts, "/cache_creation/ephemeral_5m_input_tokens")?;
    let cache_write_1h = count(counts, "/cache_creation/ephemeral_1h_input_tokens")?;
    // Later events of a stream bring only the undivided count.
    let cache_write_5m = match present(counts, "cache_creation_input_tokens") {
        Some(total) => total.as_u64()?.checked_sub(cache_write_1h)?,
        None => written_5m,
    };
    // The share of the thoughts is an estimate of the provider, the total is what is billed.
    let output_reasoning = count(counts, "/output_tokens_details/thinking_tokens")?.min(output);
    Some(Usage {
        input_uncached,
        cache_read: count(counts, "/cache_read_input_tokens")?,
        cache_write_5m,
        cache_write_1h,
        output_visible: output - output_reasoning,
        output_reasoning,
        estimated: false,
    })
}

fn api_error(body: &Value, status: u16, headers: &Headers) -> CallError {
    let error = fault::object(body).unwrap_or(body);
    let (kind, message) = (text(error, "type").unwrap_or_default(), text(error, "message").unwrap_or_default());
    let last = kind == "billing_error" || message.contains("credit balance is too low");
    Fault { kind, message, last, ..Fault::default() }.into_error(status, headers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Message, Role};

    fn request() -> Request {
        Request {
            model: "claude-x".to_owned(),
            messages: vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: None,
            schema: None,
            stream: false,
            extra: Map::new(),
            form: Form::default(),
        }
    }

    #[test]
    fn the_system_message_stands_at_the_top_unless_it_is_asked_for_elsewhere() {
        let user = json!({"role": "user", "content": "Hi"});
        assert_eq!(
            Anthropic.body(&request()),
            json!({"model": "claude-x", "max_tokens": 16, "messages": [user], "system": "Be brief."})
        );
        let form = Form { system_as: Some(SystemAs::System), ..Form::default() };
        let messages = json!([{"role": "system", "content": "Be brief."}, user]);
        assert_eq!(
            Anthropic.body(&Request { form, ..request() }),
            json!({"model": "claude-x", "max_tokens": 16, "messages": messages})
        );
    }

    #[test]
    fn the_version_says_how_the_key_is_sent_unless_the_arm_does() {
        let sent = |form: Form| -> Vec<String> {
            let headers = Anthropic.headers(&form, Some("k")).into_iter();
            headers.map(|(name, value)| format!("{name}: {value}")).collect()
        };
        let old = Form { api_version: Some("2023-06-01".to_owned()), ..Form::default() };
        let json = "content-type: application/json";
        assert_eq!(sent(Form::default()), [json, "authorization: Bearer k", "anthropic-version: 2026-10-21"]);
        assert_eq!(sent(old.clone()), [json, "x-api-key: k", "anthropic-version: 2023-06-01"]);
        let mixed = Form { key_header: Some(KeyHeader::Authorization), ..old };
        assert_eq!(sent(mixed), [json, "authorization: Bearer k", "anthropic-version: 2023-06-01"]);
        let newer = Form { api_version: Some("2027-01-05".to_owned()), ..Form::default() };
        assert_eq!(sent(newer), [json, "authorization: Bearer k", "anthropic-version: 2027-01-05"]);
    }

    #[test]
    fn effort_and_schema_live_together() {
        let mut request = Request { schema: Some(json!({"type": "object"})), stream: true, ..request() };
        request.extra = json!({"output_config": {"effort": "low"}}).as_object().unwrap().clone();
        let body = Anthropic.body(&request);
        let format = json!({"type": "json_schema", "schema": {"type": "object"}});
        assert_eq!(body["output_config"], json!({"format": format, "effort": "low"}));
        assert_eq!(body["stream"], json!(true));
    }

    #[test]
    fn stop_reasons_are_never_silently_a_stop() {
        let none = Value::Null;
        for reason in ["end_turn", "stop_sequence"] {
            assert_eq!(finish(reason, &none), Finish::Stop);
        }
        for reason in ["max_tokens", "model_context_window_exceeded", "pause_turn"] {
            assert_eq!(finish(reason, &none), Finish::Length);
        }
        assert_eq!(finish("tool_use", &none), Finish::Refusal { category: Some("tool_use".to_owned()) });
        assert!(matches!(finish("brand_new", &none), Finish::Failed { reason } if reason.contains("brand_new")));
    }

    #[test]
    fn a_refusal_keeps_its_category_if_there_is_one() {
        let details = json!({"stop_details": {"type": "refusal", "category": "bio", "explanation": "…"}});
        assert_eq!(finish("refusal", &details), Finish::Refusal { category: Some("bio".to_owned()) });
        for details in [json!({"stop_details": {"type": "refusal", "category": null}}), json!({})] {
            assert_eq!(finish("refusal", &details), Finish::Refusal { category: None });
        }
    }

    #[test]
    fn an_undivided_later_count_keeps_the_hour_cache_apart() {
        let counts = json!({
            "input_tokens": 5, "output_tokens": 9, "cache_creation_input_tokens": 100, "cache_read_input_tokens": null,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 60},
            "output_tokens_details": {"thinking_tokens": 12},
        });
        let read = usage(&counts).unwrap();
        assert_eq!((read.cache_write_5m, read.cache_write_1h, read.input()), (40, 60, 105));
        assert_eq!((read.output_visible, read.output_reasoning), (0, 9));
        assert_eq!(usage(&json!({"input_tokens": 5})), None);
        assert_eq!(usage(&json!({"input_tokens": -5, "output_tokens": 1})), None);
    }

    #[test]
    fn an_empty_account_is_final_whatever_its_status() {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}});
        let error = Anthropic.error(400, &Headers::new(), body.to_string().as_bytes());
        assert!(matches!(error, CallError::Api { last: true, status: 400, .. }));
    }

    #[test]
    fn an_overloaded_error_keeps_its_word_and_its_wait() {
        let headers =
            vec![("retry-after".to_owned(), "11".to_owned()), ("x-should-retry".to_owned(), "true".to_owned())];
        let body =
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
        let wanted = CallError::Api {
            status: 529,
            kind: "overloaded_error".to_owned(),
            message: "Overloaded".to_owned(),
            field: None,
            wait_secs: Some(11.0),
            should_retry: Some(true),
            last: false,
        };
        assert_eq!(Anthropic.error(529, &headers, body), wanted);
    }

    #[test]
    fn events_out_of_order_are_malformed() {
        let mut reader = Anthropic.stream();
        let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        assert!(matches!(reader.event(Some("content_block_delta"), delta), Err(CallError::Malformed { .. })));
        assert!(matches!(reader.event(None, "{"), Err(CallError::Malformed { .. })));
    }

    #[test]
    fn a_message_without_content_or_reason_is_malformed() {
        for body in [r#"{"type":"message"}"#, r#"{"content":[],"stop_reason":null}"#, "[]", "", "<html>"] {
            assert!(matches!(Anthropic.read(body.as_bytes()), Err(CallError::Malformed { .. })), "{body}");
        }
    }
}
