//! Removes secrets from completions: the exact values always, and text that looks like keys if the operator says so.
//!
//! This happens before the kernel gets a completion, so neither replies nor the log contain a secret.

use ak_json::{Array, Object, Text, Value};
use ak_kernel::{Code, Completion, HttpResponse};
use memchr::memmem;
use regex::bytes::Regex;
use zeroize::Zeroizing;

use crate::{
    config::{
        pattern::{Pattern, Reach},
        tables::RedactTable,
    },
    secrets::redact_stream::RedactionRule,
    secrets::value::SecretValue,
};

/// The text that replaces a match of a redaction pattern.
pub const REDACTED: &str = "[redacted]";
/// Patterns for the first and the last line of the PEM block of a private key.
const PEM_BEGIN: &str = "-----BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----";
const PEM_END: &str = "-----END [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----";

/// Matches keys and tokens whose issuers gave them a recognisable form. Each match lies in one word of ASCII letters
/// and digits, `_`, `-` and `.`.
const FORMS: &str = concat!(
    // These begin like ordinary words, so they match only at the beginning of a word.
    r"(?-u:\b)(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}",
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

/// Returns the patterns whose matches are removed from completions, beside the values of secrets.
///
/// # Errors
/// None in practice: the built-in expressions are constants.
pub(crate) fn patterns(table: RedactTable) -> Result<Vec<Pattern>, String> {
    let mut patterns = Vec::new();
    if table.builtin {
        let fixed = |text: &str| Regex::new(text).map_err(|error| format!("[redact] builtin: {error}"));
        let end = fixed(PEM_END)?;
        patterns.push(Pattern { regex: fixed(PEM_BEGIN)?, reach: Reach::Block { end } });
        patterns.push(Pattern { regex: fixed(FORMS)?, reach: Reach::Word });
    }
    patterns.extend(table.patterns);
    Ok(patterns)
}

impl Pattern {
    /// Returns the text with matches replaced by [`REDACTED`]; `None` when nothing matches.
    fn cut(&self, text: &[u8]) -> Option<Vec<u8>> {
        match &self.reach {
            Reach::Bytes(_) | Reach::Word => {
                let is_there = self.regex.is_match(text);
                is_there.then(|| self.regex.replace_all(text, REDACTED.as_bytes()).into_owned())
            }
            Reach::Block { end } => {
                let (mut out, mut from) = (Vec::new(), 0);
                while let Some(begin) = self.regex.find_at(text, from) {
                    out.extend_from_slice(text.get(from..begin.start()).unwrap_or_default());
                    out.extend_from_slice(REDACTED.as_bytes());
                    from = end.find_at(text, begin.end()).map_or(text.len(), |end| end.end());
                }
                out.extend_from_slice(text.get(from..).unwrap_or_default());
                (from > 0).then_some(out)
            }
        }
    }
}

/// Replaces secrets in completions.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    /// Each value with the label that replaces it. The longest value comes first, since one may be part of another.
    values: Vec<(String, SecretValue)>,
    patterns: Vec<Pattern>,
}

impl Redactor {
    pub(crate) fn new(values: &[(String, SecretValue)], patterns: Vec<Pattern>) -> Redactor {
        let mut values = values.to_vec();
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.expose().len()));
        Redactor { values, patterns }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.values.is_empty() && self.patterns.is_empty()
    }

    /// Returns the rules in the order in which they are applied.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RedactionRule<'_>> {
        let values = self.values.iter().map(|(label, value)| RedactionRule::Value(label, value));
        values.chain(self.patterns.iter().map(RedactionRule::Pattern))
    }

    /// Whether a text contains the value of a secret, also percent-encoded or in another case: host names and header
    /// names lose their case in transit.
    pub(crate) fn holds_value(&self, text: &str) -> bool {
        let plain = percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let texts = [text.to_ascii_lowercase().into_bytes(), plain.to_ascii_lowercase()];
        self.values.iter().any(|(_, value)| {
            let value = Zeroizing::new(value.expose().to_ascii_lowercase());
            texts.iter().any(|text| memmem::find(text, value.as_bytes()).is_some())
        })
    }

    /// Returns the redacted bytes; `None` when nothing changed.
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
            cut = pattern.cut(now).or(cut);
        }
        cut
    }

    pub(crate) fn text(&self, text: &str) -> Option<String> {
        self.bytes(text.as_bytes()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the value with every text redacted, including names of members; `None` when nothing changed.
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

    /// Returns the completion, redacted.
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
            // The output of a tool stays: its input was already redacted, and a replay must give the same output.
            Completion::Tool { .. } | Completion::Done | Completion::Unknown => completion,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn redactor(values: &[&str], redact: &str) -> Redactor {
        let value = |text: &&str| SecretValue::new(zeroize::Zeroizing::new((*text).to_owned())).unwrap();
        let values: Vec<_> = values.iter().map(|text| ("secret://x".to_owned(), value(text))).collect();
        Redactor::new(&values, patterns(toml::from_str::<RedactTable>(redact).unwrap()).unwrap())
    }

    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc+/=\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn keys_of_known_forms_are_cut() {
        let redactor = redactor(&[], "builtin = true");
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(redactor.text(text).as_deref(), expected, "{text:?}")
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
        let redactor = redactor(&["hunter2hunter2", "hunter2hunter2-and-more"], "");
        let value = ak_json::object! { "a": ak_json::array!["x hunter2hunter2-and-more y", 1], "hunter2hunter2": "b" };
        assert_eq!(
            redactor.value(&value).unwrap().to_json(),
            r#"{"a":["x secret://x y",1],"secret://x":"b"}"#
        );
        assert_eq!(redactor.value(&ak_json::object! { "a": "hunter2" }), None);
        assert_eq!(redactor.bytes(b"\xff hunter2hunter2 \xff").unwrap(), b"\xff secret://x \xff");
    }

    #[test]
    fn a_value_is_found_in_other_spellings() {
        let redactor = redactor(&["ghp_Abc/def1"], "");
        for text in ["https://x/?t=ghp_Abc/def1", "ghp_abc%2Fdef1.example", "x-ghp_abc/def1"] {
            assert!(redactor.holds_value(text), "{text}");
        }
        assert!(!redactor.holds_value("ghp_Abc/def"));
    }

    #[test]
    fn a_pattern_that_cannot_be_held_back_is_refused() {
        let check = |pattern: &str, says: &str| {
            let told = toml::from_str::<RedactTable>(&format!("patterns = ['{pattern}']"));
            match told {
                Ok(_) => assert_eq!(says, "", "{pattern}"),
                Err(error) => {
                    assert!(!says.is_empty() && error.to_string().contains(says), "{pattern}: {error}")
                }
            }
        };
        check("a*", "matches the empty text");
        check("\\b", "matches the empty text");
        check("(", "unclosed group");
        check("a+", "no longest match");
        check("secret: .*", "no longest match");
        check("a{1,16384}", "");
        check("a{1,16385}", "up to 16385 bytes");
        check("é{1,8192}", "");
        check("(?:[0-9]{4} ){3}[0-9]{4}", "");
    }
}
