//! The table of capabilities: how they are derived from each other, and their counters.

use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Value, array, object};

use super::caveat::{Authority, CAVEAT_BYTES_MAX, CAVEATS_MAX, Caveat};
use super::encode;
use super::node::CapNode;
use crate::budget::{BudgetExceeded, Dimension, Reservation};
use crate::counters::elapsed::Elapsed;
use crate::counters::state::{Part, ReadResult, TableError};
use crate::query::Query;

/// The most capabilities in a table at a time.
pub const CAPABILITIES_MAX: usize = 65_536;
/// The most steps of derivation between a root and a capability; [`DeriveError::Depth`] above.
pub const DEPTH_MAX: usize = 16;

/// Identifies a capability in its table: the index of a slot, and the slot's generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapId {
    generation: u32,
    index: u32,
}

impl CapId {
    /// The number by which tokens and the wire format name the capability.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The capability with this number, which need not exist.
    pub const fn from_u64(number: u64) -> Self {
        Self { generation: (number >> 32) as u32, index: number as u32 }
    }
}

impl fmt::Debug for CapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.to_u64())
    }
}

/// All capabilities of a kernel, with their chains of derivation.
///
/// Only [`root`](Self::root) and [`derive`](Self::derive) make capabilities, and a derived capability has all
/// caveats of its parent besides its own: authority never grows. Caveats that count (uses, rates, budgets) are
/// counted at the capability that has them, for it and everything derived from it together.
/// [`revoke`](Self::revoke) removes a capability and everything derived from it, at once and for ever.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CapTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Slot {
    generation: u32,
    node: Option<CapNode>,
}

/// What a use of a capability reserved in the budgets along its chain. See [`Ledger`](crate::budget::Ledger).
#[must_use = "a reservation that is neither settled nor released blocks its amount for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct CapReservation(Vec<(CapId, Reservation)>);

impl CapReservation {
    /// The reservation as JSON, to be saved beside its table; see [`CapTable::reservation`].
    pub fn to_value(&self) -> Value {
        let claims = self.0.iter().map(|(id, claim)| array![id.to_u64(), claim.id()]);
        Value::from(claims.collect::<Vec<_>>())
    }
}

/// Why a capability cannot be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The parent was revoked, or never existed.
    #[error("the capability was revoked or does not exist")]
    Revoked,
    /// The table already has [`CAPABILITIES_MAX`] capabilities.
    #[error("there are {CAPABILITIES_MAX} capabilities already")]
    Full,
    /// The capability would be more than [`DEPTH_MAX`] steps from its root.
    #[error("a capability is at most {DEPTH_MAX} steps from its root")]
    Depth,
    /// There are more than [`CAVEATS_MAX`] caveats, or one is longer than [`CAVEAT_BYTES_MAX`].
    #[error("a capability adds at most {CAVEATS_MAX} caveats of at most {CAVEAT_BYTES_MAX} bytes")]
    Caveats,
}

/// Why a capability does not cover a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapDenial {
    /// The capability was revoked, or never existed.
    #[error("the capability was revoked or does not exist")]
    Revoked,
    /// The capability is not valid yet.
    #[error("the capability is not valid yet")]
    TooEarly,
    /// The capability has expired.
    #[error("the capability has expired")]
    Expired,
    /// The capability is for other operations, targets or agents.
    #[error("the capability does not cover this operation, target or agent")]
    Scope,
    /// The capability belongs to another run.
    #[error("the capability belongs to another run")]
    OtherRun,
    /// The capability's uses are used up.
    #[error("the uses of the capability are spent")]
    UsedUp,
    /// The capability's rate is used up for now.
    #[error("the capability's rate is used up")]
    Rate {
        /// When the capability can be used again, in µs from now.
        retry_after_us: u64,
    },
    /// The budget of a caveat does not suffice.
    #[error(transparent)]
    Budget(BudgetExceeded),
}

impl CapTable {
    /// Makes a capability that allows everything.
    ///
    /// # Errors
    /// [`DeriveError::Full`] when there are already [`CAPABILITIES_MAX`] capabilities.
    pub fn root(&mut self) -> Result<CapId, DeriveError> {
        self.insert(None, 0, Authority::everything(), Elapsed::default())
    }

    /// Makes a capability that allows what `parent` and every given caveat allow. Times in caveats are elapsed
    /// times, against which the table checks them: for a duration from now use `now.high_us` plus the duration in
    /// [`Caveat::ExpiresAt`], and `now.low_us` plus the duration in [`Caveat::NotBefore`].
    ///
    /// # Errors
    /// [`DeriveError`]; then no capability is made.
    pub fn derive(
        &mut self,
        parent: CapId,
        caveats: impl IntoIterator<Item = Caveat>,
        now: Elapsed,
    ) -> Result<CapId, DeriveError> {
        let depth = self.node(parent).ok_or(DeriveError::Revoked)?.depth + 1;
        let own: Authority = caveats.into_iter().take(CAVEATS_MAX + 1).collect();
        if own.caveats().len() > CAVEATS_MAX || !own.caveats().all(encode::has_room) {
            return Err(DeriveError::Caveats);
        }
        if depth > DEPTH_MAX {
            return Err(DeriveError::Depth);
        }
        let child = self.insert(Some(parent), depth, own, now)?;
        if let Some(node) = self.node_mut(parent) {
            node.children.insert(child);
        }
        Ok(child)
    }

    fn insert(
        &mut self,
        parent: Option<CapId>,
        depth: usize,
        own: Authority,
        now: Elapsed,
    ) -> Result<CapId, DeriveError> {
        if self.count >= CAPABILITIES_MAX {
            return Err(DeriveError::Full);
        }
        let node = CapNode::new(parent, depth, own, now);
        let id = match self.free.pop().and_then(|index| Some((index, self.slots.get_mut(index as usize)?))) {
            Some((index, slot)) => {
                slot.node = Some(node);
                CapId { generation: slot.generation, index }
            }
            None => {
                let index = u32::try_from(self.slots.len()).map_err(|_| DeriveError::Full)?;
                self.slots.push(Slot { generation: 1, node: Some(node) });
                CapId { generation: 1, index }
            }
        };
        self.count += 1;
        Ok(id)
    }

    fn node(&self, id: CapId) -> Option<&CapNode> {
        let slot = self.slots.get(id.index as usize)?;
        slot.node.as_ref().filter(|_| slot.generation == id.generation)
    }

    fn node_mut(&mut self, id: CapId) -> Option<&mut CapNode> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.node.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// The capability and its ancestors, itself first; empty when it does not exist.
    fn lineage(&self, id: CapId) -> impl Iterator<Item = (CapId, &CapNode)> {
        let first = self.node(id).map(|node| (id, node));
        core::iter::successors(first, |(_, node)| node.parent.and_then(|id| Some((id, self.node(id)?))))
    }

    /// Whether the capability exists: it was made, and not revoked since.
    pub fn contains(&self, id: CapId) -> bool {
        self.node(id).is_some()
    }

    /// The caveats of the capability and of all its ancestors; `None` when it does not exist.
    pub fn authority(&self, id: CapId) -> Option<Authority> {
        self.node(id)?;
        Some(self.lineage(id).fold(Authority::everything(), |all, (_, node)| all.intersection(&node.own)))
    }

    /// Whether the capability allows a request now. Takes and reserves nothing.
    ///
    /// # Errors
    /// [`CapDenial`] when the capability or one of its ancestors does not cover the request.
    pub fn check(
        &self,
        id: CapId,
        query: &Query<'_>,
        run: &[u8; 16],
        amounts: &[(Dimension, u64)],
    ) -> Result<(), CapDenial> {
        self.node(id).ok_or(CapDenial::Revoked)?;
        self.lineage(id).try_for_each(|(_, node)| node.check(query, run, amounts))
    }

    /// Checks the request, then takes one use, also from each rate, and reserves the amounts, at this capability
    /// and every ancestor; on an error nothing changes.
    ///
    /// # Errors
    /// [`CapDenial`] when the capability or one of its ancestors does not cover the request.
    pub fn spend(
        &mut self,
        id: CapId,
        query: &Query<'_>,
        run: &[u8; 16],
        amounts: &[(Dimension, u64)],
    ) -> Result<CapReservation, CapDenial> {
        self.check(id, query, run, amounts)?;
        let lineage: Vec<_> = self.lineage(id).map(|(id, _)| id).collect();
        let mut reserved = Vec::with_capacity(lineage.len());
        for id in lineage {
            let Some(node) = self.node_mut(id) else { continue };
            // `check` has made sure that every capability of the chain allows this.
            if let Some(claim) = node.spend(query.elapsed, amounts)? {
                reserved.push((id, claim));
            }
        }
        Ok(CapReservation(reserved))
    }

    /// Records the actual usage in place of what was reserved; see
    /// [`Ledger::settle`](crate::budget::Ledger::settle).
    pub fn settle(&mut self, reservation: CapReservation, actual: &[(Dimension, u64)]) {
        for (id, claim) in reservation.0 {
            if let Some(node) = self.node_mut(id) {
                let limited = node.limited(actual);
                // The budget of a caveat has no period, so the time of usage does not matter.
                node.ledger.settle(claim, &limited, Elapsed::default());
            }
        }
    }

    /// Drops the reserved amounts: the work was not done. The use itself stays taken.
    pub fn release(&mut self, reservation: CapReservation) {
        for (id, claim) in reservation.0 {
            if let Some(node) = self.node_mut(id) {
                node.ledger.release(claim);
            }
        }
    }

    /// Revokes a capability and everything derived from it, and returns how many were revoked.
    pub fn revoke(&mut self, id: CapId) -> usize {
        if let Some(parent) = self.node(id).and_then(|node| node.parent)
            && let Some(parent) = self.node_mut(parent)
        {
            parent.children.remove(&id);
        }
        let mut doomed = Vec::from([id]);
        let mut revoked = 0;
        while let Some(id) = doomed.pop() {
            let Some(slot) =
                self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)
            else {
                continue;
            };
            let Some(node) = slot.node.take() else { continue };
            doomed.extend(node.children);
            revoked += 1;
            self.count -= 1;
            // A slot whose generations are used up is never reused.
            if let Some(next) = slot.generation.checked_add(1) {
                slot.generation = next;
                self.free.push(id.index);
            }
        }
        revoked
    }

    /// How many capabilities there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no capabilities.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The open reservation that [`CapReservation::to_value`] saved.
    ///
    /// Only for restoring a table: call it exactly once for each value that was saved beside the table. What was
    /// reserved at capabilities that have been revoked since is gone with them.
    ///
    /// # Errors
    /// [`TableError`] when the value is not a reservation, or not one that is open in this table.
    pub fn reservation(&self, value: &Value) -> Result<CapReservation, TableError> {
        let whole = Part::whole("claim", value);
        let items = whole.items()?;
        whole.demand(items.len() <= DEPTH_MAX + 1, "longer than a lineage of capabilities")?;
        let mut claims: Vec<(CapId, Reservation)> = Vec::new();
        // The existing capability before. The list goes from the capability up to its root, so revoked ones come
        // first.
        let mut below: Option<CapId> = None;
        for part in items {
            let [id, number] = part.tuple()?;
            let capability = CapId::from_u64(id.number()?);
            let claim = match self.node(capability) {
                Some(node) => {
                    let is_above = below.is_none_or(|below| {
                        self.lineage(below).skip(1).any(|(ancestor, _)| ancestor == capability)
                    });
                    id.demand(is_above, "not an ancestor of the previous capability")?;
                    below = Some(capability);
                    node.ledger.reservation(number.number()?)
                }
                None => {
                    let was_revoked = below.is_none() && self.was_revoked(capability);
                    id.demand(was_revoked, "no capability ever had this id")?;
                    Some(Reservation::of_nothing(number.number()?))
                }
            };
            claims.push((capability, claim.ok_or_else(|| number.wrong("not open"))?));
        }
        Ok(CapReservation(claims))
    }

    fn was_revoked(&self, id: CapId) -> bool {
        let slot = self.slots.get(id.index as usize);
        slot.is_some_and(|slot| {
            let is_over = id.generation == slot.generation && slot.node.is_none();
            let is_retired = is_over && id.generation == u32::MAX && !self.free.contains(&id.index);
            (1..slot.generation).contains(&id.generation) || is_retired
        })
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let slots = self.slots.iter().map(|slot| {
            let node = slot.node.as_ref().map(CapNode::to_value);
            object! { "generation": slot.generation, "held": node }
        });
        let free = self.free.iter().map(|index| Value::from(*index));
        object! { "slots": slots.collect::<Vec<_>>(), "free": free.collect::<Vec<_>>() }
    }

    /// Reads the value that [`to_value`](Self::to_value) returned.
    ///
    /// # Errors
    /// [`TableError`] when the value is not the state of a table.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        let whole = Part::whole("capabilities", value);
        let [slots, free] = whole.members(["slots", "free"])?;
        let mut table = Self::default();
        for part in slots.items()? {
            let [generation, node] = part.members(["generation", "held"])?;
            let slot = Slot { generation: generation.number()?, node: node.optional(CapNode::read)? };
            generation.demand(slot.generation > 0, "generations begin at 1")?;
            table.count += usize::from(slot.node.is_some());
            table.slots.push(slot);
            part.demand(table.count <= CAPABILITIES_MAX, "too many capabilities")?;
        }
        for (index, part) in (0u32..).zip(slots.items()?) {
            table.place(index, &part)?;
        }
        for part in free.items()? {
            let index: u32 = part.number()?;
            let is_vacant = table
                .slots
                .get(index as usize)
                .is_some_and(|slot| slot.node.is_none() && slot.generation > 1);
            part.demand(is_vacant, "not a slot that became free")?;
            table.free.push(index);
        }
        let mut sorted = table.free.clone();
        sorted.sort_unstable();
        free.demand(sorted.is_sorted_by(|a, b| a < b), "a slot is free twice")?;
        let fits = table.count + table.free.len() <= CAPABILITIES_MAX;
        free.demand(fits, "more slots than there may be capabilities")?;
        let lost = (0u32..).zip(&table.slots).any(|(index, slot)| {
            let is_used_up = slot.generation == u32::MAX;
            slot.node.is_none() && !is_used_up && sorted.binary_search(&index).is_err()
        });
        free.demand(!lost, "a slot is neither held nor free")?;
        Ok(table)
    }

    /// Computes the depth of the capability in a slot, and adds it to its parent's children.
    fn place(&mut self, index: u32, part: &Part<'_>) -> ReadResult<()> {
        let slot = self.slots.get(index as usize);
        let Some((generation, node)) = slot.and_then(|slot| Some((slot.generation, slot.node.as_ref()?)))
        else {
            return Ok(());
        };
        let id = CapId { generation, index };
        let is_plain = node.parent.is_some() || node.own.caveats().len() == 0;
        part.demand(is_plain, "a root has no caveats")?;
        // Following one step more than allowed detects chains that are too long or circular.
        let lineage = self.lineage(id).take(DEPTH_MAX + 2);
        let (length, top) = lineage.fold((0, None), |(length, _), (_, node)| (length + 1, node.parent));
        part.demand(length <= DEPTH_MAX + 1, "too far from a root")?;
        part.demand(top.is_none(), "its lineage does not end at a root")?;
        let parent = node.parent;
        if let Some(node) = self.node_mut(id) {
            node.depth = length - 1;
        }
        if let Some(parent) = parent.and_then(|parent| self.node_mut(parent)) {
            parent.children.insert(id);
        }
        Ok(())
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}
