//! Requests about the policy: load it, preview its decisions, and return the last denial.

pub(crate) mod preview;

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};

use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, PATH_BYTES_MAX, POLICY_BYTES_MAX, Target, did_you_mean};

use super::{Amounts, Completed, EffectSize, Family, Permitted, Started, VALUE_BYTES_MAX, length, members};
use crate::{
    api::{
        audit_filter::quoted,
        code::Code,
        config::Config,
        effect::Completion,
        fields::{FieldError, Fields, insert_some},
        operation::AdminOperation,
        policy_files::PolicyFiles,
        prepared::{Prepared, Work},
        reply::{Failure, Reply},
        request::AdminRequest,
    },
    authz::{
        gate::DecisionRecord,
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::PendingEffect,
    state::{Caller, Kernel},
};

/// Most bytes of a policy with everything that it includes, and of the paths that it is read from.
const POLICY_LOAD_BYTES_MAX: u64 = (POLICY_BYTES_MAX + PATH_BYTES_MAX) as u64;

impl Family for AdminRequest {
    type Row = AdminOperation;

    fn row(&self) -> AdminOperation {
        match self {
            Self::LastError => AdminOperation::LastError,
            Self::Authorize { .. } => AdminOperation::Authorize,
            Self::PolicyLoad { .. } => AdminOperation::PolicyLoad,
        }
    }

    fn decode(row: AdminOperation, fields: &mut Fields<'_>) -> Result<AdminRequest, FieldError> {
        Ok(match row {
            AdminOperation::LastError => Self::LastError,
            AdminOperation::Authorize => Self::Authorize {
                operation: fields.text("operation")?,
                target: fields.text("target")?,
                args: fields.member("args"),
            },
            AdminOperation::PolicyLoad => Self::PolicyLoad {
                text: fields.text("text")?,
                base_dir: fields.optional_text("base_dir")?,
                files: PolicyFiles::from_fields(fields)?,
            },
        })
    }

    fn args(&self) -> Value {
        let mut args = Object::new();
        match self {
            Self::LastError => {}
            Self::Authorize { operation, target, args: asked } => {
                args.insert("operation", operation.clone());
                args.insert("target", target.clone());
                insert_some(&mut args, "args", asked.clone());
            }
            Self::PolicyLoad { text, base_dir, files } => {
                args.insert("text", text.clone());
                insert_some(&mut args, "base_dir", base_dir.clone());
                files.insert_into(&mut args);
            }
        }
        args.into()
    }

    fn size(&self) -> u64 {
        match self {
            Self::LastError => 0,
            Self::Authorize { operation, target, args } => {
                let args = args.as_ref().map_or(0, |args| args.json_len() as u64);
                args.saturating_add(operation.len() as u64).saturating_add(target.len() as u64)
            }
            Self::PolicyLoad { text, base_dir, files } => {
                (text.len() as u64).saturating_add(length(base_dir)).saturating_add(files.size())
            }
        }
    }

    fn size_max(&self) -> u64 {
        match self {
            Self::PolicyLoad { .. } => POLICY_LOAD_BYTES_MAX,
            Self::LastError | Self::Authorize { .. } => VALUE_BYTES_MAX,
        }
    }

    fn longest_name(&self) -> usize {
        match self {
            Self::Authorize { operation, target, .. } => operation.len().max(target.len()),
            Self::LastError | Self::PolicyLoad { .. } => 0,
        }
    }

    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        match self {
            Self::Authorize { args: Some(args), .. } => look(args),
            Self::Authorize { args: None, .. } | Self::LastError | Self::PolicyLoad { .. } => true,
        }
    }

    fn rejection(&self) -> Option<Failure> {
        match self {
            Self::Authorize { operation, .. } if !Target::knows_operation(operation) => {
                let known: Vec<&str> =
                    Action::ALL.iter().map(|action| action.as_str()).chain(["read", "write"]).collect();
                let hint = did_you_mean(operation, &known);
                let message = format!("args.operation: {:?} is no operation: {hint}", quoted(operation));
                Some(Failure::new(Code::InvalidArgument, message))
            }
            Self::Authorize { .. } | Self::LastError | Self::PolicyLoad { .. } => None,
        }
    }

    fn query(&self, _asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        Ok(None)
    }

    fn only_tells(&self) -> bool {
        match self {
            Self::LastError | Self::Authorize { .. } => true,
            Self::PolicyLoad { .. } => false,
        }
    }

    fn charges(&self, _kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        Ok(Amounts::new())
    }

    fn effect_size(&self, _config: &Config) -> Option<EffectSize> {
        None
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        match self {
            // Policies are never erased: verifying the log needs them.
            Self::PolicyLoad { .. } => Vec::new(),
            Self::LastError | Self::Authorize { .. } => Vec::from([agent.clone()]),
        }
    }

    fn prepare(&self, prepared: &mut Prepared) {
        match self {
            Self::PolicyLoad { text, base_dir, files } => {
                let policy = files.parse(text, base_dir.as_deref());
                prepared.work = Some(Arc::new(Work::Policy(policy.inspect(|policy| {
                    // The policy caches its digest.
                    let _ = policy.digest();
                }))));
            }
            Self::LastError | Self::Authorize { .. } => {}
        }
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        match self {
            Self::Authorize { operation, target, args } => {
                let mut keys =
                    members(object! { "asked_operation": operation.clone(), "asked_target": target.clone() });
                insert_some(&mut keys, "asked_args", args.clone());
                keys
            }
            Self::LastError | Self::PolicyLoad { .. } => Object::new(),
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let Permitted { caller, presented, .. } = permitted;
        match self {
            Self::LastError => {
                let agent = kernel.agents.get(caller.account);
                let denial = agent.and_then(|agent| agent.last_denial.as_ref());
                let denial = denial.map_or(Value::Null, |denial| denial.to_value());
                Ok(Started::Reply(Reply::Value(object! { "denial": denial })))
            }
            Self::Authorize { operation, target, args } => {
                let (decided, reply) = kernel.preview(caller, presented, &operation, &target, args);
                Ok(Started::Preview(Box::new(decided), reply))
            }
            Self::PolicyLoad { text, base_dir, files } => {
                kernel.load_policy(&text, base_dir.as_deref(), files).map(Started::Reply)
            }
        }
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        _pending: &PendingEffect,
        _completion: Completion,
    ) -> Option<Completed> {
        None
    }
}

impl Kernel {
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
            // Accepting a table that has no effect would suggest a protection that does not exist.
            let message = "the policy is refused: `[[label]]` tables are not supported yet: remove them";
            return Err(Failure::new(Code::PolicyInvalid, message));
        }
        self.agents.adopt(&policy);
        self.grants.load(&policy, self.clock.elapsed);
        self.policy = policy;
        self.policy_files = files.here;
        Ok(Reply::Done)
    }
}
