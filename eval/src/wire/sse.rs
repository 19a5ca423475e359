//! Server-sent events out of bytes that come in any pieces, as the HTML standard reads them.
//! Knows nothing about what the events of a provider mean.
//!
//! Grammar: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

use super::CallError;
use super::field::malformed;

/// One event; comments, `id` and `retry` are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What stood behind `event:`, if it was there.
    pub name: Option<String>,
    /// What stood behind each `data:`, joined by line feeds.
    pub data: String,
}

/// Reads a stream piece by piece. Bytes are held back until their line is whole, so a character may be split over pieces.
#[derive(Debug)]
pub struct EventReader {
    limit_bytes: usize,
    line: Vec<u8>,
    is_first_line: bool,
    /// A carriage return ended the last line, so that a line feed right behind it belongs to it.
    after_return: bool,
    name: Option<String>,
    data: Option<String>,
}

impl EventReader {
    /// A reader that holds at most `limit_bytes` of one event.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, line: Vec::new(), is_first_line: true, after_return: false, name: None, data: None }
    }

    /// Takes the next bytes and appends the events that they complete. An event without its blank line at the end of the stream is none.
    ///
    /// # Errors
    /// `CallError::Malformed` for a line that is not UTF-8 or an event above the limit; events before it have been appended.
    pub fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), CallError> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held > self.limit_bytes {
                return Err(malformed(format!("one event of the stream is longer than {} bytes", self.limit_bytes)));
            }
            let Some(end) = end else { break };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line()?);
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, CallError> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes).map_err(|_| malformed("the stream is not UTF-8"))?;
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let name = self.name.take().filter(|name| !name.is_empty());
            return Ok(self.data.take().map(|data| Event { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                data => *data = Some(value.to_owned()),
            },
            "event" => self.name = Some(value.to_owned()),
            // A comment has an empty field; `id` and `retry` are about reconnecting, which a paid call never does.
            _ => {}
        }
        Ok(None)
    }
}

/// The plain twin: all events of a whole stream at once, without a limit.
///
/// # Errors
/// `CallError::Malformed` when a whole line is not UTF-8.
pub fn parse(stream: &[u8]) -> Result<Vec<Event>, CallError> {
    // Only what stands before the last line end can matter.
    let whole = stream.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&stream[..whole]).map_err(|_| malformed("the stream is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        match (line.is_empty(), blocks.last_mut()) {
            (false, Some(block)) => block.push(line),
            _ => blocks.push(Vec::new()),
        }
    }
    // The block behind the last blank line was never ended.
    blocks.pop();
    let value = |line: &str, field: &str| {
        let rest = line.strip_prefix(field)?;
        if rest.is_empty() {
            return Some(String::new());
        }
        let rest = rest.strip_prefix(':')?;
        Some(rest.strip_prefix(' ').unwrap_or(rest).to_owned())
    };
    let event = |block: &Vec<&str>| {
        let data: Vec<_> = block.iter().filter_map(|line| value(line, "data")).collect();
        let name = block.iter().rev().find_map(|line| value(line, "event")).filter(|name| !name.is_empty());
        (!data.is_empty()).then(|| Event { name, data: data.join("\n") })
    };
    Ok(blocks.iter().filter_map(event).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(stream: &[u8], sizes: &[usize]) -> Result<Vec<Event>, CallError> {
        let mut reader = EventReader::new(1 << 20);
        let mut events = Vec::new();
        let (mut rest, mut sizes) = (stream, sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            reader.push(piece, &mut events)?;
            rest = after;
        }
        Ok(events)
    }

    fn event(name: Option<&str>, data: &str) -> Event {
        Event { name: name.map(str::to_owned), data: data.to_owned() }
    }

    fn check(stream: &str, wanted: &[Event]) {
        assert_eq!(parse(stream.as_bytes()).unwrap(), wanted);
        for size in [1, 2, 3, 1000] {
            assert_eq!(in_pieces(stream.as_bytes(), &[size]).unwrap(), wanted, "pieces of {size}");
        }
    }

    #[test]
    fn names_comments_and_several_data_lines_are_read() {
        let stream = ": keep-alive\n\nevent: ping\ndata: {}\n\nid: 7\nretry: 10\ndata: a\ndata:b\ndata\ndata:  c\n\n";
        check(stream, &[event(Some("ping"), "{}"), event(None, "a\nb\n\n c")]);
    }

    #[test]
    fn every_line_end_and_a_byte_order_mark_are_read() {
        for end in ["\n", "\r", "\r\n"] {
            check(&format!("\u{feff}data: 1{end}{end}data: 2{end}{end}"), &[event(None, "1"), event(None, "2")]);
        }
        check("data: 1\r\r\ndata: 2\n\r\n", &[event(None, "1"), event(None, "2")]);
    }

    #[test]
    fn an_event_without_data_or_without_its_end_is_none() {
        check("event: message\n\nevent: x\n\ndata: cut", &[]);
        check("data: cut\n", &[]);
        check("data:\n\n", &[event(None, "")]);
        // A name does not outlive its event.
        check("event: a\n\ndata: 1\n\nevent:\ndata: 2\n\n", &[event(None, "1"), event(None, "2")]);
    }

    #[test]
    fn characters_split_over_pieces_are_joined() {
        check("data: 🦀é\u{10FFFF}\n\n", &[event(None, "🦀é\u{10FFFF}")]);
    }

    #[test]
    fn what_is_not_utf_8_is_malformed_and_events_before_it_are_kept() {
        let stream = b"data: ok\n\ndata: \xff\xfe\n\n";
        assert!(matches!(parse(stream), Err(CallError::Malformed { .. })));
        let (mut reader, mut events) = (EventReader::new(100), Vec::new());
        assert!(matches!(reader.push(stream, &mut events), Err(CallError::Malformed { .. })));
        assert_eq!(events, [event(None, "ok")]);
        // Half a character at the end of a broken stream is only a broken stream.
        assert_eq!(in_pieces(b"data: ok\n\ndata: \xf0\x9f", &[3]).unwrap(), parse(b"data: ok\n\n").unwrap());
    }

    #[test]
    fn an_endless_event_is_refused_at_the_limit() {
        for stream in ["data: aaaaaaaaaaaaaaa", "data: aaaa\ndata: aaaa\ndata: aaaa\n\n"] {
            let mut reader = EventReader::new(16);
            let refused = stream.bytes().any(|byte| reader.push(&[byte], &mut Vec::new()).is_err());
            assert!(refused, "{stream}");
            assert!(EventReader::new(16).push(stream.as_bytes(), &mut Vec::new()).is_err());
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_events_of_the_whole(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "data", "data:", "data: ", "event:", "event: a", "id: 1", ":", " ", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "🦀", "é", "{\"a\":1}", "x",
                ]),
                0..60,
            ),
            sizes in prop::collection::vec(1_usize..7, 1..20),
        ) {
            let stream = parts.concat();
            prop_assert_eq!(in_pieces(stream.as_bytes(), &sizes).unwrap(), parse(stream.as_bytes()).unwrap());
        }

        #[test]
        fn any_bytes_are_read_or_refused_alike_in_pieces_and_whole(
            stream in prop::collection::vec(prop::sample::select(b"data: \n\r\xf0\x9f\xa6\x80\xef\xbb\xbf\xc3".to_vec()), 0..120),
            sizes in prop::collection::vec(1_usize..7, 1..20),
        ) {
            match (in_pieces(&stream, &sizes), parse(&stream)) {
                (Ok(pieces), Ok(whole)) => prop_assert_eq!(pieces, whole),
                (pieces, whole) => prop_assert!(pieces.is_err() && whole.is_err()),
            }
        }
    }
}
