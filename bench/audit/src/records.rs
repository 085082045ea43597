//! The records that every contender logs: entries of 332 bytes, each of which contains the hash of the one before.

use ak_audit::{Chain, Decision, Entry, Integrity, Kind, Leaf, Record};

/// The size of each entry in bytes.
pub const ENTRY_BYTES: usize = 332;

/// Makes records: every source makes the same records in the same order.
pub struct Source {
    chain: Chain,
}

impl Source {
    pub fn new() -> Source {
        Source { chain: Chain::EMPTY }
    }

    /// The next `count` records.
    pub fn take(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|_| self.record()).collect()
    }

    /// The next `count` entries, before they are encoded and hashed.
    pub fn entries(&mut self, count: usize) -> Vec<Entry<'static>> {
        (0..count).map(|_| self.entry().0).collect()
    }

    fn entry(&mut self) -> (Entry<'static>, Leaf) {
        let entry = entry(&self.chain);
        let leaf = entry.to_leaf().expect("it fits");
        assert_eq!(leaf.len(), ENTRY_BYTES);
        self.chain.push_leaf(&leaf).expect("it follows");
        (entry, leaf)
    }

    fn record(&mut self) -> Record {
        Record { entry: self.entry().1.into(), body: [].into() }
    }
}

/// The next entry of a chain: a decision as the kernel records it.
pub fn entry(chain: &Chain) -> Entry<'static> {
    Entry {
        seq: chain.next,
        time_us: 1_700_000_000_000_000 + chain.next,
        run: [7; 16],
        operation: (chain.next % 40) as u16,
        kind: Kind::Decision,
        decision: Decision::ALL[(chain.next % 4) as usize],
        code: 0,
        cause: chain.next,
        policy: [1; 32],
        target: [2; 32],
        request: [3; 32],
        reply: [4; 32],
        previous: chain.head,
        integrity: Integrity::Untrusted,
        secrecy: vec!["customer-data", "payment"],
        agent: "crew/publisher/weekly-reports",
        rule: "publishers-may-post-to-our-own-hosts-during-working-hours-only-2",
    }
}
