//! Requests that the kernel answers by itself.

use alloc::{format, sync::Arc, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_policy::budget::Dimension;

use crate::{
    agents::{GUEST, MAIN},
    code::Code,
    history::Filter,
    kernel::{Caller, Kernel},
    operation::Operation,
    policy_files::PolicyFiles,
    reply::{Failure, Reply},
    request::Request,
    session::{AgentId, SessionId},
    toolbox::{self, Toolbox},
    types::{insert_unjudged, unjudged},
};

impl Kernel {
    /// Answers a request that needs nothing from outside.
    pub(crate) fn answer(&mut self, caller: &Caller, request: Request) -> Result<Reply, Failure> {
        let account = caller.account;
        match request {
            Request::Alloc { type_name, content, .. } => self.alloc(account, &type_name, content),
            Request::Read { handle, version } => self.read(caller, handle, version),
            Request::Stat { handle } => self.stat(caller, handle),
            Request::Write { handle, patch, expected_version } => {
                self.write(caller, handle, &patch, expected_version)
            }
            Request::Delete { handle, expected_version } => self.delete(caller, handle, expected_version),
            Request::Query { form } => self.search(caller, &form),
            Request::Batch { parts } => self.batch(caller, &parts),
            Request::TypeRegister { name, schema } => self.register_type(account, &name, &schema),
            Request::TypeUnregister { name } => self.unregister_type(account, &name),
            Request::LastError => {
                let denial = self.agents.get(account).and_then(|agent| agent.last_denial.as_ref());
                Ok(Reply::Value(object! { "denial": denial.map_or(Value::Null, |denial| denial.to_value()) }))
            }
            Request::PolicyLoad { text, base_dir, files } => {
                self.load_policy(&text, base_dir.as_deref(), files)
            }
            Request::BudgetSet { dimension, limit, agent } => {
                self.set_budget(account, dimension, limit, agent)
            }
            Request::BudgetStatus { dimension, agent } => {
                let account = self.account_of(account, agent.as_ref())?;
                Ok(Reply::Value(self.agents.status(account, dimension, self.clock.elapsed)))
            }
            Request::CapGrant { agent, terms } => self.grant(&agent, &terms),
            Request::CapAttenuate { capability, terms } => self.attenuate(account, capability, &terms),
            Request::CapRevoke { capability } => self.revoke(account, capability),
            Request::CapToken { capability } => self.described(account, capability),
            Request::AuditLog { event, .. } if event.is_empty() || Operation::is_reserved_event(&event) => {
                let message = format!("the event type {:?} is empty or reserved for the kernel", &*event);
                Err(Failure::new(Code::InvalidArgument, message))
            }
            Request::AuditLog { .. } => Ok(Reply::Done),
            Request::AuditQuery(filter) => Ok(Reply::Value(self.recorded(account, &filter))),
            Request::ToolRegister { manifest, module, env } => self.register_tool(&manifest, module, env),
            Request::ToolList => Ok(Reply::Value(self.toolbox.to_value())),
            Request::SessionOpen { agent } => self.open_session(caller, &agent).map(Reply::Session),
            Request::SessionClose => {
                self.close_session(caller);
                Ok(Reply::Done)
            }
            Request::Authorize { .. }
            | Request::Call { .. }
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

    fn load_policy(
        &mut self,
        text: &str,
        base_dir: Option<&str>,
        files: PolicyFiles,
    ) -> Result<Reply, Failure> {
        files.check()?;
        let policy = self.prepared.policy(text, base_dir, &files).map_err(|error| {
            Failure::new(Code::PolicyInvalid, format!("the policy is refused: {error}"))
                .with("line", error.line as u64)
                .with("column", error.column as u64)
        })?;
        if policy.labels_sources() {
            // A table that is taken and has no effect would be a promise that nobody keeps.
            let message =
                "the policy is refused: this kernel does not carry `[[label]]` labels along with values yet";
            return Err(Failure::new(Code::PolicyInvalid, message));
        }
        self.agents.adopt(&policy);
        self.grants.load(&policy, self.clock.elapsed);
        self.policy = policy;
        self.policy_files = files.here;
        Ok(Reply::Done)
    }

    /// Opens a session for an agent, or for a new guest.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a name that is reserved, or no agent's name; QUOTA.
    fn open_session(&mut self, caller: &Caller, name: &Text) -> Result<SessionId, Failure> {
        if self.recorded.is_some() {
            return self.open_session_as_recorded(name);
        }
        let guest = !caller.is_owner();
        let first = name.split('/').next().unwrap_or_default();
        let name = match (guest, first) {
            // Numbers of entries never come twice, and so no guest gets what another left.
            (true, _) => Text::from(format!("{GUEST}/{}", self.chain.next_seq())),
            (false, MAIN) => {
                let message =
                    "'main' is the owner's own agent: the owner's session acts as it, and no other may";
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            (false, GUEST) => {
                let message = "'guest' is reserved for connections without a credential";
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            (false, _) => name.clone(),
        };
        let agent = self.agents.open(&name, &self.policy, self.clock.elapsed, self.config.agents_max)?;
        let opened = self.sessions.open(agent, self.config.sessions_max);
        opened.inspect_err(|_| {
            if guest {
                self.agents.remove(agent);
            }
        })
    }

    /// Ends the session of whoever asks. A guest ends with it, and what it had goes.
    fn close_session(&mut self, caller: &Caller) {
        let Some(agent) = self.sessions.close(caller.session) else { return };
        let busy = self.under_way.values().any(|open| open.account == agent);
        if !self.agents.is_guest(agent) || self.sessions.count(agent) > 0 || busy {
            return;
        }
        let name = self.agents.name(agent);
        for handle in self.heap.owned_by(&name) {
            let live = self.heap.read(handle).is_ok();
            if let Ok(change) = self.heap.erase(handle)
                && live
            {
                self.agents.follow(agent, &change, self.clock.elapsed);
            }
            self.subjects.forget_object(handle);
        }
        self.forget_types(&name);
        self.agents.holdings.forget(agent);
        self.admission.forget(agent);
        self.agents.remove(agent);
    }

    fn set_budget(
        &mut self,
        by: AgentId,
        dimension: Dimension,
        limit: Option<u64>,
        agent: Option<Text>,
    ) -> Result<Reply, Failure> {
        let account = self.account_of(by, agent.as_ref())?;
        self.agents.set_limit(account, dimension, limit, !by.is_main())?;
        Ok(Reply::Done)
    }

    /// The account of the agent that is named, else the asking agent's own.
    ///
    /// # Errors
    /// NOT_FOUND where there is no such agent; to an agent also where it is another one.
    fn account_of(&self, by: AgentId, agent: Option<&Text>) -> Result<AgentId, Failure> {
        let Some(name) = agent else { return Ok(by) };
        let found = self.agents.find(name).filter(|found| by.is_main() || *found == by);
        found.ok_or_else(|| Failure::new(Code::NotFound, format!("no agent {:?}", &**name)))
    }

    /// An agent session sees its own entries, an owner session everybody's.
    fn recorded(&self, account: AgentId, filter: &Filter) -> Value {
        let only = self.agents.get(account).filter(|_| !account.is_main()).map(|agent| &*agent.name);
        self.history.query(filter, only)
    }

    fn register_tool(
        &mut self,
        manifest: &Value,
        module: Arc<[u8]>,
        env: Vec<(Text, Text)>,
    ) -> Result<Reply, Failure> {
        let checked = self.prepared.tool().unwrap_or_else(|| toolbox::checked(manifest, module.clone()));
        let tool = checked.map_err(|reason| Failure::new(Code::InvalidArgument, reason))?;
        if Toolbox::is_taken(&tool.manifest().name, &module) {
            let name = &tool.manifest().name;
            let message = format!(
                "the tool is refused: {name} is the name of a tool that comes with the kernel: choose another"
            );
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
