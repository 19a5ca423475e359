//! OpenAI Responses: <https://platform.openai.com/docs/api-reference/responses>.
//! Knows nothing about sockets, retries or prices.

use serde_json::{Value, json};

use super::body::Talk;
use super::fault::{self, Fault};
use super::field::{append, count, items, json as read_json, malformed, owned, present, text};
use super::openai_chat::{self, OpenAiChat};
use super::{Answer, CallError, Dialect, Form, Headers, Request, StreamReader, SystemAs, Usage, body};
use crate::Finish;

/// The dialect of `POST /v1/responses`.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn key_variable(&self) -> &'static str {
        OpenAiChat.key_variable()
    }

    fn default_url(&self) -> Option<&'static str> {
        OpenAiChat.default_url()
    }

    fn systems(&self, _form: &Form) -> &'static [SystemAs] {
        &[SystemAs::Field, SystemAs::System, SystemAs::Developer, SystemAs::User]
    }

    fn path(&self, request: &Request) -> String {
        body::versioned("/responses", request)
    }

    fn headers(&self, form: &Form, key: Option<&str>) -> Headers {
        OpenAiChat.headers(form, key)
    }

    fn body(&self, request: &Request) -> Value {
        let talk = Talk::new(&request.messages, request.form.system_place(self));
        let mut fields = json!({
            "model": request.model,
            "input": talk.plain_turns(),
            "max_output_tokens": request.max_tokens,
            // The provider would keep prompt and answer for weeks unless it is told not to.
            "store": false,
        });
        body::set(&mut fields, "instructions", talk.system);
        body::set(&mut fields, "temperature", request.temperature);
        if let Some(schema) = &request.schema {
            fields["text"] =
                json!({"format": {"type": "json_schema", "name": "answer", "strict": true, "schema": schema}});
        }
        if request.stream {
            fields["stream"] = true.into();
        }
        body::with_extra(fields, &request.extra)
    }

    fn read(&self, body: &[u8]) -> Result<Answer, CallError> {
        let response = read_json(body)?;
        match fault::object(&response) {
            Some(error) => Err(openai_chat::api_error(error, 200, &Headers::new())),
            None => answer(&response, String::new()),
        }
    }

    fn stream(&self) -> Box<dyn StreamReader> {
        Box::new(Reader::default())
    }

    fn error(&self, status: u16, headers: &Headers, body: &[u8]) -> CallError {
        OpenAiChat.error(status, headers, body)
    }
}

#[derive(Debug, Default)]
struct Reader {
    text: String,
    answer: Option<Answer>,
}

impl StreamReader for Reader {
    fn event(&mut self, name: Option<&str>, data: &str) -> Result<String, CallError> {
        // The Responses API has no such line, but proxies in front of it do.
        if data.trim() == "[DONE]" {
            return Ok(String::new());
        }
        let event = read_json(data.as_bytes())?;
        match text(&event, "type").or(name).unwrap_or_default() {
            "response.output_text.delta" | "response.refusal.delta" => {
                return append(&mut self.text, &event, "delta").map(str::to_owned);
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = present(&event, "response").ok_or_else(|| malformed("an end without `response`"))?;
                if let Some(error) = fault::object(response) {
                    return Err(openai_chat::api_error(error, 200, &Headers::new()));
                }
                self.answer = Some(answer(response, self.text.clone())?);
            }
            // Once in an object of its own, once flat.
            "error" => {
                let error = fault::object(&event).unwrap_or(&event);
                return Err(openai_chat::api_error(error, 200, &Headers::new()));
            }
            // Beginnings, thoughts, tools, and events that are newer than this program.
            _ => {}
        }
        Ok(String::new())
    }

    fn finish(self: Box<Self>) -> Result<Answer, CallError> {
        self.answer.ok_or_else(|| CallError::Cut { characters: self.text.chars().count() })
    }
}

/// Reads a whole response; `streamed` is the text that came piece by piece, for servers whose last event does not repeat it.
fn answer(response: &Value, streamed: String) -> Result<Answer, CallError> {
    let (mut written, mut refused, mut tool) = (String::new(), false, None);
    for item in items(response, "output") {
        match text(item, "type") {
            Some("message") => {
                for part in items(item, "content") {
                    append(&mut written, part, "text")?;
                    refused |= !append(&mut written, part, "refusal")?.is_empty();
                }
            }
            Some(kind @ ("function_call" | "custom_tool_call")) => tool = Some(kind.to_owned()),
            _ => {}
        }
    }
    let status = text(response, "status").ok_or_else(|| malformed("a response without `status`"))?;
    let reason = response.get("incomplete_details").and_then(|details| text(details, "reason"));
    let finish = match (status, reason) {
        ("completed", _) if refused => Finish::Refusal { category: None },
        ("completed", _) => tool.map_or(Finish::Stop, |tool| Finish::Refusal { category: Some(tool) }),
        ("incomplete", Some("max_output_tokens")) => Finish::Length,
        ("incomplete", Some("content_filter")) => Finish::ContentFilter { category: None },
        ("failed", _) => {
            let message = "the response failed without an error";
            return Err(Fault { kind: "server_error", message, ..Fault::default() }.into_error(200, &Headers::new()));
        }
        _ => Finish::Failed {
            reason: format!(
                "the response ended with the unknown status `{status}`, reason `{}`",
                reason.unwrap_or("none")
            ),
        },
    };
    Ok(Answer {
        text: if written.is_empty() { streamed } else { written },
        finish,
        usage: response.get("usage").and_then(usage),
        model: owned(response, "model"),
        id: owned(response, "id"),
    })
}

/// None when the counts contradict each other: a guess that is marked as one is better than a wrong bill.
fn usage(counts: &Value) -> Option<Usage> {
    let input = counts.get("input_tokens")?.as_u64()?;
    let output = counts.get("output_tokens")?.as_u64()?;
    let output_reasoning = count(counts, "/output_tokens_details/reasoning_tokens")?;
    let buckets = openai_chat::split_input(counts, input, "/input_tokens_details")?;
    Some(Usage { output_visible: output.checked_sub(output_reasoning)?, output_reasoning, ..buckets })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{Message, Role};

    fn ended(response: &Value) -> Finish {
        OpenAiResponses.read(response.to_string().as_bytes()).unwrap().finish
    }

    #[test]
    fn the_system_message_is_the_instructions_and_nothing_is_stored() {
        let request = Request {
            model: "gpt-x".to_owned(),
            messages: vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: None,
            schema: Some(json!({"type": "object"})),
            stream: true,
            extra: Map::new(),
            form: Form::default(),
        };
        let wanted = json!({
            "model": "gpt-x",
            "input": [{"role": "user", "content": "Hi"}],
            "max_output_tokens": 16,
            "store": false,
            "instructions": "Be brief.",
            "text": {"format": {"type": "json_schema", "name": "answer", "strict": true, "schema": {"type": "object"}}},
            "stream": true,
        });
        assert_eq!(OpenAiResponses.body(&request), wanted);
        let form = Form { system_as: Some(SystemAs::Developer), ..Form::default() };
        let inside = OpenAiResponses.body(&Request { form, ..request });
        assert_eq!(inside["input"][0], json!({"role": "developer", "content": "Be brief."}));
        assert_eq!(inside.get("instructions"), None);
    }

    #[test]
    fn statuses_are_never_silently_a_stop() {
        let message = |part: Value| json!({"type": "message", "content": [part]});
        let said = message(json!({"type": "output_text", "text": "a"}));
        assert_eq!(ended(&json!({"status": "completed", "output": [{"type": "reasoning"}, said]})), Finish::Stop);
        let refused = message(json!({"type": "refusal", "refusal": "I can't."}));
        assert_eq!(ended(&json!({"status": "completed", "output": [refused]})), Finish::Refusal { category: None });
        let called = json!({"type": "function_call", "name": "f"});
        assert_eq!(
            ended(&json!({"status": "completed", "output": [called]})),
            Finish::Refusal { category: Some("function_call".to_owned()) }
        );
        let cut =
            |reason: &str| json!({"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []});
        assert_eq!(ended(&cut("max_output_tokens")), Finish::Length);
        assert_eq!(ended(&cut("content_filter")), Finish::ContentFilter { category: None });
        assert!(matches!(ended(&cut("brand_new")), Finish::Failed { reason } if reason.contains("brand_new")));
        assert!(matches!(ended(&json!({"status": "cancelled"})), Finish::Failed { .. }));
    }

    #[test]
    fn a_failed_response_is_an_error_in_both_forms() {
        let response = r#"{"status":"failed","error":{"code":"server_error","message":"sorry"},"output":[]}"#;
        let wanted =
            |error: CallError| matches!(error, CallError::Api { status: 200, kind, .. } if kind == "server_error");
        assert!(wanted(OpenAiResponses.read(response.as_bytes()).unwrap_err()));
        let event = format!(r#"{{"type":"response.failed","response":{response}}}"#);
        assert!(wanted(OpenAiResponses.stream().event(None, &event).unwrap_err()));
        let flat = r#"{"type":"error","code":"server_error","message":"sorry","param":null}"#;
        assert!(wanted(OpenAiResponses.stream().event(Some("error"), flat).unwrap_err()));
    }

    #[test]
    fn a_last_event_without_output_keeps_what_was_streamed() {
        let mut reader = OpenAiResponses.stream();
        assert_eq!(reader.event(None, r#"{"type":"response.output_text.delta","delta":"Hi"}"#).unwrap(), "Hi");
        reader.event(None, r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#).unwrap();
        assert_eq!(reader.finish().unwrap().text, "Hi");
    }

    #[test]
    fn what_is_not_a_response_is_malformed() {
        for body in ["{}", "[]", r#"{"status":null}"#, "x"] {
            assert!(matches!(OpenAiResponses.read(body.as_bytes()), Err(CallError::Malformed { .. })), "{body}");
        }
    }
}
