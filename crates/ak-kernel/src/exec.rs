//! What happens once the gate has let a request through.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_json::Text;
use ak_policy::{CanonicalTool, Policy, Target, budget::Dimension};
use ak_sandbox::RunLimits;

use crate::{
    agents::Hold,
    code::Code,
    config::Config,
    effect::{Effect, FileAction, LogWork},
    gate::{Granted, Permit},
    host_call::TOOLS_NESTED_MAX,
    http_hop::HttpHop,
    inference,
    kernel::{Caller, Kernel},
    presented::Presented,
    reply::Failure,
    request::Request,
    toolbox::Registered,
    under_way::{Next, UnderWay},
};

/// One part in so many of the effects that may be under way is kept for the owner.
const OWNER_SHARE: u64 = 10;

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
        let operations_max = self.heap.config().batch_ops_max as u64;
        if request.operations() > operations_max {
            return Err(refused(format!("a batch has at most {operations_max} operations")));
        }
        Ok(match request {
            // The fuel of a tool that a tool calls is the outer one's.
            Request::Call { .. } if caller.within.is_some() => Vec::from([(Dimension::ToolCalls, 1)]),
            Request::Call { .. } => {
                let left =
                    self.agents.left(caller.account, Dimension::Cpu, self.clock.elapsed).unwrap_or(u64::MAX);
                let fuel = self.config.tool_fuel_max.min(left).max(1);
                Vec::from([(Dimension::ToolCalls, 1), (Dimension::Cpu, fuel)])
            }
            Request::Inference { request, price, .. } => {
                inference::tokens(&self.policy, agent, request)?.costs(price.as_ref())
            }
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
            | Request::TypeUnregister { .. }
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
            | Request::SessionOpen { .. }
            | Request::SessionClose => Vec::new(),
        })
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Acts on a permit: answers at once, or lets an effect out.
    pub(crate) fn exercise(
        &mut self,
        caller: &Caller,
        target_text: Option<String>,
        presented: Option<Presented>,
        permit: Permit,
    ) -> Result<Next, Failure> {
        let account = caller.account;
        let Granted { request, target, root, hold, fuel } = permit.exercise();
        let under_way = |request: Request, hold: Hold| UnderWay {
            presented: presented.clone(),
            target: target_text.clone(),
            within: caller.within,
            tools: caller.tools.clone(),
            ..UnderWay::new(caller.session, account, request, hold)
        };
        if request.is_effect()
            && self.recorded.is_none()
            && let Err(failure) = self.check_effects(caller)
        {
            self.agents.release(hold);
            return Err(failure);
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
                let agent = self.agents.name(account);
                let (body, tokens) = match inference::outgoing(&self.policy, &agent, body) {
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
                let tokens_max = tokens.limit().unwrap_or(u64::MAX);
                Ok(Next::Effect(
                    effect,
                    Box::new(UnderWay { tokens_max, ..under_way(request.clone(), hold) }),
                ))
            }
            (Request::Http(http), Some(Target::Url(url))) => {
                let hop = HttpHop::first(http, url);
                let effect = Effect::Http {
                    hop: hop.clone(),
                    response_bytes_max: http.response_bytes_max.min(self.config.response_bytes_max),
                    timeout_ms: http.timeout_ms.min(self.config.http_timeout_ms_max),
                };
                let sent = Vec::from([http.size()]);
                let hop = Some(hop);
                let prepared = self.prepared.clone();
                Ok(Next::Effect(
                    effect,
                    Box::new(UnderWay { hop, sent, prepared, ..under_way(request.clone(), hold) }),
                ))
            }
            (_, Some(Target::Path(path))) => {
                let (Some(action), Some(root)) = (self.file_action(&request), root) else {
                    self.agents.release(hold);
                    return Err(Failure::new(Code::PolicyDeny, "no root is granted for this file"));
                };
                Ok(Next::Effect(
                    Effect::File { root: root.path.clone(), path, action, follows_links: root.follows },
                    Box::new(UnderWay {
                        links_beneath: root.follows.then_some(root.path),
                        ..under_way(request.clone(), hold)
                    }),
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
                let work = LogWork::Prove { seq: *seq, with_entry: account.is_main() };
                Ok(Next::Effect(Effect::Log(work), Box::new(under_way(request.clone(), hold))))
            }
            (Request::Erase { subject }, _) => self.erase(caller, subject, hold),
            (Request::Authorize { operation, target, args }, _) => {
                self.agents.settle(hold, &[], self.clock.elapsed);
                let (decided, reply) =
                    self.foresee(caller, presented.as_ref(), operation, target, args.clone());
                Ok(Next::Preview(Box::new(decided), reply))
            }
            (_, _) => {
                let reply = self.answer(caller, request);
                match &reply {
                    Ok(_) => self.agents.settle(hold, &[], self.clock.elapsed),
                    Err(_) => self.agents.release(hold),
                }
                reply.map(Next::Reply)
            }
        }
    }

    /// Whether one more effect may begin. The last ones are the owner's, and one family has no more than its share.
    fn check_effects(&self, caller: &Caller) -> Result<(), Failure> {
        let Config { effects_max, effects_per_agent_max, .. } = self.config;
        let open = self.under_way.len() as u64;
        let refused = |max: u64| Failure::new(Code::Quota, format!("{max} effects are under way already"));
        if caller.account.is_main() {
            return if open < effects_max { Ok(()) } else { Err(refused(effects_max)) };
        }
        let shared = effects_max - effects_max / OWNER_SHARE;
        if open >= shared {
            return Err(refused(shared));
        }
        let line = self.agents.line(caller.account);
        let family = line.last().copied().unwrap_or(caller.account);
        let own =
            self.under_way.values().filter(|open| self.agents.line(open.account).contains(&family)).count();
        if own as u64 >= effects_per_agent_max { Err(refused(effects_per_agent_max)) } else { Ok(()) }
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
