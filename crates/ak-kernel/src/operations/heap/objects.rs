//! Requests on heap objects.

use alloc::{string::ToString, vec::Vec};

use ak_heap::{Change, Content, Handle, Heap, HeapError, Patch, PatchErrorKind, Plan, Work};
use ak_json::{Labels, Object, Text, Value};
use ak_policy::{Target, budget::Dimension};

use crate::{
    accounts::agents::{Agents, Charges},
    api::{
        code::Code,
        reply::{Failure, Reply},
        session::AgentId,
        time::Elapsed,
    },
    authz::gate::no_object,
    state::{Caller, Kernel},
};

impl Kernel {
    pub(crate) fn alloc(
        &mut self,
        account: AgentId,
        type_name: &str,
        content: Content,
        subject: Option<Text>,
    ) -> Result<Reply, Failure> {
        let owner = self.agents.name(account);
        let change = self.change(account, |heap, work| {
            heap.plan_alloc(&owner, type_name, content, Labels::default(), work)
        })?;
        if let Some(subject) = subject {
            self.subjects.note_object(change.handle, subject);
        }
        Ok(Reply::Handle(change.handle))
    }

    pub(crate) fn read(
        &mut self,
        caller: &Caller,
        handle: Handle,
        version: Option<u64>,
    ) -> Result<Reply, Failure> {
        // No version of a deleted object can be read.
        let object = self.heap.read(handle).map_err(|error| gone(caller, error))?;
        let version = version.unwrap_or(object.version());
        let revision = self.heap.read_at(handle, version).map_err(heap_failure)?;
        Ok(Reply::Content(revision.content().clone()))
    }

    pub(crate) fn stat(&mut self, caller: &Caller, handle: Handle) -> Result<Reply, Failure> {
        let object = self.heap.read(handle).map_err(|error| gone(caller, error))?;
        Ok(Reply::Value(description(object).into()))
    }

    pub(crate) fn write(
        &mut self,
        caller: &Caller,
        handle: Handle,
        patch: &Value,
        expected_version: Option<u64>,
    ) -> Result<Reply, Failure> {
        let change = self.change(caller.account, |heap, work| {
            let patch = Patch::parse_within(patch, work)?;
            heap.plan_write(handle, &patch, expected_version, work)
        })?;
        Ok(Reply::Version(change.version))
    }

    pub(crate) fn delete(
        &mut self,
        caller: &Caller,
        handle: Handle,
        expected_version: Option<u64>,
    ) -> Result<Reply, Failure> {
        self.change(caller.account, |heap, work| heap.plan_delete(handle, expected_version, work))?;
        Ok(Reply::Done)
    }

    /// Plans a change of the heap, charges it and commits it. If one step fails, nothing is changed.
    fn change(
        &mut self,
        account: AgentId,
        plan: impl for<'h> FnOnce(&'h mut Heap, &mut Work) -> Result<Plan<'h>, HeapError>,
    ) -> Result<Change, Failure> {
        let mut work = self.meter();
        let planned = plan(&mut self.heap, &mut work);
        self.work = self.work.saturating_add(work.used());
        let plan = planned.map_err(heap_failure)?;
        self.agents.pay(account, plan.outcome(), self.clock.elapsed)?;
        let change = plan.commit();
        self.forget_subjects_of_forgotten();
        Ok(change)
    }
}

/// The failure for an object that does not exist. An agent session cannot tell a deleted object from one that never
/// existed.
fn gone(caller: &Caller, error: HeapError) -> Failure {
    match error {
        HeapError::NotFound { handle, .. } if !caller.is_owner() => no_object(&Target::heap(handle.raw())),
        error => heap_failure(error),
    }
}

/// The properties of an object without its content.
pub(crate) fn description(object: &ak_heap::Object) -> Object {
    let members: [(&str, Value); 5] = [
        ("type", object.type_name().into()),
        ("version", object.version().into()),
        ("size", object.size().into()),
        ("owner", object.owner().into()),
        ("labels", object.labels().to_value()),
    ];
    members.into_iter().collect()
}

/// The heap's part of the accounts. An object is charged to its owner.
impl Agents {
    /// Charges what a change adds, or credits what it frees.
    pub(crate) fn pay(&mut self, account: AgentId, change: &Change, now: Elapsed) -> Result<(), Failure> {
        let account = self.find(&change.owner).unwrap_or(account);
        let (objects, bytes) = gauges(change);
        let grows = |by: i64| u64::try_from(by).unwrap_or(0);
        let amounts =
            Vec::from([(Dimension::HeapObjects, grows(objects)), (Dimension::Memory, grows(bytes))]);
        self.check(account, &Charges { amounts, charges: Vec::new() }, now)?;
        self.follow(account, change, now);
        Ok(())
    }

    /// Counts a change without checking limits.
    pub(crate) fn follow(&mut self, account: AgentId, change: &Change, now: Elapsed) {
        let account = self.find(&change.owner).unwrap_or(account);
        let (objects, bytes) = gauges(change);
        self.gauge(account, Dimension::HeapObjects, objects, now);
        self.gauge(account, Dimension::Memory, bytes, now);
    }

    /// Undoes a [`pay`](Self::pay).
    pub(crate) fn repay(&mut self, account: AgentId, change: &Change, now: Elapsed) {
        let account = self.find(&change.owner).unwrap_or(account);
        let (objects, bytes) = gauges(change);
        self.gauge(account, Dimension::HeapObjects, objects.saturating_neg(), now);
        self.gauge(account, Dimension::Memory, bytes.saturating_neg(), now);
    }

    pub(crate) fn gauge(&mut self, account: AgentId, dimension: Dimension, by: i64, now: Elapsed) {
        match by {
            0.. => self.record(account, dimension, by.unsigned_abs(), now),
            _ => self.credit(account, dimension, by.unsigned_abs()),
        }
    }
}

/// The numbers of objects and bytes by which the heap grows.
fn gauges(change: &Change) -> (i64, i64) {
    let objects = match change.action {
        ak_heap::Action::Alloc => 1,
        ak_heap::Action::Write => 0,
        ak_heap::Action::Delete | ak_heap::Action::Erase => -1,
    };
    (objects, change.bytes_delta)
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
        HeapError::Limit { .. } | HeapError::Work(_) => Failure::new(Code::Limit, message),
        HeapError::Schema { type_name, instance_path, keyword }
        | HeapError::Unjudged { type_name, instance_path, keyword } => {
            Failure::new(Code::SchemaInvalid, message)
                .with("type", type_name)
                .with("path", instance_path)
                .with("keyword", keyword)
        }
        HeapError::NotCreated { operation } => {
            Failure::new(Code::InvalidArgument, message).with("operation", operation as u64)
        }
        HeapError::Name(_) => Failure::new(Code::InvalidArgument, message),
    }
}
