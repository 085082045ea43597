//! Rules on the content of a request to a model: tokens, and actions that the provider performs besides answering.

pub(crate) mod provider_actions;
pub(crate) mod tokens;
