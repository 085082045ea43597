//! Inserts secrets into requests after the decision.
//!
//! An agent writes `secret://github` where it wants the value of the secret. The kernel decides on and records the
//! request with the name. The host replaces the name by the value only in the bytes that are sent to a destination to
//! which the operator bound the secret.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use ak_json::{Text, object};
use ak_policy::{Action, CanonicalUrl, Policy, PolicyDecision, Query, Target};
use zeroize::Zeroizing;

use crate::{
    config::{
        pattern::Pattern,
        tables::{SecretPlacement, SecretTable},
    },
    secrets::redact::Redactor,
    secrets::value::SecretValue,
};

/// The prefix of a secret's name in a request.
const SCHEME: &str = "secret://";
/// Why a request that names a secret is not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no secret {0:?}")]
    Unknown(String),
    #[error("the secret {0:?} is not bound to this destination")]
    Destination(String),
    #[error("the secret {0:?} may not stand in {1}")]
    Placement(String, String),
}

/// A secret with the destinations and places to which it is bound.
#[derive(Debug)]
struct BoundSecret {
    name: String,
    value: SecretValue,
    /// A policy that permits exactly the URLs to which the secret may be sent.
    to: Policy,
    placements: Vec<SecretPlacement>,
}

/// All secrets that the host knows.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    bound: Vec<BoundSecret>,
    /// The values to remove from completions, each with the label that replaces it.
    values: Vec<(String, SecretValue)>,
}

impl Secrets {
    /// Reads the secrets of the `[secret.NAME]` tables. Relative paths are relative to `directory`.
    ///
    /// # Errors
    /// Names the table and what is wrong with it, without a secret's value.
    pub(crate) fn new(tables: BTreeMap<String, SecretTable>, directory: &Path) -> Result<Secrets, String> {
        let mut secrets = Secrets::default();
        for (name, table) in tables {
            secrets.add(&name, table, directory).map_err(|error| format!("[secret.{name}]: {error}"))?;
        }
        Ok(secrets)
    }

    /// Adds a secret that requests may name.
    fn add(&mut self, name: &str, table: SecretTable, directory: &Path) -> Result<(), String> {
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err("a secret's name is made of a to z, 0 to 9, '-' and '_'".into());
        }
        let rule = object! {
            "effect": "permit", "operation": "http.get",
            "target": table.to.iter().map(|to| Text::from(to.as_str()).into()).collect::<Vec<ak_json::Value>>(),
        };
        let profiles = Vec::<ak_json::Value>::new();
        let text = object! { "profiles": profiles, "rule": vec![rule] };
        let to = match table.to.is_empty() {
            true => Policy::deny_all(),
            false => {
                Policy::parse(&text.to_json(), None).map_err(|error| format!("to: {}", error.message))?
            }
        };
        let value = SecretValue::new(table.from.read(directory)?)?;
        self.values.push((format!("{SCHEME}{name}"), value.clone()));
        self.bound.push(BoundSecret { name: name.into(), value, to, placements: table.r#in });
        Ok(())
    }

    /// Adds the key of a server. Completions have it replaced by `label`, unless it is shorter than
    /// [`SECRET_BYTES_MIN`](crate::secrets::value::SECRET_BYTES_MIN): local servers accept any key, and removing a
    /// short one would remove ordinary text.
    ///
    /// # Errors
    /// When it contains a control character, which no header may contain.
    pub(crate) fn add_key(&mut self, label: String, key: Zeroizing<String>) -> Result<SecretValue, String> {
        let key = SecretValue::new_key(key)?;
        if !key.is_short() {
            self.values.push((label, key.clone()));
        }
        Ok(key)
    }

    /// Returns a redactor that removes these values, and text that matches `patterns`.
    pub(crate) fn redactor(&self, patterns: Vec<Pattern>) -> Redactor {
        Redactor::new(&self.values, patterns)
    }

    /// Returns headers and body with the names of secrets replaced by their values.
    ///
    /// # Errors
    /// When a header names an unknown secret, the URL names any secret, or a secret is not bound to this destination or
    /// this place.
    pub(crate) fn substitute<'r>(
        &self,
        url: &CanonicalUrl,
        headers: &'r [(Text, Text)],
        body: Option<&'r [u8]>,
    ) -> Result<SubstitutedRequest<'r>, SecretError> {
        let plain = url.as_str().replace("%2F", "/").replace("%3A", ":");
        if let Some((_, rest)) = plain.split_once(SCHEME) {
            return Err(SecretError::Placement(leading_name(rest.as_bytes()), "the url".into()));
        }
        let mut filled = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            filled.push((name, self.header(url, name, value)?));
        }
        let body = body.map(|body| self.body(url, body)).transpose()?;
        Ok(SubstitutedRequest { headers: filled, body })
    }

    fn header<'r>(
        &self,
        url: &CanonicalUrl,
        name: &str,
        value: &'r Text,
    ) -> Result<Cow<'r, str>, SecretError> {
        if !value.contains(SCHEME) {
            return Ok(Cow::Borrowed(value));
        }
        let mut pieces = value.split(SCHEME);
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let secret = leading_name(piece.as_bytes());
            let bound = self.find(&secret).ok_or_else(|| SecretError::Unknown(secret.clone()))?;
            let belongs = |place: &SecretPlacement| matches!(place, SecretPlacement::Header(at) if at.as_str().eq_ignore_ascii_case(name));
            bound.check(url, belongs, || format!("the header {name}"))?;
            text.push_str(bound.value.expose());
            text.push_str(piece.get(secret.len()..).unwrap_or_default());
        }
        Ok(Cow::Owned(text))
    }

    /// Replaces names of secrets in a body. Names of unknown secrets stay, since the body may be a text about them.
    fn body<'r>(&self, url: &CanonicalUrl, body: &'r [u8]) -> Result<Cow<'r, [u8]>, SecretError> {
        let mut filled = Vec::new();
        let mut rest = body;
        while let Some(at) = rest.windows(SCHEME.len()).position(|window| window == SCHEME.as_bytes()) {
            let (before, after) = rest.split_at(at + SCHEME.len());
            let secret = leading_name(after);
            rest = match self.find(&secret) {
                None => {
                    filled.extend_from_slice(before);
                    after
                }
                Some(bound) => {
                    bound.check(url, |place| *place == SecretPlacement::Body, || "the body".into())?;
                    filled.extend_from_slice(before.get(..at).unwrap_or_default());
                    filled.extend_from_slice(bound.value.expose().as_bytes());
                    after.get(secret.len()..).unwrap_or_default()
                }
            };
        }
        if filled.is_empty() {
            return Ok(Cow::Borrowed(body));
        }
        filled.extend_from_slice(rest);
        Ok(Cow::Owned(filled))
    }

    fn find(&self, name: &str) -> Option<&BoundSecret> {
        self.bound.iter().find(|bound| bound.name == name)
    }
}

/// Headers and body of a request with secrets: never displayed, never kept.
pub(crate) struct SubstitutedRequest<'r> {
    pub(crate) headers: Vec<(&'r Text, Cow<'r, str>)>,
    pub(crate) body: Option<Cow<'r, [u8]>>,
}

impl SubstitutedRequest<'_> {
    /// Whether the request contains the value of a secret.
    pub(crate) fn holds_secret(&self) -> bool {
        let is_filled = |(_, value): &(&Text, Cow<'_, str>)| matches!(value, Cow::Owned(_));
        self.headers.iter().any(is_filled) || matches!(self.body, Some(Cow::Owned(_)))
    }
}

impl BoundSecret {
    fn check(
        &self,
        url: &CanonicalUrl,
        belongs: impl Fn(&SecretPlacement) -> bool,
        place: impl FnOnce() -> String,
    ) -> Result<(), SecretError> {
        if !self.placements.iter().any(belongs) {
            return Err(SecretError::Placement(self.name.clone(), place()));
        }
        let target = Target::Url(url.clone());
        match self.to.decide(&Query::new("main", Action::HttpGet, &target)).decision {
            PolicyDecision::Permit => Ok(()),
            PolicyDecision::Ask
            | PolicyDecision::Forbid
            | PolicyDecision::DefaultDeny
            | PolicyDecision::Expired
            | PolicyDecision::RateLimited { .. } => Err(SecretError::Destination(self.name.clone())),
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

/// Returns the longest secret name at the beginning of `text`.
fn leading_name(text: &[u8]) -> String {
    text.iter().copied().take_while(|byte| is_name_byte(*byte)).map(char::from).collect()
}
