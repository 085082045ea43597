//! Hash tables whose keys are whole texts, or prefixes of texts.
//!
//! The hash needs no secret: the keys come from the policy, whose owner gains nothing from collisions, and targets
//! of requests are only looked up.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One pattern of one rule, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The rule's position in the policy's order.
    pub(crate) rule: u32,
    /// The pattern's position in the rule.
    pub(crate) target: u32,
}

/// The entries of each key, from which a table is built.
pub(super) type Source = BTreeMap<Vec<u8>, Vec<Entry>>;

/// A hash table from keys to entries.
#[derive(Debug, Default)]
struct Table {
    /// Positions in `keys` plus one; 0 is a free slot. The length is a power of two, or 0.
    slots: Box<[u32]>,
    keys: Box<[Key]>,
}

#[derive(Debug)]
struct Key {
    hash: u64,
    text: Box<[u8]>,
    entries: Box<[Entry]>,
}

impl Table {
    fn build(source: Source, hash: impl Fn(&[u8]) -> u64) -> Self {
        if source.is_empty() {
            return Self::default();
        }
        let keys: Box<[Key]> = source
            .into_iter()
            .map(|(text, entries)| Key { hash: hash(&text), text: text.into(), entries: entries.into() })
            .collect();
        let mut slots = alloc::vec![0u32; (keys.len() * 2).next_power_of_two()];
        for (place, key) in keys.iter().enumerate() {
            let mut probe = Probe::new(key.hash, slots.len());
            while let Some(slot) = slots.get_mut(probe.next()) {
                if *slot == 0 {
                    *slot = u32::try_from(place + 1).unwrap_or(0);
                    break;
                }
            }
        }
        Self { slots: slots.into(), keys }
    }

    fn find(&self, hash: u64, text: &[u8]) -> &[Entry] {
        let mut probe = Probe::new(hash, self.slots.len());
        // At least half of the slots are free, so the search ends.
        while let Some(slot) = self.slots.get(probe.next()) {
            let Some(key) = (*slot as usize).checked_sub(1).and_then(|place| self.keys.get(place)) else {
                break;
            };
            if key.hash == hash && *key.text == *text {
                return &key.entries;
            }
        }
        &[]
    }
}

/// The slots to try, in order.
struct Probe {
    at: usize,
    mask: usize,
}

impl Probe {
    fn new(hash: u64, slots: usize) -> Self {
        Self { at: hash as usize, mask: slots.wrapping_sub(1) }
    }

    fn next(&mut self) -> usize {
        let slot = self.at & self.mask;
        self.at = self.at.wrapping_add(1);
        slot
    }
}

/// Entries by a whole text.
#[derive(Debug, Default)]
pub(super) struct Exact(Table);

impl Exact {
    pub(super) fn build(source: Source) -> Self {
        Self(Table::build(source, |text| absorb(SEED, text)))
    }

    pub(super) fn find(&self, text: &[u8]) -> &[Entry] {
        if self.0.keys.is_empty() { &[] } else { self.0.find(absorb(SEED, text), text) }
    }
}

/// Entries by a prefix of a text.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    table: Table,
    /// The lengths of the keys, ascending, each once.
    lengths: Box<[usize]>,
}

impl Prefixes {
    pub(super) fn build(source: Source) -> Self {
        let mut lengths: Vec<_> = source.keys().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        // Keys are hashed in the same parts as the text in a look-up.
        let hash = |text: &[u8]| {
            let (mut state, mut from) = (SEED, 0);
            for &length in lengths.iter().take_while(|length| **length <= text.len()) {
                state = absorb(state, text.get(from..length).unwrap_or_default());
                from = length;
            }
            state
        };
        Self { table: Table::build(source, hash), lengths: lengths.into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Visits the entries of every key that is a prefix of the text.
    pub(super) fn each(&self, text: &[u8], visit: &mut impl FnMut(Entry)) {
        self.each_longer(text, 0, visit);
    }

    /// Visits the entries of every key of at least `bytes_min` bytes that is a prefix of the text.
    pub(super) fn each_longer(&self, text: &[u8], bytes_min: usize, visit: &mut impl FnMut(Entry)) {
        let (mut state, mut from) = (SEED, 0);
        for &length in &self.lengths {
            let (Some(part), Some(prefix)) = (text.get(from..length), text.get(..length)) else { return };
            state = absorb(state, part);
            from = length;
            if length < bytes_min {
                continue;
            }
            self.table.find(state, prefix).iter().copied().for_each(&mut *visit);
        }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// Mixes bytes into a hash, eight at a time.
fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word));
    }
    let mut last = rest.len() as u64;
    for byte in rest {
        last = last << 8 | u64::from(*byte);
    }
    mix(state ^ last)
}

fn mix(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}
