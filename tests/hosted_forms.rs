//! How a provider is asked: version of the API, header of the key, place of the system message, and no field that nobody
//! asked for. Knows the hosted arm of `hosted` and its server, which answers whatever it is sent.

use std::fs;

use serde_json::{Value, json};

use crate::eval::{arm, command, results};
use crate::hosted::{KEY, PRICED, eval_with_key, hosted, right};
use crate::hosted_server::HostedServer;
use crate::util::Done;

#[test]
fn version_key_and_system_message_are_sent_as_the_arm_says_and_no_field_beyond() {
    let server = HostedServer::start(right);
    let older = hosted(&server, "api_version = \"2023-06-01\"\nsystem = \"Name the kind.\"", PRICED);
    eval_with_key(&older, &["--limit", "3"]).good();
    for call in server.calls() {
        assert_eq!((&*call.headers["x-api-key"], &*call.headers["anthropic-version"]), (KEY, "2023-06-01"));
        assert_eq!((call.headers.get("authorization"), call.system.as_deref()), (None, Some("Name the kind.")));
        let body: Value = serde_json::from_str(&call.body).unwrap();
        let mut fields: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["max_tokens", "messages", "model", "stream", "system"]);
    }
    let found = results(&older);
    assert_eq!(arm(&found, "frontier")["identity"]["facts"]["api_version"], "2023-06-01");
    let before = server.num_calls();
    // The same row under another version is another call.
    older.edit_config("api_version = \"2023-06-01\"\n", "system_as = \"user\"\n");
    eval_with_key(&older, &["--limit", "3"]).good();
    let calls = server.calls().split_off(before);
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!((call.system.as_deref(), &*call.headers["anthropic-version"]), (None, "2026-10-21"));
        assert!(call.prompt.starts_with("Name the kind.\n\n") && call.prompt.len() > 20, "{}", call.prompt);
    }
    let found = results(&older);
    assert_eq!(arm(&found, "frontier")["identity"]["facts"]["system_as"], "user");
}

#[test]
fn an_api_with_its_version_in_the_query_is_asked_there() {
    let server = HostedServer::start(right);
    let in_arm = "api_version = \"2024-10-21\"\nkey_header = \"api-key\"\nsystem_as = \"developer\"\nsystem = \"Be brief.\"\n\
                  key_variable = \"TEAM_KEY\"";
    let azure = hosted(&server, in_arm, PRICED);
    azure.edit_config("provider = \"anthropic\"", "provider = \"openai-compatible\"");
    Done::of(command(&azure, &["--limit", "2"]).env("TEAM_KEY", KEY).output().unwrap()).good();
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!(call.path, "/chat/completions?api-version=2024-10-21");
        assert_eq!((&*call.headers["api-key"], call.headers.get("authorization")), (KEY, None));
        let body: Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(body["messages"][0], json!({"role": "developer", "content": "Be brief."}));
    }
    for (from, to, told) in [
        ("2024-10-21", "1&key=2", "api_version is \"1&key=2\""),
        ("\"developer\"", "\"field\"", "no place for a system message as \"field\""),
    ] {
        let text = fs::read_to_string(azure.path("config.toml")).unwrap();
        azure.edit_config(from, to);
        azure.run(&["check", &azure.text("config.toml")]).refused(&["frontier", told, "hint: "]);
        azure.write("config.toml", text);
    }
    assert_eq!(server.num_calls(), 2);
}
