//! What is cut from everything that comes back: the exact values of secrets always, what looks like a key where the
//! operator says so.
//!
//! It is done before the kernel sees what came back, so that neither replies nor the log hold it.

use ak_json::{Array, Object, Text, Value};
use ak_kernel::{Code, Completion, HttpResponse};
use memchr::memmem;
use regex::bytes::Regex;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::secrets::SecretValue;

/// What stands in place of something that looked like a key.
pub const REDACTED: &str = "[redacted]";
/// Longest piece of a stream that is held back until it shows whether it is part of a key, in bytes.
pub const HELD_BYTES_MAX: usize = 16 << 10;

const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_END: &str = "-----END ";
/// A block that goes on.
const PEM_OPEN: &str = "-----BEGIN PRIVATE KEY-----";

/// Keys and tokens by the forms that their issuers gave them, so that they can be found.
const FORMS: &str = concat!(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // These begin like ordinary words, and so only where a word begins.
    r"|(?-u:\b)(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"|(?-u:\b)(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?-u:\b)",
    r"|(?-u:\b)(?:hf|gsk)_[A-Za-z0-9]{30,}|(?-u:\b)xai-[A-Za-z0-9]{40,}",
    r"|(?-u:\b)SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"|(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"|gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|gl(?:pat|ptt|rt|dt)-[A-Za-z0-9_-]{20,}",
    r"|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}",
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}",
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|dop_v1_[a-f0-9]{64}",
);

/// `[redact]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedactTable {
    /// Keys of known forms, tokens, PEM blocks of private keys.
    builtin: bool,
    /// Regular expressions besides.
    patterns: Vec<Pattern>,
}

/// A regular expression.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        match Regex::new(&text) {
            Ok(regex) if regex.is_match(b"") => Err("the pattern matches where nothing is".into()),
            Ok(regex) => Ok(Pattern(regex)),
            Err(error) => Err(error.to_string().lines().last().unwrap_or_default().to_owned()),
        }
    }
}

impl RedactTable {
    /// All that is looked for.
    ///
    /// # Errors
    /// None in practice: the forms are fixed.
    pub(crate) fn patterns(self) -> Result<Vec<Regex>, String> {
        let builtin =
            self.builtin.then(|| Regex::new(FORMS).map_err(|error| format!("[redact] builtin: {error}")));
        let own = self.patterns.into_iter().map(|pattern| Ok(pattern.0));
        builtin.into_iter().chain(own).collect()
    }
}

/// Cuts secrets out of what comes back.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// With what takes its place. The longest first: one may be part of another.
    values: Vec<(String, SecretValue)>,
    patterns: Vec<Regex>,
}

impl Filter {
    pub(crate) fn new(values: &[(String, SecretValue)], patterns: Vec<Regex>) -> Filter {
        let mut values = values.to_vec();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.expose().len()));
        Filter { values, patterns }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.values.is_empty() && self.patterns.is_empty()
    }

    /// Whether the exact value of a secret is in a text, be it percent-encoded or in another case: names of hosts and of
    /// headers lose theirs on the way.
    pub(crate) fn holds_value(&self, text: &str) -> bool {
        let plain = percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let texts = [text.to_ascii_lowercase().into_bytes(), plain.to_ascii_lowercase()];
        self.values.iter().any(|(_, value)| {
            let value = Zeroizing::new(value.expose().to_ascii_lowercase());
            texts.iter().any(|text| memmem::find(text, value.as_bytes()).is_some())
        })
    }

    /// The bytes without what must not be in them; `None` where they stay as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut cut: Option<Vec<u8>> = None;
        for (label, value) in &self.values {
            let now = cut.as_deref().unwrap_or(bytes);
            let finder = memmem::Finder::new(value.expose());
            if finder.find(now).is_none() {
                continue;
            }
            let mut out = Vec::with_capacity(now.len());
            let mut from = 0;
            for at in finder.find_iter(now) {
                out.extend_from_slice(now.get(from..at).unwrap_or_default());
                out.extend_from_slice(label.as_bytes());
                from = at + value.expose().len();
            }
            out.extend_from_slice(now.get(from..).unwrap_or_default());
            cut = Some(out);
        }
        for pattern in &self.patterns {
            let now = cut.as_deref().unwrap_or(bytes);
            if pattern.is_match(now) {
                cut = Some(pattern.replace_all(now, REDACTED.as_bytes()).into_owned());
            }
        }
        cut
    }

    pub(crate) fn text(&self, text: &str) -> Option<String> {
        self.bytes(text.as_bytes()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value with every text in it filtered, names of members too; `None` where it stays as it is.
    pub(crate) fn value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
            Value::String(text) => self.text(text).map(Value::from),
            Value::Array(array) => {
                let items: Vec<(Option<Value>, &Value)> =
                    array.iter().map(|item| (self.value(item), item)).collect();
                let changed = items.iter().any(|(cut, _)| cut.is_some());
                let items = items.into_iter().map(|(cut, item)| cut.unwrap_or_else(|| item.clone()));
                changed.then(|| Value::Array(items.collect::<Array>()))
            }
            Value::Object(object) => self.object(object).map(Value::Object),
        }
    }

    fn object(&self, object: &Object) -> Option<Object> {
        let mut changed = false;
        let mut members = Object::new();
        for (name, value) in object.iter() {
            let (name_cut, value_cut) = (self.text(name), self.value(value));
            changed |= name_cut.is_some() || value_cut.is_some();
            let name = name_cut.map_or_else(|| Text::from(&**name), Text::from);
            members.insert(name, value_cut.unwrap_or_else(|| value.clone()));
        }
        changed.then_some(members)
    }

    /// How an effect ended, without what must not be told of it.
    pub(crate) fn completion(&self, completion: Completion) -> Completion {
        if self.is_idle() {
            return completion;
        }
        let value = |value: Value| self.value(&value).unwrap_or(value);
        match completion {
            Completion::File(bytes) => Completion::File(self.bytes(&bytes).map_or(bytes, Into::into)),
            Completion::Value(told) => Completion::Value(value(told)),
            Completion::Http(HttpResponse { status, headers, body }) => {
                let name = |name: Text| if self.holds_value(&name) { Text::from(REDACTED) } else { name };
                let text = |text: Text| self.text(&text).map_or(text, Text::from);
                let headers =
                    headers.into_iter().map(|(own, value)| (name(text(own)), text(value))).collect();
                let body = self.bytes(&body).map_or(body, Into::into);
                Completion::Http(HttpResponse { status, headers, body })
            }
            Completion::Inferred { response, tokens } => {
                Completion::Inferred { response: value(response), tokens }
            }
            Completion::Failed { code: Code::ToolFail, .. } => completion,
            Completion::Failed { code, message, context, spent } => {
                let message = self.text(&message).unwrap_or(message);
                let context = self.object(&context).unwrap_or(context);
                Completion::Failed { code, message, context, spent }
            }
            // A tool makes what it gives of what it was given, which was cut before; and it is to give the same again.
            Completion::Tool { .. } | Completion::Done | Completion::Unknown => completion,
        }
    }

    /// From where on a text may be the beginning of a secret's value.
    fn begins_value(&self, text: &str) -> usize {
        let of_values = self.values.iter().filter_map(|(_, value)| {
            let value = value.expose().as_bytes();
            let most = value.len().saturating_sub(1).min(text.len());
            let starts =
                |length: &usize| value.get(..*length).is_some_and(|start| text.as_bytes().ends_with(start));
            (1..=most).rev().find(starts)
        });
        text.len() - of_values.max().unwrap_or(0)
    }

    /// From where on a text may be the beginning of what must be cut.
    fn undecided(&self, text: &str) -> usize {
        let mut from = self.begins_value(text);
        if !self.patterns.is_empty() {
            // Keys of known forms are words of ASCII: a text in a script without spaces need not wait for one.
            let is_own = |pattern: &Regex| pattern.as_str() != FORMS;
            let ends = match self.patterns.iter().any(is_own) {
                true => char::is_whitespace,
                false => |c: char| !c.is_ascii_graphic(),
            };
            let before = text.char_indices().rev().find(|(_, c)| ends(*c));
            let word = before.map_or(0, |(at, c)| at + c.len_utf8());
            from = from.min(word).min(open_block(text).unwrap_or(from));
        }
        self.before_what_is_cut(text, from)
    }

    /// A place to cut a text, moved so that nothing lies on both sides that must be cut: it belongs to the far one.
    fn before_what_is_cut(&self, text: &str, mut from: usize) -> usize {
        let values = self.values.iter().flat_map(|(_, value)| {
            let length = value.expose().len();
            memmem::find_iter(text.as_bytes(), value.expose())
                .map(move |at| (at, at + length))
                .collect::<Vec<_>>()
        });
        let patterns = self.patterns.iter().flat_map(|pattern| pattern.find_iter(text.as_bytes()));
        let mut found: Vec<(usize, usize)> =
            values.chain(patterns.map(|found| (found.start(), found.end()))).collect();
        found.sort_unstable();
        for (start, end) in found.into_iter().rev() {
            if start < from && from < end {
                from = start;
            }
        }
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        from
    }
}

/// Where a block begins that has not come to its end.
fn open_block(text: &str) -> Option<usize> {
    let at = text.rfind(PEM_BEGIN)?;
    let ended = text.get(at..)?.split_once(PEM_END).is_some_and(|(_, name)| name.contains("-----"));
    (!ended).then_some(at)
}

/// Filters a text that comes in pieces: what may be the beginning of a secret waits for the next piece.
#[derive(Debug, Default)]
pub(crate) struct Pieces(String);

impl Pieces {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a piece and gives what can be let out.
    pub(crate) fn push(&mut self, filter: &Filter, piece: &str) -> String {
        if filter.is_idle() {
            return piece.to_owned();
        }
        self.0.push_str(piece);
        let from = filter.undecided(&self.0);
        if self.0.len() - from <= HELD_BYTES_MAX {
            let out: String = self.0.drain(..from).collect();
            return filter.text(&out).unwrap_or(out);
        }
        // Too long to wait for, but for what may be the value of a secret. Of a block that is open the rest is cut as well.
        let open = !filter.patterns.is_empty() && open_block(&self.0).is_some();
        let from = filter.before_what_is_cut(&self.0, filter.begins_value(&self.0));
        let held: String = self.0.drain(..from).collect();
        if open {
            self.0.insert_str(0, PEM_OPEN);
        }
        filter.text(&held).unwrap_or(held)
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self, filter: &Filter) -> String {
        let rest = std::mem::take(&mut self.0);
        filter.text(&rest).unwrap_or(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(values: &[&str], redact: &str) -> Filter {
        let value = |text: &&str| SecretValue::new(zeroize::Zeroizing::new((*text).to_owned())).unwrap();
        let values: Vec<_> = values.iter().map(|text| ("secret://x".to_owned(), value(text))).collect();
        Filter::new(&values, toml::from_str::<RedactTable>(redact).unwrap().patterns().unwrap())
    }

    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc+/=\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn keys_of_known_forms_are_cut() {
        let filter = filter(&[], "builtin = true");
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(filter.text(text).as_deref(), expected, "{text:?}")
        };
        for key in [
            "sk-abcdefghijklmnopqrstuvwx",
            "sk-ant-api03-abcdefghijklmnopqrstuvwx",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "github_pat_11AAAAAAA0abcdefghijkl",
            "AKIAIOSFODNN7EXAMPLE",
            "gsk_abcdefghijklmnopqrstuvwxyz0123456789",
            "SG.abcdefghijklmnop.qrstuvwxyz012345",
            "xoxb-123456789012-abcdef",
            "AIzaSyA-0123456789abcdefghijklmnopqrstu",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
            PEM,
            "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nno end",
        ] {
            check(&format!("a {key}"), Some("a [redacted]"));
        }
        check("t%3Dghp_abcdefghijklmnopqrstuvwxyz0123456789", Some("t%3D[redacted]"));
        for plain in [
            "",
            "task-force",
            "sk-short",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "AKIA",
            "eyJ.a.b",
        ] {
            check(plain, None);
        }
    }

    #[test]
    fn exact_values_are_cut_everywhere() {
        let filter = filter(&["hunter2hunter2", "hunter2hunter2-and-more"], "");
        let value = ak_json::object! { "a": ak_json::array!["x hunter2hunter2-and-more y", 1], "hunter2hunter2": "b" };
        assert_eq!(filter.value(&value).unwrap().to_json(), r#"{"a":["x secret://x y",1],"secret://x":"b"}"#);
        assert_eq!(filter.value(&ak_json::object! { "a": "hunter2" }), None);
        assert_eq!(filter.bytes(b"\xff hunter2hunter2 \xff").unwrap(), b"\xff secret://x \xff");
    }

    /// However a text is cut into pieces, it comes out as if it had come whole.
    #[test]
    fn pieces_are_cut_like_the_whole() {
        let cases = [
            (filter(&["hunter2hunter2"], ""), "hunter2hunter hunter2hunter2! hunter2"),
            (filter(&["aaaaaaab"], ""), "aaaaaaaaaaaaaab aaaaaaa"),
            (
                filter(&["hunter2hunter2"], "builtin = true"),
                &format!("one sk-abcdefghijklmnopqrstuvwx two\n{PEM} é three hunter2hunter2"),
            ),
            (filter(&[], "builtin = true"), "-----BEGIN EC PRIVATE KEY-----\nabc def\nno end"),
            (filter(&[], "patterns = [\"[0-9]{4}\"]"), "pin 1234 and 12 345 é"),
            (filter(&[], "patterns = [\"пароль\\\\S+\"]"), "мой пароль:абв и всё"),
        ];
        for (filter, text) in cases {
            let whole = filter.text(text).unwrap_or_else(|| text.to_owned());
            for size in 1..=text.len() {
                let mut pieces = Pieces::default();
                let mut out = String::new();
                let mut rest = text;
                while !rest.is_empty() {
                    let mut end = size.min(rest.len());
                    while !rest.is_char_boundary(end) {
                        end += 1;
                    }
                    let (piece, after) = rest.split_at(end);
                    out += &pieces.push(&filter, piece);
                    rest = after;
                }
                out += &pieces.finish(&filter);
                assert_eq!(out, whole, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_block_that_is_too_long_to_be_held_is_cut_all_the_same() {
        let (filter, mut pieces, mut out) = (filter(&[], "builtin = true"), Pieces::default(), String::new());
        out += &pieces.push(&filter, "before\n-----BEGIN PRIVATE KEY-----\n");
        for _ in 0..HELD_BYTES_MAX {
            out += &pieces.push(&filter, "MIIE\n");
        }
        out += &pieces.push(&filter, "-----END PRIVATE KEY-----\nafter ");
        out += &pieces.finish(&filter);
        assert!(
            out.starts_with("before\n[redacted]") && out.ends_with("after ") && !out.contains("MIIE"),
            "{out}"
        );
    }

    /// What is too long to be held back lets out no part of a value.
    #[test]
    fn a_word_that_is_too_long_to_be_held_ends_before_a_secret() {
        let (filter, mut pieces) = (filter(&["hunter2hunter2"], "builtin = true"), Pieces::default());
        let mut out = pieces.push(&filter, &("x".repeat(HELD_BYTES_MAX) + "hunter2hun"));
        out += &pieces.push(&filter, "ter2 after");
        out += &pieces.finish(&filter);
        assert_eq!(out, "x".repeat(HELD_BYTES_MAX) + "secret://x after");
    }

    /// A script without spaces comes through as it comes.
    #[test]
    fn a_text_without_spaces_is_not_held_back() {
        let (filter, mut pieces) = (filter(&[], "builtin = true"), Pieces::default());
        assert_eq!(pieces.push(&filter, "\u{4f60}\u{597d}"), "\u{4f60}\u{597d}");
        assert_eq!(pieces.push(&filter, "\u{4f60}sk-abcdefghij"), "\u{4f60}");
        assert_eq!(pieces.push(&filter, "klmnopqrstuvwx\u{597d}"), "[redacted]\u{597d}");
    }

    #[test]
    fn a_value_is_found_in_other_spellings() {
        let filter = filter(&["ghp_Abc/def1"], "");
        for text in ["https://x/?t=ghp_Abc/def1", "ghp_abc%2Fdef1.example", "x-ghp_abc/def1"] {
            assert!(filter.holds_value(text), "{text}");
        }
        assert!(!filter.holds_value("ghp_Abc/def"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        assert!(toml::from_str::<RedactTable>("patterns = [\"a*\"]").is_err());
        assert!(toml::from_str::<RedactTable>("patterns = [\"(\"]").is_err());
    }
}
