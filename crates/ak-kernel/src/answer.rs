//! Requests that the kernel answers by itself.

use alloc::{format, sync::Arc, vec::Vec};

use ak_json::{Text, Value, object};
use ak_policy::{Policy, budget::Dimension};

use crate::{
    code::Code,
    history::Filter,
    kernel::{Caller, Kernel},
    operation::Operation,
    presented::Presented,
    reply::{Failure, Reply},
    request::Request,
    session::Session,
    toolbox::{self, Toolbox},
};

impl Kernel {
    /// Answers a request that needs nothing from outside.
    pub(crate) fn answer(
        &mut self,
        caller: &Caller,
        presented: Option<&Presented>,
        request: Request,
    ) -> Result<Reply, Failure> {
        let session = caller.session;
        match request {
            Request::Alloc { type_name, content, .. } => self.alloc(session, &type_name, content),
            Request::Read { handle, version } => self.read(caller, handle, version),
            Request::Stat { handle } => self.stat(caller, handle),
            Request::Write { handle, patch, expected_version } => {
                self.write(caller, handle, &patch, expected_version)
            }
            Request::Delete { handle, expected_version } => self.delete(caller, handle, expected_version),
            Request::Query { form } => self.search(session, &form),
            Request::Batch { parts } => self.batch(caller, &parts),
            Request::TypeRegister { name, schema } => self.register_type(session, &name, &schema),
            Request::LastError => {
                let denial = self.agents.get(session).and_then(|agent| agent.last_denial.as_ref());
                Ok(Reply::Value(object! { "denial": denial.map_or(Value::Null, |denial| denial.to_value()) }))
            }
            Request::Authorize { operation, target, args } => {
                Ok(self.foresee(session, presented, &operation, &target, args))
            }
            Request::PolicyLoad { text, base_dir } => self.load_policy(&text, base_dir.as_deref()),
            Request::BudgetSet { dimension, limit, agent } => {
                self.set_budget(session, dimension, limit, agent)
            }
            Request::BudgetStatus { dimension } => {
                Ok(Reply::Value(self.agents.status(session, dimension, self.clock)))
            }
            Request::CapGrant { agent, terms } => self.grant(&agent, &terms),
            Request::CapAttenuate { capability, terms } => self.attenuate(session, capability, &terms),
            Request::CapRevoke { capability } => self.revoke(session, capability),
            Request::CapToken { capability } => self.described(session, capability),
            Request::AuditLog { event, .. } if event.is_empty() || Operation::is_reserved_event(&event) => {
                let message = format!("the event type {:?} is empty or reserved for the kernel", &*event);
                Err(Failure::new(Code::InvalidArgument, message))
            }
            Request::AuditLog { .. } => Ok(Reply::Done),
            Request::AuditQuery(filter) => Ok(Reply::Value(self.recorded(session, &filter))),
            Request::ToolRegister { manifest, module, env } => self.register_tool(&manifest, module, env),
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
            | Request::AuditVerify { .. }
            | Request::Commit
            | Request::AuditProof { .. }
            | Request::Erase { .. } => Err(Failure::new(Code::Io, "this request needs the host")),
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
    fn recorded(&self, session: Session, filter: &Filter) -> Value {
        let only = self.agents.get(session).filter(|_| !session.is_owner()).map(|agent| &*agent.name);
        self.history.query(filter, only)
    }

    fn register_tool(
        &mut self,
        manifest: &Value,
        module: Arc<[u8]>,
        env: Vec<(Text, Text)>,
    ) -> Result<Reply, Failure> {
        let manifest = toolbox::manifest(manifest).map_err(|error| {
            Failure::new(Code::InvalidArgument, format!("the tool's manifest is refused: {error}"))
        })?;
        if Toolbox::is_taken(&manifest.name, &module) {
            let name = &manifest.name;
            let message = format!(
                "the tool is refused: {name} is the name of a tool that comes with the kernel: choose another"
            );
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        let tool = self.toolbox.register(manifest, module, env)?;
        Ok(Reply::Value(object! {
            "name": tool.manifest().name.as_str(), "version": tool.manifest().version.as_str(),
            "digest": format!("{}", tool.digest()),
        }))
    }
}
