//! What happens once the gate has let a request through.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_json::Text;
use ak_policy::{CanonicalTool, Target, budget::Dimension};
use ak_sandbox::RunLimits;

use crate::{
    agents::Hold,
    code::Code,
    effect::{Effect, FileAction, LogWork},
    gate::{Granted, Permit},
    host_call::TOOLS_NESTED_MAX,
    kernel::{Caller, Kernel},
    presented::Presented,
    reply::Failure,
    request::{HttpRequest, Request},
    toolbox::Registered,
    under_way::{Next, UnderWay},
};

impl Kernel {
    /// What a request costs at most; it is set aside before the request passes.
    ///
    /// # Errors
    /// A request that is over one of the kernel's own limits.
    pub(crate) fn costs(
        &self,
        caller: &Caller,
        agent: &str,
        request: &Request,
    ) -> Result<Vec<(Dimension, u64)>, Failure> {
        let (size, input_bytes_max) = (request.size(), self.config.input_bytes_max);
        let refused = |message| Failure::new(Code::Limit, message);
        if size > input_bytes_max {
            return Err(refused(format!(
                "{size} bytes are above the limit of {input_bytes_max} for a request"
            )));
        }
        let operations_max = self.heap.config().batch_ops_max as u64;
        if request.operations() > operations_max {
            return Err(refused(format!("a batch has at most {operations_max} operations")));
        }
        Ok(match request {
            // The fuel of a tool that a tool calls is the outer one's.
            Request::Call { .. } if caller.within.is_some() => Vec::from([(Dimension::ToolCalls, 1)]),
            Request::Call { .. } => {
                let left = self.agents.left(caller.session, Dimension::Cpu).unwrap_or(u64::MAX);
                let fuel = self.config.tool_fuel_max.min(left).max(1);
                Vec::from([(Dimension::ToolCalls, 1), (Dimension::Cpu, fuel)])
            }
            Request::Inference { request, price, .. } => self.tokens(agent, request)?.costs(*price),
            Request::FsRead { bytes_max, .. } => {
                Vec::from([(Dimension::Bytes, (*bytes_max).min(input_bytes_max))])
            }
            Request::FsWrite { .. } => Vec::from([(Dimension::Bytes, size)]),
            Request::Http(request) => {
                let response = request.response_bytes_max.min(self.config.response_bytes_max);
                Vec::from([(Dimension::Bytes, size.saturating_add(response))])
            }
            // The heap is a gauge: what it holds is checked and counted as it changes.
            Request::Alloc { .. }
            | Request::Query { .. }
            | Request::Batch { .. }
            | Request::TypeRegister { .. }
            | Request::Read { .. }
            | Request::Stat { .. }
            | Request::Write { .. }
            | Request::Delete { .. }
            | Request::LastError
            | Request::Authorize { .. }
            | Request::FsList { .. }
            | Request::FsStat { .. }
            | Request::FsDelete { .. }
            | Request::PolicyLoad { .. }
            | Request::BudgetSet { .. }
            | Request::BudgetStatus { .. }
            | Request::CapGrant { .. }
            | Request::CapAttenuate { .. }
            | Request::CapRevoke { .. }
            | Request::CapToken { .. }
            | Request::AuditLog { .. }
            | Request::AuditQuery(_)
            | Request::AuditVerify { .. }
            | Request::Commit
            | Request::AuditProof { .. }
            | Request::Erase { .. }
            | Request::ToolRegister { .. }
            | Request::ToolList
            | Request::SessionOpen { .. } => Vec::new(),
        })
    }

    /// The directories beneath which the policy in force grants files to anybody.
    pub fn granted_roots(&self) -> Vec<Text> {
        self.policy.granted_roots().into_iter().map(Text::from).collect()
    }

    /// Acts on a permit: answers at once, or lets an effect out.
    pub(crate) fn exercise(
        &mut self,
        caller: &Caller,
        target_text: Option<String>,
        presented: Option<Presented>,
        permit: Permit,
    ) -> Result<Next, Failure> {
        let session = caller.session;
        let Granted { request, target, root, hold, fuel } = permit.exercise();
        let under_way = |request: Request, hold: Hold| UnderWay {
            presented: presented.clone(),
            target: target_text.clone(),
            within: caller.within,
            tools: caller.tools.clone(),
            ..UnderWay::new(session, request, hold)
        };
        let effects_max = self.config.effects_max;
        if request.is_effect() && self.under_way.len() as u64 >= effects_max {
            self.agents.release(hold);
            return Err(Failure::new(Code::Quota, format!("{effects_max} effects are under way already")));
        }
        match (&request, target) {
            (Request::Call { args, .. }, Some(Target::Tool(wanted))) => {
                let (tool, limits) = match self.runnable(caller, &wanted, fuel) {
                    Ok(runnable) => runnable,
                    Err(failure) => {
                        self.agents.release(hold);
                        return Err(failure);
                    }
                };
                let mut running = under_way(request.clone(), hold);
                running.tools.push(tool.needs.clone());
                let effect = Effect::RunTool { tool: tool.tool, env: tool.env, input: args.clone(), limits };
                Ok(Next::Effect(effect, Box::new(running)))
            }
            (Request::Inference { request: body, stream, .. }, Some(Target::Model(model))) => {
                let agent = self.agents.name(session);
                let (body, tokens) = match self.outgoing(&agent, body) {
                    Ok(outgoing) => outgoing,
                    Err(failure) => {
                        self.agents.release(hold);
                        return Err(failure);
                    }
                };
                let effect = Effect::Infer {
                    model: Text::from(model.as_str()),
                    request: body,
                    stream: *stream,
                    response_bytes_max: self.config.response_bytes_max,
                };
                let tokens_max = tokens.completion();
                Ok(Next::Effect(
                    effect,
                    Box::new(UnderWay { tokens_max, ..under_way(request.clone(), hold) }),
                ))
            }
            (Request::Http(http), Some(Target::Url(url))) => {
                let HttpRequest { method, headers, body, response_bytes_max, timeout_ms, .. } = http.clone();
                let effect = Effect::Http {
                    method,
                    url: url.clone(),
                    headers,
                    body,
                    response_bytes_max: response_bytes_max.min(self.config.response_bytes_max),
                    timeout_ms,
                };
                Ok(Next::Effect(
                    effect,
                    Box::new(UnderWay { url: Some(url), ..under_way(request.clone(), hold) }),
                ))
            }
            (_, Some(Target::Path(path))) => {
                let (Some(action), Some(root)) = (self.file_action(&request), root) else {
                    self.agents.release(hold);
                    return Err(Failure::new(Code::PolicyDeny, "no root is granted for this file"));
                };
                Ok(Next::Effect(
                    Effect::File { root, path, action },
                    Box::new(under_way(request.clone(), hold)),
                ))
            }
            (Request::AuditVerify { key, anchor }, _) => {
                let work = LogWork::Verify { key: key.clone(), anchor: anchor.clone() };
                Ok(Next::Effect(Effect::Log(work), Box::new(under_way(request.clone(), hold))))
            }
            (Request::Commit, _) => {
                Ok(Next::Effect(Effect::Log(LogWork::Checkpoint), Box::new(under_way(request.clone(), hold))))
            }
            (Request::AuditProof { seq }, _) => {
                // The entry itself names agent and rule: of others' entries only the owner learns them.
                let work = LogWork::Prove { seq: *seq, with_entry: session.is_owner() };
                Ok(Next::Effect(Effect::Log(work), Box::new(under_way(request.clone(), hold))))
            }
            (Request::Erase { subject }, _) => self.erase(session, subject, hold),
            (_, _) => {
                let reply = self.answer(caller, presented.as_ref(), request);
                match &reply {
                    Ok(_) => self.agents.settle(hold, &[]),
                    Err(_) => self.agents.release(hold),
                }
                reply.map(Next::Reply)
            }
        }
    }

    /// The tool that is wanted, and how far one call of it may go. A manifest can only lower that.
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
        if !self.policy.wasm_module_allowed(&self.agents.name(caller.session), name) {
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

    fn file_action(&self, request: &Request) -> Option<FileAction> {
        match request {
            Request::FsRead { bytes_max, .. } => {
                Some(FileAction::Read { bytes_max: (*bytes_max).min(self.config.input_bytes_max) })
            }
            Request::FsWrite { data, .. } => Some(FileAction::Write { data: data.clone() }),
            Request::FsList { .. } => Some(FileAction::List),
            Request::FsStat { .. } => Some(FileAction::Stat),
            Request::FsDelete { .. } => Some(FileAction::Delete),
            _ => None,
        }
    }
}
