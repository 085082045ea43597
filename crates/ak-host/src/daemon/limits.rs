//! What the connections of a daemon share: the kernel, and how many sessions, effects and bytes there may be of all but the owner's.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::connection::embedded::Embedded;

/// Most sessions at once that are not the owner's; the next one is told so and closed.
pub const SESSIONS_MAX: usize = 1_024;
/// Most connections at once that said no HELLO yet; the oldest gives way to the next one.
pub const STRANGERS_MAX: usize = 128;
/// Most effects of all connections but the owner's under way at once.
pub const SESSIONS_EFFECTS_MAX: usize = 4_096;
/// Most bytes of long requests that are being received at once, of all connections but the owner's, beside 64 KiB for each. What
/// comes beyond that waits.
pub const RECEIVED_BYTES_MAX: usize = 128 << 20;
/// Descriptors that are no session's: the journal's files, the vault's, the owner's connections.
const OWN_DESCRIPTORS: u64 = 256;
/// Into so many parts the others are divided: one is the connections', the rest the effects'.
const DESCRIPTOR_PARTS: usize = 4;

/// What connections share.
pub(super) struct Shared {
    pub(super) kernel: Embedded,
    pub(super) token: Box<str>,
    pub(super) places: Places,
    pub(super) strangers: Strangers,
}

/// How many there may be of something.
pub(super) struct Limited {
    pub(super) max: usize,
    pub(super) free: Arc<Semaphore>,
}

pub(super) type Place = OwnedSemaphorePermit;

impl Limited {
    pub(super) fn new(max: usize) -> Limited {
        Limited { max, free: Arc::new(Semaphore::new(max)) }
    }

    /// One of them, where one is left.
    pub(super) fn take(&self) -> Option<Place> {
        self.free.clone().try_acquire_owned().ok()
    }
}

/// What those who are not the owner share.
pub(super) struct Places {
    pub(super) sessions: Limited,
    pub(super) guests: Limited,
    pub(super) effects: Limited,
    /// In [`PIECE_BYTES`].
    pub(super) received: Limited,
}

/// Connections that said no HELLO yet, the oldest first, with what ends each.
#[derive(Default)]
pub(super) struct Strangers(Mutex<VecDeque<(u64, CancellationToken)>>);

impl Strangers {
    /// Takes in one more, by its number.
    pub(super) fn take_in(&self, number: u64) -> CancellationToken {
        let leaves = CancellationToken::new();
        if let Ok(mut strangers) = self.0.lock() {
            if strangers.len() >= STRANGERS_MAX
                && let Some((_, oldest)) = strangers.pop_front()
            {
                oldest.cancel();
            }
            strangers.push_back((number, leaves.clone()));
        }
        leaves
    }

    pub(super) fn let_go(&self, number: u64) {
        if let Ok(mut strangers) = self.0.lock() {
            strangers.retain(|(other, _)| *other != number);
        }
    }
}

/// How many sessions, and effects of theirs, there may be where this process may have so many descriptors.
pub(super) fn places(descriptors: Option<u64>) -> (usize, usize) {
    let left = descriptors.map_or(usize::MAX, |descriptors| {
        usize::try_from(descriptors.saturating_sub(OWN_DESCRIPTORS)).unwrap_or(usize::MAX)
    });
    let part = left / DESCRIPTOR_PARTS;
    (part.clamp(1, SESSIONS_MAX), (part * (DESCRIPTOR_PARTS - 1)).clamp(1, SESSIONS_EFFECTS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_gives_way() {
        let strangers = Strangers::default();
        let taken: Vec<_> = (0..STRANGERS_MAX as u64).map(|number| strangers.take_in(number)).collect();
        strangers.let_go(0);
        let next = strangers.take_in(STRANGERS_MAX as u64);
        assert!(taken.iter().all(|stranger| !stranger.is_cancelled()), "one had left");
        strangers.take_in(STRANGERS_MAX as u64 + 1);
        assert!(taken[1].is_cancelled() && !taken[2].is_cancelled() && !next.is_cancelled());
    }

    #[test]
    fn descriptors_are_kept_for_the_journal_and_divided_among_the_others() {
        assert_eq!(places(None), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        assert_eq!(places(Some(1 << 20)), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        let (sessions, effects) = places(Some(1_024));
        assert!(sessions + effects + OWN_DESCRIPTORS as usize <= 1_024 && sessions > 100, "{sessions}");
        assert_eq!(places(Some(0)), (1, 1));
    }

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let limited = Limited::new(2);
        let places = [limited.take().unwrap(), limited.take().unwrap()];
        assert!(limited.take().is_none());
        drop(places);
        assert!(limited.take().is_some());
    }
}
