//! Finding entries by time, agent, operation, decision and rule, one page at a time, from either end.

use alloc::vec::Vec;

use crate::{
    entry::{Decision, Entry},
    journal::{Block, Disk, Journal, JournalError},
    log::{Log, Record},
};

/// A filter over entries. The default matches every entry, newest first.
///
/// It compares only fields of the entry. An entry holds just a commitment to its target, so a query by target needs
/// the `keep` function of [`Log::query`] or [`Journal::query`], which is given the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query<'q> {
    /// Only entries of this agent.
    pub agent: Option<&'q str>,
    /// Only entries of this operation.
    pub operation: Option<u16>,
    /// Only entries with this decision.
    pub decision: Option<Decision>,
    /// Only entries whose deciding rule has this id.
    pub rule: Option<&'q str>,
    /// Only entries at or after this time, in µs since the Unix epoch.
    pub since_us: Option<u64>,
    /// Only entries before this time, in µs since the Unix epoch.
    pub until_us: Option<u64>,
    /// The order of the results.
    pub order: Order,
    /// Continues after the page that gave this [`Page::cursor`]; `None` for the first page.
    pub cursor: Option<u64>,
}

/// The order of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// One page of the results of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The matching records, each with its `seq`.
    pub records: Vec<(u64, Record)>,
    /// The cursor for the next page; `None` on the last page.
    pub cursor: Option<u64>,
}

impl Query<'_> {
    /// Whether an entry matches all conditions; the cursor is not one of them.
    #[must_use]
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        self.agent.is_none_or(|agent| agent == entry.agent)
            && self.operation.is_none_or(|operation| operation == entry.operation)
            && self.decision.is_none_or(|decision| decision == entry.decision)
            && self.rule.is_none_or(|rule| rule == entry.rule)
            && self.since_us.is_none_or(|since| since <= entry.time_us)
            && self.until_us.is_none_or(|until| until > entry.time_us)
    }

    /// Whether a block may hold a matching entry.
    fn may_match(&self, block: &Block) -> bool {
        self.agent.is_none_or(|agent| block.holds.agent(agent))
            && self.operation.is_none_or(|operation| block.holds.operation(operation))
            && self.decision.is_none_or(|decision| block.holds.decision(decision))
            && self.rule.is_none_or(|rule| block.holds.rule(rule))
            && self.since_us.is_none_or(|since| since <= block.time_last_us)
            && self.until_us.is_none_or(|until| until > block.time_first_us)
    }

    /// Whether `seq` comes after the cursor in this query's order.
    fn is_ahead(&self, seq: u64) -> bool {
        self.cursor.is_none_or(|cursor| match self.order {
            Order::NewestFirst => seq < cursor,
            Order::OldestFirst => seq > cursor,
        })
    }
}

/// A page being filled.
struct PageBuilder<'q, K> {
    query: &'q Query<'q>,
    limit: usize,
    keep: K,
    page: Page,
}

impl<'q, K: FnMut(&Entry<'_>, &[u8]) -> bool> PageBuilder<'q, K> {
    fn new(query: &'q Query<'q>, limit: usize, keep: K) -> PageBuilder<'q, K> {
        // A page without records could not give a cursor.
        PageBuilder { query, limit: limit.max(1), keep, page: Page { records: Vec::new(), cursor: None } }
    }

    /// Adds the next record in order if it matches; false once the page is full and there is another match.
    fn take(&mut self, seq: u64, record: &Record) -> bool {
        if !self.query.is_ahead(seq) {
            return true;
        }
        // Every record kept was checked when it was appended.
        let Ok(entry) = Entry::decode(&record.entry) else { return true };
        if !self.query.matches(&entry) || !(self.keep)(&entry, &record.body) {
            return true;
        }
        if self.page.records.len() == self.limit {
            self.page.cursor = self.page.records.last().map(|(seq, _)| *seq);
            return false;
        }
        self.page.records.push((seq, record.clone()));
        true
    }
}

impl Log {
    /// The next at most `limit` (0 counts as 1) records kept that match `query` and for which `keep` returns true.
    pub fn query(
        &self,
        query: &Query<'_>,
        limit: usize,
        keep: impl FnMut(&Entry<'_>, &[u8]) -> bool,
    ) -> Page {
        let mut builder = PageBuilder::new(query, limit, keep);
        match query.order {
            Order::OldestFirst => self.iter().all(|(seq, record)| builder.take(seq, record)),
            Order::NewestFirst => self.iter().rev().all(|(seq, record)| builder.take(seq, record)),
        };
        builder.page
    }
}

impl<D: Disk> Journal<D> {
    /// The next at most `limit` (0 counts as 1) durable records that match `query` and for which `keep` returns true.
    /// Blocks whose filter excludes a match are not read.
    ///
    /// # Errors
    /// When a record changed on disk, or the disk fails.
    pub fn query(
        &self,
        query: &Query<'_>,
        limit: usize,
        keep: impl FnMut(&Entry<'_>, &[u8]) -> bool,
    ) -> Result<Page, JournalError> {
        let mut builder = PageBuilder::new(query, limit, keep);
        let blocks = self.blocks();
        let ahead = |(index, block): &(usize, &Block)| {
            let last = blocks.get(index + 1).map_or(self.len(), |next| next.first).saturating_sub(1);
            query.may_match(block) && (query.is_ahead(block.first) || query.is_ahead(last))
        };
        let found = blocks.iter().enumerate().filter(ahead).map(|(_, block)| block);
        match query.order {
            Order::OldestFirst => {
                for block in found {
                    if !self.block(block)?.iter().all(|(seq, record)| builder.take(*seq, record)) {
                        break;
                    }
                }
            }
            Order::NewestFirst => {
                for block in found.rev() {
                    if !self.block(block)?.iter().rev().all(|(seq, record)| builder.take(*seq, record)) {
                        break;
                    }
                }
            }
        }
        Ok(builder.page)
    }
}
