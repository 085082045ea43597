//! Reads the tokens of JSON text: strings, numbers and words.

use alloc::string::String;

use super::error::{ParseReason, Parsed, Stop};
use super::grammar::by_grammar;
use crate::value::Value;
use crate::value::json_len::plain_len;
use crate::value::number::Number;

/// A position in a text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    /// The position in bytes from the start.
    pub(crate) at: usize,
    /// The buffer for strings with escapes.
    buffer: String,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, buffer: String::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space, and returns the next byte without consuming it.
    #[inline]
    pub(crate) fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(crate) fn word(&mut self, word: &str, value: Value) -> Parsed<Value> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return self.unexpected();
            }
            self.at += 1;
        }
        Ok(value)
    }

    /// Reads the name of a member.
    #[inline]
    pub(crate) fn name(&mut self) -> Parsed<&str> {
        if self.peek() == Some(b'"') { self.string() } else { self.unexpected() }
    }

    /// Skips a string if it is `expected`, written without escapes. Returns whether it was.
    #[inline]
    pub(crate) fn eat_plain(&mut self, expected: &str) -> bool {
        let rest = self.rest().strip_prefix(b"\"").and_then(|rest| rest.strip_prefix(expected.as_bytes()));
        let found = rest.is_some_and(|rest| rest.first() == Some(&b'"'));
        if found {
            self.at += expected.len() + 2;
        }
        found
    }

    /// Reads the colon after a name.
    #[inline]
    pub(crate) fn colon(&mut self) -> Parsed<()> {
        if self.token() != Some(b':') {
            return self.unexpected();
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a string, at its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Parsed<&str> {
        self.at += 1;
        let start = self.at;
        self.at += plain_len(self.rest());
        if self.peek() == Some(b'"') {
            let text = self.since(start);
            self.at += 1;
            return Ok(text);
        }
        self.unescape(start)?;
        Ok(&self.buffer)
    }

    /// Reads the rest of a string that began at `start`, from the first escape on.
    fn unescape(&mut self, start: usize) -> Parsed<()> {
        self.buffer.clear();
        self.buffer.push_str(self.since(start));
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.buffer.push(character);
                }
                Some(_) => return self.stop(ParseReason::Control),
                None => return self.stop(ParseReason::End),
            }
            let start = self.at;
            self.at += plain_len(self.rest());
            self.buffer.push_str(self.since(start));
        }
    }

    /// Skips a string, at its opening quote.
    pub(crate) fn skip_string(&mut self) -> Parsed<()> {
        self.at += 1;
        loop {
            self.at += plain_len(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => by_grammar(self.escape())?,
                Some(_) => return self.stop(ParseReason::Control),
                None => return self.stop(ParseReason::End),
            }
        }
    }

    /// Skips the name of a member and the colon after it.
    pub(crate) fn skip_name(&mut self) -> Parsed<()> {
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        self.skip_string()?;
        self.colon()
    }

    /// Reads an escape, at its backslash.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let Some(letter) = self.peek() else { return self.stop(ParseReason::End) };
        self.at += 1;
        let character = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.hex4(start)?;
                if (0xd800..0xdc00).contains(&code) && self.rest().starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex4(start)?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
                    }
                }
                char::from_u32(code).ok_or(Stop(ParseReason::Surrogate, start))?
            }
            _ => return Err(Stop(ParseReason::Escape, start)),
        };
        Ok(character)
    }

    fn hex4(&mut self, start: usize) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else { return self.stop(ParseReason::End) };
            let digit = char::from(byte).to_digit(16).ok_or(Stop(ParseReason::Escape, start))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Reads a number: an integer unless it has a fraction or an exponent.
    #[inline]
    pub(crate) fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let first = self.at;
        let magnitude = self.digits(0)?;
        let digits = self.at - first;
        if digits > 1 && self.text.as_bytes().get(first) == Some(&b'0') {
            return Err(Stop(ParseReason::Number, first + 1));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.float(start, magnitude);
        }
        // Up to 19 digits cannot have wrapped.
        let magnitude = if digits < 20 { Some(magnitude) } else { self.since(first).parse().ok() };
        let number = match (negative, magnitude) {
            (false, Some(magnitude)) => Some(Number::from(magnitude)),
            (true, Some(magnitude)) => 0i64.checked_sub_unsigned(magnitude).map(Number::from),
            (_, None) => None,
        };
        number.ok_or(Stop(ParseReason::Integer, start))
    }

    /// Reads fraction and exponent of a number that began at `start` with the digits in `magnitude`.
    fn float(&mut self, start: usize, mut magnitude: u64) -> Parsed<Number> {
        let mut places = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            let first = self.at;
            magnitude = self.digits(magnitude)?;
            places = self.at - first;
        }
        let mut plain = self.at - start < 18;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            plain = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits(0)?;
        }
        let text = self.since(start);
        // Both operands are exact, so the quotient is rounded once, as in the standard library.
        if plain
            && magnitude < 1 << f64::MANTISSA_DIGITS
            && let Some(power) = POWERS_OF_TEN.get(places)
        {
            let value = magnitude as f64 / power;
            return Ok(Number::finite(if text.starts_with('-') { -value } else { value }));
        }
        text.parse().ok().and_then(Number::from_f64).ok_or(Stop(ParseReason::Float, start))
    }

    /// Reads at least one digit, and appends the digits to `number`, which wraps.
    #[inline]
    fn digits(&mut self, mut number: u64) -> Parsed<u64> {
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            return self.stop(if self.peek().is_none() { ParseReason::End } else { ParseReason::Number });
        }
        Ok(number)
    }

    /// Stops at a byte that is not allowed here, or at the end of the text.
    pub(crate) fn unexpected<T>(&self) -> Parsed<T> {
        self.stop(if self.peek().is_none() { ParseReason::End } else { ParseReason::Byte })
    }

    pub(crate) fn stop<T>(&self, reason: ParseReason) -> Parsed<T> {
        Err(Stop(reason, self.at))
    }
}

/// The powers of ten that a float holds exactly and [`Cursor::float`] needs.
const POWERS_OF_TEN: [f64; 18] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];
