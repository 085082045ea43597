//! Idle connections to one server, kept for later requests.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::net::connection::HttpConnection;

/// Maximum number of idle connections that are kept open to one model server; further ones are closed.
pub const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle connections, the last returned one last.
#[derive(Debug, Default)]
pub(crate) struct ConnectionPool {
    /// Each with the time at which it became idle.
    idle: Mutex<Vec<(HttpConnection, Instant)>>,
}

impl ConnectionPool {
    /// Takes the usable connection that was returned last.
    pub(crate) fn take(&self) -> Option<HttpConnection> {
        self.usable().pop().map(|(connection, _)| connection)
    }

    /// Keeps a connection for a later request; drops it when [`IDLE_CONNECTIONS_MAX`] are already kept.
    pub(crate) fn put(&self, connection: HttpConnection) {
        let mut usable = self.usable();
        if usable.len() < IDLE_CONNECTIONS_MAX {
            usable.push((connection, Instant::now()));
        }
    }

    /// Returns the connections that are neither known to be closed nor idle for too long. The server may still have
    /// closed one.
    fn usable(&self) -> MutexGuard<'_, Vec<(HttpConnection, Instant)>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(connection, since)| !connection.is_closed() && since.elapsed() < IDLE_TIMEOUT);
        idle
    }
}
