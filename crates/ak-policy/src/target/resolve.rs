//! Resolves an operation and a target, given as texts, to an action and a canonical target.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::{Target, TargetError};
use crate::action::{Action, TargetKind};

impl Target {
    /// Reads an operation and a target as people write them.
    ///
    /// The operation is a canonical text (`fs.read`, `http.get`), or a bare or upper-case name (`read`,
    /// `WRITE`, `http`, `FS_READ`), which the target resolves: `/…` is a file, `0x…` a heap object,
    /// `http://…` and `https://…` a URL. A URL may follow its method (`POST https://…`); without one,
    /// `http` means GET. Where the operation fixes the kind of target, its prefix (`tool:`, `model:`, …) may
    /// be left out.
    ///
    /// # Errors
    /// [`TargetError`] when the operation is unknown, or the target has no canonical form or is of another
    /// kind.
    ///
    /// # Example
    /// ```
    /// use ak_policy::{Action, Target};
    /// let (action, target) = Target::resolve("READ", "/app/../etc/passwd")?;
    /// assert_eq!((action, target.to_string()), (Action::FsRead, "/etc/passwd".into()));
    /// # Ok::<(), ak_policy::TargetError>(())
    /// ```
    pub fn resolve(operation: &str, target: &str) -> Result<(Action, Target), TargetError> {
        let (method, target) = split_method(target);
        let action = resolve_action(operation, method, target)?;
        Ok((action, Self::parse(action.kind(), target)?))
    }

    /// Whether an operation, as [`resolve`](Self::resolve) reads it, exists, whatever its target.
    ///
    /// # Example
    /// ```
    /// use ak_policy::Target;
    /// assert!(Target::knows_operation("READ") && Target::knows_operation("fs_read"));
    /// assert!(!Target::knows_operation("wirte"));
    /// ```
    pub fn knows_operation(operation: &str) -> bool {
        resolve_action(operation, None, "") != Err(TargetError::Operation)
    }

    /// Reads a target of a known kind, with or without the prefix that names the kind.
    ///
    /// # Errors
    /// [`TargetError`] when the text has no canonical form or its prefix names another kind.
    pub fn parse(kind: TargetKind, text: &str) -> Result<Target, TargetError> {
        let (prefix, rest) = split_prefix(text);
        let name = |own: &str| match prefix {
            Some(prefix) if prefix != own => Err(TargetError::Kind),
            Some(_) | None => Ok(rest),
        };
        match kind {
            TargetKind::Path => Self::path(text),
            TargetKind::Url => Self::url(text),
            TargetKind::Host => Self::host(name("dns")?),
            TargetKind::Endpoint => endpoint(prefix, rest),
            TargetKind::Tool => Self::tool(name("tool")?),
            TargetKind::Model => Self::model(name("model")?),
            TargetKind::Agent => Self::agent(name("agent")?),
            TargetKind::Heap => heap(name("heap")?),
            TargetKind::Type => Self::type_name(name("type")?),
            TargetKind::Audit => Self::audit(name("audit")?),
        }
    }
}

/// The prefixes that name a kind of target.
const PREFIXES: [&str; 8] = ["dns", "ip", "tool", "model", "agent", "heap", "type", "audit"];

fn split_prefix(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((prefix, rest)) if PREFIXES.contains(&prefix) => (Some(prefix), rest),
        _ => (None, text),
    }
}

fn split_method(target: &str) -> (Option<Action>, &str) {
    match target.split_once(' ') {
        Some((method, url)) if url.contains("://") => match Action::from_method(method) {
            Some(action) => (Some(action), url),
            None => (None, target),
        },
        _ => (None, target),
    }
}

/// The operations that the target's form decides.
const VERBS: [&str; 11] =
    ["read", "stat", "write", "delete", "list", "get", "head", "post", "put", "patch", "options"];

fn resolve_action(operation: &str, method: Option<Action>, target: &str) -> Result<Action, TargetError> {
    let name = canonical_name(operation);
    let kind = TargetForm::of(target);
    let action = match (name.as_str(), kind) {
        ("read" | "stat", TargetForm::Path) => Action::FsRead,
        ("read" | "stat", TargetForm::Heap) => Action::HeapRead,
        ("read", TargetForm::Url) => Action::HttpGet,
        ("write", TargetForm::Path) => Action::FsWrite,
        ("write", TargetForm::Heap) => Action::HeapWrite,
        ("delete", TargetForm::Path) => Action::FsDelete,
        ("delete", TargetForm::Heap) => Action::HeapDelete,
        ("delete", TargetForm::Url) => Action::HttpDelete,
        ("list", TargetForm::Path) => Action::FsList,
        ("alloc", _) => Action::HeapAlloc,
        ("query", _) => Action::HeapQuery,
        ("http", _) => method.unwrap_or(Action::HttpGet),
        ("get" | "head" | "post" | "put" | "patch" | "options", TargetForm::Url) => {
            Action::from_method(&name.to_ascii_uppercase()).ok_or(TargetError::Operation)?
        }
        ("call" | "tool", _) => Action::Execute,
        ("inference", _) => Action::Infer,
        (verb, _) if VERBS.contains(&verb) => return Err(TargetError::Form),
        (canonical, _) => Action::from_name(canonical).ok_or(TargetError::Operation)?,
    };
    // A method before the URL must agree with the operation.
    if method.is_some_and(|method| method != action) { Err(TargetError::Kind) } else { Ok(action) }
}

/// The lower-case form with dots: `FS_READ` and `Fs.Read` become `fs.read`.
fn canonical_name(operation: &str) -> String {
    let lower = operation.to_ascii_lowercase();
    match lower.split_once('_') {
        Some((family, rest)) => [family, rest].join("."),
        None => lower.to_owned(),
    }
}

/// The form of a target's text, which resolves operations that fit several kinds of target.
#[derive(Clone, Copy)]
enum TargetForm {
    Path,
    Heap,
    Url,
    Other,
}

impl TargetForm {
    fn of(target: &str) -> Self {
        let lower =
            |prefix: &str| target.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        if target.starts_with('/') {
            Self::Path
        } else if target.starts_with("0x") || target.starts_with("heap:") {
            Self::Heap
        } else if lower("http://") || lower("https://") {
            Self::Url
        } else {
            Self::Other
        }
    }
}

fn endpoint(prefix: Option<&str>, text: &str) -> Result<Target, TargetError> {
    let target = Target::endpoint(text)?;
    match (prefix, &target) {
        (None, _) | (Some("dns"), Target::HostPort(..)) | (Some("ip"), Target::Addr(..)) => Ok(target),
        (Some(_), _) => Err(TargetError::Kind),
    }
}

/// Reads `0x` and up to 16 hexadecimal digits.
fn heap(text: &str) -> Result<Target, TargetError> {
    let digits = text.strip_prefix("0x").ok_or(TargetError::Handle)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && (1..=16).contains(&digits.len());
    let handle = u64::from_str_radix(digits, 16).ok().filter(|_| plain);
    handle.map(Target::Heap).ok_or(TargetError::Handle)
}
