//! Translates answers in the format of OpenAI responses (<https://platform.openai.com/docs/api-reference/responses>) to
//! chat completions.

pub(crate) mod request;

use std::collections::BTreeSet;

use ak_json::{Object, Value, object};

use crate::effects::infer::formats::{error::error_message, responses::request::items, usage};

pub(crate) fn usage(reported: &Value) -> Option<Value> {
    usage::normalize(reported).as_ref().map(usage::standard_members)
}

fn finish_reason(response: &Value, has_calls: bool) -> Value {
    let reason =
        response.get("incomplete_details").and_then(|details| details.get("reason")).and_then(Value::as_str);
    match (response.get("status").and_then(Value::as_str), reason) {
        (_, Some("content_filter")) => "content_filter".into(),
        (Some("incomplete"), _) => "length".into(),
        _ if has_calls => "tool_calls".into(),
        _ => "stop".into(),
    }
}

/// Translates a whole answer to a chat completion.
///
/// # Errors
/// The error message of the server, or that `output` is missing.
pub(crate) fn completion(response: &Value) -> Result<Value, String> {
    if matches!(response.get("status").and_then(Value::as_str), Some("failed" | "cancelled")) {
        return Err(error_message(response));
    }
    if response.get("output").and_then(Value::as_array).is_none() {
        return Err("it has no `output`".into());
    }
    let (mut text, mut refusal, mut calls) = (String::new(), String::new(), Vec::new());
    for item in response.get("output").into_iter().flat_map(items) {
        match item.get("type").and_then(Value::as_str) {
            Some("message") => {
                for part in item.get("content").into_iter().flat_map(items) {
                    text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
                    refusal.push_str(part.get("refusal").and_then(Value::as_str).unwrap_or_default());
                }
            }
            Some("function_call") => {
                let part = |name| item.get(name).cloned().unwrap_or_default();
                let function = object! { "name": part("name"), "arguments": part("arguments") };
                calls.push(object! { "id": part("call_id"), "type": "function", "function": function });
            }
            // Reasoning items are not part of the answer's text.
            _ => {}
        }
    }
    let reason = finish_reason(response, !calls.is_empty());
    let mut said = Object::new();
    said.insert("role", "assistant");
    said.insert("content", text);
    if !refusal.is_empty() {
        said.insert("refusal", refusal);
    }
    if !calls.is_empty() {
        said.insert("tool_calls", calls);
    }
    let mut out = Object::new();
    for (name, theirs) in [("id", "id"), ("created", "created_at"), ("model", "model")] {
        out.insert(name, response.get(theirs).cloned().unwrap_or_default());
    }
    out.insert("object", "chat.completion");
    out.insert(
        "choices",
        vec![object! { "index": 0u64, "message": Value::from(said), "finish_reason": reason }],
    );
    if let Some(usage) = response.get("usage").and_then(usage) {
        out.insert("usage", usage);
    }
    Ok(out.into())
}

/// A tool call in a stream.
#[derive(Debug)]
struct Call {
    /// Index of the call in the output.
    at: u64,
    id: Value,
    has_arguments: bool,
}

/// The state that translates the events of a stream to chunks of a chat completion.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    head: Object,
    /// The tool calls, in order.
    calls: Vec<Call>,
    /// The texts that were received, at least in part: index of the item, index of the part, and whether it is a
    /// refusal.
    texts: BTreeSet<(u64, u64, bool)>,
    /// The usage of a failed answer.
    pub(crate) usage: Option<Value>,
    pub(crate) done: bool,
}

impl Stream {
    /// # Errors
    /// The error message of the server.
    pub(crate) fn event(&mut self, event: &Value) -> Result<Option<Value>, String> {
        let at = event.get("output_index").and_then(Value::as_u64).unwrap_or_default();
        let part = event.get("content_index").and_then(Value::as_u64).unwrap_or_default();
        let delta = || event.get("delta").cloned().unwrap_or_default();
        let response = event.get("response").unwrap_or(&Value::Null);
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "response.created" => {
                for (name, theirs) in [("id", "id"), ("created", "created_at"), ("model", "model")] {
                    self.head.insert(name, response.get(theirs).cloned().unwrap_or_default());
                }
                self.head.insert("object", "chat.completion.chunk");
                Ok(Some(self.chunk(object! { "role": "assistant", "content": "" }, Value::Null)))
            }
            "response.output_text.delta" => {
                self.texts.insert((at, part, false));
                Ok(Some(self.chunk(object! { "content": delta() }, Value::Null)))
            }
            "response.refusal.delta" => {
                self.texts.insert((at, part, true));
                Ok(Some(self.chunk(object! { "refusal": delta() }, Value::Null)))
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                Ok(Some(self.chunk(object! { "reasoning_content": delta() }, Value::Null)))
            }
            // Some servers send texts, items or the whole answer only when complete.
            "response.output_text.done" | "response.refusal.done" => {
                let mut rest = Object::new();
                self.text(&mut rest, (at, part), event);
                Ok(self.rest(rest))
            }
            "response.content_part.done" => {
                let mut rest = Object::new();
                self.text(&mut rest, (at, part), event.get("part").unwrap_or(&Value::Null));
                Ok(self.rest(rest))
            }
            "response.output_item.added" => {
                let item = event.get("item").unwrap_or(&Value::Null);
                if item.get("type").and_then(Value::as_str) != Some("function_call") {
                    return Ok(None);
                }
                let part = |name| item.get(name).cloned().unwrap_or_default();
                let function = object! { "name": part("name"), "arguments": "" };
                let call = object! {
                    "index": self.calls.len() as u64, "id": part("call_id"), "type": "function", "function": function,
                };
                self.calls.push(Call { at, id: part("call_id"), has_arguments: false });
                Ok(Some(self.chunk(object! { "tool_calls": vec![call] }, Value::Null)))
            }
            "response.function_call_arguments.delta" => Ok(self.arguments(at, delta(), true)),
            "response.function_call_arguments.done" => {
                Ok(self.arguments(at, event.get("arguments").cloned().unwrap_or_default(), false))
            }
            "response.output_item.done" => {
                let mut rest = Object::new();
                self.item(&mut rest, at, event.get("item").unwrap_or(&Value::Null));
                Ok(self.rest(rest))
            }
            "response.completed" | "response.incomplete" => {
                self.done = true;
                let mut rest = Object::new();
                // The indices of items in the whole answer may differ from those in the events.
                let has_text = !self.texts.is_empty();
                for (at, item) in (0..).zip(response.get("output").into_iter().flat_map(items)) {
                    let is_message = item.get("type").and_then(Value::as_str) == Some("message");
                    if !(is_message && has_text) {
                        self.item(&mut rest, at, item);
                    }
                }
                let reason = finish_reason(response, !self.calls.is_empty());
                let mut chunk = self.chunk(rest.into(), reason);
                if let (Value::Object(chunk), Some(usage)) =
                    (&mut chunk, response.get("usage").and_then(usage))
                {
                    chunk.insert("usage", usage);
                }
                Ok(Some(chunk))
            }
            "response.failed" => {
                self.usage = response.get("usage").and_then(usage);
                Err(error_message(response))
            }
            "error" => Err(error_message(event)),
            _ => Ok(None),
        }
    }

    /// Adds the parts of an item that were not received before to a delta.
    fn item(&mut self, rest: &mut Object, at: u64, item: &Value) {
        match item.get("type").and_then(Value::as_str) {
            Some("message") => {
                for (place, part) in (0..).zip(item.get("content").into_iter().flat_map(items)) {
                    self.text(rest, (at, place), part);
                }
            }
            Some("function_call") => {
                let own = |name| item.get(name).cloned().unwrap_or_default();
                let id = own("call_id");
                let is_it = |call: &Call| if id.is_null() { call.at == at } else { call.id == id };
                let known = self.calls.iter().position(is_it);
                let index = known.unwrap_or(self.calls.len());
                if known.is_none() {
                    self.calls.push(Call { at, id, has_arguments: false });
                }
                let Some(call) = self.calls.get_mut(index) else { return };
                if std::mem::replace(&mut call.has_arguments, true) {
                    return;
                }
                let call = match known {
                    Some(_) => {
                        object! { "index": index as u64, "function": object! { "arguments": own("arguments") } }
                    }
                    None => object! {
                        "index": index as u64, "id": own("call_id"), "type": "function",
                        "function": object! { "name": own("name"), "arguments": own("arguments") },
                    },
                };
                let mut calls = rest.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
                calls.push(call);
                rest.insert("tool_calls", calls);
            }
            _ => {}
        }
    }

    /// Adds a text or refusal to a delta if no piece of it was received before.
    fn text(&mut self, rest: &mut Object, (at, place): (u64, u64), part: &Value) {
        for (theirs, name) in [("text", "content"), ("refusal", "refusal")] {
            let Some(text) = part.get(theirs).and_then(Value::as_str) else { continue };
            if !text.is_empty() && self.texts.insert((at, place, name == "refusal")) {
                let before = rest.get(name).and_then(Value::as_str).unwrap_or_default();
                let whole = format!("{before}{text}");
                rest.insert(name, whole);
            }
        }
    }

    /// Returns the chunk of a delta; `None` when the delta is empty.
    fn rest(&self, rest: Object) -> Option<Value> {
        (!rest.is_empty()).then(|| self.chunk(rest.into(), Value::Null))
    }

    /// Returns the chunk of a tool call's arguments. Complete arguments are ignored when pieces were received before.
    fn arguments(&mut self, at: u64, text: Value, is_piece: bool) -> Option<Value> {
        let index = self.calls.iter().position(|call| call.at == at)?;
        let call = self.calls.get_mut(index)?;
        if text.as_str().is_none_or(str::is_empty) || (call.has_arguments && !is_piece) {
            return None;
        }
        call.has_arguments = true;
        let call = object! { "index": index as u64, "function": object! { "arguments": text } };
        Some(self.chunk(object! { "tool_calls": vec![call] }, Value::Null))
    }

    fn chunk(&self, delta: Value, reason: Value) -> Value {
        let mut chunk = self.head.clone();
        chunk.insert("choices", vec![object! { "index": 0u64, "delta": delta, "finish_reason": reason }]);
        chunk.into()
    }
}
