//! The records every contender logs: entries of 332 bytes, each with the hash of the one before in it.

use ak_audit::{Chain, Entry, Integrity, Kind, Record, Verdict};

/// Bytes of each entry.
pub const ENTRY_BYTES: usize = 332;

/// The same records in the same order, for whoever asks.
pub struct Source {
    chain: Chain,
}

impl Source {
    pub fn new() -> Source {
        Source { chain: Chain::EMPTY }
    }

    /// The next records.
    pub fn take(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> Record {
        let bytes = entry(&self.chain).encode().expect("it fits");
        assert_eq!(bytes.len(), ENTRY_BYTES);
        self.chain.push(&bytes).expect("it follows");
        Record { entry: bytes.into(), body: [].into() }
    }
}

/// The entry that follows: a decision as the kernel records it.
pub fn entry(chain: &Chain) -> Entry<'static> {
    Entry {
        seq: chain.next,
        time_us: 1_700_000_000_000_000 + chain.next,
        run: [7; 16],
        operation: (chain.next % 40) as u16,
        kind: Kind::Decision,
        decision: Verdict::ALL[(chain.next % 4) as usize],
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
