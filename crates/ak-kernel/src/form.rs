//! Requests in their wire form: `{"op", "args"}`.

use alloc::{format, vec::Vec};

use ak_heap::{Content, Handle};
use ak_json::{Object, Text, Value, object};
use ak_policy::budget::Dimension;

use crate::{
    batch::Part,
    fields::{FieldError, Fields, base64url},
    history::Filter,
    operation::Operation,
    policy_files::PolicyFiles,
    price::Price,
    request::{FILE_BYTES_MAX, HTTP_TIMEOUT_MS, HttpRequest, RESPONSE_BYTES_MAX, Request},
    terms::{Terms, capability_field, capability_text},
};

impl Request {
    /// The `args` of the wire form.
    pub fn args(&self) -> Value {
        match self {
            Self::Alloc { type_name, content, subject } => {
                let mut args = content_members(content);
                args.insert("type", type_name.clone());
                insert_some(&mut args, "subject", subject.clone());
                args.into()
            }
            Self::Read { handle, version } => {
                let mut args = handle_members(*handle, None);
                insert_some(&mut args, "version", *version);
                args.into()
            }
            Self::Stat { handle } => handle_members(*handle, None).into(),
            Self::Write { handle, patch, expected_version } => {
                let mut args = handle_members(*handle, *expected_version);
                args.insert("patch", patch.clone());
                args.into()
            }
            Self::Delete { handle, expected_version } => handle_members(*handle, *expected_version).into(),
            Self::Query { form } => form.clone().into(),
            Self::Batch { parts } => {
                object! { "ops": parts.iter().map(Part::to_value).collect::<Vec<Value>>() }
            }
            Self::TypeRegister { name, schema } => object! { "name": name.clone(), "schema": schema.clone() },
            Self::TypeUnregister { name } => object! { "name": name.clone() },
            Self::Call { tool, args } => object! { "tool": tool.clone(), "args": args.clone() },
            Self::Inference { request, stream, price } => {
                let mut args = Object::new();
                args.insert("request", request.clone());
                args.insert("stream", *stream);
                insert_some(&mut args, "price", price.as_ref().map(Price::to_value));
                args.into()
            }
            Self::LastError | Self::Commit | Self::ToolList | Self::SessionClose => Object::new().into(),
            Self::AuditVerify { key, anchor } => {
                let mut args = Object::new();
                insert_some(&mut args, "key", key.clone());
                insert_some(&mut args, "anchor", anchor.clone());
                args.into()
            }
            Self::AuditProof { seq } => object! { "seq": *seq },
            Self::Erase { subject } => object! { "subject": subject.clone() },
            Self::Authorize { operation, target, args } => {
                let mut members = Object::new();
                members.insert("operation", operation.clone());
                members.insert("target", target.clone());
                insert_some(&mut members, "args", args.clone());
                members.into()
            }
            Self::FsRead { path, bytes_max } => object! { "path": path.clone(), "max": *bytes_max },
            Self::FsWrite { path, data } => object! { "path": path.clone(), "data": base64url(data) },
            Self::FsList { path } | Self::FsStat { path } | Self::FsDelete { path } => {
                object! { "path": path.clone() }
            }
            Self::Http(request) => request.to_value(),
            Self::PolicyLoad { text, base_dir, files } => {
                let mut args = Object::new();
                args.insert("text", text.clone());
                insert_some(&mut args, "base_dir", base_dir.clone());
                files.insert_into(&mut args);
                args.into()
            }
            Self::BudgetSet { dimension, limit, agent } => {
                let mut args = Object::new();
                args.insert("kind", dimension.as_str());
                insert_some(&mut args, "limit", *limit);
                insert_some(&mut args, "agent", agent.clone());
                args.into()
            }
            Self::BudgetStatus { dimension, agent } => {
                let mut args = Object::new();
                insert_some(&mut args, "kind", dimension.map(Dimension::as_str));
                insert_some(&mut args, "agent", agent.clone());
                args.into()
            }
            Self::CapGrant { agent, terms } => {
                let mut args = Object::new();
                args.insert("agent", agent.clone());
                terms.insert_into(&mut args);
                args.into()
            }
            Self::CapAttenuate { capability, terms } => {
                let mut args = Object::new();
                args.insert("capability", capability_text(*capability));
                terms.insert_into(&mut args);
                args.into()
            }
            Self::CapRevoke { capability } | Self::CapToken { capability } => {
                object! { "capability": capability_text(*capability) }
            }
            Self::AuditLog { event, details, subject } => {
                let mut args = Object::new();
                args.insert("event", event.clone());
                args.insert("details", details.clone());
                insert_some(&mut args, "subject", subject.clone());
                args.into()
            }
            Self::AuditQuery(filter) => filter.to_value(),
            Self::ToolRegister { manifest, module, env } => {
                let mut args = Object::new();
                args.insert("manifest", manifest.clone());
                args.insert("module", base64url(module));
                let env: Object = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                insert_some(&mut args, "env", Some(env).filter(|env| !env.is_empty()));
                args.into()
            }
            Self::SessionOpen { agent } => object! { "agent": agent.clone() },
        }
    }

    /// Takes a request from its wire form.
    ///
    /// # Errors
    /// [`FieldError`] names the first member that is missing, unknown or of the wrong type.
    pub fn decode(operation: Operation, args: &Value) -> Result<Request, FieldError> {
        let mut fields = Fields::new("args", args)?;
        let request = match operation {
            Operation::Alloc => Self::Alloc {
                type_name: fields.text("type")?,
                content: content_field(&mut fields, args)?,
                subject: fields.optional_text("subject")?,
            },
            Operation::Read => {
                Self::Read { handle: handle_field(&mut fields)?, version: fields.optional_u64("version")? }
            }
            Operation::Stat => Self::Stat { handle: handle_field(&mut fields)? },
            Operation::Write => Self::Write {
                handle: handle_field(&mut fields)?,
                patch: fields.value("patch")?,
                expected_version: fields.optional_u64("expected_version")?,
            },
            Operation::Delete => Self::Delete {
                handle: handle_field(&mut fields)?,
                expected_version: fields.optional_u64("expected_version")?,
            },
            Operation::Query => Self::Query { form: fields.rest() },
            Operation::Batch => Self::Batch { parts: Part::list(&fields.value("ops")?)? },
            Operation::TypeRegister => {
                Self::TypeRegister { name: fields.text("name")?, schema: fields.value("schema")? }
            }
            Operation::TypeUnregister => Self::TypeUnregister { name: fields.text("name")? },
            Operation::Call => Self::Call { tool: fields.text("tool")?, args: fields.value("args")? },
            Operation::Inference => Self::Inference {
                request: fields.value("request")?,
                stream: fields.flag("stream")?,
                price: fields.optional("price").as_ref().map(Price::from_value).transpose()?,
            },
            Operation::LastError => Self::LastError,
            Operation::Authorize => Self::Authorize {
                operation: fields.text("operation")?,
                target: fields.text("target")?,
                args: fields.member("args"),
            },
            Operation::FsRead => Self::FsRead {
                path: fields.text("path")?,
                bytes_max: fields.optional_u64("max")?.unwrap_or(FILE_BYTES_MAX),
            },
            Operation::FsWrite => Self::FsWrite { path: fields.text("path")?, data: fields.bytes("data")? },
            Operation::FsList => Self::FsList { path: fields.text("path")? },
            Operation::FsStat => Self::FsStat { path: fields.text("path")? },
            Operation::FsDelete => Self::FsDelete { path: fields.text("path")? },
            Operation::Http => Self::Http(HttpRequest::from_fields(&mut fields)?),
            Operation::PolicyLoad => Self::PolicyLoad {
                text: fields.text("text")?,
                base_dir: fields.optional_text("base_dir")?,
                files: PolicyFiles::from_fields(&mut fields)?,
            },
            Operation::BudgetSet => Self::BudgetSet {
                dimension: dimension_field(&mut fields)?.ok_or_else(|| fields.error("kind", "is missing"))?,
                limit: fields.optional_u64("limit")?,
                agent: fields.optional_text("agent")?,
            },
            Operation::BudgetStatus => Self::BudgetStatus {
                dimension: dimension_field(&mut fields)?,
                agent: fields.optional_text("agent")?,
            },
            Operation::CapGrant => {
                Self::CapGrant { agent: fields.text("agent")?, terms: Terms::from_fields(&mut fields)? }
            }
            Operation::CapAttenuate => Self::CapAttenuate {
                capability: capability_field(&mut fields)?,
                terms: Terms::from_fields(&mut fields)?,
            },
            Operation::CapRevoke => Self::CapRevoke { capability: capability_field(&mut fields)? },
            Operation::CapToken => Self::CapToken { capability: capability_field(&mut fields)? },
            Operation::AuditLog => Self::AuditLog {
                event: fields.text("event")?,
                details: fields.member("details").unwrap_or_else(|| Object::new().into()),
                subject: fields.optional_text("subject")?,
            },
            Operation::AuditQuery => Self::AuditQuery(Filter::from_fields(&mut fields)?),
            Operation::AuditVerify => Self::AuditVerify {
                key: fields.optional_text("key")?,
                anchor: fields.optional_text("anchor")?,
            },
            Operation::Commit => Self::Commit,
            Operation::AuditErase => Self::Erase { subject: fields.text("subject")? },
            Operation::AuditProof => Self::AuditProof { seq: fields.u64("seq")? },
            Operation::ToolRegister => Self::ToolRegister {
                manifest: fields.value("manifest")?,
                module: fields.bytes("module")?,
                env: env_field(&mut fields)?,
            },
            Operation::ToolList => Self::ToolList,
            Operation::SessionOpen => Self::SessionOpen { agent: fields.text("agent")? },
            Operation::SessionClose => Self::SessionClose,
            Operation::Genesis
            | Operation::Tick
            | Operation::Snapshot
            | Operation::Throttled
            | Operation::Upgrade
            | Operation::ClockStep => {
                return Err(FieldError::new("op", "only the kernel writes such entries"));
            }
        };
        fields.finish()?;
        Ok(request)
    }
}

impl HttpRequest {
    pub(crate) fn to_value(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| {
                Value::from(Vec::from([Value::from(name.clone()), Value::from(value.clone())]))
            })
            .collect();
        let mut args = Object::new();
        args.insert("method", self.method.clone());
        args.insert("url", self.url.clone());
        args.insert("headers", headers);
        insert_some(&mut args, "body", self.body.as_deref().map(base64url));
        args.insert("max", self.response_bytes_max);
        args.insert("timeout_ms", self.timeout_ms);
        args.into()
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<HttpRequest, FieldError> {
        Ok(HttpRequest {
            method: fields.text("method")?,
            url: fields.text("url")?,
            headers: headers_field(fields)?,
            body: fields.optional_bytes("body")?,
            response_bytes_max: fields.optional_u64("max")?.unwrap_or(RESPONSE_BYTES_MAX),
            timeout_ms: fields.optional_u64("timeout_ms")?.unwrap_or(HTTP_TIMEOUT_MS),
        })
    }
}

/// Headers: an object, or an array of `[name, value]` where a name comes twice.
pub(crate) fn headers_field(fields: &mut Fields<'_>) -> Result<Vec<(Text, Text)>, FieldError> {
    let wrong = || FieldError::new("args.headers", "expected names and values that are strings");
    let pair = |name: &Value, value: &Value| match (name, value) {
        (Value::String(name), Value::String(value)) => Ok((name.clone(), value.clone())),
        _ => Err(wrong()),
    };
    match fields.optional("headers") {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => {
            members.iter().map(|(name, value)| pair(&Value::from(name.clone()), value)).collect()
        }
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item.as_array() {
                Some(both) if both.len() == 2 => match (both.get(0), both.get(1)) {
                    (Some(name), Some(value)) => pair(name, value),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

pub(crate) fn insert_some<V: Into<Value>>(object: &mut Object, name: &str, value: Option<V>) {
    if let Some(value) = value {
        object.insert(name, value);
    }
}

/// Content in its wire form: a JSON object under `value`, bytes under `bytes`.
pub(crate) fn content_members(content: &Content) -> Object {
    let mut members = Object::new();
    match content {
        Content::Json(value) => members.insert("value", value.clone()),
        Content::Raw(bytes) => members.insert("bytes", base64url(bytes)),
    };
    members
}

pub(crate) fn content_field(fields: &mut Fields<'_>, object: &Value) -> Result<Content, FieldError> {
    match object.get("value") {
        Some(_) => Ok(Content::Json(fields.value("value")?)),
        None => Ok(Content::Raw(fields.bytes("bytes")?)),
    }
}

fn handle_members(handle: Handle, expected_version: Option<u64>) -> Object {
    let mut args = Object::new();
    args.insert("handle", format!("{handle}"));
    insert_some(&mut args, "expected_version", expected_version);
    args
}

pub(crate) fn handle_field(fields: &mut Fields<'_>) -> Result<Handle, FieldError> {
    let text = fields.text("handle")?;
    text.parse().map_err(|_| fields.error("handle", "expected a handle such as 0x100000000"))
}

pub(crate) fn env_field(fields: &mut Fields<'_>) -> Result<Vec<(Text, Text)>, FieldError> {
    let wrong = || FieldError::new("args.env", "expected names and values that are strings");
    match fields.optional("env") {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => {
            let pairs = members.iter().map(|(name, value)| Some((name.clone(), value.as_text()?.clone())));
            pairs.collect::<Option<_>>().ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

fn dimension_field(fields: &mut Fields<'_>) -> Result<Option<Dimension>, FieldError> {
    match fields.optional_text("kind")? {
        None => Ok(None),
        Some(name) => match Dimension::from_name(&name) {
            Some(dimension) => Ok(Some(dimension)),
            None => Err(fields.error("kind", format!("no budget is called '{}'", &*name))),
        },
    }
}
