//! The clocks of grants, and the usage of their rates.

use alloc::collections::BTreeMap;

use ak_json::{Digest, Object, Value, object};

use crate::counters::elapsed::Elapsed;
use crate::counters::rate::{Bucket, Rate};
use crate::counters::state::{Part, ReadResult, TableError};
use crate::counters::usage::Usage;
use crate::model::grant::{Grant, GrantClock, GrantId, GrantState};
use crate::policy::Policy;

/// When each grant was first loaded, and how much of its rate was used.
///
/// Call [`load`](Self::load) for every policy that comes into force. A grant's clock starts at its first load, and
/// keeps running while no policy contains the grant. So reloading renews nothing, whether the table is unchanged or
/// has another lifetime or rate. After a decision that rests on a grant, call [`spend`](Self::spend).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantTable {
    grants: BTreeMap<GrantId, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    first_loaded: Elapsed,
    /// The bucket of the rate that was last loaded; `None` without a rate.
    bucket: Option<Bucket>,
    /// All uses, from which the bucket of another rate is computed.
    usage: Usage,
}

impl Entry {
    fn new(first_loaded: Elapsed) -> Self {
        Self { first_loaded, bucket: None, usage: Usage::default() }
    }

    /// The bucket of a rate, as if it had been in force since the first load.
    fn bucket_of(&self, rate: Rate) -> Bucket {
        match &self.bucket {
            Some(bucket) if bucket.rate() == rate => bucket.clone(),
            Some(_) | None => Bucket::replayed(rate, self.first_loaded, &self.usage),
        }
    }

    /// Adds what was counted under a former identity of the same grant.
    fn merge(&mut self, other: Entry) {
        self.first_loaded = self.first_loaded.earliest(other.first_loaded);
        self.usage.merge(other.usage);
        self.bucket = None;
    }
}

impl GrantTable {
    /// Starts the clock of every grant that is new to this table. Other grants keep clock and usage; a changed rate
    /// leaves as many uses as if it had always been in force.
    pub fn load(&mut self, policy: &Policy, now: Elapsed) {
        self.migrate(policy);
        for grant in policy.grants() {
            let entry = self.grants.entry(grant.id).or_insert_with(|| Entry::new(now));
            entry.bucket = grant.rate.map(|rate| entry.bucket_of(rate));
        }
    }

    /// Moves what earlier versions counted for this policy's grants to the grants' present ids. Earlier versions
    /// identified a grant by its whole table, numbers included, so only a policy tells which grant an entry belongs
    /// to; entries for grants that this policy does not contain stay, for another policy. [`load`](Self::load)
    /// calls this.
    pub fn migrate(&mut self, policy: &Policy) {
        for grant in policy.grants() {
            for former in grant.former.iter().filter(|former| **former != grant.id) {
                let Some(old) = self.grants.remove(former) else { continue };
                let entry = match self.grants.remove(&grant.id) {
                    Some(mut own) => {
                        own.merge(old);
                        own.bucket = grant.rate.map(|rate| own.bucket_of(rate));
                        own
                    }
                    None => old,
                };
                self.grants.insert(grant.id, entry);
            }
        }
    }

    /// Takes one use from the grant's rate, and returns whether one was available; `false` for a grant that was
    /// never loaded.
    pub fn spend(&mut self, grant: GrantId, now: Elapsed) -> bool {
        let Some(entry) = self.grants.get_mut(&grant) else { return false };
        let period_us = entry.bucket.as_ref().map(|bucket| bucket.rate().per_us());
        if entry.bucket.as_mut().is_some_and(|bucket| !bucket.take(now)) {
            return false;
        }
        entry.usage.add(1, now, period_us.as_slice());
        true
    }

    /// When the grant was first loaded; `None` when it never was.
    pub fn first_loaded(&self, grant: GrantId) -> Option<Elapsed> {
        self.grants.get(&grant).map(|entry| entry.first_loaded)
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let grants = self.grants.iter().map(|(id, entry)| {
            let state = object! {
                "first_loaded": entry.first_loaded.to_value(),
                "bucket": entry.bucket.as_ref().map_or(Value::Null, Bucket::to_value),
                "usage": entry.usage.to_value(),
            };
            (alloc::format!("{}", id.0), state)
        });
        Value::Object(grants.collect::<Object>())
    }

    /// Reads the value that [`to_value`](Self::to_value) of this version or an earlier one returned; after reading
    /// an earlier one call [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// [`TableError`] when the value is not the state of a grant table.
    pub fn from_value(value: &Value) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (id, part) in Part::whole("grants", value).entries()? {
            let digest = id.parse().map_err(|_| part.wrong("the name is no digest"))?;
            table.grants.insert(GrantId(digest), Entry::read(&part)?);
        }
        Ok(table)
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}

impl Entry {
    fn read(part: &Part<'_>) -> ReadResult<Self> {
        let (first_loaded, bucket, usage) = if part.has("first_loaded_us") {
            let [first_loaded, bucket] = part.members(["first_loaded_us", "bucket"])?;
            (Elapsed::exactly(first_loaded.number()?), bucket.optional(Bucket::read)?, None)
        } else {
            let [first_loaded, bucket, usage] = part.members(["first_loaded", "bucket", "usage"])?;
            let loaded = Elapsed::read(&first_loaded)?;
            (loaded, bucket.optional(Bucket::read)?, Some(Usage::read(&usage)?))
        };
        let began_after = bucket.as_ref().is_none_or(|own| own.at().earliest(first_loaded) == first_loaded);
        part.demand(began_after, "the bucket is older than its grant")?;
        // Where only the bucket was kept, its debt is dated at the bucket's last use.
        let usage = usage.unwrap_or_else(|| {
            let mut usage = Usage::default();
            if let Some(bucket) = &bucket {
                usage.add(bucket.owed_uses(), bucket.at(), &[bucket.rate().per_us()]);
            }
            usage
        });
        Ok(Self { first_loaded, bucket, usage })
    }
}

impl GrantClock for GrantTable {
    /// A grant that was never loaded counts as expired.
    fn state(&self, grant: &Grant, now: Elapsed) -> GrantState {
        let Some(entry) = self.grants.get(&grant.id) else { return GrantState::Expired };
        if self.remaining_us(grant, now) == Some(0) {
            return GrantState::Expired;
        }
        let wait_us = match (&entry.bucket, grant.rate) {
            (_, None) => 0,
            (Some(bucket), Some(rate)) if bucket.rate() == rate => bucket.wait_us(now),
            (_, Some(rate)) => entry.bucket_of(rate).wait_us(now),
        };
        match wait_us {
            0 => GrantState::Alive,
            retry_after_us => GrantState::RateLimited { retry_after_us },
        }
    }

    fn remaining_us(&self, grant: &Grant, now: Elapsed) -> Option<u64> {
        let ttl_us = grant.ttl_us?;
        let entry = self.grants.get(&grant.id);
        Some(entry.map_or(0, |entry| ttl_us.saturating_sub(now.since_at_most(entry.first_loaded))))
    }
}
