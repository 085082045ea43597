//! The state that connections share: the kernel, and limits on every session but the owner's.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::connection::embedded::Embedded;

/// Maximum number of concurrent sessions other than the owner's; the next one is refused with QUOTA. A low limit on
/// descriptors lowers it.
pub const SESSIONS_MAX: usize = 1_024;
/// Maximum number of connections that have not sent HELLO yet; a further connection evicts the oldest.
pub const UNAUTHENTICATED_MAX: usize = 128;
/// Maximum number of concurrent effects of all connections but the owner's; further effects are refused with QUOTA. A
/// low limit on descriptors lowers it.
pub const SESSIONS_EFFECTS_MAX: usize = 4_096;
/// Maximum number of bytes of requests that are being received at a time, over all connections but the owner's, beside
/// a first piece of 64 KiB for each request. Further pieces wait.
pub const RECEIVED_BYTES_MAX: usize = 128 << 20;
/// Descriptors set aside for the journal, the vault and the owner's connections.
const OWN_DESCRIPTORS: u64 = 256;
/// The other descriptors are divided into this many parts: one for connections, the rest for effects.
const DESCRIPTOR_PARTS: usize = 4;

/// The state that connections share.
pub(super) struct Shared {
    pub(super) kernel: Embedded,
    pub(super) token: Box<str>,
    pub(super) limits: ConnectionLimits,
    pub(super) unauthenticated: UnauthenticatedConnections,
}

/// A limit on a number of concurrent things, such as sessions.
pub(super) struct CountLimit {
    pub(super) max: usize,
    pub(super) free: Arc<Semaphore>,
}

pub(super) type Permit = OwnedSemaphorePermit;

impl CountLimit {
    pub(super) fn new(max: usize) -> CountLimit {
        CountLimit { max, free: Arc::new(Semaphore::new(max)) }
    }

    /// Takes a permit, if one is left.
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        self.free.clone().try_acquire_owned().ok()
    }
}

/// The limits that all connections but the owner's share.
pub(super) struct ConnectionLimits {
    pub(super) sessions: CountLimit,
    pub(super) guests: CountLimit,
    pub(super) effects: CountLimit,
    /// Memory for received requests, in pieces of [`PIECE_BYTES`](crate::wire::PIECE_BYTES).
    pub(super) received: CountLimit,
}

/// Connections that have not sent HELLO yet, oldest first, each with its number and the token that closes it.
#[derive(Default)]
pub(super) struct UnauthenticatedConnections(Mutex<VecDeque<(u64, CancellationToken)>>);

impl UnauthenticatedConnections {
    /// Adds a connection by its number, and evicts the oldest when there are [`UNAUTHENTICATED_MAX`]. Returns the token
    /// that is cancelled when this connection is evicted.
    pub(super) fn add(&self, number: u64) -> CancellationToken {
        let evicted = CancellationToken::new();
        if let Ok(mut unauthenticated) = self.0.lock() {
            if unauthenticated.len() >= UNAUTHENTICATED_MAX
                && let Some((_, oldest)) = unauthenticated.pop_front()
            {
                oldest.cancel();
            }
            unauthenticated.push_back((number, evicted.clone()));
        }
        evicted
    }

    pub(super) fn remove(&self, number: u64) {
        if let Ok(mut unauthenticated) = self.0.lock() {
            unauthenticated.retain(|(other, _)| *other != number);
        }
    }
}

/// Returns the limits on sessions and on effects for a process that may open `descriptors` files; `None` means
/// unlimited.
pub(super) fn limits_for(descriptors: Option<u64>) -> (usize, usize) {
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
    fn the_oldest_unauthenticated_connection_is_evicted() {
        let unauthenticated = UnauthenticatedConnections::default();
        let taken: Vec<_> =
            (0..UNAUTHENTICATED_MAX as u64).map(|number| unauthenticated.add(number)).collect();
        unauthenticated.remove(0);
        let next = unauthenticated.add(UNAUTHENTICATED_MAX as u64);
        assert!(taken.iter().all(|connection| !connection.is_cancelled()), "one had left");
        unauthenticated.add(UNAUTHENTICATED_MAX as u64 + 1);
        assert!(taken[1].is_cancelled() && !taken[2].is_cancelled() && !next.is_cancelled());
    }

    #[test]
    fn descriptors_are_kept_for_the_journal_and_divided_among_the_others() {
        assert_eq!(limits_for(None), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        assert_eq!(limits_for(Some(1 << 20)), (SESSIONS_MAX, SESSIONS_EFFECTS_MAX));
        let (sessions, effects) = limits_for(Some(1_024));
        assert!(sessions + effects + OWN_DESCRIPTORS as usize <= 1_024 && sessions > 100, "{sessions}");
        assert_eq!(limits_for(Some(0)), (1, 1));
    }

    #[test]
    fn a_permit_is_free_again_when_its_session_ends() {
        let limited = CountLimit::new(2);
        let places = [limited.try_acquire().unwrap(), limited.try_acquire().unwrap()];
        assert!(limited.try_acquire().is_none());
        drop(places);
        assert!(limited.try_acquire().is_some());
    }
}
