//! Translates answers in the format of Anthropic messages (<https://docs.anthropic.com/en/api/messages>, version
//! 2023-06-01) to chat completions.

pub(crate) mod request;

use ak_json::{Object, Value, object};

use crate::effects::infer::formats::{anthropic::request::items, error::error_message, usage};

/// The member of a chat completion that holds the model's reasoning.
const REASONING_MEMBER: &str = "reasoning_content";
/// The version of the format; every request names it in a header.
pub(crate) const VERSION: &str = "2023-06-01";

fn finish_reason(stop: Option<&str>) -> Value {
    match stop {
        None => Value::Null,
        Some("max_tokens" | "model_context_window_exceeded") => "length".into(),
        Some("tool_use") => "tool_calls".into(),
        Some("refusal") => "content_filter".into(),
        Some(_) => "stop".into(),
    }
}

/// Translates a whole answer to a chat completion.
///
/// # Errors
/// When `message` has no list `content`.
pub(crate) fn completion(message: &Value) -> Result<Value, String> {
    if message.get("content").and_then(Value::as_array).is_none() {
        return Err("it has no `content`".into());
    }
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for block in message.get("content").into_iter().flat_map(items) {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => text.push_str(block.get("text").and_then(Value::as_str).unwrap_or_default()),
            Some("tool_use") => {
                let arguments = block.get("input").map_or_else(|| "{}".into(), Value::to_json);
                let function = object! { "name": block.get("name").cloned().unwrap_or_default(), "arguments": arguments };
                let id = block.get("id").cloned().unwrap_or_default();
                calls.push(object! { "id": id, "type": "function", "function": function });
            }
            Some("thinking") => {
                thought.push_str(block.get("thinking").and_then(Value::as_str).unwrap_or_default());
            }
            _ => {}
        }
    }
    let mut said = Object::new();
    said.insert("role", "assistant");
    said.insert("content", text);
    if !thought.is_empty() {
        said.insert(REASONING_MEMBER, thought);
    }
    if !calls.is_empty() {
        said.insert("tool_calls", calls);
    }
    let reason = finish_reason(message.get("stop_reason").and_then(Value::as_str));
    let choice = object! { "index": 0u64, "message": Value::from(said), "finish_reason": reason };
    let mut out = Object::new();
    for name in ["id", "model"] {
        out.insert(name, message.get(name).cloned().unwrap_or_default());
    }
    out.insert("object", "chat.completion");
    out.insert("choices", vec![choice]);
    if let Some(reported) = message.get("usage").and_then(usage::normalize) {
        out.insert("usage", usage::standard_members(&reported));
    }
    Ok(out.into())
}

/// The state that translates the events of a stream to chunks of a chat completion.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    head: Object,
    /// The usage reported so far, in the server's members: one event reports the input, another the cached tokens.
    usage: Option<Value>,
    /// The tool calls in order: the index of the call's block, and its whole arguments unless they arrive in pieces.
    calls: Vec<(u64, Option<Value>)>,
    pub(crate) done: bool,
}

impl Stream {
    /// # Errors
    /// The error message of the server.
    pub(crate) fn event(&mut self, event: &Value) -> Result<Option<Value>, String> {
        let block = event.get("index").and_then(Value::as_u64).unwrap_or_default();
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => {
                let message = event.get("message").unwrap_or(&Value::Null);
                for name in ["id", "model"] {
                    self.head.insert(name, message.get(name).cloned().unwrap_or_default());
                }
                self.head.insert("object", "chat.completion.chunk");
                self.take_usage(message.get("usage"));
                Ok(Some(self.chunk(object! { "role": "assistant", "content": "" }, Value::Null)))
            }
            "content_block_start" => {
                let started = event.get("content_block").unwrap_or(&Value::Null);
                match started.get("type").and_then(Value::as_str) {
                    Some("tool_use") => {
                        let function = object! { "name": started.get("name").cloned().unwrap_or_default(), "arguments": "" };
                        let call = object! {
                            "index": self.calls.len() as u64, "id": started.get("id").cloned().unwrap_or_default(),
                            "type": "function", "function": function,
                        };
                        self.calls.push((block, Some(started.get("input").cloned().unwrap_or_default())));
                        Ok(Some(self.chunk(object! { "tool_calls": vec![call] }, Value::Null)))
                    }
                    _ => Ok(None),
                }
            }
            "content_block_delta" => {
                let delta = event.get("delta").unwrap_or(&Value::Null);
                if let Some(text) = delta.get("text") {
                    return Ok(Some(self.chunk(object! { "content": text.clone() }, Value::Null)));
                }
                if let Some(thought) = delta.get("thinking") {
                    let mut members = Object::new();
                    members.insert(REASONING_MEMBER, thought.clone());
                    return Ok(Some(self.chunk(members.into(), Value::Null)));
                }
                Ok(delta.get("partial_json").and_then(|json| self.arguments(block, json)))
            }
            // A tool call without arguments gets an empty object.
            "content_block_stop" => {
                let whole =
                    self.calls.iter().find(|(at, _)| *at == block).and_then(|(_, whole)| whole.clone());
                let text = |whole: Value| if whole.is_null() { "{}".to_owned() } else { whole.to_json() };
                Ok(whole.and_then(|whole| self.arguments(block, &Value::from(text(whole)))))
            }
            "message_delta" => {
                self.take_usage(event.get("usage"));
                let stop =
                    event.get("delta").and_then(|delta| delta.get("stop_reason")).and_then(Value::as_str);
                let mut chunk = self.chunk(object! {}, finish_reason(stop));
                if let (Value::Object(chunk), Some(usage)) = (&mut chunk, self.usage()) {
                    chunk.insert("usage", usage);
                }
                Ok(Some(chunk))
            }
            "message_stop" => {
                self.done = true;
                Ok(None)
            }
            "error" => Err(error_message(event)),
            _ => Ok(None),
        }
    }

    fn arguments(&mut self, block: u64, json: &Value) -> Option<Value> {
        let index = self.calls.iter().position(|(at, _)| *at == block)?;
        let (_, whole) = self.calls.get_mut(index)?;
        if json.as_str().is_some_and(|json| !json.is_empty()) {
            *whole = None;
        }
        let call = object! { "index": index as u64, "function": object! { "arguments": json.clone() } };
        Some(self.chunk(object! { "tool_calls": vec![call] }, Value::Null))
    }

    /// The usage reported so far, in normal form.
    pub(crate) fn usage(&self) -> Option<Value> {
        self.usage.as_ref().and_then(usage::normalize).as_ref().map(usage::standard_members)
    }

    fn take_usage(&mut self, reported: Option<&Value>) {
        if let Some(reported) = reported.filter(|reported| reported.as_object().is_some()) {
            self.usage = Some(usage::fold(self.usage.take(), reported.clone()));
        }
    }

    fn chunk(&self, delta: Value, reason: Value) -> Value {
        let mut chunk = self.head.clone();
        chunk.insert("choices", vec![object! { "index": 0u64, "delta": delta, "finish_reason": reason }]);
        chunk.into()
    }
}
