//! Erasure: the kernel removes what it holds about a subject at once; the host destroys the subject's key.

use alloc::{format, vec::Vec};

use ak_json::{DropQueue, Text};
use ak_policy::budget::Dimension;

use crate::{
    api::{
        code::Code,
        effect::{Effect, LogWork, Ticket},
        reply::Failure,
    },
    record::subjects::SUBJECT_BYTES,
    state::{Caller, Kernel},
};

impl Kernel {
    /// Removes a subject: its objects with all versions and tombstones, its readable entries, its salt. Later
    /// records under the same name are about a new subject.
    ///
    /// # Errors
    /// NOT_FOUND if nothing is recorded about the subject; CONFLICT while effects of the agent with this name are
    /// pending. The messages do not contain the name: nothing that is recorded of an erasure may keep it.
    pub(crate) fn erase(&mut self, caller: &Caller, subject: &Text) -> Result<LogWork, Failure> {
        let erasing = self.erasable(subject)?;
        let entries = self.subjects.entries(subject);
        let handles = self.subjects.forget(&self.heap, subject);
        for handle in &handles {
            let live = self.heap.read(*handle).is_ok();
            // Each handle was found in the heap just now. Tombstones are charged to no account.
            if let Ok(change) = self.heap.erase(*handle)
                && live
            {
                self.agents.follow(caller.account, &change, self.clock.elapsed);
            }
        }
        for by in self.subjects.forget_named(subject) {
            let bytes = SUBJECT_BYTES.saturating_add(subject.len() as u64);
            self.agents.credit(by, Dimension::Memory, bytes);
        }
        self.history.forget(subject);
        self.end_idle_agent(subject);
        if let Some(agent) = self.agents.find(subject).and_then(|account| self.agents.get_mut(account)) {
            agent.last_denial = None;
        }
        Ok(LogWork::Erase { subject: erasing, objects: handles.len() as u64, entries })
    }

    /// Takes the values that the heap removed but has not freed yet, such as the objects of an erased subject. The
    /// host drops them outside the kernel's lock; after that none of them remains in memory.
    pub fn take_waste(&mut self) -> DropQueue {
        self.heap.take_drop_queue()
    }

    /// Removes the agent with this name if it has no session and no descendants, so that its name is not kept.
    fn end_idle_agent(&mut self, name: &Text) {
        let Some(agent) = self.agents.find(name) else { return };
        if self.sessions.count(agent) == 0 && self.agents.is_leaf(agent) && self.recorded.is_none() {
            self.forget_types(name);
            self.agents.capabilities.forget(agent);
            self.admission.forget(agent);
            self.agents.remove(agent);
        }
    }

    fn erasable(&self, subject: &Text) -> Result<u64, Failure> {
        let known = self.subjects.id(subject).filter(|id| *id > 0);
        let id = known.ok_or_else(|| {
            Failure::new(Code::NotFound, "nothing is recorded about a subject of this name")
        })?;
        let agent = self.agents.find(subject);
        let open = self.pending.values().filter(|open| Some(open.account) == agent).count();
        if open > 0 {
            let message =
                format!("{open} effects of this subject are under way: erase it when they have ended");
            return Err(Failure::new(Code::Conflict, message));
        }
        Ok(id)
    }

    /// The pending effects that a restart can perform again, unlike those whose outcome is unknown: erasures.
    pub fn unfinished(&self) -> Vec<(Ticket, Effect)> {
        let erasures =
            self.pending.iter().filter_map(|(ticket, open)| Some((*ticket, open.erasing()?.clone())));
        erasures.map(|(ticket, work)| (ticket, Effect::Log(work))).collect()
    }
}
