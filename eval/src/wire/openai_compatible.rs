//! Servers that speak Chat Completions in their own accent: vLLM, llama.cpp, mistral.rs, text-generation-inference.
//! Knows nothing about OpenAI's own API but that it is the model for these.

use serde_json::Value;

use super::fault::{self, Fault};
use super::field::{json as read_json, text};
use super::openai_chat::{self, OpenAiChat};
use super::{Answer, CallError, Dialect, Form, Headers, Request, StreamReader, SystemAs, body};

/// Chat Completions with `max_tokens`, a key that may be missing and usage that may be missing. The base address is the user's and ends with `/v1`.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiCompatible;

impl Dialect for OpenAiCompatible {
    fn name(&self) -> &'static str {
        "openai-compatible"
    }

    fn key_variable(&self) -> &'static str {
        "OPENAI_COMPATIBLE_API_KEY"
    }

    fn default_url(&self) -> Option<&'static str> {
        None
    }

    fn systems(&self, form: &Form) -> &'static [SystemAs] {
        OpenAiChat.systems(form)
    }

    fn path(&self, request: &Request) -> String {
        OpenAiChat.path(request)
    }

    fn headers(&self, form: &Form, key: Option<&str>) -> Headers {
        OpenAiChat.headers(form, key)
    }

    fn body(&self, request: &Request) -> Value {
        body::chat(request, request.form.system_place(self), "max_tokens")
    }

    fn read(&self, body: &[u8]) -> Result<Answer, CallError> {
        if let Some(error) = read_json(body).ok().as_ref().and_then(|json| flat_error(json, 200, &Headers::new())) {
            return Err(error);
        }
        OpenAiChat.read(body)
    }

    fn stream(&self) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn error(&self, status: u16, headers: &Headers, body: &[u8]) -> CallError {
        let json = read_json(body).unwrap_or(Value::Null);
        flat_error(&json, status, headers).unwrap_or_else(|| OpenAiChat.error(status, headers, body))
    }
}

#[derive(Debug, Default)]
struct Reader(openai_chat::Reader);

impl StreamReader for Reader {
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<String, CallError> {
        if let Some(error) =
            read_json(data.as_bytes()).ok().as_ref().and_then(|json| flat_error(json, 200, &Headers::new()))
        {
            return Err(error);
        }
        self.0.event(name, data)
    }

    fn finish(self: Box<Self>) -> Result<Answer, CallError> {
        Box::new(self.0).finish()
    }
}

/// Errors that do not stand in an object `error`: vLLM's old form, a bare text, and what FastAPI says of a body that it cannot validate.
fn flat_error(body: &Value, status: u16, headers: &Headers) -> Option<CallError> {
    if text(body, "object") == Some("error") {
        return Some(openai_chat::api_error(body, status, headers));
    }
    if let Some(message) = text(body, "error") {
        // text-generation-inference: {"error": "...", "error_type": "validation"}
        let kind = text(body, "error_type").unwrap_or_default();
        return Some(Fault { kind, message, ..Fault::default() }.into_error(status, headers));
    }
    let detail = body.get("detail").filter(|_| fault::object(body).is_none())?;
    // The items of the list quote the prompt beside their `msg`.
    let message = match detail {
        Value::String(message) => message.clone(),
        Value::Array(items) => items.iter().filter_map(|item| text(item, "msg")).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    };
    // Where the first item is: ["body", "temperature"].
    let place = detail.pointer("/0/loc").and_then(Value::as_array);
    let field = place.map(|place| place.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("."));
    Some(Fault { message: &message, field: field.as_deref(), ..Fault::default() }.into_error(status, headers))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::wire::fault::CONTEXT_LENGTH;
    use crate::{Finish, Message, Role};

    #[test]
    fn the_token_limit_has_its_old_name() {
        let request = Request {
            model: "local".to_owned(),
            messages: vec![Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: None,
            schema: None,
            stream: false,
            extra: Map::new(),
            form: Form::default(),
        };
        let wanted = json!({"model": "local", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16});
        assert_eq!(OpenAiCompatible.body(&request), wanted);
    }

    #[test]
    fn a_prompt_that_is_too_long_is_recognised_on_each_server() {
        let bodies = [
            json!({"object": "error", "message": "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens", "type": "BadRequestError", "param": null, "code": 400}),
            json!({"error": {"message": "This model's maximum context length is 2048 tokens.", "type": "BadRequestError", "param": null, "code": 400}}),
            json!({"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 3000, "n_ctx": 2048}}),
        ];
        for body in bodies {
            let error = OpenAiCompatible.error(400, &Headers::new(), body.to_string().as_bytes());
            assert!(matches!(error, CallError::Api { status: 400, kind, .. } if kind == CONTEXT_LENGTH), "{body}");
        }
    }

    #[test]
    fn a_validation_error_does_not_quote_the_prompt() {
        let body = json!({"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required", "input": {"messages": "secret"}}]});
        let error = OpenAiCompatible.error(422, &Headers::new(), body.to_string().as_bytes());
        let wanted = |message: &str, field: Option<&str>| message == "Field required" && field == Some("body.model");
        assert!(
            matches!(error, CallError::Api { status: 422, message, field, .. } if wanted(&message, field.as_deref()))
        );
    }

    #[test]
    fn errors_inside_a_stream_are_seen_in_each_form() {
        let forms = [
            r#"{"object":"error","message":"out of memory","type":"InternalServerError","code":500}"#,
            r#"{"error":"out of memory","error_type":"generation"}"#,
            r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#,
        ];
        for data in forms {
            let error = OpenAiCompatible.stream().event(None, data).unwrap_err();
            assert!(
                matches!(error, CallError::Api { status: 200, message, .. } if message == "out of memory"),
                "{data}"
            );
        }
    }

    #[test]
    fn a_stream_without_usage_and_without_done_is_whole_once_it_has_its_reason() {
        let mut reader = OpenAiCompatible.stream();
        let first = reader
            .event(None, r#"{"choices":[{"index":0,"delta":{"content":"Hi","reasoning_content":"hm"}}]}"#)
            .unwrap();
        assert_eq!(first, "Hi");
        reader.event(None, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#).unwrap();
        let answer = reader.finish().unwrap();
        assert_eq!((answer.text.as_str(), answer.finish, answer.usage), ("Hi", Finish::Stop, None));
    }

    #[test]
    fn a_stream_that_is_done_without_a_reason_is_malformed() {
        let mut reader = OpenAiCompatible.stream();
        reader.event(None, r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#).unwrap();
        reader.event(None, "[DONE]").unwrap();
        assert!(matches!(reader.finish(), Err(CallError::Malformed { .. })));
    }

    #[test]
    fn a_list_of_parts_is_read_without_its_thoughts() {
        let content = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}]);
        let body = json!({"choices": [{"index": 0, "message": {"content": content}, "finish_reason": "stop"}]});
        assert_eq!(OpenAiCompatible.read(body.to_string().as_bytes()).unwrap().text, "Yes");
    }
}
