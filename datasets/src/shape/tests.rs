//! What a row may hold, in every shape and with and without a group: the same facts are read alike, or refused alike.

use super::*;
use crate::strict::StrictObject;

fn read(line: &str) -> Result<(Record, Shape), Fault> {
    let row = serde_json::from_str::<StrictObject>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    parse(row.0, "rows:1")
}

fn turns_of(line: &str) -> (Shape, String) {
    let (record, shape) = read(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    let words = record.messages.iter().map(|m| format!("{}={}", m.role.as_str(), m.content));
    (shape, words.collect::<Vec<_>>().join("|"))
}

fn fault(line: &str) -> Fault {
    read(line).err().unwrap_or_else(|| panic!("read: {line}"))
}

/// Rows that put two messages into every shape that has messages, each with and without what used to make a difference.
fn with_messages(user: &str, assistant: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for around in ["", r#""group":"doc1","#, r#""id":"a","#, r#""meta":{"x":1},"#, r#""id":1,"group":"g","meta":null,"#]
    {
        rows.push(format!(r#"{{{around}"messages":[{user},{assistant}]}}"#));
        rows.push(format!(r#"{{{around}"prompt":[{user}],"completion":[{assistant}]}}"#));
        rows.push(format!(r#"{{{around}"conversations":[{user},{assistant}]}}"#));
    }
    rows
}

/// Rows of every shape that say the same, with something more in the row.
fn with_row(more: &str) -> Vec<String> {
    let mut rows = with_messages(r#"{"role":"user","content":"q"}"#, r#"{"role":"assistant","content":"a"}"#);
    for around in ["", r#""group":"doc1","#, r#""id":"a","#] {
        rows.push(format!(r#"{{{around}"prompt":"q","completion":"a"}}"#));
        rows.push(format!(r#"{{{around}"instruction":"q","output":"a"}}"#));
        rows.push(format!(
            r#"{{{around}"conversations":[{{"from":"human","value":"q"}},{{"from":"gpt","value":"a"}}]}}"#
        ));
    }
    rows.into_iter().map(|row| row.replacen('{', &format!("{{{more},"), 1)).collect()
}

#[test]
fn every_shape_gives_the_same_turns() {
    for (line, shape) in [
        (
            r#"{"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
            Shape::Messages,
        ),
        (r#"{"prompt":"q","completion":"a"}"#, Shape::PromptCompletion),
        (
            r#"{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}"#,
            Shape::PromptCompletion,
        ),
        (r#"{"instruction":"q","input":"","output":"a"}"#, Shape::Alpaca),
        (r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#, Shape::ShareGpt),
    ] {
        assert_eq!(turns_of(line), (shape, "user=q|assistant=a".to_string()));
    }
}

#[test]
fn parts_and_null_extras_of_a_message_are_read_alike_in_every_shape_with_and_without_a_group() {
    let part = |text: &str| format!(r#"[{{"type":"text","text":"{text}","image_url":null}}]"#);
    let parts = |role: &str, text: &str| format!(r#"{{"role":"{role}","content":{}}}"#, part(text));
    let two = r#"{"role":"user","content":[{"type":"text","text":"a "},{"type":"text","text":"q"}]}"#;
    let nulls =
        r#"{"role":"assistant","content":"a","name":null,"tool_calls":null,"refusal":null,"images":[],"weight":null}"#;
    let columns = r#"{"from":"gpt","value":"a","role":null,"content":null}"#;
    for (user, assistant, expected) in [
        (parts("user", "q"), parts("assistant", "a"), "user=q|assistant=a"),
        (two.to_owned(), nulls.to_owned(), "user=a q|assistant=a"),
        (
            r#"{"role":"user","content":"q","from":null,"value":null}"#.to_owned(),
            columns.to_owned(),
            "user=q|assistant=a",
        ),
        (format!(r#"{{"from":"human","value":{}}}"#, part("q")), nulls.to_owned(), "user=q|assistant=a"),
    ] {
        for row in with_messages(&user, &assistant) {
            assert_eq!(turns_of(&row).1, expected, "{row}");
        }
    }
}

#[test]
fn what_changes_a_message_is_refused_by_name_alike_in_every_shape_with_and_without_a_group() {
    for (more, what) in [
        (r#""tool_calls":[{"id":"1"}]"#, "a message with `tool_calls` is not supported"),
        (r#""function_call":{"name":"f"}"#, "a message with `function_call` is not supported"),
        (r#""images":["a.png"]"#, "a message with `images` is not supported"),
        (r#""name":"Ann""#, "a message with `name` is not supported"),
        (r#""refusal":"no""#, "a message with `refusal` is not supported"),
        (r#""reasoning_content":"hm""#, "a message with `reasoning_content` is not supported"),
        (r#""prefix":false"#, "a message with `prefix` is not supported"),
        (r#""train":false"#, "a message with `train` is not supported"),
        (r#""weight":0.5"#, "`weight` 0.5 is not supported"),
        (r#""weight":true"#, "`weight` is true or false"),
        (r#""from":"gpt","value":"b""#, "is not supported"),
    ] {
        let assistant = format!(r#"{{"role":"assistant","content":"a",{more}}}"#);
        for row in with_messages(r#"{"role":"user","content":"q"}"#, &assistant) {
            let fault = fault(&row);
            assert!(fault.what.contains(what), "{row}: {}", fault.what);
            assert!(fault.what.contains("[0]: ") || fault.what.contains("[1]: "), "{row}: {}", fault.what);
            let way = [
                ("reasoning", "<think>"),
                ("tool_calls", "tool calls"),
                ("images", "text turns"),
                ("train", "`\"weight\": 0`"),
            ];
            let way = way.iter().find(|(key, _)| more.starts_with(&format!("\"{key}")));
            assert!(way.is_none_or(|(_, way)| fault.hint.contains(way)), "{row}: {}", fault.hint);
        }
    }
    let part = r#"{"role":"assistant","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}"#;
    for row in with_messages(r#"{"role":"user","content":"q"}"#, part) {
        assert!(fault(&row).what.contains("a text part with `cache_control` is not supported"), "{row}");
    }
}

#[test]
fn what_a_row_asks_for_is_obeyed_or_refused_alike_in_every_shape() {
    for (more, what) in [
        (r#""tools":[{}]"#, "`tools` is not supported"),
        (r#""parallel_tool_calls":false"#, "`parallel_tool_calls` is not supported"),
        (r#""images":["a.png"]"#, "`images` is not supported"),
        (r#""rejected":"b""#, "`rejected` is not supported"),
        (r#""chat_template_kwargs":{"enable_thinking":false}"#, "`chat_template_kwargs` is not supported"),
        (r#""sample_weight":2"#, "`sample_weight` is not supported"),
        (r#""weight":0.3"#, "`weight` 0.3 is not supported"),
        (r#""weight":"1""#, "`weight` is text"),
        (r#""weights":[0,1]"#, "unknown key `weights`"),
        (r#""Weight":0"#, "unknown key `Weight`"),
        (r#""grup":"g""#, "unknown key `grup`"),
        (r#""sytem":"s""#, "unknown key `sytem`"),
        (r#""system":1"#, "`system` is a number"),
    ] {
        for row in with_row(more) {
            let fault = fault(&row);
            assert!(fault.what.contains(what), "{row}: {}", fault.what);
            assert!(!fault.hint.is_empty());
        }
    }
    for row in with_row(r#""tools":[],"images":null,"height":2,"weight":0,"source":"web""#) {
        let (record, _) = read(&row).unwrap();
        assert_eq!((record.weights.row, record.weights.messages.len()), (Some(Weight::Zero), 0), "{row}");
        assert_eq!((&record.meta["source"], &record.meta["height"]), (&Value::from("web"), &Value::from(2)), "{row}");
        assert!(record.meta.get("images").is_none(), "{row}");
    }
    for row in with_row(r#""system":"s""#) {
        assert_eq!(turns_of(&row).1, "system=s|user=q|assistant=a", "{row}");
    }
    for row in with_row(r#""system":[{"type":"text","text":"s"}],"weight":1.0"#) {
        assert_eq!(turns_of(&row).1, "system=s|user=q|assistant=a", "{row}");
        assert_eq!(read(&row).unwrap().0.weights.row, Some(Weight::One), "{row}");
    }
}

#[test]
fn a_weight_belongs_to_its_message_wherever_it_stands_in_the_row() {
    let first = r#"{"role":"assistant","content":"1","weight":0},{"role":"user","content":"two"}"#;
    for row in with_messages(
        &format!(r#"{{"role":"user","content":"one"}},{first}"#),
        r#"{"role":"assistant","content":"2","weight":1}"#,
    ) {
        let stated = |row: &str| read(row).unwrap().0.weights.messages.into_iter().collect::<Vec<_>>();
        assert_eq!(stated(&row), [(1, Weight::Zero), (3, Weight::One)], "{row}");
        let row = row.replacen('{', r#"{"system":"s","#, 1);
        assert_eq!(stated(&row), [(2, Weight::Zero), (4, Weight::One)], "{row}");
    }
    let (record, _) = read(
        r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"b","weight":0},{"from":"human","value":"r"},{"from":"gpt","value":"a"}]}"#,
    )
    .unwrap();
    assert_eq!(record.weights.messages.into_iter().collect::<Vec<_>>(), [(1, Weight::Zero)]);
}

#[test]
fn developer_is_system_and_a_second_system_text_is_refused() {
    let user = r#"{"role":"developer","content":"s"},{"role":"user","content":"q"}"#;
    for row in with_messages(user, r#"{"role":"assistant","content":"a"}"#) {
        assert_eq!(turns_of(&row).1, "system=s|user=q|assistant=a", "{row}");
        let row = row.replacen('{', r#"{"system":"t","#, 1);
        assert_eq!(fault(&row).what, "the row has `system` and a system turn", "{row}");
    }
}

#[test]
fn alpaca_input_becomes_part_of_the_question_and_a_misspelt_one_is_refused() {
    let (_, turns) = turns_of(r#"{"system":"s","instruction":"i","input":"x","output":"o"}"#);
    assert_eq!(turns, "system=s|user=i\n\nx|assistant=o");
    assert_eq!(fault(r#"{"instruction":"i","inputs":"x","output":"o"}"#).what, "unknown key `inputs`");
}

#[test]
fn columns_of_other_shapes_that_are_null_are_no_shape() {
    let nulls = r#""prompt":null,"completion":null,"instruction":null,"output":null,"#;
    let row = format!(r#"{{{nulls}"conversations":[{{"from":"human","value":"q"}},{{"from":"gpt","value":"a"}}]}}"#);
    assert_eq!(turns_of(&row), (Shape::ShareGpt, "user=q|assistant=a".to_string()));
    assert!(read(&row).unwrap().0.meta.is_empty());
    assert_eq!(fault(r#"{"prompt":"q","completion":null}"#).what, "`prompt` is text and `completion` is null");
}

#[test]
fn extra_keys_are_kept_in_meta() {
    let (record, _) = read(r#"{"prompt":"q","completion":"a","id":7,"group":"g","source":"web"}"#).unwrap();
    assert_eq!((record.id.as_str(), record.group.as_str()), ("7", "g"));
    assert_eq!(record.meta["source"], "web");
    let twice = r#"{"prompt":"q","completion":"a","meta":{"source":"a"},"source":"web"}"#;
    assert_eq!(fault(twice).what, "`source` stands in the row and in `meta`");
}

#[test]
fn a_row_without_id_and_group_is_its_own_group() {
    let (record, _) = read(r#"{"prompt":"q","completion":"a"}"#).unwrap();
    assert_eq!((record.id.as_str(), record.group.as_str()), ("rows:1", "rows:1"));
}

#[test]
fn what_would_change_the_meaning_is_refused_with_a_hint() {
    for (line, what, hint) in [
        (r#"{"question":"q","answer":"a"}"#, "unknown shape of row, its keys are `question`, `answer`", "ShareGPT"),
        (r#"{"id":"a","mesages":[]}"#, "unknown shape", "messages"),
        (r#"{"prompt":"q","completion":"a","grup":"g"}"#, "unknown key `grup`", "did you mean `group`"),
        (
            r#"{"prompt":"q","completion":"a","conversations":[]}"#,
            "both `prompt` and `completion` and `conversations`",
            "keep the one",
        ),
        (r#"{"prompt":"q","completion":"a","tools":[{}]}"#, "`tools` is not supported", "text turns"),
        (r#"{"prompt":"q","completion":"a","label":false}"#, "`label` is true or false", "under `meta`"),
        (r#"{"prompt":"q","completion":["a"]}"#, "`prompt` is text and `completion` is a list", "both are text"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            "messages[0]: a content part `image_url`",
            "only text",
        ),
        (r#"{"messages":[{"role":"user","content":["q"]}]}"#, "a content part is text", "`type` and `text`"),
        (r#"{"messages":[{"role":"user","content":"q","weight":0.5}]}"#, "messages[0]: `weight` 0.5", "repeat a row"),
        (r#"{"messages":[{"role":"user","content":"q","loss":true}]}"#, "a message with `loss`", "`\"weight\": 0`"),
        (r#"{"messages":[{"role":"tool","content":"q"}]}"#, "tool calls", "leave out"),
        (r#"{"conversations":[{"from":"narrator","value":"q"}]}"#, "unknown role `narrator`", "`user`"),
        (r#"{"messages":[{"role":"assistant","content":null}]}"#, "`content` is null", "must be text"),
    ] {
        let fault = fault(line);
        assert!(fault.what.contains(what), "{line}: {}", fault.what);
        assert!(fault.hint.contains(hint), "{line}: {}", fault.hint);
    }
}
