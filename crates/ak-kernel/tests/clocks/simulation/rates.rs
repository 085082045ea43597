//! Rates: their uses, and how much the kernel may permit.

use super::Run;
use crate::{EXPIRED, Fate};

/// A rate: a number of uses as a token bucket, or in any span.
pub(super) struct Rate {
    pub(super) path: &'static str,
    pub(super) amount: u64,
    pub(super) max: u64,
    pub(super) per_us: u64,
    pub(super) is_bucket: bool,
    pub(super) uses: Vec<u64>,
    pub(super) over: Fate,
}

impl Rate {
    /// Whether the rate allows the uses so far.
    fn check(&self) {
        let until = *self.uses.last().unwrap();
        for (index, from) in self.uses.iter().enumerate() {
            let uses = (self.uses.len() - index) as u64 * self.amount;
            let span = until - from;
            let allowed = if self.is_bucket {
                u128::from(self.max) + u128::from(span) * u128::from(self.max) / u128::from(self.per_us)
            } else if span < self.per_us {
                u128::from(self.max)
            } else {
                u128::MAX
            };
            assert!(u128::from(uses) <= allowed, "{}: {uses} in {span} µs", self.path);
        }
    }
}

impl Run {
    pub(super) fn use_rate(&mut self, index: usize) -> Fate {
        let path = self.rates[index].path;
        let fate = match path {
            "/data/x" => {
                let fate = self.world.fetch(self.workers[0], path, 100);
                if fate != Fate::Unheard {
                    self.note_input();
                }
                fate
            }
            "/cap/counted" => {
                let session = self.world.agent("counted");
                self.note_input();
                self.stat(session, path)
            }
            path => self.stat(self.workers[0], path),
        };
        let true_us = self.world.true_us;
        let rate = &mut self.rates[index];
        match &fate {
            Fate::Passed => {
                rate.uses.push(true_us);
                rate.check();
            }
            Fate::Refused(_) => assert!(fate == rate.over || fate == EXPIRED, "{path}: {fate:?}"),
            Fate::Unheard => {}
        }
        fate
    }
}
