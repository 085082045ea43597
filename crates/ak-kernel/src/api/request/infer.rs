//! Requests to models.

use ak_json::Value;

use crate::api::price::Price;

/// A request to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// An OpenAI chat-completions request.
    pub request: Value,
    /// Whether the caller receives the answer in chunks.
    pub stream: bool,
    /// The price of the model's tokens. Only the host sets it; a caller's own price is replaced.
    pub price: Option<Price>,
}
