//! Stores the log and the vault on disk, and recovers a kernel from them.

pub(crate) mod disk;
pub(crate) mod durable_log;
pub(crate) mod hash_accel;
pub(crate) mod key_slot;
pub(crate) mod log;
pub(crate) mod log_reader;
pub(crate) mod memory_log;
pub(crate) mod preallocate;
pub(crate) mod recover;
pub(crate) mod snapshot_file;
pub(crate) mod vault;
pub(crate) mod vault_snapshots;
pub(crate) mod verify;
pub(crate) mod write_lock;
