//! Finding entries: by time, agent, operation, decision, rule, a page at a time, from either end.

use alloc::vec::Vec;

use crate::{
    entry::{Decision, Entry},
    journal::{Block, Disk, Journal, JournalError},
    log::{Log, Record},
};

/// A filter for entries. The default finds everything, newest first.
///
/// Only what stands in the entry itself can be asked for here; the target, of which an entry holds a commitment only, is
/// for the `keep` function of [`Log::query`] and [`Journal::query`] to judge, which sees the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query<'q> {
    /// Only this agent's.
    pub agent: Option<&'q str>,
    /// Only this operation.
    pub operation: Option<u16>,
    /// Only decided like this.
    pub decision: Option<Decision>,
    /// Only decided by this rule.
    pub rule: Option<&'q str>,
    /// Not earlier than this, in µs since the Unix epoch.
    pub since_us: Option<u64>,
    /// Earlier than this, in µs since the Unix epoch.
    pub until_us: Option<u64>,
    /// In which order.
    pub order: Order,
    /// Where the page before ended: [`Page::cursor`].
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
    /// What was found, with its `seq`.
    pub records: Vec<(u64, Record)>,
    /// The cursor for the next page; `None` after the last.
    pub cursor: Option<u64>,
}

impl Query<'_> {
    /// Whether an entry is what is looked for.
    #[must_use]
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        self.agent.is_none_or(|agent| agent == entry.agent)
            && self.operation.is_none_or(|operation| operation == entry.operation)
            && self.decision.is_none_or(|decision| decision == entry.decision)
            && self.rule.is_none_or(|rule| rule == entry.rule)
            && self.since_us.is_none_or(|since| since <= entry.time_us)
            && self.until_us.is_none_or(|until| until > entry.time_us)
    }

    /// Whether a block may hold what is looked for.
    fn may_match(&self, block: &Block) -> bool {
        self.agent.is_none_or(|agent| block.holds.agent(agent))
            && self.operation.is_none_or(|operation| block.holds.operation(operation))
            && self.decision.is_none_or(|decision| block.holds.decision(decision))
            && self.rule.is_none_or(|rule| block.holds.rule(rule))
            && self.since_us.is_none_or(|since| since <= block.time_last_us)
            && self.until_us.is_none_or(|until| until > block.time_first_us)
    }

    /// Whether `seq` lies beyond the cursor.
    fn is_ahead(&self, seq: u64) -> bool {
        self.cursor.is_none_or(|cursor| match self.order {
            Order::NewestFirst => seq < cursor,
            Order::OldestFirst => seq > cursor,
        })
    }
}

/// A page in the making.
struct PageBuilder<'q, K> {
    query: &'q Query<'q>,
    limit: usize,
    keep: K,
    page: Page,
}

impl<'q, K: FnMut(&Entry<'_>, &[u8]) -> bool> PageBuilder<'q, K> {
    fn new(query: &'q Query<'q>, limit: usize, keep: K) -> PageBuilder<'q, K> {
        // An empty page could not say where to go on.
        PageBuilder { query, limit: limit.max(1), keep, page: Page { records: Vec::new(), cursor: None } }
    }

    /// Takes the next record in order; false once the page is full and there is more.
    fn take(&mut self, seq: u64, record: &Record) -> bool {
        if !self.query.is_ahead(seq) {
            return true;
        }
        // Whatever is kept was decoded when it came in.
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
    /// At most `limit` (0 counts as 1) of the records kept that `query` and `keep` accept.
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
    /// At most `limit` (0 counts as 1) of the durable records that `query` and `keep` accept. Blocks of entries in which
    /// there is certainly nothing are not read.
    ///
    /// # Errors
    /// When the disk fails.
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
