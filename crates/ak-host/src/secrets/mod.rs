//! Secrets: read, put into requests, and cut from whatever comes back.

pub(crate) mod checkpoint_key;
pub(crate) mod key_file;
pub(crate) mod redact;
pub(crate) mod redact_stream;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod value;
