//! Requests to models, as far as their content decides: tokens, and what a provider is asked to do beside answering.

pub(crate) mod provider_actions;
pub(crate) mod tokens;
