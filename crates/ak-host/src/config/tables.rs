//! The tables of the host configuration as written in TOML.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use ak_policy::CanonicalUrl;
use hyper::header::HeaderName;
use serde::Deserialize;

use crate::config::{
    pattern::Pattern,
    price::PriceTable,
    source::{Source, Url},
};

/// All tables of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tables {
    pub(crate) protect: Vec<PathBuf>,
    pub(crate) dns: DnsTable,
    pub(crate) http: HttpTable,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secret: BTreeMap<String, SecretTable>,
    pub(crate) model: Vec<ModelTable>,
    pub(crate) redact: RedactTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DnsTable {
    pub(crate) servers: Vec<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpTable {
    pub(crate) proxy: Option<Url>,
    pub(crate) ca: Vec<PathBuf>,
}

/// The network configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetConfig {
    /// Name servers; the system's resolver when empty.
    pub(crate) dns_servers: Vec<SocketAddr>,
    /// An HTTP proxy that accepts CONNECT; `None` for direct connections.
    pub(crate) proxy: Option<CanonicalUrl>,
    /// PEM files of root certificates that are trusted in addition to the public ones.
    pub(crate) ca: Vec<PathBuf>,
}

/// A table `[secret.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretTable {
    pub(crate) from: Source,
    pub(crate) to: Vec<String>,
    pub(crate) r#in: Vec<SecretPlacement>,
}

/// A place in a request where a secret may be inserted.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum SecretPlacement {
    Header(HeaderName),
    Body,
}

impl TryFrom<String> for SecretPlacement {
    type Error = &'static str;

    fn try_from(text: String) -> Result<SecretPlacement, &'static str> {
        let expected = "expected header:NAME or body";
        match text.split_once(':') {
            Some(("header", name)) => {
                HeaderName::from_bytes(name.as_bytes()).map(SecretPlacement::Header).map_err(|_| expected)
            }
            None if text == "body" => Ok(SecretPlacement::Body),
            _ => Err(expected),
        }
    }
}

/// A table `[[model]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    pub(crate) r#match: Patterns,
    pub(crate) url: Url,
    #[serde(default)]
    pub(crate) format: ApiFormat,
    pub(crate) key: Option<Source>,
    pub(crate) name: Option<String>,
    pub(crate) limit_name: Option<LimitName>,
    pub(crate) proxy: Option<bool>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) stream_options: Option<bool>,
    pub(crate) price: Option<PriceTable>,
}

/// The member in which a server of chat completions accepts the limit on an answer's tokens.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitName {
    MaxTokens,
    MaxCompletionTokens,
}

impl LimitName {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a pattern or an array of patterns")]
pub(crate) enum Patterns {
    One(String),
    Many(Vec<String>),
}

/// The format of a server's API.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum ApiFormat {
    /// OpenAI chat completions, which local servers offer too.
    #[default]
    #[serde(rename = "openai")]
    Chat,
    /// OpenAI responses.
    #[serde(rename = "openai-responses")]
    Responses,
    /// Anthropic messages.
    #[serde(rename = "anthropic")]
    Anthropic,
}

impl ApiFormat {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic",
        }
    }
}

/// The table `[redact]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedactTable {
    /// Whether to redact keys and tokens of known forms, and PEM blocks of private keys.
    pub(crate) builtin: bool,
    /// Further regular expressions to redact.
    pub(crate) patterns: Vec<Pattern>,
}
