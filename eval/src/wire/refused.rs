//! Which field of a request a provider refuses, by its own words, and which key of the arm put it there.
//! Knows the bodies of all dialects and the errors that come back; knows nothing about retries, rows or when an arm stops.

use serde_json::{Map, Value};

use super::CallError;
use super::fault::CONTEXT_LENGTH;

/// What holds the prompt: an error about it is an error about one row.
const CONVERSATION: [&str; 3] = ["messages", "contents", "input"];
/// Names that are never a word of a sentence, though they look like one.
const UNMISTAKABLE: [&str; 3] = ["temperature", "seed", "logprobs"];
/// Stands for the role of a system message that has a field of its own.
const BESIDE: &str = "";
/// How deep the fields of a request are looked for: `generationConfig.thinkingConfig.thinkingBudget`.
const DEPTH: usize = 3;
/// What hosts, and the templates that servers render prompts with, say of a system message that they cannot place.
const NO_SYSTEM: [&str; 6] = [
    "system role not supported",
    "system role is not supported",
    "does not support 'system'",
    "does not support 'developer'",
    "developer instruction is not enabled",
    "only user and assistant roles",
];
/// What they say of a version.
const NO_VERSION: [&str; 3] = ["anthropic-version", "api-version", "api version"];

/// The error with the field that it is about, if it refuses one that was sent; else the error as it is.
///
/// `sent` is the body of the request, `extra` what the user wrote into it.
pub(crate) fn named(error: CallError, sent: &Value, extra: &Map<String, Value>) -> CallError {
    let CallError::Api { status: status @ (400 | 422), kind, message, field, should_retry, last: false, .. } = &error
    else {
        return error;
    };
    if kind == CONTEXT_LENGTH || *should_retry == Some(true) {
        return error;
    }
    let Some((parameter, remedy)) = find(sent, extra, field.as_deref(), message) else { return error };
    CallError::Refused { status: *status, kind: kind.clone(), message: message.clone(), parameter, remedy }
}

/// A field of the body by the names that lead to it.
type Path<'a> = Vec<&'a str>;

fn find(sent: &Value, extra: &Map<String, Value>, field: Option<&str>, message: &str) -> Option<(String, String)> {
    let lower = message.to_lowercase();
    let about = |said: &[&str]| said.iter().any(|said| lower.contains(said));
    if let Some(role) = system_role(sent)
        && (about(&NO_SYSTEM) || field.is_some_and(|field| is_of_conversation(field) && field.ends_with("role")))
    {
        let parameter = if role == BESIDE { "system message".to_owned() } else { format!("role: {role}") };
        return Some((parameter, elsewhere(role)));
    }
    if about(&NO_VERSION) {
        return Some(("api-version".to_owned(), "write one that it takes as api_version".to_owned()));
    }
    let mut paths = Vec::new();
    fields(sent, &mut Vec::new(), &mut paths);
    let named = match field {
        Some(field) => by_field(field, paths),
        None => in_words(message, paths),
    };
    named.into_iter().find_map(|path| Some((path.join("."), remedy(&path, extra, &lower)?)))
}

/// The paths of all fields but those of the conversation and those within a schema, whose names are the user's own.
fn fields<'a>(value: &'a Value, above: &mut Path<'a>, found: &mut Vec<Path<'a>>) {
    let Value::Object(inside) = value else { return };
    for (name, value) in inside {
        if above.is_empty() && (CONVERSATION.contains(&name.as_str()) || name == "model") {
            continue;
        }
        above.push(name);
        found.push(above.clone());
        if above.len() < DEPTH && !matches!(name.as_str(), "schema" | "responseSchema" | "responseJsonSchema") {
            fields(value, above, found);
        }
        above.pop();
    }
}

/// The fields that a provider's own path leads to, the likeliest first.
fn by_field<'a>(field: &str, paths: Vec<Path<'a>>) -> Vec<Path<'a>> {
    if is_of_conversation(field) {
        return Vec::new();
    }
    let names: Vec<String> = field.split(['.', '[', ']', '/']).map(plain).collect();
    let last = |path: &Path<'a>| path.last().and_then(|name| names.iter().rposition(|said| *said == plain(name)));
    let mut found: Vec<_> = paths.into_iter().filter_map(|path| Some((last(&path)?, path))).collect();
    // The name that stands last says most; of equal names the one whose way there is named too.
    let steps = |path: &Path<'a>| path.iter().filter(|name| names.contains(&plain(name))).count();
    found.sort_by_key(|(at, path)| std::cmp::Reverse((*at, steps(path))));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The fields that a sentence names, deeper ones first.
fn in_words<'a>(message: &str, paths: Vec<Path<'a>>) -> Vec<Path<'a>> {
    let opens = |name: &str| message.contains(&format!("{name}.")) || message.contains(&format!("{name}["));
    if CONVERSATION.into_iter().any(opens) {
        return Vec::new();
    }
    let place = |path: &Path<'a>| path.last().and_then(|name| mentioned(message, name));
    let mut found: Vec<_> = paths.into_iter().filter_map(|path| Some((place(&path)?, path))).collect();
    found.sort_by_key(|(at, path)| (std::cmp::Reverse(path.len()), *at));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Where a message names a field, and does not just use a word that is one.
fn mentioned(message: &str, name: &str) -> Option<usize> {
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let mut at = 0;
    for piece in message.split_inclusive(|sign| !is_word(sign)) {
        let (start, word) = (at, piece.trim_end_matches(|sign| !is_word(sign)));
        at += piece.len();
        if word.is_empty() || plain(word) != plain(name) {
            continue;
        }
        let (before, after) = (&message[..start], &message[start + word.len()..]);
        let camel = word.starts_with(char::is_lowercase) && word.contains(char::is_uppercase);
        let is_name = word.contains('_') || camel || UNMISTAKABLE.contains(&word);
        let is_marked = before.ends_with(['\'', '`', '"', '.']);
        let begins =
            before.is_empty() && [":", ".", " is ", " must ", " does "].iter().any(|sign| after.starts_with(sign));
        if is_name || is_marked || begins {
            return Some(start);
        }
    }
    None
}

/// Which key of the arm puts a field into a request, and what to do with it; none where no key does.
fn remedy(path: &[&str], extra: &Map<String, Value>, message: &str) -> Option<String> {
    let (first, last) = (path.first()?, path.last()?);
    if is_written(path, extra) {
        return Some(format!("take {} out of extra", path.join(".")));
    }
    Some(match (plain(first).as_str(), plain(last).as_str()) {
        (_, "temperature") => "take temperature out of the arm".to_owned(),
        // A limit that is too small was made so by a long prompt: that is about one row.
        (_, "maxtokens" | "maxcompletiontokens" | "maxoutputtokens") if message.contains("at least") => return None,
        (_, "maxtokens") if message.contains("max_completion_tokens") => {
            "write provider = \"openai\", which sends max_completion_tokens".to_owned()
        }
        (_, "maxcompletiontokens") => {
            "write another max_tokens, or provider = \"openai-compatible\", which sends max_tokens".to_owned()
        }
        (_, "maxtokens" | "maxoutputtokens") => "write another max_tokens".to_owned(),
        ("stream" | "streamoptions", _) => "write stream = false".to_owned(),
        ("responseformat" | "text" | "outputconfig", _) | (_, "responsemimetype" | "responsejsonschema") => {
            "take enforce_schema out of the arm".to_owned()
        }
        ("system" | "instructions" | "systeminstruction", _) => elsewhere(BESIDE),
        _ => return None,
    })
}

/// Whether the user wrote a field.
fn is_written(path: &[&str], extra: &Map<String, Value>) -> bool {
    match path {
        [] => false,
        [name] => extra.contains_key(*name),
        [name, rest @ ..] => extra.get(*name).and_then(Value::as_object).is_some_and(|inside| is_written(rest, inside)),
    }
}

/// Under which role the system message was sent; none where there is no such message.
fn system_role(sent: &Value) -> Option<&'static str> {
    let turns = CONVERSATION.iter().filter_map(|name| sent.get(name)?.as_array()).flatten();
    let mut roles = turns.filter_map(|turn| turn.get("role")?.as_str());
    if let Some(role) = roles.find_map(|role| ["system", "developer"].into_iter().find(|known| *known == role)) {
        return Some(role);
    }
    let beside = ["system", "instructions", "systemInstruction"].iter().any(|name| sent.get(name).is_some());
    beside.then_some(BESIDE)
}

/// Where a system message may go instead.
fn elsewhere(role: &str) -> String {
    match role {
        "system" => "write system_as = \"developer\", or \"user\" where that is refused too".to_owned(),
        "developer" => "write system_as = \"system\", or \"user\" where that is refused too".to_owned(),
        _ => "write system_as = \"user\"".to_owned(),
    }
}

fn is_of_conversation(field: &str) -> bool {
    let field = field.strip_prefix("body.").unwrap_or(field);
    let first = field.split(['.', '[', '/']).next().unwrap_or_default();
    CONVERSATION.contains(&first)
}

/// A name in the spelling that all providers share: `generation_config` is `generationConfig`.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::super::{ALL, Dialect, Form, Headers, Request, SystemAs, by_name};
    use super::*;
    use crate::{Message, Role};

    /// A request with everything that an arm can ask for.
    fn full(dialect: &dyn Dialect, extra: &Value, system_as: Option<SystemAs>) -> Request {
        let form = Form { system_as, ..Form::default() };
        assert_eq!(form.fault(dialect), None);
        Request {
            model: "m".to_owned(),
            messages: vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")],
            max_tokens: 16,
            temperature: Some(0.0),
            schema: Some(json!({"type": "object", "properties": {"temperature": {"type": "number"}}})),
            stream: true,
            extra: extra.as_object().unwrap().clone(),
            form,
        }
    }

    /// What becomes of an answer with status 400: field and remedy, or nothing.
    fn said(name: &str, request: &Request, body: &Value) -> Option<(String, String)> {
        let dialect = by_name(name).unwrap();
        let error = dialect.error(400, &Headers::new(), body.to_string().as_bytes());
        match named(error.clone(), &dialect.body(request), &request.extra) {
            CallError::Refused { status: 400, parameter, remedy, .. } => Some((parameter, remedy)),
            same => {
                assert_eq!(same, error);
                None
            }
        }
    }

    #[track_caller]
    fn check(name: &str, extra: Value, body: Value, expect: &[&str]) {
        let found = said(name, &full(by_name(name).unwrap(), &extra, None), &body);
        let found: Vec<String> = found.into_iter().flat_map(|(parameter, remedy)| [parameter, remedy]).collect();
        assert_eq!(found, expect, "{body}");
    }

    fn openai(message: &str, param: Option<&str>) -> Value {
        json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_value"}})
    }

    fn anthropic(message: &str) -> Value {
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
    }

    #[test]
    fn a_sampling_field_is_named_in_every_dialect() {
        let out = ["temperature", "take temperature out of the arm"];
        let google = json!({"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT", "details": [{
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "generation_config.temperature", "description": "no"}],
        }]}});
        let fastapi = json!({"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]});
        let words = "Unsupported value: 'temperature' does not support 0 with this model.";
        check("openai", json!({}), openai(words, Some("temperature")), &out);
        check("openai-responses", json!({}), openai(words, None), &out);
        check("openai-compatible", json!({}), fastapi, &out);
        check("anthropic", json!({}), anthropic("temperature: Extra inputs are not permitted"), &out);
        check("anthropic", json!({}), anthropic("`temperature` is deprecated for this model."), &out);
        check("gemini", json!({}), google, &["generationConfig.temperature", out[1]]);
    }

    #[test]
    fn a_field_of_the_user_is_to_be_taken_out_of_extra() {
        let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 9}});
        let error = anthropic("thinking.budget_tokens: Input should be greater than or equal to 1024");
        check("anthropic", thinking, error, &["thinking.budget_tokens", "take thinking.budget_tokens out of extra"]);
        let config = json!({"generationConfig": {"topP": 0.9}});
        let error = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Unknown name \"topP\" at 'generation_config': Cannot find field."}});
        check("gemini", config, error, &["generationConfig.topP", "take generationConfig.topP out of extra"]);
        check(
            "openai",
            json!({"seed": 7}),
            openai("Unknown parameter: 'seed'.", Some("seed")),
            &["seed", "take seed out of extra"],
        );
    }

    #[test]
    fn limits_streams_and_schemas_lead_to_their_keys() {
        let old = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        let remedy = "write provider = \"openai\", which sends max_completion_tokens";
        check("openai-compatible", json!({}), openai(old, Some("max_tokens")), &["max_tokens", remedy]);
        let above = anthropic("max_tokens: 16 > 8, which is the maximum allowed number of output tokens");
        check("anthropic", json!({}), above, &["max_tokens", "write another max_tokens"]);
        let small = openai("max_tokens must be at least 1, got -3.", None);
        check("openai-compatible", json!({}), small, &[]);
        let unknown = openai("Unrecognized request argument supplied: stream_options", None);
        check("openai-compatible", json!({}), unknown, &["stream_options", "write stream = false"]);
        let schema = openai(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            None,
        );
        check("openai", json!({}), schema, &["response_format.json_schema", "take enforce_schema out of the arm"]);
    }

    #[test]
    fn a_system_message_that_is_refused_goes_elsewhere() {
        let role = openai(
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            Some("messages[0].role"),
        );
        let wanted = ["role: system", "write system_as = \"developer\", or \"user\" where that is refused too"];
        check("openai", json!({}), role.clone(), &wanted);
        let template = openai("System role not supported", None);
        check("openai-compatible", json!({}), template, &wanted);
        let gemma = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Developer instruction is not enabled for models/m"}});
        check("gemini", json!({}), gemma, &["system message", "write system_as = \"user\""]);
        // A request without a system message is refused for something else.
        let request = full(by_name("openai").unwrap(), &json!({}), Some(SystemAs::User));
        assert_eq!(said("openai", &request, &role), None);
    }

    #[test]
    fn a_version_that_is_refused_is_named() {
        let error = anthropic("anthropic-version: \"2026-10-21\" is not a valid version");
        check("anthropic", json!({}), error, &["api-version", "write one that it takes as api_version"]);
    }

    #[test]
    fn what_is_about_one_row_or_about_nothing_that_was_sent_stays_as_it_is() {
        for dialect in ALL {
            for (message, param) in [
                ("Invalid 'input[0].content[0].text': string too long.", Some("input[0].content[0].text")),
                ("Invalid 'input[0].content[0].text': string too long.", None),
                ("messages.0.content.0.text: text content blocks must be non-empty", None),
                ("This model's maximum context length is 9 tokens, reduce `max_tokens`", Some("max_tokens")),
                ("The response was filtered", Some("prompt")),
                ("the text of the stream has no format", None),
                ("'top_p' is not supported", Some("top_p")),
                ("no such model: m", Some("model")),
            ] {
                let request = full(dialect, &json!({}), None);
                assert_eq!(
                    said(dialect.name(), &request, &openai(message, param)),
                    None,
                    "{} {message}",
                    dialect.name()
                );
            }
        }
        // What the provider asks to send again, and what is no refusal, too.
        let request = full(by_name("openai").unwrap(), &json!({}), None);
        let body = by_name("openai").unwrap().body(&request);
        let words = openai("temperature is not supported", Some("temperature")).to_string();
        for (status, headers) in [(429, Headers::new()), (400, vec![("x-should-retry".to_owned(), "true".to_owned())])]
        {
            let error = by_name("openai").unwrap().error(status, &headers, words.as_bytes());
            assert_eq!(named(error.clone(), &body, &request.extra), error);
        }
    }
}
