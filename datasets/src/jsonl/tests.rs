//! Files that are read, files that are refused with every fault at once, and what is written and read back.

use std::fs;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::record::{Message, Role};
use crate::weight::{Weight, Weights};

fn read_text(bytes: &[u8]) -> Result<Rows, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, bytes).unwrap();
    let place = folder.path().display().to_string();
    read_counted(&path).map_err(|error| error.to_string().replace(&format!("{place}/"), ""))
}

fn check_error(bytes: &[u8], expected: Expect) {
    expected.assert_eq(&read_text(bytes).unwrap_err());
}

#[test]
fn all_broken_rows_are_reported_at_once() {
    let text = concat!(
        "{\"prompt\":\"q\",\"completion\":\"a\"}\n",
        "{\"prompt\":\"q\",\n",
        "\n",
        "{\"prompt\":\"q\",\"completion\":\"\"}\n",
        "{\"messages\":[{\"role\":\"narrator\",\"content\":\"q\"}]}\n",
        "{\"id\":\"x\",\"prompt\":\"q\",\"completion\":\"a\"}\n",
        "{\"id\":\"x\",\"prompt\":\"q\",\"completion\":\"a\"}\n",
        "{\"question\":\"q\"}\n",
        "[1]\n",
    );
    check_error(
        text.as_bytes(),
        expect![[r#"
            6 of 8 rows in rows.jsonl cannot be used
              rows.jsonl:2: not a JSON object: EOF while parsing a value (column 14)
              rows.jsonl:4: message 2 is an empty assistant turn
              hint: an empty answer teaches the model to say nothing: fill it in or remove the row
              rows.jsonl:5: messages[0]: unknown role `narrator`
              hint: roles are `system` (or `developer`), `user` and `assistant`
              rows.jsonl:7: id `x` is already used in line 6
              hint: give each row its own id, or leave `id` out
              rows.jsonl:8: unknown shape of row, its keys are `question`
              hint: rows read are {"messages"}, {"prompt","completion"}, {"instruction","input","output"} (Alpaca) and {"conversations"} (ShareGPT), each with "id", "group", "meta", "system" and "weight" if you like
              rows.jsonl:9: not a JSON object: invalid type: sequence, expected a JSON object
              hint: each line is one complete JSON object"#]],
    );
}

#[test]
fn the_list_of_broken_rows_is_cut_and_the_rest_counted() {
    let error = read_text("{}\n".repeat(30).as_bytes()).unwrap_err();
    assert!(error.starts_with("30 of 30 rows in rows.jsonl cannot be used\n"), "{error}");
    assert!(error.ends_with("\n  and 10 more"), "{error}");
    assert_eq!(error.matches("hint:").count(), 1, "{error}");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_line() {
    check_error(
        b"{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":\"\xe9\"}\n",
        expect![[r#"
            1 of 2 rows in rows.jsonl cannot be used
              rows.jsonl:2: not UTF-8 at byte 12 of the line
              hint: convert the file: iconv -f WINDOWS-1252 -t UTF-8"#]],
    );
}

#[test]
fn a_json_array_and_an_empty_file_say_what_to_do() {
    check_error(
        b"[\n{\"prompt\":\"q\",\"completion\":\"a\"}\n]",
        expect![[r#"
            rows.jsonl is one JSON array, not one JSON object per line
            hint: jq -c '.[]' rows.jsonl > rows.lines.jsonl"#]],
    );
    check_error(
        b"\n \n",
        expect![[r#"
        rows.jsonl holds no rows (2 blank lines)
        hint: write one JSON object per line"#]],
    );
}

#[test]
fn a_key_that_stands_twice_is_refused_with_its_line_wherever_it_stands() {
    let text = concat!(
        "{\"prompt\":\"q\",\"completion\":\"a\"}\n",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\",\"content\":\"b\"}]}\n",
        "{\"prompt\":\"q\",\"completion\":\"a\",\"completion\":\"b\"}\n",
        "{\"group\":\"g\",\"prompt\":\"q\",\"completion\":\"a\",\"meta\":{\"x\":[{\"y\":1,\"y\":1}]}}\n",
    );
    check_error(
        text.as_bytes(),
        expect![[r#"
            3 of 4 rows in rows.jsonl cannot be used
              rows.jsonl:2: key "content" occurs twice (column 86)
              rows.jsonl:3: key "completion" occurs twice (column 43)
              rows.jsonl:4: key "y" occurs twice (column 66)
              hint: write each key once: readers differ in which of two they take"#]],
    );
}

#[test]
fn blank_lines_carriage_returns_and_a_byte_order_mark_are_no_rows() {
    let rows = read_text(
        b"\xef\xbb\xbf{\"prompt\":\"q\",\"completion\":\"a\"}\r\n\r\n{\"prompt\":\"r\",\"completion\":\"b\"}",
    );
    let rows = rows.unwrap();
    assert_eq!((rows.records.len(), rows.blank_lines), (2, 1));
    assert_eq!(rows.records[1].id, "rows:3");
    assert_eq!(rows.shapes[&Shape::PromptCompletion], 2);
}

#[test]
fn the_hash_of_records_is_the_hash_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let messages = vec![Message::new(Role::User, "q"), Message::new(Role::Assistant, "a")];
    let records = vec![Record::new("a".into(), messages, "g".into(), Map::new()).unwrap()];
    write(&path, &records).unwrap();
    let line = r#"{"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"group":"g","meta":{}}"#;
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{line}\n"));
    assert_eq!(read_counted(&path).unwrap().sha256, sha256(&records).unwrap());
}

#[test]
fn a_row_without_end_is_refused_with_its_line_and_what_it_would_take_in_memory_is_bounded() {
    let mut text = b"{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":\"".to_vec();
    text.resize(text.len() + Kind::Row.most_bytes() as usize, b'x');
    text.extend_from_slice(b"\",\"completion\":\"a\"}\n");
    let error = read_text(&text).unwrap_err();
    assert!(error.starts_with("rows.jsonl:2: a row of more than 32.0 MiB\nhint: "), "{error}");
    let many = format!("{{\"prompt\":\"q\",\"completion\":\"a\",\"x\":[{}0]}}\n", "0,".repeat(MOST_VALUES));
    let error = read_text(many.as_bytes()).unwrap_err();
    assert!(error.contains("rows.jsonl:1: a row of more than 1048576 values"), "{error}");
    // The signs within a text are no values.
    let long = format!("{{\"prompt\":\"{}\",\"completion\":\"a\"}}\n", "a, [\\\"{".repeat(MOST_VALUES / 2));
    assert_eq!(read_text(long.as_bytes()).unwrap().records.len(), 1);
}

#[test]
fn what_an_error_repeats_of_a_row_is_short() {
    let row = format!("{{\"{}\":1}}\n", "k".repeat(1 << 20));
    let error = read_text(row.repeat(20).as_bytes()).unwrap_err();
    assert!(error.len() < 20_000 && error.contains("... (10"), "{}", error.len());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_and_a_sparse_file_is_one_long_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(read(&path).unwrap_err().to_string().ends_with("is a device, not a file"));
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().set_len(20 << 30).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("rows.jsonl:1: a row of more than 32.0 MiB"));
    assert!(read(folder.path()).unwrap_err().to_string().ends_with("is a folder, not a file"));
}

#[test]
fn broken_bytes_are_rows_or_an_error_and_nothing_else() {
    let whole = concat!(
        r#"{"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"group":"g","meta":{}}"#,
        "\n",
        r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":[{"type":"text","text":"a"}]}]}"#,
        "\n",
        r#"{"instruction":"i","input":"\u00e4","output":"o","system":"s"}"#,
    );
    let words: [&[u8]; 6] = [b"[[[[[[[[", b"{\"messages\":", b"\\ud800", b"1e999", b"\r\n", b"null"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    ground::mutate::rounds(|round| {
        let text = ground::mutate::mutated(whole.as_bytes(), &words, round);
        fs::write(&path, &text).unwrap();
        if let Ok(rows) = read_counted(&path) {
            assert!(rows.records.len() <= text.iter().filter(|byte| **byte == b'\n').count() + 1);
            assert!(rows.records.iter().all(|record| record.check().is_ok()));
        }
    });
}

fn some_record() -> impl Strategy<Value = Record> {
    let text = "\\PC{0,6}[a-z]\\PC{0,6}(\n|\t|\u{2028}|\"|\\\\)?";
    let turn = (prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)], text);
    let meta = proptest::collection::btree_map("[a-z]{1,4}", any::<i32>(), 0..3);
    let weight = || prop_oneof![Just(None), Just(Some(Weight::Zero)), Just(Some(Weight::One))];
    let weights = (weight(), proptest::collection::vec(weight(), 5));
    (proptest::collection::vec(turn, 0..3), text, text, "[a-z:0-9]{1,6}", meta, weights).prop_map(
        |(turns, question, answer, group, meta, (row, of_messages))| {
            let mut messages: Vec<_> = turns.into_iter().map(|(role, text)| Message::new(role, text)).collect();
            messages.push(Message::new(Role::User, question));
            messages.push(Message::new(Role::Assistant, answer));
            let meta = meta.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
            let stated = of_messages.into_iter().take(messages.len()).enumerate();
            let of_messages = stated.filter_map(|(at, weight)| Some((at, weight?))).collect();
            Record { id: String::new(), messages, group, meta, weights: Weights { row, messages: of_messages } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(mut records in proptest::collection::vec(some_record(), 1..6)) {
        for (index, record) in records.iter_mut().enumerate() {
            record.id = format!("row {index}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write(&path, &records).unwrap();
        prop_assert_eq!(read(&path).unwrap(), records);
    }
}
