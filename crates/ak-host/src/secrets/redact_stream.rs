//! Redacts a text that arrives in pieces, with the same result as redacting the whole text.
//!
//! Each rule is a stage that takes the output of the stage before. A stage releases what later text cannot change, and
//! holds back the rest. It keeps the last released bytes, because a pattern may look at what precedes a match.

use memchr::memmem;

use crate::{
    config::pattern::{Pattern, REDACT_BUFFER_BYTES_MAX, Reach},
    secrets::redact::{REDACTED, Redactor},
    secrets::value::SecretValue,
};

/// How far a pattern looks beyond both ends of its match, in bytes: one character.
const LOOK_BYTES: usize = 4;
/// Bytes at the end of a word that stay held back when the word is too long to be held back whole: a key may begin in
/// them.
const KEY_START_BYTES: usize = 128;
/// Maximum number of characters of the label that gives the kind of private key in a PEM block.
pub(crate) const PEM_LABEL_BYTES_MAX: usize = 64;
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END ";
/// Maximum length of the first or the last line of such a block, without its final dashes.
const PEM_LINE_BYTES_MAX: usize = PEM_BEGIN.len() + PEM_LABEL_BYTES_MAX + "PRIVATE KEY BLOCK-----".len();

/// Redacts one text that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct StreamRedactor {
    stages: Vec<Stage>,
    /// The first bytes of a character whose other bytes have not arrived.
    partial: Vec<u8>,
}

impl StreamRedactor {
    /// Whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.stages.iter().all(Stage::is_empty)
    }

    /// Takes a piece of text, and returns the redacted text that can be released.
    pub(crate) fn push(&mut self, redactor: &Redactor, piece: &str) -> String {
        if redactor.is_idle() {
            return piece.to_owned();
        }
        let bytes = self.advance(redactor, piece.as_bytes(), false);
        self.text(bytes, false)
    }

    /// Returns the remaining redacted text at the end, and resets the redactor.
    pub(crate) fn finish(&mut self, redactor: &Redactor) -> String {
        let bytes = self.advance(redactor, &[], true);
        let rest = self.text(bytes, true);
        *self = StreamRedactor::default();
        rest
    }

    fn advance(&mut self, redactor: &Redactor, piece: &[u8], is_last: bool) -> Vec<u8> {
        let mut piece = piece.to_vec();
        for (at, rule) in redactor.rules().enumerate() {
            if self.stages.len() <= at {
                self.stages.push(Stage::default());
            }
            if let Some(stage) = self.stages.get_mut(at) {
                piece = stage.push(&rule, &piece, is_last);
            }
        }
        piece
    }

    /// Returns the bytes as text. A pattern may split a character; its remaining bytes are replaced by U+FFFD.
    fn text(&mut self, bytes: Vec<u8>, is_last: bool) -> String {
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend(bytes);
        if !is_last {
            let begun = whole.utf8_chunks().last().map_or(0, |chunk| {
                let is_begun = std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none());
                if is_begun { chunk.invalid().len() } else { 0 }
            });
            self.partial = whole.split_off(whole.len() - begun);
        }
        String::from_utf8_lossy(&whole).into_owned()
    }
}

/// One rule for what is removed from a text.
pub(crate) enum RedactionRule<'f> {
    /// The label that replaces the value of a secret, and the value.
    Value(&'f str, &'f SecretValue),
    Pattern(&'f Pattern),
}

/// The state of a text in one rule.
#[derive(Debug, Default)]
struct Stage {
    /// The last released bytes, at which a pattern may look, and the bytes that are held back.
    text: Vec<u8>,
    /// Index of the first byte that is held back.
    from: usize,
    /// Whether the following bytes belong to a match that was already replaced.
    is_dropping: bool,
}

impl Stage {
    fn is_empty(&self) -> bool {
        self.from == self.text.len()
    }

    fn push(&mut self, rule: &RedactionRule<'_>, piece: &[u8], is_last: bool) -> Vec<u8> {
        self.text.extend_from_slice(piece);
        let mut out = Vec::new();
        match rule {
            RedactionRule::Value(label, value) => {
                self.value(label.as_bytes(), value.expose().as_bytes(), is_last, &mut out)
            }
            RedactionRule::Pattern(Pattern { regex, reach: Reach::Bytes(most) }) => {
                self.bounded(regex, *most, is_last, &mut out);
            }
            RedactionRule::Pattern(Pattern { regex, reach: Reach::Word }) => {
                self.words(regex, is_last, &mut out)
            }
            RedactionRule::Pattern(Pattern { regex, reach: Reach::Block { end } }) => {
                self.blocks(regex, end, is_last, &mut out);
            }
        }
        self.text.drain(..self.from.saturating_sub(LOOK_BYTES));
        self.from = self.from.min(LOOK_BYTES);
        out
    }

    /// Releases the bytes before index `to`.
    fn release(&mut self, to: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.get(self.from..to).unwrap_or_default());
        self.from = self.from.max(to);
    }

    fn value(&mut self, label: &[u8], value: &[u8], is_last: bool, out: &mut Vec<u8>) {
        let finder = memmem::Finder::new(value);
        while let Some(at) = finder.find(self.text.get(self.from..).unwrap_or_default()) {
            self.release(self.from + at, out);
            out.extend_from_slice(label);
            self.from += value.len();
        }
        let rest = self.text.get(self.from..).unwrap_or_default();
        let most = if is_last { 0 } else { value.len().saturating_sub(1).min(rest.len()) };
        let begun =
            (1..=most).rev().find(|length| value.get(..*length).is_some_and(|start| rest.ends_with(start)));
        self.release(self.text.len() - begun.unwrap_or(0), out);
    }

    /// Applies a pattern that matches at most `most` bytes: whether it matches at an index is known once that many
    /// bytes follow.
    fn bounded(&mut self, regex: &regex::bytes::Regex, most: usize, is_last: bool, out: &mut Vec<u8>) {
        let known = match is_last {
            true => self.text.len(),
            false => (self.text.len() + 1).saturating_sub(most + LOOK_BYTES),
        };
        self.replace(regex, known, out);
        self.release(known, out);
    }

    /// Replaces the matches that begin before an index.
    fn replace(&mut self, regex: &regex::bytes::Regex, before: usize, out: &mut Vec<u8>) {
        while let Some(found) = regex.find_at(&self.text, self.from).map(|found| found.range()) {
            if found.start >= before {
                return;
            }
            self.release(found.start, out);
            out.extend_from_slice(REDACTED.as_bytes());
            self.from = found.end;
        }
    }

    /// Applies the patterns of keys, whose matches lie in one word. From a word that is too long to be held back,
    /// everything after the beginning of a key is removed.
    fn words(&mut self, regex: &regex::bytes::Regex, is_last: bool, out: &mut Vec<u8>) {
        if self.is_dropping {
            let rest = self.text.get(self.from..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| !is_of_word(*byte)) else {
                self.from = self.text.len();
                return;
            };
            self.from += end;
            self.is_dropping = false;
        }
        let held = self.text.get(self.from..).unwrap_or_default();
        let word = if is_last { 0 } else { held.iter().rev().take_while(|byte| is_of_word(**byte)).count() };
        let known = self.text.len() - word;
        self.replace(regex, known, out);
        self.release(known, out);
        if self.text.len() - self.from <= REDACT_BUFFER_BYTES_MAX {
            return;
        }
        self.replace(regex, self.text.len(), out);
        // A key that reaches the end of the held text may continue.
        self.is_dropping = self.from == self.text.len();
        self.release(self.text.len().saturating_sub(KEY_START_BYTES), out);
    }

    /// Removes blocks up to their last line, or else to the end of the text.
    fn blocks(
        &mut self,
        begin: &regex::bytes::Regex,
        end: &regex::bytes::Regex,
        is_last: bool,
        out: &mut Vec<u8>,
    ) {
        loop {
            let line = if self.is_dropping { end } else { begin };
            let Some(found) = line.find_at(&self.text, self.from).map(|found| found.range()) else { break };
            if self.is_dropping {
                self.from = found.end;
            } else {
                self.release(found.start, out);
                out.extend_from_slice(REDACTED.as_bytes());
                self.from = found.end;
            }
            self.is_dropping = !self.is_dropping;
        }
        let known = if is_last { self.text.len() } else { self.begun_line() };
        match self.is_dropping {
            true => self.from = self.from.max(known),
            false => self.release(known, out),
        }
    }

    /// Returns the index from which the text may be the beginning of the awaited line.
    fn begun_line(&self) -> usize {
        let start = if self.is_dropping { PEM_END } else { PEM_BEGIN };
        let is_label = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'-');
        let may_begin = |at: &usize| {
            let text = self.text.get(*at..).unwrap_or_default();
            start.starts_with(text) || text.strip_prefix(start).is_some_and(|rest| rest.iter().all(is_label))
        };
        let first = self.from.max(self.text.len().saturating_sub(PEM_LINE_BYTES_MAX));
        (first..self.text.len()).find(may_begin).unwrap_or(self.text.len())
    }
}

/// Whether a key of a known form may contain this byte.
const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secrets::redact::tests::redactor;

    /// Redacts a text that arrives in the given pieces.
    fn in_pieces(redactor: &Redactor, pieces: impl IntoIterator<Item = String>) -> String {
        let mut held = StreamRedactor::default();
        let mut out: String = pieces.into_iter().map(|piece| held.push(redactor, &piece)).collect();
        out += &held.finish(redactor);
        assert!(held.is_empty());
        out
    }

    /// Values that are part of one another; patterns with blanks, at word and line borders, and across characters; and
    /// all the known forms.
    fn filters() -> Vec<Redactor> {
        let patterns = r#"patterns = ['(?:[0-9]{4} ){3}[0-9]{4}', '\bab{1,3}\b', '(?m)^x.y$', '(?i)пар.{0,3}ь', '[0-9]{3}-?[0-9]{2}', '(?-u:\xd0)']"#;
        vec![
            redactor(&["hunter2hunter2", "ter2hunt"], ""),
            redactor(&["aaaaaaab"], ""),
            redactor(&[], "builtin = true"),
            redactor(&[], patterns),
            redactor(&["4111 111", "aababbab"], &format!("builtin = true\n{patterns}")),
        ]
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        let part = prop_oneof![
            Just("4111 1111 1111 1111".to_owned()),
            Just("hunter2hunter2hunt".to_owned()),
            Just("sk-abcdefghijklmnopqrstuvwx".to_owned()),
            Just("-----BEGIN RSA PRIVATE KEY-----".to_owned()),
            Just("-----END RSA PRIVATE KEY-----".to_owned()),
            Just("-----BEGIN CERTIFICATE-----".to_owned()),
            Just("eyJhbGciOiJI.eyJzdWIiOi.dozjgNryP4".to_owned()),
            Just("AKIAIOSFODNN7EXAMPLE".to_owned()),
            Just("\nx!y\n".to_owned()),
            Just("Пароль".to_owned()),
            "[ab ]{1,9}",
            "[a-zé0-9 .-]{0,6}",
            "-{1,7}",
            "\\PC{0,4}",
        ];
        // Each part may be divided into pieces anywhere.
        let cut =
            (part, prop::collection::vec(any::<prop::sample::Index>(), 0..3)).prop_map(|(part, cuts)| {
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(part.len() + 1)).collect();
                at.iter_mut().for_each(|at| {
                    while !part.is_char_boundary(*at) {
                        *at -= 1
                    }
                });
                at.extend([0, part.len()]);
                at.sort_unstable();
                at.windows(2).map(|pair| part[pair[0]..pair[1]].to_owned()).collect::<Vec<_>>()
            });
        prop::collection::vec(cut, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// For every division of a text into pieces, the result equals that of the whole text.
        #[test]
        fn streamed_redaction_equals_whole_redaction(pieces in texts()) {
            let whole = pieces.concat();
            for redactor in filters() {
                let expected = redactor.text(&whole).unwrap_or_else(|| whole.clone());
                prop_assert_eq!(in_pieces(&redactor, pieces.clone()), expected);
            }
        }
    }

    /// A stream holds back no more than a pattern can reach.
    #[test]
    fn no_more_is_held_back_than_a_pattern_reaches() {
        let mut held = StreamRedactor::default();
        let redactor = redactor(&[], "patterns = ['[0-9]{4} [0-9]{4}']");
        let mut out = String::new();
        for piece in ["some words of text, ", "and a number: 1234", " ", "5678", "."] {
            out += &held.push(&redactor, piece);
            let all: usize = held.stages.iter().map(|stage| stage.text.len() - stage.from).sum();
            assert!(all <= 9 + LOOK_BYTES, "{all}");
        }
        assert_eq!(out + &held.finish(&redactor), "some words of text, and a number: [redacted].");
    }

    #[test]
    fn a_block_is_cut_whatever_its_length() {
        let redactor = redactor(&[], "builtin = true");
        let lines = std::iter::repeat_n("MIIE\n".to_owned(), REDACT_BUFFER_BYTES_MAX);
        let begin = ["before\n-----BEGIN PRIV", "ATE KEY-----\n"].map(str::to_owned);
        let end = ["-----END PRIVATE KEY", "-----\nafter "].map(str::to_owned);
        let out = in_pieces(&redactor, begin.into_iter().chain(lines).chain(end));
        assert_eq!(out, "before\n[redacted]\nafter ");
    }

    /// From a text that is too long to be held back, no part of a value is released, and no part of a key after its
    /// beginning.
    #[test]
    fn a_word_that_is_too_long_to_be_held_is_cut_all_the_same() {
        let redactor = redactor(&["hunter2hunter2"], "builtin = true");
        let long = "x".repeat(2 * REDACT_BUFFER_BYTES_MAX);
        let pieces = [long.clone(), "hunter2hun".into(), "ter2 after".into()];
        assert_eq!(in_pieces(&redactor, pieces), format!("{long}secret://x after"));
        let pieces = ["a sk-".to_owned(), long.clone(), long.clone(), " after".into()];
        assert_eq!(in_pieces(&redactor, pieces), "a [redacted] after");
        let pieces = [long.clone(), "-sk-abcdefghij".into(), "klmnopqrstuvw after".into()];
        assert_eq!(in_pieces(&redactor, pieces), format!("{long}-[redacted] after"));
    }

    /// Text in a script without spaces is released as it arrives.
    #[test]
    fn a_text_without_spaces_is_not_held_back() {
        let (redactor, mut pieces) = (redactor(&[], "builtin = true"), StreamRedactor::default());
        assert_eq!(pieces.push(&redactor, "\u{4f60}\u{597d}"), "\u{4f60}\u{597d}");
        assert_eq!(pieces.push(&redactor, "\u{4f60}sk-abcdefghij"), "\u{4f60}");
        assert_eq!(pieces.push(&redactor, "klmnopqrstuvwx\u{597d}"), "[redacted]\u{597d}");
    }
}
