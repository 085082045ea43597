//! Requests that the kernel answers by itself.

use alloc::{format, string::ToString, sync::Arc, vec::Vec};

use ak_heap::{Change, Content, Handle, Heap, HeapError, Patch, PatchErrorKind, Plan};
use ak_json::{Labels, Text, Value, object};
use ak_policy::{Action, Policy, Target, budget::Dimension};
use ak_sandbox::Manifest;

use crate::{
    agents::Costs,
    code::Code,
    history::Filter,
    kernel::Kernel,
    operation::Operation,
    question::Question,
    reply::{Failure, Reply},
    request::Request,
    session::Session,
};

impl Kernel {
    /// Answers a request that needs nothing from outside.
    pub(crate) fn answer(&mut self, session: Session, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Alloc { type_name, content, .. } => self.alloc(session, &type_name, content),
            Request::Read { handle } => {
                self.own(session, Action::HeapRead, handle)?;
                let object = self.heap.read(handle).map_err(heap_failure)?;
                Ok(Reply::Content(object.content().clone()))
            }
            Request::Stat { handle } => {
                self.own(session, Action::HeapRead, handle)?;
                let object = self.heap.read(handle).map_err(heap_failure)?;
                Ok(Reply::Value(object! {
                    "type": object.type_name().clone(), "version": object.version(), "size": object.size(),
                    "owner": object.owner().clone(), "labels": object.labels().to_value(),
                }))
            }
            Request::Write { handle, patch, expected_version } => {
                self.own(session, Action::HeapWrite, handle)?;
                let patch = Patch::parse(&patch).map_err(|error| heap_failure(error.into()))?;
                let change =
                    self.change(session, |heap| heap.plan_write(handle, &patch, expected_version))?;
                Ok(Reply::Version(change.version))
            }
            Request::Delete { handle, expected_version } => {
                self.own(session, Action::HeapDelete, handle)?;
                self.change(session, |heap| heap.plan_delete(handle, expected_version))?;
                Ok(Reply::Done)
            }
            Request::LastError => {
                let denial = self.agents.get(session).and_then(|agent| agent.last_denial.as_ref());
                Ok(Reply::Value(object! { "denial": denial.map_or(Value::Null, |denial| denial.to_value()) }))
            }
            Request::Authorize { operation, target, args } => {
                Ok(self.would_pass(session, &operation, &target, args))
            }
            Request::PolicyLoad { text, base_dir } => self.load_policy(&text, base_dir.as_deref()),
            Request::BudgetSet { dimension, limit, agent } => {
                self.set_budget(session, dimension, limit, agent)
            }
            Request::BudgetStatus { dimension } => {
                Ok(Reply::Value(self.agents.status(session, dimension, self.clock)))
            }
            Request::AuditLog { event, .. } if event.is_empty() || Operation::is_reserved_event(&event) => {
                let message = format!("the event type {:?} is empty or reserved for the kernel", &*event);
                Err(Failure::new(Code::InvalidArgument, message))
            }
            Request::AuditLog { .. } => Ok(Reply::Done),
            Request::AuditQuery(filter) => Ok(Reply::Value(self.query(session, &filter))),
            Request::ToolRegister { manifest, module } => self.register_tool(&manifest, module),
            Request::ToolList => Ok(Reply::Value(self.toolbox.to_value())),
            Request::SessionOpen { agent } => {
                self.agents.open(&agent, &self.policy, self.clock, self.config.agents_max).map(Reply::Session)
            }
            Request::Call { .. }
            | Request::Inference { .. }
            | Request::FsRead { .. }
            | Request::FsWrite { .. }
            | Request::FsList { .. }
            | Request::FsStat { .. }
            | Request::FsDelete { .. }
            | Request::Http(_)
            | Request::AuditVerify => Err(Failure::new(Code::Io, "this request needs the host")),
        }
    }

    fn alloc(&mut self, session: Session, type_name: &str, content: Content) -> Result<Reply, Failure> {
        let owner = self.agents.get(session).map(|agent| agent.name.clone()).unwrap_or_default();
        let change =
            self.change(session, |heap| heap.plan_alloc(&owner, type_name, content, Labels::default()))?;
        Ok(Reply::Handle(change.handle))
    }

    /// Plans a change of the heap, pays for it, and lets it happen; or none of these.
    fn change(
        &mut self,
        session: Session,
        plan: impl FnOnce(&mut Heap) -> Result<Plan<'_>, HeapError>,
    ) -> Result<Change, Failure> {
        let plan = plan(&mut self.heap).map_err(heap_failure)?;
        let account = self.agents.find(&plan.outcome().owner).unwrap_or(session);
        let grows = u64::try_from(plan.bytes_delta()).unwrap_or(0);
        let costs = Costs { amounts: Vec::from([(Dimension::Memory, grows)]), charges: Vec::new() };
        self.agents.check(account, &costs, self.clock)?;
        let change = plan.commit();
        match change.bytes_delta {
            grown @ 0.. => self.agents.record(account, Dimension::Memory, grown.unsigned_abs()),
            shrunk => self.agents.credit(account, Dimension::Memory, shrunk.unsigned_abs()),
        }
        match change.action {
            ak_heap::Action::Alloc => self.agents.record(account, Dimension::HeapObjects, 1),
            ak_heap::Action::Delete | ak_heap::Action::Erase => {
                self.agents.credit(account, Dimension::HeapObjects, 1);
            }
            ak_heap::Action::Write => {}
        }
        Ok(change)
    }

    /// Refuses an object of somebody else's, as if there were none, unless the policy permits that too.
    fn own(&mut self, session: Session, action: Action, handle: Handle) -> Result<(), Failure> {
        let agent = self.agents.get(session).map(|agent| agent.name.clone()).unwrap_or_default();
        let foreign = self.heap.read(handle).is_ok_and(|object| *object.owner() != agent);
        if !foreign || session.is_owner() {
            return Ok(());
        }
        let question = Question { action, target: Target::heap(handle.raw()), args: None, owned: false };
        match self.gate(session, agent).ask(&question) {
            (_, Ok(_)) => Ok(()),
            (_, Err(_)) => {
                let message = format!("no object {handle}: never allocated");
                Err(Failure::new(Code::NotFound, message).with("handle", handle.to_string()))
            }
        }
    }

    /// The whole gate, budget included, for a request that is not made.
    fn would_pass(
        &mut self,
        session: Session,
        operation: &Text,
        target: &Text,
        args: Option<Value>,
    ) -> Reply {
        let answer = |authorized: bool, reason: &str, rule: &str, suggestion: &str, canonical: &str| {
            Reply::Value(object! {
                "operation": operation.clone(), "target": canonical, "authorized": authorized,
                "capability_name": "", "ttl_ms": 0u64, "reason": reason, "rule_id": rule, "suggestion": suggestion,
            })
        };
        let agent = self.agents.get(session).map(|agent| agent.name.clone()).unwrap_or_default();
        let (action, resolved) = match Target::resolve(operation, target) {
            Ok(found) => found,
            Err(error) => {
                let failure = Failure::new(
                    Code::InvalidArgument,
                    format!("{:?} has no canonical form: {error}", &**target),
                );
                return answer(false, &failure.message, "", "", target);
            }
        };
        let owned = match &resolved {
            Target::Heap(handle) => {
                self.heap.read(Handle::from_raw(*handle)).map_or(true, |object| *object.owner() == agent)
            }
            Target::Audit(name) => name.as_str() == &*agent,
            _ => true,
        };
        let question = Question { action, target: resolved, args, owned };
        let canonical = question.target.to_string();
        let gate = self.gate(session, agent);
        let (ruling, passed) = gate.ask(&question);
        let charges = passed.and_then(|_| gate.charges(&question));
        let amounts = match action {
            Action::Execute => Vec::from([(Dimension::ToolCalls, 1)]),
            Action::Infer => Vec::from([(Dimension::Tokens, 1)]),
            _ => Vec::new(),
        };
        let passed =
            charges.and_then(|charges| self.agents.check(session, &Costs { amounts, charges }, self.clock));
        match passed {
            Ok(()) => answer(true, "permitted", &ruling.rule, "", &canonical),
            Err(failure) => {
                let failure = self.shown(session, failure);
                let denial = failure.denial.as_deref();
                let field = |pick: fn(&crate::reply::Denial) -> &str| denial.map_or("", pick);
                answer(
                    false,
                    denial.map_or(failure.message.as_str(), |denial| denial.reason.as_str()),
                    field(|denial| &denial.rule_id),
                    field(|denial| &denial.suggested_snippet),
                    &canonical,
                )
            }
        }
    }

    fn load_policy(&mut self, text: &str, base_dir: Option<&str>) -> Result<Reply, Failure> {
        let policy = Policy::parse(text, base_dir).map_err(|error| {
            Failure::new(Code::PolicyInvalid, format!("the policy is refused: {error}"))
                .with("line", error.line as u64)
                .with("column", error.column as u64)
        })?;
        if policy.to_value().get("label").is_some() {
            // A table that is taken and has no effect would be a promise that nobody keeps.
            let message =
                "the policy is refused: this kernel does not carry `[[label]]` labels along with values yet";
            return Err(Failure::new(Code::PolicyInvalid, message));
        }
        self.agents.adopt(&self.policy, &policy);
        self.grants.load(&policy, self.clock.as_micros());
        self.policy = policy;
        Ok(Reply::Done)
    }

    fn set_budget(
        &mut self,
        session: Session,
        dimension: Dimension,
        limit: Option<u64>,
        agent: Option<Text>,
    ) -> Result<Reply, Failure> {
        let account = match agent {
            None => session,
            Some(name) => self
                .agents
                .find(&name)
                .filter(|account| session.is_owner() || *account == session)
                .ok_or_else(|| Failure::new(Code::NotFound, format!("no agent {:?}", &*name)))?,
        };
        self.agents.set_limit(account, dimension, limit, !session.is_owner())?;
        Ok(Reply::Done)
    }

    /// An agent session sees its own entries, an owner session everybody's.
    fn query(&self, session: Session, filter: &Filter) -> Value {
        let only = self.agents.get(session).filter(|_| !session.is_owner()).map(|agent| &*agent.name);
        self.history.query(filter, only)
    }

    fn register_tool(&mut self, manifest: &Value, module: Arc<[u8]>) -> Result<Reply, Failure> {
        let parsed = match manifest.as_str() {
            Some(text) => Manifest::parse(text),
            None => Manifest::from_value(manifest),
        };
        let manifest = parsed.map_err(|error| {
            Failure::new(Code::InvalidArgument, format!("the tool's manifest is refused: {error}"))
        })?;
        let tool = self.toolbox.register(manifest, module)?;
        Ok(Reply::Value(object! {
            "name": tool.manifest().name.as_str(), "version": tool.manifest().version.as_str(),
            "digest": format!("{}", tool.digest()),
        }))
    }
}

pub(crate) fn heap_failure(error: HeapError) -> Failure {
    let message = error.to_string();
    match error {
        HeapError::NotFound { handle, .. } => {
            Failure::new(Code::NotFound, message).with("handle", handle.to_string())
        }
        HeapError::Conflict { handle, expected, actual } => Failure::new(Code::Conflict, message)
            .with("handle", handle.to_string())
            .with("expected", expected)
            .with("actual", actual),
        HeapError::Patch(patch) => {
            let code = match patch.kind() {
                PatchErrorKind::Invalid | PatchErrorKind::Missing => Code::InvalidArgument,
                PatchErrorKind::TestFailed => Code::PatchTestFailed,
                PatchErrorKind::Limit => Code::Limit,
            };
            let failure = Failure::new(code, message);
            match patch.index {
                Some(index) => failure.with("index", index as u64).with("path", patch.path.to_string()),
                None => failure,
            }
        }
        HeapError::NotJson { handle } => {
            Failure::new(Code::InvalidArgument, message).with("handle", handle.to_string())
        }
        HeapError::Quota { .. } => Failure::new(Code::Quota, message),
        HeapError::Limit { .. } => Failure::new(Code::Limit, message),
        HeapError::Schema { type_name, instance_path, keyword } => Failure::new(Code::SchemaInvalid, message)
            .with("type", type_name)
            .with("path", instance_path)
            .with("keyword", keyword),
        HeapError::NotCreated { operation } => {
            Failure::new(Code::InvalidArgument, message).with("operation", operation as u64)
        }
        HeapError::Name(_) => Failure::new(Code::InvalidArgument, message),
    }
}
