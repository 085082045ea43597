//! One capability of the table: its place in the derivation tree, its own caveats, and their counters.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ak_json::{Object, Value};

use super::caveat::{Authority, CAVEATS_MAX, Caveat, CaveatOutcome};
use super::encode;
use super::table::{CapDenial, CapId};
use crate::budget::{Dimension, Ledger, Reservation, Spender};
use crate::counters::elapsed::Elapsed;
use crate::counters::rate::Bucket;
use crate::counters::state::{Part, ReadResult};
use crate::query::Query;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct CapNode {
    pub(super) parent: Option<CapId>,
    pub(super) children: BTreeSet<CapId>,
    pub(super) depth: usize,
    /// The caveats that this capability adds to its parent's.
    pub(super) own: Authority,
    uses_left: Option<u64>,
    buckets: Vec<Bucket>,
    pub(super) ledger: Ledger,
}

impl CapNode {
    pub(super) fn new(parent: Option<CapId>, depth: usize, own: Authority, now: Elapsed) -> Self {
        let mut node = Self {
            parent,
            children: BTreeSet::new(),
            depth,
            own: Authority::everything(),
            uses_left: None,
            buckets: Vec::new(),
            ledger: Ledger::default(),
        };
        own.caveats().for_each(|caveat| node.count(caveat, now));
        node.own = own;
        node
    }

    /// Takes one use, also from each rate, and reserves the amounts.
    pub(super) fn spend(
        &mut self,
        now: Elapsed,
        amounts: &[(Dimension, u64)],
    ) -> Result<Option<Reservation>, CapDenial> {
        self.uses_left = self.uses_left.map(|left| left.saturating_sub(1));
        for bucket in &mut self.buckets {
            bucket.take(now);
        }
        let limited = self.limited(amounts);
        if limited.is_empty() {
            return Ok(None);
        }
        self.ledger.reserve(Spender::Itself, &limited, now).map(Some).map_err(CapDenial::Budget)
    }

    /// Sets up the counter of a caveat; of several limits on the same thing the lowest counts.
    fn count(&mut self, caveat: &Caveat, now: Elapsed) {
        match caveat {
            Caveat::Uses(uses) => self.uses_left = Some(self.uses_left.map_or(*uses, |own| own.min(*uses))),
            Caveat::Rate(rate) => self.buckets.push(Bucket::full(*rate, now)),
            Caveat::Budget(dimension, amount) => {
                let own = self.ledger.limit_set(*dimension).unwrap_or(u64::MAX);
                self.ledger.set_limit(*dimension, Some(own.min(*amount)));
            }
            Caveat::Operations(_)
            | Caveat::Targets(_)
            | Caveat::Agent(_)
            | Caveat::NotBefore(_)
            | Caveat::ExpiresAt(_)
            | Caveat::Run(_) => {}
        }
    }

    /// The amounts in the dimensions that this capability limits; others are not counted here.
    pub(super) fn limited(&self, amounts: &[(Dimension, u64)]) -> Vec<(Dimension, u64)> {
        amounts.iter().copied().filter(|(dimension, _)| self.ledger.limit_set(*dimension).is_some()).collect()
    }

    pub(super) fn check(
        &self,
        query: &Query<'_>,
        run: &[u8; 16],
        amounts: &[(Dimension, u64)],
    ) -> Result<(), CapDenial> {
        for caveat in self.own.caveats() {
            match caveat.outcome(query, run, query.elapsed) {
                CaveatOutcome::Holds => {}
                CaveatOutcome::OutOfScope => return Err(CapDenial::Scope),
                CaveatOutcome::TooEarly => return Err(CapDenial::TooEarly),
                CaveatOutcome::Expired => return Err(CapDenial::Expired),
                CaveatOutcome::OtherRun => return Err(CapDenial::OtherRun),
            }
        }
        if self.uses_left == Some(0) {
            return Err(CapDenial::UsedUp);
        }
        match self.buckets.iter().map(|bucket| bucket.wait_us(query.elapsed)).max() {
            None | Some(0) => {}
            Some(retry_after_us) => return Err(CapDenial::Rate { retry_after_us }),
        }
        self.ledger.check(Spender::Itself, &self.limited(amounts), query.elapsed).map_err(CapDenial::Budget)
    }

    pub(super) fn to_value(&self) -> Value {
        let own = self.own.caveats().map(|caveat| Value::from(encode::to_hex(caveat)));
        let mut node = Object::new();
        node.insert("parent", self.parent.map(CapId::to_u64));
        node.insert("own", own.collect::<Vec<_>>());
        node.insert("uses_left", self.uses_left);
        node.insert("buckets", self.buckets.iter().map(Bucket::to_value).collect::<Vec<_>>());
        node.insert("ledger", self.ledger.to_value());
        Value::Object(node)
    }

    /// Reads the value that [`to_value`](Self::to_value) returned; the table determines depth and children.
    pub(super) fn read(part: &Part<'_>) -> ReadResult<Self> {
        let [parent, own, uses_left, buckets, ledger] =
            part.members(["parent", "own", "uses_left", "buckets", "ledger"])?;
        let mut caveats: Vec<Caveat> = Vec::new();
        for part in own.items()? {
            let caveat = encode::from_hex(part.text()?).ok_or_else(|| part.wrong("not a caveat"))?;
            part.demand(caveats.last().is_none_or(|last| *last < caveat), "caveats are not ascending")?;
            part.demand(caveats.len() < CAVEATS_MAX, "too many caveats")?;
            caveats.push(caveat);
        }
        let parent = parent.optional(Part::number)?.map(CapId::from_u64);
        // The caveats determine which counters there are; the counters' values are read.
        let mut node = Self::new(parent, 0, Authority::ascending(caveats), Elapsed::default());
        let left = uses_left.optional(Part::number)?;
        let fits = left.is_some() == node.uses_left.is_some() && left <= node.uses_left;
        uses_left.demand(fits, "not what the caveats leave")?;
        let read: Vec<_> = buckets.items()?.map(|part| Bucket::read(&part)).collect::<ReadResult<_>>()?;
        let rates_are_own = read.iter().map(Bucket::rate).eq(node.buckets.iter().map(Bucket::rate));
        buckets.demand(rates_are_own, "not the rates of the caveats")?;
        buckets.demand(read.iter().all(Bucket::is_within), "more is owed than the rates allow")?;
        let counts = Ledger::read(&ledger)?;
        let is_own = Dimension::ALL
            .into_iter()
            .all(|dimension| counts.is_limited_by(dimension, node.ledger.limit_set(dimension)));
        ledger.demand(is_own, "not the budgets of the caveats")?;
        (node.uses_left, node.buckets, node.ledger) = (left, read, counts);
        Ok(node)
    }
}
