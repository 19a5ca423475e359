//! How JSON stands in our own large files: spread over lines down to some level, and one line for each thing below it.
//! Knows nothing about what is written. A hundred thousand answers stay readable, and a third of the size of JSON that is spread to the last leaf.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::Error;

/// The text of a value, with a line break at its end; the value itself is level 1.
pub(crate) fn to_string<T: Serialize>(value: &T, levels: usize) -> Result<String, Error> {
    let mut bytes = Vec::new();
    write(value, levels, &mut bytes)?;
    // The serializer writes nothing but UTF-8.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// Writes the same piece by piece.
pub(crate) fn write<T: Serialize>(value: &T, levels: usize, mut writer: impl io::Write) -> Result<(), Error> {
    let layout = Layout { levels, level: 0, has_value: false };
    value.serialize(&mut Serializer::with_formatter(&mut writer, layout))?;
    writer.write_all(b"\n").map_err(serde_json::Error::io)?;
    Ok(())
}

struct Layout {
    levels: usize,
    level: usize,
    has_value: bool,
}

impl Layout {
    fn open(&mut self, writer: &mut (impl io::Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn close(&mut self, writer: &mut (impl io::Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        if self.has_value && self.level <= self.levels {
            line(writer, self.level - 1)?;
        }
        self.level -= 1;
        writer.write_all(bracket)
    }

    fn next(&self, writer: &mut (impl io::Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if self.level <= self.levels { line(writer, self.level) } else { Ok(()) }
    }
}

fn line(writer: &mut (impl io::Write + ?Sized), level: usize) -> io::Result<()> {
    writer.write_all(b"\n")?;
    (0..level).try_for_each(|_| writer.write_all(b"  "))
}

impl Formatter for Layout {
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.level <= self.levels { b": " } else { b":" })
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_lies_below_the_levels_is_one_line_and_reads_back() {
        let value = json!({"rows": [{"a": [1, {"b": "x\ny"}], "c": {}}, {}], "none": [], "n": 0.5});
        let text = to_string(&value, 2).unwrap();
        let expect = "{\n  \"rows\": [\n    {\"a\":[1,{\"b\":\"x\\ny\"}],\"c\":{}},\n    {}\n  ],\n  \"none\": [],\n  \"n\": 0.5\n}\n";
        assert_eq!(text, expect);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn enough_levels_give_what_serde_json_calls_pretty() {
        let value = json!({"rows": [{"a": [1, {"b": [[]]}], "c": {}}], "none": null});
        assert_eq!(to_string(&value, 9).unwrap(), serde_json::to_string_pretty(&value).unwrap() + "\n");
    }
}
