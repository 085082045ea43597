//! Exact counts of what the heap holds: in total, by owner, and in tombstones.

use alloc::collections::BTreeMap;

use ak_json::Text;

use crate::object::Object;
use crate::owned::Owned;

/// Number of objects and bytes that are held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of objects.
    pub objects: u64,
    /// Sum of the sizes of all their readable revisions.
    pub bytes: u64,
}

impl Usage {
    fn add(&mut self, object: &Object) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(object.bytes());
    }

    fn subtract(&mut self, object: &Object) {
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(object.bytes());
    }
}

/// The usage of live objects, in total and by owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    total: Usage,
    /// Owners without objects have no entry.
    owners: BTreeMap<Text, Usage>,
}

impl Ledger {
    pub(crate) fn total(&self) -> Usage {
        self.total
    }

    pub(crate) fn of(&self, owner: &str) -> Usage {
        self.owners.get(owner).copied().unwrap_or_default()
    }

    /// The owner's name, sharing memory with the objects of that owner.
    pub(crate) fn shared_owner(&self, owner: &str) -> Text {
        self.owners.get_key_value(owner).map_or_else(|| owner.into(), |(owner, _)| owner.clone())
    }

    pub(crate) fn add(&mut self, object: &Object) {
        self.total.add(object);
        match self.owners.get_mut(&**object.owner()) {
            Some(usage) => usage.add(object),
            None => self.owners.entry(object.owner().clone()).or_default().add(object),
        }
    }

    /// Updates the usage after a write to an object that had `bytes_before` bytes before.
    pub(crate) fn resize(&mut self, object: &Object, bytes_before: u64) {
        if object.bytes() != bytes_before {
            let resize = |usage: &mut Usage| {
                usage.bytes = usage.bytes.saturating_sub(bytes_before).saturating_add(object.bytes());
            };
            resize(&mut self.total);
            self.owners.get_mut(&**object.owner()).map(resize);
        }
    }

    pub(crate) fn subtract(&mut self, object: &Object) {
        self.total.subtract(object);
        if let Some(usage) = self.owners.get_mut(&**object.owner()) {
            usage.subtract(object);
            if usage.objects == 0 {
                self.owners.remove(&**object.owner());
            }
        }
    }
}

/// The tombstones in the order of their deletions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    usage: Usage,
    /// Number of objects ever deleted.
    deaths: u64,
    by_order: BTreeMap<u64, u32>,
    places: Owned<u32>,
}

impl Tombstones {
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) fn deaths(&self) -> u64 {
        self.deaths
    }

    /// No tombstones, after this many deletions.
    pub(crate) fn after(deaths: u64) -> Tombstones {
        Tombstones { deaths, ..Tombstones::default() }
    }

    pub(crate) fn holds(&self, order: u64) -> bool {
        self.by_order.contains_key(&order)
    }

    /// The order number of the next deletion.
    pub(crate) fn next_order(&mut self) -> u64 {
        let order = self.deaths;
        self.deaths = self.deaths.saturating_add(1);
        order
    }

    pub(crate) fn add(&mut self, order: u64, index: u32, object: &Object) {
        self.usage.add(object);
        self.by_order.insert(order, index);
        self.places.add(object.owner(), index);
    }

    pub(crate) fn subtract(&mut self, order: u64, object: &Object) {
        self.usage.subtract(object);
        if let Some(index) = self.by_order.remove(&order) {
            self.places.remove(object.owner(), &index);
        }
    }

    /// Indexes of the tombstones, by owner.
    pub(crate) fn places(&self) -> &Owned<u32> {
        &self.places
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        self.by_order.first_key_value().map(|(_, index)| *index)
    }
}
