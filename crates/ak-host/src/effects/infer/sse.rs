//! Parses server-sent events (WHATWG HTML §9.2) incrementally.

/// Maximum length of an event with its unfinished line, in bytes; a longer event fails the stream.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// An event is longer than [`EVENT_BYTES_MAX`]; the rest of the stream cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// One event: its type, empty if it has none, and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// An incremental parser. Data that is not ended by an empty line makes no event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed that follows belongs to the same line end.
    returned: bool,
    started: bool,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Parses more bytes, and passes the events that end in them to `take` in order.
    ///
    /// # Errors
    /// When an event becomes too long; the events before it were passed on.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Event)) -> Result<(), EventTooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.returned => self.returned = false,
                b'\n' | b'\r' => {
                    self.returned = byte == b'\r';
                    self.end_line(&mut take);
                }
                _ if self.bytes() >= EVENT_BYTES_MAX => return Err(EventTooLong),
                _ => {
                    self.returned = false;
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// Bytes held of the unfinished event.
    fn bytes(&self) -> usize {
        self.line.len() + self.event.kind.len() + self.event.data.len()
    }

    fn end_line(&mut self, take: &mut impl FnMut(Event)) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if self.started { &*line } else { line.trim_start_matches('\u{feff}') };
        self.started = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                take(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.kind = value.to_owned(),
            // Not a field of the standard: llama.cpp uses it to report a failure.
            "error" if self.event.data.is_empty() => {
                self.event = Event { kind: field.to_owned(), data: value.to_owned() };
                self.has_data = true;
            }
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments, `id` and `retry` are not used.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same events come out for every division of the bytes into pieces.
    #[test]
    fn events_come_out_however_they_are_cut() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            for size in 1..=text.len() {
                let (mut events, mut found) = (Events::default(), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    events.feed(piece, |event| found.push((event.kind, event.data))).unwrap();
                }
                let expected: Vec<_> =
                    expected.iter().map(|(kind, data)| (kind.to_string(), data.to_string())).collect();
                assert_eq!(found, expected, "{text:?} in pieces of {size}");
            }
        };
        check("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
        check("data:a\r\n\r\ndata:  b\r\n\r\n", &[("", "a"), ("", " b")]);
        check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("event: x\ndata: a\ndata: b\nid: 1\n\n: comment\n\ndata: c\n\n", &[("x", "a\nb"), ("", "c")]);
        check("\u{feff}data: é\n\n", &[("", "é")]);
        check("event: x\n\ndata: a\n", &[]);
        check("data\n\n", &[("", "")]);
        check(": keep-alive\n\n", &[]);
    }

    /// A line without end, and an event of lines without end, both fail as soon as they are too long.
    #[test]
    fn an_event_without_end_is_refused() {
        for endless in ["x", "data: x\n", "data\n"] {
            let (mut events, mut found, mut fed) = (Events::default(), Vec::new(), 0);
            events.feed(b"data: first\n\ndata: ", |event| found.push(event.data)).unwrap();
            let piece = endless.repeat(4_096);
            while fed < 8 * EVENT_BYTES_MAX {
                if events.feed(piece.as_bytes(), |event| found.push(event.data)) == Err(EventTooLong) {
                    break;
                }
                fed += piece.len();
                assert!(events.bytes() <= EVENT_BYTES_MAX + piece.len(), "{endless:?}");
            }
            assert!(fed < 8 * EVENT_BYTES_MAX, "{endless:?}");
            assert_eq!(found, ["first"], "{endless:?}");
        }
    }
}
