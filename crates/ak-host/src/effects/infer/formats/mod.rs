//! A model's stream, event by event: the chunk that each makes, in whatever format the server speaks, and what is an error.

pub(crate) mod anthropic;
pub(crate) mod error;
pub(crate) mod responses;
pub(crate) mod usage;

use ak_json::{Limits, Value};

use crate::{
    config::tables::ApiFormat,
    effects::infer::formats::error::{ExportError, error_message, find_error},
    effects::infer::sse::Event,
};

/// A stream's events in the route's format.
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

    /// What the server has said of the usage so far, where no chunk tells it.
    pub(crate) fn usage(&self) -> Option<Value> {
        match self {
            Self::Chat { .. } => None,
            Self::Responses(stream) => stream.usage.clone(),
            Self::Anthropic(stream) => stream.usage(),
        }
    }

    /// The chunk that an event makes, if it makes one.
    pub(crate) fn chunk(&mut self, event: &Event) -> Result<Option<Value>, ExportError> {
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
            // Its name says what it is, whatever stands in it.
            return Err(ExportError::Reported(
                read.map_or_else(|_| data.to_owned(), |value| error_message(&value)),
            ));
        }
        let value = read.map_err(|error| ExportError::Unreadable(format!("a chunk is not JSON: {error}")))?;
        if value.as_object().is_none() {
            // Gemini puts its errors into a list.
            let error = value.as_array().and_then(|list| find_error(list.get(0)?));
            return Err(error.map_or_else(
                || ExportError::Unreadable("a chunk is no object".into()),
                ExportError::Reported,
            ));
        }
        // Events of the other formats say by their type what they are.
        if (matches!(self, Self::Chat { .. }) || value.get("type").is_none())
            && let Some(error) = find_error(&value)
        {
            return Err(ExportError::Reported(error));
        }
        match self {
            Self::Responses(stream) => stream.event(&value).map_err(ExportError::Reported),
            Self::Anthropic(stream) => stream.event(&value).map_err(ExportError::Reported),
            Self::Chat { .. } => Ok(Some(value)),
        }
    }
}
