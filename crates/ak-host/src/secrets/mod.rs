//! Secrets: reads them, inserts them into requests, and removes them from completions.

pub(crate) mod checkpoint_key;
pub(crate) mod key_file;
pub(crate) mod redact;
pub(crate) mod redact_stream;
pub(crate) mod store;
pub(crate) mod tokens;
pub(crate) mod value;
