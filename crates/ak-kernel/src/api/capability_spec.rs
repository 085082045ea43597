//! The restrictions of a capability that is granted or derived.

use alloc::{format, string::ToString, vec::Vec};

use ak_json::{Object, Text, Value};
use ak_policy::{
    NAME_BYTES_MAX, Rate,
    budget::Dimension,
    capability::{AgentPattern, CapId, Caveat},
};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields, insert_some},
    reply::Failure,
    time::Elapsed,
};

/// Longest resource of a capability, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 4096;
/// Most methods that one capability names.
pub const METHODS_MAX: usize = 16;

const MINUTE_US: u64 = 60_000_000;

/// The restrictions of a capability that is granted or derived. An absent member restricts nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapabilitySpec {
    /// A tool, or `fs`, `http`, `net`, `infer` or `spawn`. A grant needs a name; a derived capability keeps its
    /// parent's.
    pub name: Option<Text>,
    /// A pattern over targets of the name's kind; `None` and `*` match all.
    pub resource: Option<Text>,
    /// The methods that are allowed on the resource; `None` means all.
    pub methods: Option<Vec<Text>>,
    /// A pattern over names of agents: only agents that match may use the capability.
    pub only_agent: Option<Text>,
    /// Lifetime from now on, in minutes.
    pub expires_minutes: Option<u64>,
    /// Most uses in each period.
    pub rate: Option<Rate>,
    /// Most uses in all.
    pub uses: Option<u64>,
    /// Most that may be spent through the capability, for `compute`, `tool_calls`, `tokens` and `bytes`.
    pub budget: Vec<(Dimension, u64)>,
}

impl CapabilitySpec {
    /// The caveats of this specification. `now` is the kernel time from which the lifetime counts.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if name, resource and methods are not a valid capability, or if a budget is of a dimension
    /// that is not reserved in advance: the capability could not enforce it.
    pub(crate) fn caveats(&self, name: &str, now: Elapsed) -> Result<Vec<Caveat>, Failure> {
        let wrong = |reason: &str| Failure::new(Code::InvalidArgument, format!("the capability: {reason}"));
        let methods = self.methods.as_deref().unwrap_or_default();
        let resource = self.resource.as_deref().unwrap_or("*");
        if name.len() > NAME_BYTES_MAX || resource.len() > RESOURCE_BYTES_MAX || methods.len() > METHODS_MAX {
            return Err(wrong("name, resource or methods are longer than allowed"));
        }
        let mut caveats = Vec::new();
        if self.name.is_some() || self.resource.is_some() || self.methods.is_some() {
            let methods: Vec<&str> = match &self.methods {
                None => Vec::from(["*"]),
                Some(methods) => methods.iter().map(|method| &**method).collect(),
            };
            let granted = Caveat::grant(name, resource, &methods);
            caveats.extend(granted.map_err(|error| wrong(&error.to_string()))?);
        }
        if let Some(pattern) = &self.only_agent {
            let pattern = AgentPattern::parse(pattern).map_err(|error| wrong(&error.to_string()))?;
            caveats.push(Caveat::Agent(pattern));
        }
        if let Some(minutes) = self.expires_minutes {
            let until = minutes.checked_mul(MINUTE_US).and_then(|us| us.checked_add(now.high_us));
            caveats.push(Caveat::ExpiresAt(until.ok_or_else(|| wrong("expires_minutes is too large"))?));
        }
        caveats.extend(self.rate.map(Caveat::Rate));
        caveats.extend(self.uses.map(Caveat::Uses));
        for (dimension, amount) in &self.budget {
            if !is_set_aside(*dimension) {
                return Err(wrong(&format!("a {dimension} budget cannot be held to by a capability")));
            }
            caveats.push(Caveat::Budget(*dimension, *amount));
        }
        Ok(caveats)
    }
}

/// Whether the most that a request may use of this dimension is known before the request passes.
const fn is_set_aside(dimension: Dimension) -> bool {
    match dimension {
        Dimension::Compute | Dimension::ToolCalls | Dimension::Tokens | Dimension::Bytes => true,
        Dimension::Memory
        | Dimension::WallTimeMs
        | Dimension::Cpu
        | Dimension::HeapObjects
        | Dimension::CostMicroUsd => false,
    }
}

impl CapabilitySpec {
    /// Bytes of the members that the caller chose.
    pub(crate) fn size(&self) -> u64 {
        let texts = [&self.name, &self.resource, &self.only_agent].into_iter().flatten();
        let texts = texts.chain(self.methods.iter().flatten());
        let budget = self.budget.len().saturating_mul(size_of::<(Dimension, u64)>()) as u64;
        texts.map(|text| text.len() as u64 + TEXT_BYTES).fold(budget, u64::saturating_add)
    }
}

/// Bytes that a text takes in the wire form beside its content.
const TEXT_BYTES: u64 = 3;

/// The wire form.
impl CapabilitySpec {
    pub(crate) fn insert_into(&self, args: &mut Object) {
        insert_some(args, "name", self.name.clone());
        insert_some(args, "resource", self.resource.clone());
        let methods = self
            .methods
            .as_ref()
            .map(|methods| methods.iter().map(|method| Value::from(method.clone())).collect::<Vec<Value>>());
        insert_some(args, "methods", methods);
        insert_some(args, "only_agent", self.only_agent.clone());
        insert_some(args, "expires_minutes", self.expires_minutes);
        insert_some(args, "rate", self.rate.map(|rate| rate.to_string()));
        insert_some(args, "uses", self.uses);
        let budget: Object = self.budget.iter().map(|(kind, amount)| (kind.as_str(), *amount)).collect();
        insert_some(args, "budget", Some(budget).filter(|budget| !budget.is_empty()));
    }

    pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Result<CapabilitySpec, FieldError> {
        Ok(CapabilitySpec {
            name: fields.optional_text("name")?,
            resource: fields.optional_text("resource")?,
            methods: methods_field(fields)?,
            only_agent: fields.optional_text("only_agent")?,
            expires_minutes: fields.optional_u64("expires_minutes")?,
            rate: match fields.optional_text("rate")? {
                None => None,
                Some(text) => {
                    Some(Rate::parse(&text).map_err(|error| fields.error("rate", error.to_string()))?)
                }
            },
            uses: fields.optional_u64("uses")?,
            budget: budget_field(fields)?,
        })
    }
}

/// Reads methods: a string, or an array of strings.
fn methods_field(fields: &mut Fields<'_>) -> Result<Option<Vec<Text>>, FieldError> {
    let wrong = || FieldError::new("args.methods", "expected a string or an array of strings");
    match fields.optional("methods") {
        None => Ok(None),
        Some(Value::String(method)) => Ok(Some(Vec::from([method]))),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_text().cloned().ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn budget_field(fields: &mut Fields<'_>) -> Result<Vec<(Dimension, u64)>, FieldError> {
    let wrong = || FieldError::new("args.budget", "expected an object of kinds and amounts");
    match fields.optional("budget") {
        None => Ok(Vec::new()),
        Some(Value::Object(members)) => members
            .iter()
            .map(|(kind, amount)| Some((Dimension::from_name(kind)?, amount.as_u64()?)))
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

/// A capability's id in its wire form, such as `0x100000001`.
pub(crate) fn capability_text(id: CapId) -> Value {
    format!("{:#x}", id.to_u64()).into()
}

pub(crate) fn capability_field(fields: &mut Fields<'_>) -> Result<CapId, FieldError> {
    let text = fields.text("capability")?;
    let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number
        .map(CapId::from_u64)
        .ok_or_else(|| fields.error("capability", "expected a capability such as 0x100000001"))
}
