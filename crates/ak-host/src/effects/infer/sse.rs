//! Server-sent events (WHATWG HTML §9.2), read as they come.

/// Longest event, its unfinished line included, in bytes.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// An event that is longer than [`EVENT_BYTES_MAX`]. What comes behind it cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// One event: its type, empty where it has none, and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Takes bytes and gives events. What is not ended by an empty line is no event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed behind it belongs to it.
    returned: bool,
    started: bool,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Takes more bytes; the events that end in them are handed over in order.
    ///
    /// # Errors
    /// When an event becomes too long, after those before it were handed over.
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

    /// What is held of the event that has not ended.
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
            // No field of the standard's: llama.cpp says so that it failed.
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
            // Comments, ids and times of retrying say nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same events come out.
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

    /// One line without end, and one event of lines without end: both end as soon as they are too long.
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
