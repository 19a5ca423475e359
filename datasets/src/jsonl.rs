//! Owns JSON-lines files of records: reading one row at a time with all faults of a file in one error, and writing so
//! that the old file survives a kill. Knows nothing about shapes of row beyond asking for them, nor about splits.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Write};
use std::path::Path;

use ground::read::Kind;
use ground::write::Access;

use crate::digest::Hashing;
use crate::error::{Error, Fault, RowFault, SHOWN_ROWS};
use crate::record::Record;
use crate::shape;
pub use crate::shape::Shape;
use crate::strict::{self, StrictObject};

/// Bytes that are asked of the system at a time.
const READ_BYTES: usize = 1 << 16;
/// Values (numbers, texts, lists, objects) in one row. In memory a value takes up to forty times what it takes in a file.
const MOST_VALUES: usize = 1 << 20;

/// What a file held.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The records, in the order of the file.
    pub records: Vec<Record>,
    /// Lines with nothing but space.
    pub blank_lines: usize,
    /// How many rows had which shape.
    pub shapes: BTreeMap<Shape, usize>,
    /// SHA-256 of the bytes of the file.
    pub sha256: String,
}

/// Reads every row, or says what is wrong with all of them.
pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
    read_counted(path).map(|rows| rows.records)
}

/// Like [`read`], with what a ledger wants to know.
pub fn read_counted(path: &Path) -> Result<Rows, Error> {
    let file = ground::read::open(path).map_err(Error::io("open", path))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut input = Hashing::new(file);
    let mut lines = Lines::default();
    let reader = BufReader::with_capacity(READ_BYTES, &mut input);
    for (at, line) in ground::read::Lines::new(reader, Kind::Row).enumerate() {
        let number = at + 1;
        let line = line.map_err(|error| unread(path, number, error))?;
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            lines.blank += 1;
            continue;
        }
        if lines.seen == 0 && text.trim_ascii_start().first() == Some(&b'[') {
            return Err(Error::JsonArray { path: path.to_path_buf() });
        }
        lines.take(text.trim_ascii_end(), number, &stem);
    }
    lines.finish(path, input.finish())
}

/// Writes one record per line: beside the file, synced, then renamed over it. Its folder is made.
pub fn write(path: &Path, records: &[Record]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    ground::write::file_with(path, Access::AsUsual, |out| lines_to(out, records)).map_err(Error::io("write", path))
}

/// The bytes [`write()`] would write, hashed.
pub fn sha256(records: &[Record]) -> Result<String, Error> {
    let mut out = Hashing::new(io::sink());
    lines_to(&mut out, records).map_err(Error::io("hash", Path::new("the records")))?;
    Ok(out.finish())
}

fn lines_to(out: &mut dyn Write, records: &[Record]) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *out, record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// What is known after some lines.
#[derive(Default)]
struct Lines {
    records: Vec<Record>,
    shapes: BTreeMap<Shape, usize>,
    first_line_of: HashMap<String, usize>,
    seen: usize,
    blank: usize,
    broken: usize,
    shown: Vec<RowFault>,
}

impl Lines {
    fn take(&mut self, text: &[u8], number: usize, stem: &str) {
        self.seen += 1;
        match parse(text, &format!("{stem}:{number}")).and_then(|row| self.unique(row, number)) {
            Ok((record, shape)) => {
                *self.shapes.entry(shape).or_default() += 1;
                self.records.push(record);
            }
            Err(fault) => {
                self.broken += 1;
                if self.shown.len() < SHOWN_ROWS {
                    self.shown.push(RowFault { line: number, fault });
                }
            }
        }
    }

    fn unique(&mut self, row: (Record, Shape), number: usize) -> Result<(Record, Shape), Fault> {
        match self.first_line_of.get(&row.0.id) {
            Some(first) => Err(Fault::new(
                format!("id `{}` is already used in line {first}", row.0.id),
                "give each row its own id, or leave `id` out",
            )),
            None => {
                self.first_line_of.insert(row.0.id.clone(), number);
                Ok(row)
            }
        }
    }

    fn finish(self, path: &Path, sha256: String) -> Result<Rows, Error> {
        let path = path.to_path_buf();
        if self.broken > 0 {
            return Err(Error::Rows { path, rows: self.seen, total: self.broken, shown: self.shown });
        }
        if self.seen == 0 {
            return Err(Error::NoRows { path, blank_lines: self.blank });
        }
        Ok(Rows { records: self.records, blank_lines: self.blank, shapes: self.shapes, sha256 })
    }
}

pub(crate) fn parse(text: &[u8], place: &str) -> Result<(Record, Shape), Fault> {
    let text = str::from_utf8(text).map_err(|error| {
        Fault::new(
            format!("not UTF-8 at byte {} of the line", error.valid_up_to() + 1),
            "convert the file: iconv -f WINDOWS-1252 -t UTF-8",
        )
    })?;
    if num_values(text) > MOST_VALUES {
        return Err(Fault::new(
            format!("a row of more than {MOST_VALUES} values"),
            "a row is one conversation: leave out what no model is asked",
        ));
    }
    let row: StrictObject = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    shape::parse(row.0, place)
}

/// How many values a row may hold: what separates them, outside of texts. A row that is too short for many counts as none.
fn num_values(text: &str) -> usize {
    if text.len() <= MOST_VALUES {
        return 0;
    }
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' | b':' => values += usize::from(!in_text),
            _ => {}
        }
    }
    values
}

/// A line that could not be read: the reader stops at one that is too long.
fn unread(path: &Path, line: usize, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => Error::LongRow { path: path.to_path_buf(), line },
        _ => Error::io("read", path)(error),
    }
}

/// serde_json counts lines within the row, which is always line 1 here: keep the column only, where there is one.
fn not_json(error: &serde_json::Error) -> Fault {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or(&words);
    let place = match error.column() {
        0 => String::new(),
        column => format!(" (column {column})"),
    };
    if strict::is_about_a_repeated_key(words) {
        return Fault::new(format!("{words}{place}"), "write each key once: readers differ in which of two they take");
    }
    Fault::new(format!("not a JSON object: {words}{place}"), "each line is one complete JSON object")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
                  hint: roles are `system`, `user` and `assistant`
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
}
