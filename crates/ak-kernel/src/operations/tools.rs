//! Tools: calls, registration and the list of tools.

use alloc::{format, string::ToString, sync::Arc, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, CanonicalTool, Target, budget::Dimension};
use ak_sandbox::{MODULE_BYTES_MAX, RunLimits};

use super::{
    Amounts, Begun, Completed, EffectSize, Family, Permitted, Started, VALUE_BYTES_MAX, members, query_for,
};
use crate::{
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, FUEL, Spent},
        fields::{FieldError, Fields, base64url, env_field, insert_some},
        operation::ToolsOperation,
        prepared::{Prepared, Work},
        reply::{Failure, Reply},
        request::ToolsRequest,
    },
    authz::{
        gate::DecisionRecord,
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    heap::types::{insert_unjudged, unjudged},
    state::{Caller, Kernel},
    tools::{
        registry::{self, ENV_BYTES_MAX, MANIFEST_BYTES_MAX, Registered, Toolbox},
        run::TOOL_LOG_BYTES_MAX,
    },
};

/// Most levels of tools that call tools; an agent's call is the first level.
pub const TOOLS_NESTED_MAX: usize = 4;
/// Most bytes of a tool: module, manifest and environment.
const TOOL_REGISTER_BYTES_MAX: u64 = (MODULE_BYTES_MAX + MANIFEST_BYTES_MAX + ENV_BYTES_MAX) as u64;

impl Family for ToolsRequest {
    type Row = ToolsOperation;

    fn row(&self) -> ToolsOperation {
        match self {
            Self::Call { .. } => ToolsOperation::Call,
            Self::Register { .. } => ToolsOperation::ToolRegister,
            Self::List => ToolsOperation::ToolList,
        }
    }

    fn decode(row: ToolsOperation, fields: &mut Fields<'_>) -> Result<ToolsRequest, FieldError> {
        Ok(match row {
            ToolsOperation::Call => Self::Call { tool: fields.text("tool")?, args: fields.value("args")? },
            ToolsOperation::ToolRegister => Self::Register {
                manifest: fields.value("manifest")?,
                module: fields.bytes("module")?,
                env: env_field(fields)?,
            },
            ToolsOperation::ToolList => Self::List,
        })
    }

    fn args(&self) -> Value {
        match self {
            Self::Call { tool, args } => object! { "tool": tool.clone(), "args": args.clone() },
            Self::Register { manifest, module, env } => {
                let mut args = Object::new();
                args.insert("manifest", manifest.clone());
                args.insert("module", base64url(module));
                let env: Object = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                insert_some(&mut args, "env", Some(env).filter(|env| !env.is_empty()));
                args.into()
            }
            Self::List => Object::new().into(),
        }
    }

    fn size(&self) -> u64 {
        let json = |value: &Value| value.json_len() as u64;
        match self {
            Self::Call { tool, args } => json(args).saturating_add(tool.len() as u64),
            Self::Register { manifest, module, env } => {
                let env: usize = env.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
                json(manifest).saturating_add(module.len() as u64).saturating_add(env as u64)
            }
            Self::List => 0,
        }
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::Register { .. } => TOOL_REGISTER_BYTES_MAX,
            Self::Call { .. } | Self::List => VALUE_BYTES_MAX,
        }
    }

    fn longest_name(&self) -> usize {
        match self {
            Self::Call { tool, .. } => tool.len(),
            Self::Register { .. } | Self::List => 0,
        }
    }

    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        match self {
            Self::Call { args: value, .. } | Self::Register { manifest: value, .. } => look(value),
            Self::List => true,
        }
    }

    fn query(&self, _asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        match self {
            Self::Call { tool, args } => {
                query_for(Action::Execute, Target::tool(tool), tool, Some(args.clone()))
            }
            Self::Register { .. } | Self::List => Ok(None),
        }
    }

    fn only_tells(&self) -> bool {
        match self {
            Self::List => true,
            Self::Call { .. } | Self::Register { .. } => false,
        }
    }

    fn charges(&self, kernel: &Kernel, caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(match self {
            // A tool that a tool calls uses the outer tool's fuel.
            Self::Call { .. } if caller.within.is_some() => Amounts::from([(Dimension::ToolCalls, 1)]),
            Self::Call { .. } => {
                let left = kernel.agents.left(caller.account, Dimension::Cpu, kernel.clock.elapsed);
                let fuel = kernel.config.tool_fuel_max.min(left.unwrap_or(u64::MAX)).max(1);
                Amounts::from([(Dimension::ToolCalls, 1), (Dimension::Cpu, fuel)])
            }
            Self::Register { .. } | Self::List => Amounts::new(),
        })
    }

    fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        match self {
            Self::Call { .. } => {
                // JSON escapes may lengthen the tool's output and log. Host calls have records of their own.
                let output = config.tool_output_bytes_max;
                let log = 6 * TOOL_LOG_BYTES_MAX as u64;
                let outcome_bytes_max = output.saturating_add(output / 4).saturating_add(log);
                Some(EffectSize { outcome_bytes_max, steps_bytes_max: 0 })
            }
            Self::Register { .. } | Self::List => None,
        }
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        match self {
            // Tools are never erased: verifying the log needs them.
            Self::Register { .. } => Vec::new(),
            Self::Call { .. } | Self::List => Vec::from([agent.clone()]),
        }
    }

    fn prepare(&self, prepared: &mut Prepared) {
        match self {
            Self::Register { manifest, module, .. } => {
                let tool = registry::checked(manifest, module.clone());
                prepared.work = Some(Arc::new(Work::Tool(tool)));
            }
            Self::Call { .. } | Self::List => {}
        }
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        match self {
            Self::Call { tool, .. } => members(object! { "tool": tool.clone() }),
            Self::Register { .. } | Self::List => Object::new(),
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        match self {
            Self::Call { ref args, .. } => {
                let Permitted { caller, target: Some(Target::Tool(wanted)), fuel, .. } = permitted else {
                    return Err(Failure::new(Code::InvalidArgument, "the request names no tool"));
                };
                let (tool, limits) = kernel.runnable(caller, &wanted, fuel)?;
                let needs = tool.needs.clone();
                let effect = Effect::RunTool { tool: tool.tool, env: tool.env, input: args.clone(), limits };
                let mut begun = Begun::new(self, EffectState::Tool { host_calls: 0 }, caller);
                begun.tools.push(needs);
                Ok(Started::Effect(effect, begun))
            }
            Self::Register { manifest, module, env } => {
                kernel.register_tool(&manifest, module, env).map(Started::Reply)
            }
            Self::List => Ok(Started::Reply(Reply::Value(kernel.toolbox.to_value()))),
        }
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        let (Self::Call { .. }, Completion::Tool { output, fuel, .. }) = (self, completion) else {
            return None;
        };
        let mut used = Amounts::from([(Dimension::ToolCalls, 1)]);
        let mut reply = Object::new();
        reply.insert("output", output);
        if pending.within.is_some() {
            reply.insert(FUEL, fuel);
        } else {
            used.push((Dimension::Cpu, fuel));
        }
        Some(Completed::new(Reply::Value(reply.into()), used))
    }

    fn charge_failure(&self, _kernel: &Kernel, pending: &PendingEffect, spent: &Spent) -> Amounts {
        let mut used = Amounts::from([(Dimension::Bytes, 0)]);
        // A tool that was called by a tool used the outer tool's fuel, which is charged there.
        if pending.within.is_none() {
            used.push((Dimension::Cpu, spent.amount));
        }
        used.push((Dimension::ToolCalls, 1));
        used
    }
}

impl Kernel {
    /// The tool to run, and the limits of one call. A manifest can only lower them.
    fn runnable(
        &self,
        caller: &Caller,
        wanted: &CanonicalTool,
        fuel: Option<u64>,
    ) -> Result<(Registered, RunLimits), Failure> {
        let registered = self.toolbox.find(wanted).cloned().ok_or_else(|| {
            Failure::new(Code::NotFound, format!("no tool {wanted} is registered"))
                .with("tool", wanted.to_string())
        })?;
        let name = &registered.tool.manifest().name;
        if !self.policy.wasm_module_allowed(&self.agents.name(caller.account), name) {
            let message = format!("the policy's `[wasm] modules` does not list {name}");
            return Err(Failure::new(Code::PolicyDeny, message));
        }
        if caller.tools.len() >= TOOLS_NESTED_MAX {
            let message = format!("tools call tools at most {TOOLS_NESTED_MAX} deep");
            return Err(Failure::new(Code::Limit, message));
        }
        let limits = RunLimits {
            fuel: fuel.unwrap_or(caller.fuel_left),
            memory_bytes_max: self.config.tool_memory_bytes_max,
            output_bytes_max: self.config.tool_output_bytes_max,
            ..RunLimits::default()
        };
        Ok((registered, limits))
    }

    fn register_tool(
        &mut self,
        manifest: &Value,
        module: Arc<[u8]>,
        env: Vec<(Text, Text)>,
    ) -> Result<Reply, Failure> {
        let checked = self.prepared.tool().unwrap_or_else(|| registry::checked(manifest, module.clone()));
        let tool = checked.map_err(|reason| Failure::new(Code::InvalidArgument, reason))?;
        if Toolbox::is_taken(&tool.manifest().name, &module) {
            let name = &tool.manifest().name;
            let message =
                format!("the tool is refused: {name} is the name of a built-in tool: choose another");
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        let tool = self.toolbox.register(tool, module, env)?;
        let mut reply = Object::new();
        reply.insert("name", tool.manifest().name.as_str());
        reply.insert("version", tool.manifest().version.as_str());
        reply.insert("digest", format!("{}", tool.digest()));
        let schemas = [("/input", tool.input_schema()), ("/output", tool.output_schema())];
        insert_unjudged(
            &mut reply,
            schemas.into_iter().flat_map(|(at, schema)| unjudged(at, schema)).collect(),
        );
        Ok(Reply::Value(reply.into()))
    }
}
