//! Types without logic: requests, replies, effects, and their JSON form.

pub(crate) mod audit_filter;
pub(crate) mod capability_spec;
pub(crate) mod code;
pub(crate) mod config;
pub(crate) mod effect;
pub(crate) mod fields;
pub(crate) mod http_hop;
pub(crate) mod kernel_rule;
pub(crate) mod operation;
pub(crate) mod policy_files;
pub(crate) mod prepared;
pub(crate) mod presented;
pub(crate) mod price;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod subject;
pub(crate) mod throttled;
pub(crate) mod time;
pub(crate) mod tool_request;
pub(crate) mod usage;
