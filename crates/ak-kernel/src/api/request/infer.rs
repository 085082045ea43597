//! Requests to models.

use ak_json::Value;

use crate::api::price::Price;

/// A request to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// An OpenAI chat-completions request.
    pub request: Value,
    /// Whether the caller takes the answer in chunks.
    pub stream: bool,
    /// What the model's tokens cost: the host's to say, whoever asks.
    pub price: Option<Price>,
}
