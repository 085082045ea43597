//! Grants: `[[capability]]` tables, which are permits with a clock and a rate.

use alloc::vec::Vec;
use core::fmt;

use ak_json::{Digest, Object, Text, Value};

use crate::canonical;
use crate::counters::elapsed::Elapsed;
use crate::counters::rate::Rate;

const MINUTE_US: u64 = 60_000_000;

/// Identifies a grant: the digest of its name, resource and methods. Tables that agree in these are one grant,
/// whatever lifetime and rate they give it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub(crate) Digest);

impl GrantId {
    /// The digest of name, resource and methods in canonical form.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A `[[capability]]` table of a policy: a permit with a lifetime and a rate.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) id: GrantId,
    pub(crate) name: Text,
    pub(crate) ttl_us: Option<u64>,
    pub(crate) rate: Option<Rate>,
    /// Name, resource and methods in canonical form.
    scope: Object,
    /// The table in canonical form.
    pub(crate) table: Value,
    /// The identities that earlier versions gave the grant: digests that included lifetime and rate.
    pub(crate) former: Vec<GrantId>,
}

impl Grant {
    /// A grant whose `scope` holds name, resource and methods in canonical form.
    pub(crate) fn new(name: Text, scope: Object, ttl_us: Option<u64>, rate: Option<Rate>) -> Self {
        let id = GrantId(canonical::sorted(&Value::Object(scope.clone())).digest());
        let table = table(&scope, ttl_us, rate);
        let former = Vec::from([GrantId(table.digest())]);
        Self { id, name, ttl_us, rate, scope, table, former }
    }

    /// Merges another table of the same grant: the shorter lifetime and the lower rate count.
    pub(crate) fn merge(&mut self, other: &Grant) {
        self.ttl_us = [self.ttl_us, other.ttl_us].into_iter().flatten().min();
        self.rate = [self.rate, other.rate].into_iter().flatten().reduce(Rate::lower);
        self.table = table(&self.scope, self.ttl_us, self.rate);
        let own = GrantId(self.table.digest());
        self.former.extend(other.former.iter().copied().chain([own]));
        self.former.sort();
        self.former.dedup();
    }

    /// The identity, which stays the same when the policy is reloaded.
    pub fn id(&self) -> GrantId {
        self.id
    }

    /// The name: a tool, or `fs`, `http`, `net`, `infer`, `spawn`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the grant lasts from its first load, in µs; `None` means for ever.
    pub fn ttl_us(&self) -> Option<u64> {
        self.ttl_us
    }

    /// How often the grant may be used; `None` means without limit.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }
}

impl PartialEq for Grant {
    /// Whether the canonical tables are equal.
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl Eq for Grant {}

/// The whole table in canonical form.
fn table(scope: &Object, ttl_us: Option<u64>, rate: Option<Rate>) -> Value {
    let mut table = scope.clone();
    if let Some(ttl_us) = ttl_us {
        table.insert("expires_minutes", ttl_us / MINUTE_US);
    }
    if let Some(rate) = rate {
        table.insert("rate", alloc::format!("{rate}"));
    }
    canonical::sorted(&Value::Object(table))
}

/// Whether a grant can be used now: alive, expired or rate-limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// The grant can be used now.
    Alive,
    /// The grant's lifetime is over.
    Expired,
    /// The grant's rate is used up for now.
    RateLimited {
        /// When the grant can be used again, in µs from now.
        retry_after_us: u64,
    },
}

/// Tells a decision the state of grants.
pub trait GrantClock {
    /// The grant's state now. Its lifetime is measured on the upper bound of the elapsed time, its rate on the
    /// lower.
    fn state(&self, grant: &Grant, now: Elapsed) -> GrantState;

    /// The remaining lifetime of the grant in µs; `None` means for ever.
    fn remaining_us(&self, grant: &Grant, now: Elapsed) -> Option<u64>;
}

/// A clock on which every grant was loaded just now and is unused, for decisions outside a running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreshGrants;

impl GrantClock for FreshGrants {
    fn state(&self, grant: &Grant, _now: Elapsed) -> GrantState {
        match grant.ttl_us {
            Some(0) => GrantState::Expired,
            Some(_) | None => GrantState::Alive,
        }
    }

    fn remaining_us(&self, grant: &Grant, _now: Elapsed) -> Option<u64> {
        grant.ttl_us
    }
}

/// The tables of all grants, in the order of `grants`.
pub(crate) fn tables(grants: &[Grant]) -> Value {
    Value::from(grants.iter().map(|grant| grant.table.clone()).collect::<Vec<_>>())
}
