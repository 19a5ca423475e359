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
mod tests;
