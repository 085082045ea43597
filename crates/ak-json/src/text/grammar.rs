//! Checks whether a text that the parser rejected for a limit is JSON by its grammar.
//!
//! Callers that keep text other than JSON unchanged must tell these cases apart. Nothing is built here, so no limit
//! is needed.

use alloc::vec::Vec;

use super::error::{ParseReason, Parsed, Stop, utf8};
use super::scan::Cursor;
use crate::value::Value;

/// Returns the first violation of the grammar of RFC 8259.
pub(crate) fn check(text: &[u8]) -> Parsed<()> {
    let mut cursor = Cursor::new(utf8(text)?);
    // The closing brackets of the open containers, innermost last.
    let mut open = Vec::new();
    loop {
        match cursor.token() {
            Some(b'"') => cursor.skip_string()?,
            Some(b'-' | b'0'..=b'9') => by_grammar(cursor.number())?,
            Some(bracket @ (b'{' | b'[')) => {
                let end = if bracket == b'{' { b'}' } else { b']' };
                cursor.at += 1;
                if cursor.token() != Some(end) {
                    open.push(end);
                    if end == b'}' {
                        cursor.skip_name()?;
                    }
                    continue;
                }
                cursor.at += 1;
            }
            Some(b't') => drop(cursor.word("true", Value::Null)?),
            Some(b'f') => drop(cursor.word("false", Value::Null)?),
            Some(b'n') => drop(cursor.word("null", Value::Null)?),
            _ => return cursor.unexpected(),
        }
        loop {
            let byte = cursor.token();
            let Some(end) = open.last() else {
                return if byte.is_none() { Ok(()) } else { cursor.stop(ParseReason::Trailing) };
            };
            match byte {
                Some(byte) if byte == *end => {
                    cursor.at += 1;
                    open.pop();
                }
                Some(b',') => {
                    cursor.at += 1;
                    if *end == b'}' {
                        cursor.token();
                        cursor.skip_name()?;
                    }
                    break;
                }
                _ => return cursor.unexpected(),
            }
        }
    }
}

/// Accepts a token that only breaks a limit. The cursor is then after the token.
pub(crate) fn by_grammar<T>(token: Parsed<T>) -> Parsed<()> {
    match token {
        Err(Stop(reason, offset)) if !reason.is_limit() => Err(Stop(reason, offset)),
        Ok(_) | Err(_) => Ok(()),
    }
}
