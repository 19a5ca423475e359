//! Gemini `generateContent`: <https://ai.google.dev/api/generate-content>.
//! Knows nothing about sockets, retries or prices.

use serde_json::{Value, json};

use super::body::Talk;
use super::fault::{self, Fault};
use super::field::{append, count, items, json as read_json, malformed, owned, present, text};
use super::{Answer, CallError, Dialect, Form, Headers, KeyHeader, Request, StreamReader, SystemAs, Usage, body, wait};
use crate::Finish;

/// The version that has every field a request may hold.
const VERSION: &str = "v1beta";

/// The dialect of `POST /v1beta/models/{model}:generateContent`, where `v1beta` is the version.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Dialect for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn key_variable(&self) -> &'static str {
        "GEMINI_API_KEY"
    }

    fn default_url(&self) -> Option<&'static str> {
        Some("https://generativelanguage.googleapis.com")
    }

    fn api_version(&self) -> Option<&'static str> {
        Some(VERSION)
    }

    fn systems(&self, _form: &Form) -> &'static [SystemAs] {
        &[SystemAs::Field, SystemAs::User]
    }

    fn path(&self, request: &Request) -> String {
        let version = request.form.version(self).unwrap_or(VERSION);
        // Tuned models bring their own collection in the name.
        let collection = if request.model.contains('/') { "" } else { "models/" };
        let verb = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        format!("/{version}/{collection}{}:{verb}", request.model)
    }

    fn headers(&self, form: &Form, key: Option<&str>) -> Headers {
        form.headers(KeyHeader::XGoogApiKey, key)
    }

    fn body(&self, request: &Request) -> Value {
        let talk = Talk::new(&request.messages, request.form.system_place(self));
        let contents: Vec<_> = talk
            .turns
            .iter()
            .map(|turn| {
                let role = if turn.role == "assistant" { "model" } else { "user" };
                json!({"role": role, "parts": [{"text": turn.content}]})
            })
            .collect();
        let mut config = json!({"maxOutputTokens": request.max_tokens});
        body::set(&mut config, "temperature", request.temperature);
        if let Some(schema) = &request.schema {
            config["responseMimeType"] = "application/json".into();
            config["responseJsonSchema"] = schema.clone();
        }
        let mut fields = json!({"contents": contents, "generationConfig": config});
        if let Some(system) = talk.system {
            fields["systemInstruction"] = json!({"parts": [{"text": system}]});
        }
        body::with_extra(fields, &request.extra)
    }

    fn read(&self, body: &[u8]) -> Result<Answer, CallError> {
        let response = read_json(body)?;
        let mut reader = Reader::default();
        // A stream that was asked for without `alt=sse` is one list of responses.
        match &response {
            Value::Array(responses) => responses.iter().try_for_each(|response| reader.take(response).map(drop))?,
            response => reader.take(response).map(drop)?,
        }
        if reader.finish.is_none() {
            return Err(malformed("neither a `finishReason` nor a `blockReason`"));
        }
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

/// Reads a stream of responses, and a plain answer as a stream of one.
#[derive(Debug, Default)]
struct Reader {
    text: String,
    called: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
    model: Option<String>,
    id: Option<String>,
}

impl StreamReader for Reader {
    fn event(&mut self, _name: Option<&str>, data: &str) -> Result<String, CallError> {
        self.take(&read_json(data.as_bytes())?)
    }

    fn finish(self: Box<Self>) -> Result<Answer, CallError> {
        let finish = match self.finish {
            None => return Err(CallError::Cut { characters: self.text.chars().count() }),
            // A call of a tool ends with `STOP` like any answer.
            Some(Finish::Stop) if self.called => Finish::Refusal { category: Some("functionCall".to_owned()) },
            Some(finish) => finish,
        };
        Ok(Answer { text: self.text, finish, usage: self.usage, model: self.model, id: self.id })
    }
}

impl Reader {
    fn take(&mut self, response: &Value) -> Result<String, CallError> {
        if !response.is_object() {
            return Err(malformed("not an object"));
        }
        if let Some(error) = fault::object(response) {
            return Err(api_error(error, 200, &Headers::new()));
        }
        self.model = self.model.take().or_else(|| owned(response, "modelVersion"));
        self.id = self.id.take().or_else(|| owned(response, "responseId"));
        // The counts of the last response that has some are the whole.
        if let Some(counts) = present(response, "usageMetadata") {
            self.usage = usage(counts);
        }
        if let Some(reason) = response.get("promptFeedback").and_then(|feedback| text(feedback, "blockReason")) {
            self.finish = Some(Finish::Refusal { category: Some(reason.to_owned()) });
        }
        let mut added = String::new();
        match items(response, "candidates") {
            [] => {}
            [candidate] if count(candidate, "/index") == Some(0) => {
                for part in candidate.get("content").map_or(&[] as &[Value], |content| items(content, "parts")) {
                    self.called |= present(part, "functionCall").is_some();
                    if part.get("thought") != Some(&Value::Bool(true)) {
                        append(&mut added, part, "text")?;
                    }
                }
                if let Some(reason) = text(candidate, "finishReason") {
                    self.finish = Some(finish(reason));
                }
            }
            _ => {
                return Err(malformed(
                    "more than one candidate, one was asked for\nhint: take `candidateCount` out of the extra fields",
                ));
            }
        }
        self.text.push_str(&added);
        Ok(added)
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        // Refusals first; then the faults of the model, which did not answer either and say so by their word.
        "SAFETY"
        | "PROHIBITED_CONTENT"
        | "BLOCKLIST"
        | "SPII"
        | "RECITATION"
        | "LANGUAGE"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE"
        | "OTHER" => Finish::Refusal { category: Some(reason.to_owned()) },
        _ => Finish::Failed { reason: format!("gemini ended the answer with the unknown finish reason `{reason}`") },
    }
}

/// Counts that are 0 are left out of the answer. None when the counts contradict each other.
fn usage(counts: &Value) -> Option<Usage> {
    let prompt = counts.get("promptTokenCount")?.as_u64()?;
    let cache_read = count(counts, "/cachedContentTokenCount")?;
    Some(Usage {
        input_uncached: prompt.checked_sub(cache_read)?.checked_add(count(counts, "/toolUsePromptTokenCount")?)?,
        cache_read,
        output_visible: count(counts, "/candidatesTokenCount")?,
        output_reasoning: count(counts, "/thoughtsTokenCount")?,
        ..Usage::default()
    })
}

fn api_error(error: &Value, status: u16, headers: &Headers) -> CallError {
    let details = |kind: &'static str| {
        items(error, "details")
            .iter()
            .filter(move |detail| text(detail, "@type").is_some_and(|name| name.ends_with(kind)))
    };
    let wait_secs = details("google.rpc.RetryInfo").find_map(|info| text(info, "retryDelay")).and_then(wait::duration);
    let mut violations = details("google.rpc.QuotaFailure").flat_map(|failure| items(failure, "violations"));
    let last = violations.any(|violation| text(violation, "quotaId").is_some_and(|quota| quota.contains("PerDay")));
    let (kind, message) = (text(error, "status").unwrap_or_default(), text(error, "message").unwrap_or_default());
    let mut named = details("google.rpc.BadRequest").flat_map(|request| items(request, "fieldViolations"));
    let field = named.find_map(|violation| text(violation, "field"));
    Fault { kind, message, field, wait_secs, last }.into_error(status, headers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{Message, Role};

    fn request() -> Request {
        Request {
            model: "gemini-x".to_owned(),
            messages: vec![
                Message::new(Role::System, "Be brief."),
                Message::new(Role::User, "Hi"),
                Message::new(Role::Assistant, "Hello"),
            ],
            max_tokens: 16,
            temperature: Some(0.5),
            schema: Some(json!({"type": "object"})),
            stream: false,
            extra: json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}).as_object().unwrap().clone(),
            form: Form::default(),
        }
    }

    #[test]
    fn the_body_is_in_camel_case_and_the_users_config_is_merged() {
        let wanted = json!({
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}],
            "generationConfig": {
                "maxOutputTokens": 16, "temperature": 0.5, "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "object"}, "thinkingConfig": {"thinkingBudget": 0},
            },
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
        });
        assert_eq!(Gemini.body(&request()), wanted);
    }

    #[test]
    fn models_without_a_system_message_are_told_by_the_user() {
        let form = Form { system_as: Some(SystemAs::User), ..Form::default() };
        let body = Gemini.body(&Request { form, ..request() });
        assert_eq!(body["contents"][0], json!({"role": "user", "parts": [{"text": "Be brief.\n\nHi"}]}));
        assert_eq!(body.get("systemInstruction"), None);
    }

    #[test]
    fn the_path_names_model_version_and_form() {
        assert_eq!(Gemini.path(&request()), "/v1beta/models/gemini-x:generateContent");
        let tuned = Request { model: "tunedModels/a".to_owned(), stream: true, extra: Map::new(), ..request() };
        assert_eq!(Gemini.path(&tuned), "/v1beta/tunedModels/a:streamGenerateContent?alt=sse");
        let form = Form { api_version: Some("v1".to_owned()), ..Form::default() };
        assert_eq!(Gemini.path(&Request { form, ..request() }), "/v1/models/gemini-x:generateContent");
    }

    #[test]
    fn finish_reasons_are_never_silently_a_stop() {
        assert_eq!(finish("STOP"), Finish::Stop);
        assert_eq!(finish("MAX_TOKENS"), Finish::Length);
        for reason in ["SAFETY", "RECITATION", "MALFORMED_FUNCTION_CALL", "OTHER"] {
            assert_eq!(finish(reason), Finish::Refusal { category: Some(reason.to_owned()) });
        }
        assert!(matches!(finish("FINISH_REASON_UNSPECIFIED"), Finish::Failed { .. }));
        let called = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
        assert_eq!(Gemini.read(called).unwrap().finish, Finish::Refusal { category: Some("functionCall".to_owned()) });
    }

    #[test]
    fn a_blocked_prompt_is_a_refusal_with_its_reason() {
        let body = br#"{"promptFeedback":{"blockReason":"MODEL_ARMOR"},"usageMetadata":{"promptTokenCount":8}}"#;
        let answer = Gemini.read(body).unwrap();
        assert_eq!(answer.finish, Finish::Refusal { category: Some("MODEL_ARMOR".to_owned()) });
        assert_eq!((answer.usage.unwrap().input(), answer.usage.unwrap().output()), (8, 0));
    }

    #[test]
    fn a_list_of_responses_is_one_answer() {
        let body = br#"[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},
            {"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"b"}]},"finishReason":"STOP"}]}]"#;
        assert_eq!(Gemini.read(body).unwrap().text, "ab");
    }

    #[test]
    fn a_quota_per_minute_asks_to_wait_and_one_per_day_is_final() {
        let error = |quota: &str, details: Value| {
            let violations =
                json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]});
            let mut all = vec![violations];
            all.extend(details.as_array().unwrap().clone());
            let message = "You exceeded your quota. Please retry in 12.5s.";
            let body =
                json!([{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": all}}]);
            Gemini.error(429, &Headers::new(), body.to_string().as_bytes())
        };
        let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"}]);
        let minute = error("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", info);
        assert!(
            matches!(minute, CallError::Api { last: false, wait_secs: Some(wait), .. } if (wait - 45.837906927).abs() < 1e-9)
        );
        let day = error("GenerateRequestsPerDayPerProjectPerModel-FreeTier", json!([]));
        assert!(
            matches!(day, CallError::Api { last: true, wait_secs: Some(12.5), kind, .. } if kind == "RESOURCE_EXHAUSTED")
        );
    }

    #[test]
    fn what_has_no_end_is_malformed_when_plain_and_cut_when_streamed() {
        let piece = r#"{"candidates":[{"content":{"parts":[{"text":"añ"}]}}]}"#;
        assert!(matches!(Gemini.read(piece.as_bytes()), Err(CallError::Malformed { .. })));
        let mut reader = Gemini.stream();
        assert_eq!(reader.event(None, piece).unwrap(), "añ");
        assert_eq!(reader.finish(), Err(CallError::Cut { characters: 2 }));
        for body in ["5", "[5]", "{}", r#"{"candidates":[{"index":0},{"index":1}]}"#] {
            assert!(matches!(Gemini.read(body.as_bytes()), Err(CallError::Malformed { .. })), "{body}");
        }
    }
}
