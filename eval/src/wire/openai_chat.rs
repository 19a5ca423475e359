//! OpenAI Chat Completions: <https://platform.openai.com/docs/api-reference/chat>.
//! Knows nothing about sockets, retries or prices; servers that speak it in their own accent are in `openai_compatible`.

use serde_json::Value;

use super::fault::{self, Fault};
use super::field::{append, count, items, json as read_json, malformed, owned, present, text};
use super::{Answer, CallError, Dialect, Form, Headers, KeyHeader, Request, StreamReader, SystemAs, Usage, body};
use crate::Finish;

/// The dialect of `POST /v1/chat/completions`.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn key_variable(&self) -> &'static str {
        "OPENAI_API_KEY"
    }

    fn default_url(&self) -> Option<&'static str> {
        Some("https://api.openai.com/v1")
    }

    fn systems(&self, _form: &Form) -> &'static [SystemAs] {
        &[SystemAs::System, SystemAs::Developer, SystemAs::User]
    }

    fn path(&self, request: &Request) -> String {
        body::versioned("/chat/completions", request)
    }

    fn headers(&self, form: &Form, key: Option<&str>) -> Headers {
        form.headers(KeyHeader::Authorization, key)
    }

    fn body(&self, request: &Request) -> Value {
        body::chat(request, request.form.system_place(self), "max_completion_tokens")
    }

    fn read(&self, body: &[u8]) -> Result<Answer, CallError> {
        let completion = read_json(body)?;
        if let Some(error) = fault::object(&completion) {
            return Err(api_error(error, 200, &Headers::new()));
        }
        let choice = only_choice(&completion)?.ok_or_else(|| malformed("a completion without choices"))?;
        let mut reader = Reader::default();
        reader.note_names(&completion);
        let message = present(choice, "message").ok_or_else(|| malformed("a choice without `message`"))?;
        reader.take(message)?;
        let reason = text(choice, "finish_reason").ok_or_else(|| malformed("a choice without `finish_reason`"))?;
        reader.end(reason, choice);
        reader.usage = completion.get("usage").and_then(usage);
        Box::new(reader).finish()
    }

    fn stream(&self) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn error(&self, status: u16, headers: &Headers, body: &[u8]) -> CallError {
        let json = read_json(body).unwrap_or(Value::Null);
        match fault::object(&json) {
            Some(error) => api_error(error, status, headers),
            None => fault::opaque(status, headers, body),
        }
    }
}

/// The error that stands in an object with `message`, `type`, `param` and `code`.
pub(super) fn api_error(error: &Value, status: u16, headers: &Headers) -> CallError {
    // The code says more than the type; some servers put the status there, as a number.
    let code = text(error, "code").filter(|code| !code.is_empty() && !code.bytes().all(|byte| byte.is_ascii_digit()));
    let kind = code.or_else(|| text(error, "type")).unwrap_or_default();
    let last = [text(error, "code"), text(error, "type")].into_iter().flatten().any(|word| {
        matches!(
            word,
            "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "insufficient_balance"
        )
    });
    let (message, field) = (text(error, "message").unwrap_or_default(), text(error, "param"));
    Fault { kind, message, field, last, ..Fault::default() }.into_error(status, headers)
}

/// Reads a stream of chunks, and a plain answer as a stream of one.
#[derive(Debug, Default)]
pub(super) struct Reader {
    text: String,
    refused: bool,
    /// The field that holds a call of a tool, if there is one.
    tool: Option<&'static str>,
    finish: Option<Finish>,
    done: bool,
    usage: Option<Usage>,
    model: Option<String>,
    id: Option<String>,
}

impl StreamReader for Reader {
    fn event(&mut self, _name: Option<&str>, data: &str) -> Result<String, CallError> {
        if data.trim() == "[DONE]" {
            self.done = true;
            return Ok(String::new());
        }
        let chunk = read_json(data.as_bytes())?;
        if let Some(error) = fault::object(&chunk) {
            return Err(api_error(error, 200, &Headers::new()));
        }
        self.note_names(&chunk);
        // Some servers count along in every chunk: the last count is the whole.
        if let Some(counts) = present(&chunk, "usage") {
            self.usage = usage(counts);
        }
        let Some(choice) = only_choice(&chunk)? else { return Ok(String::new()) };
        let added = present(choice, "delta").map_or(Ok(String::new()), |delta| self.take(delta))?;
        if let Some(reason) = text(choice, "finish_reason") {
            self.end(reason, choice);
        }
        Ok(added)
    }

    fn finish(self: Box<Self>) -> Result<Answer, CallError> {
        let Some(finish) = self.finish else {
            return Err(if self.done {
                malformed("the stream is done without a `finish_reason`")
            } else {
                CallError::Cut { characters: self.text.chars().count() }
            });
        };
        // Judged at the end: a forced call of a tool ends with the reason `stop`.
        let finish = match (finish, self.tool) {
            (Finish::Stop, _) if self.refused => Finish::Refusal { category: None },
            (Finish::Stop, Some(tool)) => Finish::Refusal { category: Some(tool.to_owned()) },
            (finish, _) => finish,
        };
        Ok(Answer { text: self.text, finish, usage: self.usage, model: self.model, id: self.id })
    }
}

impl Reader {
    fn note_names(&mut self, chunk: &Value) {
        let named = |key| owned(chunk, key).filter(|name| !name.is_empty());
        self.id = self.id.take().or_else(|| named("id"));
        self.model = self.model.take().or_else(|| named("model"));
    }

    /// Takes a message or a piece of one. What the model said when it refused is its answer too, so that a reader of the report sees it.
    fn take(&mut self, message: &Value) -> Result<String, CallError> {
        let mut added = String::new();
        match message.get("content") {
            // Some servers write a list of parts, thoughts among them.
            Some(Value::Array(parts)) => {
                for part in parts.iter().filter(|part| text(part, "type") == Some("text")) {
                    append(&mut added, part, "text")?;
                }
            }
            _ => {
                append(&mut added, message, "content")?;
            }
        }
        self.refused |= !append(&mut added, message, "refusal")?.is_empty();
        if !items(message, "tool_calls").is_empty() {
            self.tool = Some("tool_calls");
        } else if present(message, "function_call").is_some() {
            self.tool = Some("function_call");
        }
        self.text.push_str(&added);
        Ok(added)
    }

    fn end(&mut self, reason: &str, choice: &Value) {
        self.finish = Some(match reason {
            // The last two are words of text-generation-inference.
            "stop" | "eos_token" | "stop_sequence" => Finish::Stop,
            "length" => Finish::Length,
            "content_filter" => Finish::ContentFilter { category: filtered(choice) },
            "tool_calls" | "function_call" => Finish::Refusal { category: Some(reason.to_owned()) },
            _ => Finish::Failed { reason: format!("the answer ended with the unknown finish reason `{reason}`") },
        });
    }
}

/// The filter that hit, on hosts that say which.
fn filtered(choice: &Value) -> Option<String> {
    let results = choice.get("content_filter_results")?.as_object()?;
    let hit = results.iter().find(|(_, result)| result.get("filtered") == Some(&Value::Bool(true)));
    hit.map(|(name, _)| name.clone())
}

/// The choice of a completion or a chunk; none in the chunk that only brings the usage.
fn only_choice(completion: &Value) -> Result<Option<&Value>, CallError> {
    if !completion.is_object() {
        return Err(malformed("not an object"));
    }
    match items(completion, "choices") {
        [] => Ok(None),
        [choice] if count(choice, "/index") == Some(0) => Ok(Some(choice)),
        _ => Err(malformed("more than one choice, one was asked for\nhint: take `n` out of the extra fields")),
    }
}

/// None when the counts contradict each other: a guess that is marked as one is better than a wrong bill.
fn usage(counts: &Value) -> Option<Usage> {
    let prompt = counts.get("prompt_tokens")?.as_u64()?;
    let completion = count(counts, "/completion_tokens")?;
    let reasoning = count(counts, "/completion_tokens_details/reasoning_tokens")?;
    // Some hosts leave the reasoning out of the completion and say so by their total.
    let all = prompt.checked_add(completion)?.checked_add(reasoning)?;
    let apart = reasoning > 0 && counts.get("total_tokens").and_then(Value::as_u64) == Some(all);
    let output_visible = if apart { completion } else { completion.checked_sub(reasoning)? };
    let input = split_input(counts, prompt, "/prompt_tokens_details")?;
    Some(Usage { output_visible, output_reasoning: reasoning, ..input })
}

/// The input of Chat Completions and Responses in buckets: their whole contains what was read from and written to the cache.
///
/// A cache of twelve hours goes to the bucket of the long cache: a price table without a price for it then says that the cost is unknown.
pub(super) fn split_input(counts: &Value, whole: u64, details: &str) -> Option<Usage> {
    let cache_read = count(counts, &format!("{details}/cached_tokens"))?;
    let written = count(counts, &format!("{details}/cache_write_tokens"))?;
    let cache_write_1h = count(counts, &format!("{details}/cache_write_tokens_details/ttl_12h_tokens"))?;
    Some(Usage {
        input_uncached: whole.checked_sub(cache_read)?.checked_sub(written)?,
        cache_read,
        cache_write_5m: written.checked_sub(cache_write_1h)?,
        cache_write_1h,
        ..Usage::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::{Message, Role};

    fn ended(choice: &Value) -> Finish {
        let body = json!({"id": "c", "model": "m", "choices": [choice], "usage": null});
        OpenAiChat.read(body.to_string().as_bytes()).unwrap().finish
    }

    #[test]
    fn a_streamed_request_asks_for_its_usage() {
        let request = Request {
            model: "gpt-x".to_owned(),
            messages: vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: Some(0.0),
            schema: Some(json!({"type": "object"})),
            stream: true,
            extra: json!({"reasoning_effort": "low"}).as_object().unwrap().clone(),
            form: Form { system_as: Some(SystemAs::Developer), ..Form::default() },
        };
        let wanted = json!({
            "model": "gpt-x",
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "max_completion_tokens": 16,
            "temperature": 0.0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
            "stream": true,
            "stream_options": {"include_usage": true},
            "reasoning_effort": "low",
        });
        assert_eq!(OpenAiChat.body(&request), wanted);
        let form = Form::default();
        let plain = Request { stream: false, schema: None, temperature: None, extra: Map::new(), form, ..request };
        let body = OpenAiChat.body(&plain);
        assert_eq!(
            body.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["model", "messages", "max_completion_tokens"]
        );
        assert_eq!(body["messages"][0]["role"], "system");
        assert_eq!(OpenAiChat.path(&plain), "/chat/completions");
    }

    #[test]
    fn azure_is_asked_with_its_version_and_its_header() {
        let form =
            Form { api_version: Some("2024-10-21".to_owned()), key_header: Some(KeyHeader::ApiKey), ..Form::default() };
        assert!(OpenAiChat.headers(&form, Some("k")).contains(&("api-key".to_owned(), "k".to_owned())));
        let request = Request {
            model: "gpt-x".to_owned(),
            messages: vec![Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: None,
            schema: None,
            stream: false,
            extra: Map::new(),
            form,
        };
        assert_eq!(OpenAiChat.path(&request), "/chat/completions?api-version=2024-10-21");
    }

    #[test]
    fn finish_reasons_are_never_silently_a_stop() {
        let said = |reason: &str| ended(&json!({"index": 0, "message": {"content": "a"}, "finish_reason": reason}));
        assert_eq!(said("stop"), Finish::Stop);
        assert_eq!(said("length"), Finish::Length);
        assert_eq!(said("content_filter"), Finish::ContentFilter { category: None });
        assert_eq!(said("tool_calls"), Finish::Refusal { category: Some("tool_calls".to_owned()) });
        assert!(matches!(said("abort"), Finish::Failed { reason } if reason.contains("abort")));
    }

    #[test]
    fn refusals_filters_and_forced_tools_are_seen_behind_a_stop() {
        let refused = json!({"message": {"content": null, "refusal": "I can't."}, "finish_reason": "stop"});
        assert_eq!(ended(&refused), Finish::Refusal { category: None });
        let forced = json!({"message": {"content": null, "tool_calls": [{"id": "t"}]}, "finish_reason": "stop"});
        assert_eq!(ended(&forced), Finish::Refusal { category: Some("tool_calls".to_owned()) });
        let results = json!({"sexual": {"filtered": false}, "hate": {"filtered": true, "severity": "high"}});
        let cut =
            json!({"message": {"content": ""}, "finish_reason": "content_filter", "content_filter_results": results});
        assert_eq!(ended(&cut), Finish::ContentFilter { category: Some("hate".to_owned()) });
    }

    #[test]
    fn cached_and_reasoning_tokens_are_taken_out_of_the_wholes() {
        let counts = json!({
            "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 25, "cache_write_tokens_details": {"ttl_12h_tokens": 5, "ttl_30m_tokens": 20}},
            "completion_tokens_details": {"reasoning_tokens": 10, "rejected_prediction_tokens": 4},
        });
        let read = usage(&counts).unwrap();
        let buckets = [read.input_uncached, read.cache_read, read.cache_write_5m, read.cache_write_1h];
        assert_eq!((buckets, read.output_visible, read.output_reasoning), ([15, 60, 20, 5], 20, 10));
        let apart = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 18, "completion_tokens_details": {"reasoning_tokens": 10}});
        assert_eq!(usage(&apart).unwrap().output(), 13);
        let contradiction =
            json!({"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 6}});
        assert_eq!(usage(&contradiction), None);
    }

    #[test]
    fn an_empty_account_is_final_and_a_rate_limit_is_not() {
        let error = |body: Value| OpenAiChat.error(429, &Headers::new(), body.to_string().as_bytes());
        let empty = json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}});
        assert!(matches!(error(empty), CallError::Api { last: true, kind, .. } if kind == "insufficient_quota"));
        let busy = json!({"error": {"message": "Rate limit reached. Please try again in 1m0s.", "type": "tokens", "code": "rate_limit_exceeded"}});
        let wait = Some(60.0);
        assert!(
            matches!(error(busy), CallError::Api { last: false, kind, wait_secs, .. } if kind == "rate_limit_exceeded" && wait_secs == wait)
        );
    }

    #[test]
    fn an_error_with_status_200_is_an_error() {
        let body = br#"{"error":{"message":"upstream","type":"server_error","code":"502"}}"#;
        assert!(
            matches!(OpenAiChat.read(body), Err(CallError::Api { status: 200, kind, .. }) if kind == "server_error")
        );
    }

    #[test]
    fn answers_that_were_not_asked_for_are_malformed() {
        let two = json!({"choices": [{"index": 0}, {"index": 1}]}).to_string();
        let second = json!({"choices": [{"index": 1, "delta": {"content": "a"}}]}).to_string();
        assert!(matches!(OpenAiChat.read(two.as_bytes()), Err(CallError::Malformed { .. })));
        assert!(matches!(OpenAiChat.stream().event(None, &second), Err(CallError::Malformed { .. })));
        for body in
            ["{}", "[]", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":5},"finish_reason":"stop"}]}"#]
        {
            assert!(matches!(OpenAiChat.read(body.as_bytes()), Err(CallError::Malformed { .. })), "{body}");
        }
    }
}
