//! Grants: `[[capability]]` tables, which are permits with a clock and a rate.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Object, Text, Value, object};

use crate::policy::Policy;
use crate::rate::{Bucket, Rate};
use crate::state::{Part, TableError};

/// A grant's identity: the digest of its table. Two tables that say the same are one grant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(Digest);

impl GrantId {
    /// The digest of the table in canonical form.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A `[[capability]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(crate) id: GrantId,
    pub(crate) name: Text,
    pub(crate) ttl_us: Option<u64>,
    pub(crate) rate: Option<Rate>,
    /// The table in canonical form.
    pub(crate) table: Value,
}

impl Grant {
    pub(crate) fn new(name: Text, ttl_us: Option<u64>, rate: Option<Rate>, table: Value) -> Self {
        Self { id: GrantId(table.digest()), name, ttl_us, rate, table }
    }

    /// The identity, which reloading does not change.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// The name: a tool, or `fs`, `http`, `net`, `infer`, `spawn`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the grant lasts from the moment it was first loaded, in µs; `None` is for ever.
    pub fn ttl_us(&self) -> Option<u64> {
        self.ttl_us
    }

    /// How often the grant may be used.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }
}

/// Whether a grant can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// It can.
    Alive,
    /// Its time is over.
    Expired,
    /// Its rate is used up for now.
    RateLimited {
        /// When it can be used again, in µs from now.
        retry_after_us: u64,
    },
}

/// Tells a decision how its grants stand.
pub trait GrantClock {
    /// How the grant stands at a time, in µs since the Unix epoch.
    fn state(&self, grant: &Grant, now_us: u64) -> GrantState;

    /// How long the grant will last yet, in µs; `None` is for ever.
    fn remaining_us(&self, grant: &Grant, now_us: u64) -> Option<u64>;
}

/// Grants as if each had been loaded this very moment: for a policy asked outside a running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unspent;

impl GrantClock for Unspent {
    fn state(&self, grant: &Grant, _now_us: u64) -> GrantState {
        match grant.ttl_us {
            Some(0) => GrantState::Expired,
            Some(_) | None => GrantState::Alive,
        }
    }

    fn remaining_us(&self, grant: &Grant, _now_us: u64) -> Option<u64> {
        grant.ttl_us
    }
}

/// When each grant was first loaded, and how much of its rate is left.
///
/// Call [`load`](Self::load) for every policy that comes into force. A grant's clock runs from the first
/// load, and goes on running while no policy carries it, so that reloading renews nothing. After a decision
/// that a grant made, call [`spend`](Self::spend).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantTable {
    grants: BTreeMap<GrantId, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    first_loaded_us: u64,
    bucket: Option<Bucket>,
}

impl GrantTable {
    /// Starts the clock of every grant that was never seen before.
    pub fn load(&mut self, policy: &Policy, now_us: u64) {
        for grant in policy.grants() {
            self.grants.entry(grant.id).or_insert_with(|| Entry {
                first_loaded_us: now_us,
                bucket: grant.rate.map(|rate| Bucket::full(rate, now_us)),
            });
        }
    }

    /// Takes one use from the grant's rate. Gives whether there was one to take.
    pub fn spend(&mut self, grant: GrantId, now_us: u64) -> bool {
        match self.grants.get_mut(&grant) {
            Some(Entry { bucket: Some(bucket), .. }) => bucket.take(now_us),
            Some(Entry { bucket: None, .. }) => true,
            None => false,
        }
    }

    /// When the grant was first loaded, in µs since the Unix epoch.
    pub fn first_loaded_us(&self, grant: GrantId) -> Option<u64> {
        self.grants.get(&grant).map(|entry| entry.first_loaded_us)
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let grants = self.grants.iter().map(|(id, entry)| {
            let state = object! {
                "first_loaded_us": entry.first_loaded_us,
                "bucket": entry.bucket.as_ref().map_or(Value::Null, Bucket::to_value),
            };
            (alloc::format!("{}", id.0), state)
        });
        Value::Object(grants.collect::<Object>())
    }

    /// The table that [`to_value`](Self::to_value) wrote down.
    ///
    /// # Errors
    /// [`TableError`] when no table is written so.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (id, part) in Part::whole("grants", value).entries()? {
            let digest = id.parse().map_err(|_| part.wrong("the name is no digest"))?;
            let [first_loaded, bucket] = part.members(["first_loaded_us", "bucket"])?;
            let entry =
                Entry { first_loaded_us: first_loaded.number()?, bucket: bucket.optional(Bucket::read)? };
            let began_after = entry.bucket.as_ref().is_none_or(|own| own.at_us() >= entry.first_loaded_us);
            bucket.demand(began_after, "older than its grant")?;
            table.grants.insert(GrantId(digest), entry);
        }
        Ok(table)
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

impl GrantClock for GrantTable {
    /// A grant that was never loaded has expired.
    fn state(&self, grant: &Grant, now_us: u64) -> GrantState {
        let Some(entry) = self.grants.get(&grant.id) else { return GrantState::Expired };
        if self.remaining_us(grant, now_us) == Some(0) {
            return GrantState::Expired;
        }
        match entry.bucket.as_ref().map_or(0, |bucket| bucket.wait_us(now_us)) {
            0 => GrantState::Alive,
            retry_after_us => GrantState::RateLimited { retry_after_us },
        }
    }

    fn remaining_us(&self, grant: &Grant, now_us: u64) -> Option<u64> {
        let ttl_us = grant.ttl_us?;
        let first_loaded_us = self.grants.get(&grant.id).map_or(0, |entry| entry.first_loaded_us);
        Some(first_loaded_us.saturating_add(ttl_us).saturating_sub(now_us))
    }
}

/// The tables of all grants, in the order of their identities.
pub(crate) fn tables(grants: &[Grant]) -> Value {
    Value::from(grants.iter().map(|grant| grant.table.clone()).collect::<Vec<_>>())
}
