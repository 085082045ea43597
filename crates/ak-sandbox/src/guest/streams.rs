//! The streams of a guest: its input, its output and its log.

use alloc::sync::Arc;
use alloc::vec::Vec;

pub(crate) fn zero_terminated(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The guest's input, read from front to back.
pub(crate) struct Stdin {
    bytes: Arc<[u8]>,
    position: usize,
}

impl Stdin {
    /// A stream at the start of `bytes`.
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes, position: 0 }
    }

    /// Fills `target` as far as input is left; returns the number of bytes.
    pub(crate) fn read(&mut self, target: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let count = rest.len().min(target.len());
        if let (Some(target), Some(rest)) = (target.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(rest);
        }
        self.position += count;
        count
    }
}

/// The guest's output, up to a limit.
pub(crate) struct Stream {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Stream {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes: Vec::new(), bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) }
    }

    /// Appends as many bytes as fit; false if some do not.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        let room = self.bytes_max.saturating_sub(self.bytes.len());
        match bytes.split_at_checked(room) {
            Some((fits, rest)) => {
                self.bytes.extend_from_slice(fits);
                rest.is_empty()
            }
            None => {
                self.bytes.extend_from_slice(bytes);
                true
            }
        }
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max as u64
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }
}

/// The end of the guest's log, up to a limit: the last lines tell why a tool failed.
pub(crate) struct Log {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Log {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes: Vec::new(), bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX) }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let tail = bytes.get(bytes.len().saturating_sub(self.bytes_max)..).unwrap_or_default();
        self.bytes.extend_from_slice(tail);
        // Old bytes are removed in large pieces, so that each byte is moved about once.
        if self.bytes.len() > self.bytes_max.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.bytes.drain(..self.bytes.len().saturating_sub(self.bytes_max));
    }

    pub(crate) fn bytes(&mut self) -> &[u8] {
        self.cut();
        &self.bytes
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.cut();
        core::mem::take(&mut self.bytes)
    }
}
