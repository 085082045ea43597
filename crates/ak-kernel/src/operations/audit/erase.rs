//! Erasure: what the kernel still holds about a subject goes at once, the host takes the rest.

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
    /// Forgets a subject: its objects with all their versions and tombstones, its readable entries, its salt. What comes
    /// to be known about the same name later is another subject's.
    ///
    /// # Errors
    /// NOT_FOUND where there is nothing about it; CONFLICT while effects of an agent of that name are under way. Neither
    /// says the name: nothing that is said of an erasure may keep it.
    pub(crate) fn erase(&mut self, caller: &Caller, subject: &Text) -> Result<LogWork, Failure> {
        let erasing = self.erasable(subject)?;
        let entries = self.subjects.entries(subject);
        let handles = self.subjects.forget(&self.heap, subject);
        for handle in &handles {
            let live = self.heap.read(*handle).is_ok();
            // Each was found in the heap just now. A tombstone is on nobody's account any more.
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

    /// What the heap let go of and has not freed yet, an erased subject's objects among it. A host drops it where nobody waits:
    /// nothing of it stays in memory then.
    pub fn take_waste(&mut self) -> DropQueue {
        self.heap.take_drop_queue()
    }

    /// Ends an agent of this name that nobody has a session of and that has none below it: its name stands nowhere then.
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

    /// What a restart finds half done and can do again, unlike an effect whose outcome nobody knows: an erasure.
    pub fn unfinished(&self) -> Vec<(Ticket, Effect)> {
        let erasures =
            self.pending.iter().filter_map(|(ticket, open)| Some((*ticket, open.erasing()?.clone())));
        erasures.map(|(ticket, work)| (ticket, Effect::Log(work))).collect()
    }
}
