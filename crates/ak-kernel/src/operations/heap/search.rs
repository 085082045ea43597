//! Requests that search the heap.

use alloc::{format, string::ToString, vec::Vec};

use ak_heap::{Handle, Query, Scope, Work};
use ak_json::{Object, Value, object};
use ak_policy::{Action, Target};

use crate::{
    api::{
        code::Code,
        fields::content_members,
        reply::{Failure, Reply},
    },
    authz::{
        gate::{Gate, over_steps},
        query::PolicyQuery,
    },
    operations::heap::objects::description,
    state::{Caller, Kernel},
};

/// Most bytes of contents on one page of a query. A longer object is returned alone.
pub const PAGE_BYTES_MAX: u64 = 4 << 20;

impl Kernel {
    /// The objects that match a query, among those that the session could read one by one.
    pub(crate) fn search(&mut self, caller: &Caller, form: &Object) -> Result<Reply, Failure> {
        let mut work = self.meter();
        let found = self.search_within(caller, form, &mut work);
        self.work = self.work.saturating_add(work.used());
        found
    }

    fn search_within(&mut self, caller: &Caller, form: &Object, work: &mut Work) -> Result<Reply, Failure> {
        let refused = |path: &str, reason: &str| {
            Failure::new(Code::InvalidArgument, format!("query: {path}: {reason}")).with("path", path)
        };
        let query_refused = |error: ak_heap::QueryError| refused(&error.path, error.reason);
        let mut query = Query::parse(&form.clone().into()).map_err(query_refused)?;
        if query.limit == 0 {
            return Err(refused("limit", "is not 1 or more"));
        }
        let agent = self.agents.name(caller.account);
        let gate = self.gate_of(caller, agent);
        let (heap, own) = (gate.heap, [&*gate.agent]);
        // Other agents' objects are searched only if some rule could permit reading them.
        let everybodys = gate.owner || gate.policy.may_permit_others_objects();
        let scope = if everybodys { Scope::All } else { Scope::Owners(&own) };
        let form = Value::from(form.clone());
        let any_type = query.type_name.is_none();
        let admits = |handle: Handle, object: &ak_heap::Object| {
            (!any_type || gate.may_search(object, &form)) && gate.may_read(handle, object)
        };
        let mut page = heap.query_in_scope(&query, scope, admits, work).map_err(query_refused)?;
        let mut bytes = 0u64;
        let fits = page.objects.iter().take_while(|(_, object)| {
            bytes = bytes.saturating_add(object.size());
            bytes <= PAGE_BYTES_MAX
        });
        let fits = fits.count().max(1);
        if fits < page.objects.len() {
            query.limit = fits;
            page = heap.query_in_scope(&query, scope, admits, work).map_err(query_refused)?;
        }
        // Objects that were not examined for lack of steps may belong to the agent.
        if gate.is_spent() {
            return Err(over_steps());
        }
        let rows = page.objects.iter().map(|(handle, object)| {
            let mut row = Object::new();
            row.insert("handle", handle.to_string());
            for (name, value) in description(object).iter().chain(content_members(object.content()).iter()) {
                row.insert(name.clone(), value.clone());
            }
            Value::from(row)
        });
        let objects = rows.collect::<Vec<Value>>();
        let cursor = page.next.map_or(Value::Null, |cursor| cursor.to_string().into());
        Ok(Reply::Value(object! { "objects": objects, "cursor": cursor }))
    }
}

impl Gate<'_> {
    /// Whether the session may search the object's type. The gate has decided on a query of all types only.
    fn may_search(&self, object: &ak_heap::Object, form: &Value) -> bool {
        let Ok(target) = Target::type_name(object.type_name()) else { return false };
        let question =
            PolicyQuery { action: Action::HeapQuery, target, args: Some(form.clone()), owned: true };
        self.permits_uncounted(&question)
    }

    /// Whether the session may read the object.
    fn may_read(&self, handle: Handle, object: &ak_heap::Object) -> bool {
        let owned = self.owner || *object.owner() == self.agent;
        let target = Target::heap(handle.raw());
        self.permits_uncounted(&PolicyQuery { action: Action::HeapRead, target, args: None, owned })
    }

    /// Whether the policy permits the query and no limit counts it. A counted object must be read by a request of
    /// its own.
    fn permits_uncounted(&self, question: &PolicyQuery) -> bool {
        self.permits(question) && self.charges(question, &[]).is_ok_and(|charges| charges.is_empty())
    }
}
