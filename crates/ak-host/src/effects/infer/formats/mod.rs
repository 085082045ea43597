//! Translates the events of a model's stream, in the server's format, to chunks of a chat completion or errors.

pub(crate) mod anthropic;
pub(crate) mod error;
pub(crate) mod responses;
pub(crate) mod usage;

use ak_json::{Limits, Value};

use crate::{
    config::tables::ApiFormat,
    effects::infer::formats::error::{StreamError, error_message, find_error},
    effects::infer::sse::Event,
};

/// The state of a stream in the route's format.
pub(crate) enum Stream {
    Chat { done: bool },
    Responses(responses::Stream),
    Anthropic(anthropic::Stream),
}

impl Stream {
    pub(crate) fn of(format: ApiFormat) -> Stream {
        match format {
            ApiFormat::Chat => Stream::Chat { done: false },
            ApiFormat::Responses => Stream::Responses(responses::Stream::default()),
            ApiFormat::Anthropic => Stream::Anthropic(anthropic::Stream::default()),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Chat { done } => *done,
            Self::Responses(stream) => stream.done,
            Self::Anthropic(stream) => stream.done,
        }
    }

    /// The usage reported so far, where it is not part of the chunks.
    pub(crate) fn usage(&self) -> Option<Value> {
        match self {
            Self::Chat { .. } => None,
            Self::Responses(stream) => stream.usage.clone(),
            Self::Anthropic(stream) => stream.usage(),
        }
    }

    /// Translates an event to a chunk; `None` when the event has none.
    pub(crate) fn chunk(&mut self, event: &Event) -> Result<Option<Value>, StreamError> {
        let (kind, data) = (event.kind.as_str(), event.data.trim());
        if self.is_done() || data.is_empty() {
            return Ok(None);
        }
        if data == "[DONE]" {
            if let Self::Chat { done } = self {
                *done = true;
            }
            return Ok(None);
        }
        let read = Value::parse(data.as_bytes(), &Limits::default());
        if kind == "error" {
            // An event of type `error` is an error, whatever its data.
            return Err(StreamError::Reported(
                read.map_or_else(|_| data.to_owned(), |value| error_message(&value)),
            ));
        }
        let value = read.map_err(|error| StreamError::Unreadable(format!("a chunk is not JSON: {error}")))?;
        if value.as_object().is_none() {
            // Gemini sends its errors in a list.
            let error = value.as_array().and_then(|list| find_error(list.get(0)?));
            return Err(error.map_or_else(
                || StreamError::Unreadable("a chunk is no object".into()),
                StreamError::Reported,
            ));
        }
        // In the other formats the type of an event says whether it is an error.
        if (matches!(self, Self::Chat { .. }) || value.get("type").is_none())
            && let Some(error) = find_error(&value)
        {
            return Err(StreamError::Reported(error));
        }
        match self {
            Self::Responses(stream) => stream.event(&value).map_err(StreamError::Reported),
            Self::Anthropic(stream) => stream.event(&value).map_err(StreamError::Reported),
            Self::Chat { .. } => Ok(Some(value)),
        }
    }
}
