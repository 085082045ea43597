//! Idle connections to one server, kept for later requests.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::net::connection::HttpConnection;

/// Most connections to a model's server that are kept open while nobody uses them.
pub const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that nobody uses at the moment, the latest last.
#[derive(Debug, Default)]
pub(crate) struct ConnectionPool {
    /// With the time since which each is idle.
    idle: Mutex<Vec<(HttpConnection, Instant)>>,
}

impl ConnectionPool {
    /// Takes the connection that was returned last.
    pub(crate) fn take(&self) -> Option<HttpConnection> {
        self.usable().pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection for a later request; drops it when [`IDLE_CONNECTIONS_MAX`] are kept already.
    pub(crate) fn put(&self, connection: HttpConnection) {
        let mut usable = self.usable();
        if usable.len() < IDLE_CONNECTIONS_MAX {
            usable.push((connection, Instant::now()));
        }
    }

    /// The connections that are neither known to be closed nor idle for too long. A server may have closed one all the same.
    fn usable(&self) -> MutexGuard<'_, Vec<(HttpConnection, Instant)>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(connection, since)| !connection.is_closed() && since.elapsed() < IDLE_TIMEOUT);
        idle
    }
}
