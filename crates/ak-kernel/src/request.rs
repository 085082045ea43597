//! What a session may ask for.

use alloc::{format, sync::Arc, vec::Vec};

use ak_heap::{BATCH_OPS_MAX, Content, Handle};
use ak_json::{Object, Text, Value};
use ak_policy::{PATH_BYTES_MAX, POLICY_BYTES_MAX, budget::Dimension, capability::CapId};
use ak_sandbox::MODULE_BYTES_MAX;

use crate::{
    batch::Part,
    code::Code,
    history::Filter,
    operation::Operation,
    policy_files::PolicyFiles,
    price::Price,
    reply::Failure,
    terms::Terms,
    toolbox::{ENV_BYTES_MAX, MANIFEST_BYTES_MAX},
};

/// A typed request. Text that arrives from outside becomes one of these at the edge or is refused there.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Create a heap object. `subject` is whom its content is about; the agent where absent.
    Alloc {
        /// The type's name, not empty.
        type_name: Text,
        /// What it holds.
        content: Content,
        /// Whose data it is, for erasure.
        subject: Option<Text>,
    },
    /// Read a heap object.
    Read {
        /// Which.
        handle: Handle,
        /// As it was at this version, as far as history is kept.
        version: Option<u64>,
    },
    /// Describe a heap object.
    Stat {
        /// Which.
        handle: Handle,
    },
    /// Patch a heap object.
    Write {
        /// Which.
        handle: Handle,
        /// An RFC 6902 patch.
        patch: Value,
        /// Refuse unless the object has this version.
        expected_version: Option<u64>,
    },
    /// Delete a heap object.
    Delete {
        /// Which.
        handle: Handle,
        /// Refuse unless the object has this version.
        expected_version: Option<u64>,
    },
    /// Search the heap.
    Query {
        /// The form that [`ak_heap::Query::parse`] reads.
        form: Object,
    },
    /// Several operations on the heap, all of them or none.
    Batch {
        /// In this order.
        parts: Vec<Part>,
    },
    /// Give a type of heap objects a schema. The reply names the patterns in it that
    /// [cannot be judged](ak_json::Schema::unjudged), if there are any, as `unjudged`: `path` and `pattern` of each.
    TypeRegister {
        /// The type's name, not empty.
        name: Text,
        /// A JSON Schema.
        schema: Value,
    },
    /// Take back a type that one registered.
    TypeUnregister {
        /// The type's name.
        name: Text,
    },
    /// Call a tool with JSON arguments.
    Call {
        /// `name` or `name@version`.
        tool: Text,
        /// The arguments.
        args: Value,
    },
    /// Ask a model.
    Inference {
        /// An OpenAI chat-completions request.
        request: Value,
        /// Whether the caller takes the answer in chunks.
        stream: bool,
        /// What the model's tokens cost: the host's to say, whoever asks.
        price: Option<Price>,
    },
    /// The session's last denial.
    LastError,
    /// Ask whether a request would pass, without making it.
    Authorize {
        /// A rule operation, or a bare name that its target resolves.
        operation: Text,
        /// The target as the caller writes it.
        target: Text,
        /// The arguments the request would carry.
        args: Option<Value>,
    },
    /// Read a file.
    FsRead {
        /// Absolute path.
        path: Text,
        /// Refuse a longer file, in bytes.
        bytes_max: u64,
    },
    /// Write a file, replacing it atomically.
    FsWrite {
        /// Absolute path.
        path: Text,
        /// The whole content.
        data: Arc<[u8]>,
    },
    /// List a directory.
    FsList {
        /// Absolute path.
        path: Text,
    },
    /// Describe a file.
    FsStat {
        /// Absolute path.
        path: Text,
    },
    /// Delete a file.
    FsDelete {
        /// Absolute path.
        path: Text,
    },
    /// Send an HTTP request.
    Http(HttpRequest),
    /// Replace the policy.
    PolicyLoad {
        /// TOML or JSON.
        text: Text,
        /// What `./…` in the text is relative to.
        base_dir: Option<Text>,
        /// The files that it was read from, and those that it includes.
        files: PolicyFiles,
    },
    /// Set a budget of `agent`, or of the session's own agent.
    BudgetSet {
        /// Of what.
        dimension: Dimension,
        /// The new limit; `None` removes it.
        limit: Option<u64>,
        /// Whose; the session's own where absent.
        agent: Option<Text>,
    },
    /// Limits and usage.
    BudgetStatus {
        /// Of what; of everything where absent.
        dimension: Option<Dimension>,
        /// Whose; the session's own where absent. Only the owner asks for others'.
        agent: Option<Text>,
    },
    /// Give an agent a capability.
    CapGrant {
        /// The agent, which is created if it is not there.
        agent: Text,
        /// What it is for; they need a name.
        terms: Terms,
    },
    /// Derive a narrower capability.
    CapAttenuate {
        /// From which.
        capability: CapId,
        /// What is added.
        terms: Terms,
    },
    /// Take a capability back, with all that was derived from it.
    CapRevoke {
        /// Which.
        capability: CapId,
    },
    /// A capability as a bearer token. The kernel tells whose it is; the host, which has the keys, adds the token.
    CapToken {
        /// Which.
        capability: CapId,
    },
    /// Write an entry of one's own.
    AuditLog {
        /// The event type; kernel names are reserved.
        event: Text,
        /// Anything.
        details: Value,
        /// Whom it is about.
        subject: Option<Text>,
    },
    /// Read entries.
    AuditQuery(Filter),
    /// Verify the whole log and re-execute it.
    AuditVerify {
        /// The key that is trusted to sign checkpoints, as text (C2SP signed-note).
        key: Option<Text>,
        /// A signed checkpoint that the caller kept.
        anchor: Option<Text>,
    },
    /// Sign a checkpoint of the log as it stands.
    Commit,
    /// Prove that an entry stands in the log.
    AuditProof {
        /// Which.
        seq: u64,
    },
    /// Erase all that is recorded about a subject.
    Erase {
        /// Its name: an agent's, or as it was given to ALLOC or AUDIT_LOG.
        subject: Text,
    },
    /// Register a tool. The reply is its `name`, `version` and `digest`, and `unjudged` as of a type's schema, with paths in
    /// the manifest.
    ToolRegister {
        /// The manifest: TOML text, or the same as an object.
        manifest: Value,
        /// The WebAssembly module.
        module: Arc<[u8]>,
        /// Variables of the environment: of these a WASI command sees the ones that its manifest lists. What an operator
        /// configures is the host's to say, whoever asks.
        env: Vec<(Text, Text)>,
    },
    /// List the registered tools.
    ToolList,
    /// Open a session for an agent, which is created if it is not there. An agent may have several. Asked by the session of
    /// guests ([`SessionId::GUESTS`](crate::SessionId::GUESTS)) it opens one for a new guest.
    SessionOpen {
        /// The agent's name.
        agent: Text,
    },
    /// End the session that asks. What its agent has stays; a guest leaves nothing behind.
    SessionClose,
}

/// An HTTP request as the agent wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method token.
    pub method: Text,
    /// Absolute `http` or `https` URL.
    pub url: Text,
    /// Name and value, in order.
    pub headers: Vec<(Text, Text)>,
    /// The body, if there is one.
    pub body: Option<Arc<[u8]>>,
    /// Refuse a longer response body, in bytes.
    pub response_bytes_max: u64,
    /// Give up after this long, in milliseconds.
    pub timeout_ms: u64,
}

impl Request {
    /// Which operation this is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Alloc { .. } => Operation::Alloc,
            Self::Read { .. } => Operation::Read,
            Self::Stat { .. } => Operation::Stat,
            Self::Write { .. } => Operation::Write,
            Self::Delete { .. } => Operation::Delete,
            Self::Query { .. } => Operation::Query,
            Self::Batch { .. } => Operation::Batch,
            Self::TypeRegister { .. } => Operation::TypeRegister,
            Self::TypeUnregister { .. } => Operation::TypeUnregister,
            Self::Call { .. } => Operation::Call,
            Self::Inference { .. } => Operation::Inference,
            Self::LastError => Operation::LastError,
            Self::Authorize { .. } => Operation::Authorize,
            Self::FsRead { .. } => Operation::FsRead,
            Self::FsWrite { .. } => Operation::FsWrite,
            Self::FsList { .. } => Operation::FsList,
            Self::FsStat { .. } => Operation::FsStat,
            Self::FsDelete { .. } => Operation::FsDelete,
            Self::Http(_) => Operation::Http,
            Self::PolicyLoad { .. } => Operation::PolicyLoad,
            Self::BudgetSet { .. } => Operation::BudgetSet,
            Self::BudgetStatus { .. } => Operation::BudgetStatus,
            Self::CapGrant { .. } => Operation::CapGrant,
            Self::CapAttenuate { .. } => Operation::CapAttenuate,
            Self::CapRevoke { .. } => Operation::CapRevoke,
            Self::CapToken { .. } => Operation::CapToken,
            Self::AuditLog { .. } => Operation::AuditLog,
            Self::AuditQuery(_) => Operation::AuditQuery,
            Self::AuditVerify { .. } => Operation::AuditVerify,
            Self::Commit => Operation::Commit,
            Self::AuditProof { .. } => Operation::AuditProof,
            Self::Erase { .. } => Operation::AuditErase,
            Self::ToolRegister { .. } => Operation::ToolRegister,
            Self::ToolList => Operation::ToolList,
            Self::SessionOpen { .. } => Operation::SessionOpen,
            Self::SessionClose => Operation::SessionClose,
        }
    }

    /// Whom it says it is about, if it says so.
    pub(crate) fn subject(&self) -> Option<&Text> {
        match self {
            Self::Alloc { subject, .. } | Self::AuditLog { subject, .. } => subject.as_ref(),
            Self::Erase { subject } => Some(subject),
            _ => None,
        }
    }

    /// How many operations it counts as.
    pub(crate) fn operations(&self) -> u64 {
        let Self::Batch { parts } = self else { return 1 };
        (parts.len() as u64).max(1)
    }

    /// The most bytes that it may have. What is looked at item by item, under the kernel's lock, is shorter than data that is
    /// only passed on.
    pub(crate) fn size_max(&self) -> u64 {
        match self {
            Self::FsWrite { .. } | Self::Http(_) => DATA_BYTES_MAX,
            Self::Inference { .. } => INFERENCE_BYTES_MAX,
            Self::Query { .. } | Self::CapGrant { .. } | Self::CapAttenuate { .. } | Self::AuditQuery(_) => {
                FORM_BYTES_MAX
            }
            Self::PolicyLoad { .. } => POLICY_LOAD_BYTES_MAX,
            Self::ToolRegister { .. } => TOOL_REGISTER_BYTES_MAX,
            _ => VALUE_BYTES_MAX,
        }
    }

    /// Whether it is short enough to be heard: its bytes, values, names, headers and operations are bounded before anybody looks at
    /// them.
    ///
    /// # Errors
    /// LIMIT, which says what of it is too long.
    pub(crate) fn check_size(&self) -> Result<(), Failure> {
        let limit = |message| Err(Failure::new(Code::Limit, message));
        if let Self::Http(http) = self
            && let Some(message) = http.has_too_long_headers()
        {
            return limit(message);
        }
        let (size, size_max) = (self.size(), self.size_max());
        if size > size_max {
            return Err(self.too_long(size, size_max));
        }
        if self.has_too_many_values() {
            return limit(format!(
                "the request has more than {VALUES_MAX} values; a list or an object counts as three"
            ));
        }
        let named = self.longest_name();
        if named > NAME_BYTES_MAX {
            return limit(format!("a name of {named} bytes is above the limit of {NAME_BYTES_MAX}"));
        }
        if self.operations() > BATCH_OPS_MAX as u64 {
            return limit(format!("a batch has at most {BATCH_OPS_MAX} operations"));
        }
        Ok(())
    }

    pub(crate) fn too_long(&self, size: u64, size_max: u64) -> Failure {
        let operation = self.operation().name();
        let message = format!("{size} bytes are above the limit of {size_max} for a request of {operation}");
        Failure::new(Code::Limit, message)
    }

    /// Whether the values that it brings are too many to be looked at one by one while others wait: a list counts as
    /// much as three that hold nothing, since it is digested by itself.
    pub(crate) fn has_too_many_values(&self) -> bool {
        let mut left = VALUES_MAX;
        let content = |content: &Content, left: &mut usize| match content {
            Content::Json(value) => counts(value, left),
            Content::Raw(_) => true,
        };
        let fits = match self {
            Self::Alloc { content: own, .. } => content(own, &mut left),
            Self::Write { patch: value, .. }
            | Self::TypeRegister { schema: value, .. }
            | Self::Call { args: value, .. }
            | Self::Inference { request: value, .. }
            | Self::AuditLog { details: value, .. }
            | Self::Authorize { args: Some(value), .. }
            | Self::ToolRegister { manifest: value, .. } => counts(value, &mut left),
            Self::Query { form } => form.values().all(|value| counts(value, &mut left)),
            Self::Batch { parts } => parts.iter().all(|part| match part {
                Part::Alloc { content: own, .. } => content(own, &mut left),
                Part::Write { patch, .. } => counts(patch, &mut left),
                Part::Delete { .. } => true,
            }),
            _ => true,
        };
        !fits
    }

    /// The longest of its names, in bytes: of paths, URLs, types, tools, events.
    pub(crate) fn longest_name(&self) -> usize {
        match self {
            Self::Alloc { type_name: name, .. }
            | Self::TypeRegister { name, .. }
            | Self::TypeUnregister { name }
            | Self::Call { tool: name, .. }
            | Self::FsWrite { path: name, .. }
            | Self::FsRead { path: name, .. }
            | Self::FsList { path: name }
            | Self::FsStat { path: name }
            | Self::FsDelete { path: name }
            | Self::AuditLog { event: name, .. }
            | Self::SessionOpen { agent: name } => name.len(),
            Self::Authorize { operation, target, .. } => operation.len().max(target.len()),
            Self::Http(request) => request.url.len(),
            Self::BudgetSet { agent, .. } => agent.as_ref().map_or(0, |name| name.len()),
            _ => 0,
        }
    }

    /// Bytes of everything in it that a caller chooses: names, texts, values and data, before they are put into words.
    pub(crate) fn size(&self) -> u64 {
        let json = |value: &Value| value.json_len() as u64;
        let text = |text: &Text| text.len() as u64;
        let maybe = |named: &Option<Text>| named.as_ref().map_or(0, |named| named.len() as u64);
        match self {
            Self::Alloc { type_name, content, subject } => {
                content.size().saturating_add(text(type_name)).saturating_add(maybe(subject))
            }
            Self::Write { patch, .. } => json(patch),
            Self::Batch { parts } => parts.iter().map(Part::size).fold(0, u64::saturating_add),
            Self::Query { form } => json(&form.clone().into()),
            Self::TypeRegister { name, schema } => json(schema).saturating_add(text(name)),
            Self::TypeUnregister { name } => text(name),
            Self::Call { tool, args } => json(args).saturating_add(text(tool)),
            Self::Inference { request, .. } => json(request),
            Self::Authorize { operation, target, args } => {
                let args = args.as_ref().map_or(0, json);
                args.saturating_add(text(operation)).saturating_add(text(target))
            }
            Self::FsWrite { path, data } => (data.len() as u64).saturating_add(text(path)),
            Self::FsRead { path, .. }
            | Self::FsList { path }
            | Self::FsStat { path }
            | Self::FsDelete { path } => text(path),
            Self::Http(request) => request.size(),
            Self::PolicyLoad { text: policy, base_dir, files } => {
                text(policy).saturating_add(maybe(base_dir)).saturating_add(files.size())
            }
            Self::CapGrant { agent, terms } => terms.size().saturating_add(text(agent)),
            Self::CapAttenuate { terms, .. } => terms.size(),
            Self::AuditQuery(filter) => filter.size(),
            Self::AuditLog { event, details, subject } => {
                json(details).saturating_add(text(event)).saturating_add(maybe(subject))
            }
            Self::AuditVerify { key, anchor } => maybe(key).saturating_add(maybe(anchor)),
            Self::ToolRegister { manifest, module, env } => {
                let env: usize = env.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
                json(manifest).saturating_add(module.len() as u64).saturating_add(env as u64)
            }
            Self::BudgetSet { agent, .. } | Self::BudgetStatus { agent, .. } => maybe(agent),
            Self::Erase { subject } => text(subject),
            Self::SessionOpen { agent } => text(agent),
            Self::Read { .. }
            | Self::Stat { .. }
            | Self::Delete { .. }
            | Self::LastError
            | Self::CapRevoke { .. }
            | Self::CapToken { .. }
            | Self::Commit
            | Self::AuditProof { .. }
            | Self::ToolList
            | Self::SessionClose => 0,
        }
    }

    /// Whether performing it needs the host.
    pub fn is_effect(&self) -> bool {
        matches!(
            self,
            Self::Call { .. }
                | Self::Inference { .. }
                | Self::FsRead { .. }
                | Self::FsWrite { .. }
                | Self::FsList { .. }
                | Self::FsStat { .. }
                | Self::FsDelete { .. }
                | Self::Http(_)
                | Self::AuditVerify { .. }
                | Self::Commit
                | Self::AuditProof { .. }
                | Self::Erase { .. }
        )
    }
}

/// Takes what a value counts; `false` once nothing is left.
fn counts(value: &Value, left: &mut usize) -> bool {
    let own = if matches!(value, Value::Array(_) | Value::Object(_)) { 3 } else { 1 };
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| counts(item, left)),
        Value::Object(members) => members.values().all(|member| counts(member, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Most values that a request brings; a list or an object counts as three.
pub(crate) const VALUES_MAX: usize = 250_000;
/// Most bytes of a value that a request brings: an object, a patch, arguments, details.
pub(crate) const VALUE_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of what is written to a file or sent by HTTP.
pub(crate) const DATA_BYTES_MAX: u64 = 10 << 20;
/// Most bytes of a request to a model, pictures among them.
pub(crate) const INFERENCE_BYTES_MAX: u64 = 8 << 20;
/// Most bytes of a query, and of what a capability is asked for.
pub(crate) const FORM_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of a policy with all that it includes, and of the paths that it is read from.
pub(crate) const POLICY_LOAD_BYTES_MAX: u64 = (POLICY_BYTES_MAX + PATH_BYTES_MAX) as u64;
/// Most bytes of a tool: module, manifest and environment.
pub(crate) const TOOL_REGISTER_BYTES_MAX: u64 =
    (MODULE_BYTES_MAX + MANIFEST_BYTES_MAX + ENV_BYTES_MAX) as u64;
/// Most headers of an HTTP request.
pub const HTTP_HEADERS_MAX: usize = 256;
/// Most bytes of an HTTP request's headers, names and values together.
pub const HTTP_HEADERS_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a path, a URL, a name. Their own forms may be shorter.
pub(crate) const NAME_BYTES_MAX: usize = 64 << 10;
/// Longest name of a subject, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 255;
/// Longest file that is read where the caller sets no limit, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// Longest response that is taken where the caller sets no limit, in bytes.
pub const RESPONSE_BYTES_MAX: u64 = 10 << 20;
/// How long an HTTP request may take where the caller sets no limit, in milliseconds.
pub const HTTP_TIMEOUT_MS: u64 = 30_000;
