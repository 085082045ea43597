//! TODO

pub(crate) mod disk;
pub(crate) mod hash_accel;
pub(crate) mod log;
pub(crate) mod preallocate;
pub(crate) mod recover;
pub(crate) mod vault;
pub(crate) mod verify;
