//! OpenAI responses (<https://platform.openai.com/docs/api-reference/responses>) as chat completions.

use std::collections::BTreeSet;

use ak_json::{Array, Object, Value, object};

use crate::{effects::infer::formats::error::error_message, effects::infer::formats::usage};

/// Members that mean the same in both formats.
const SHARED_MEMBERS: [&str; 13] = [
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "temperature",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
];
/// Members that say how to serve a request, not what to answer: they have no counterpart and are left out.
const IGNORED_MEMBERS: [&str; 5] =
    ["frequency_penalty", "logit_bias", "presence_penalty", "seed", "stream_options"];

/// A chat-completions request in this format.
///
/// # Errors
/// Names the member that has no counterpart.
pub(crate) fn request(chat: &Object) -> Result<Object, String> {
    let mut out = Object::new();
    // Nothing is kept at the server unless the request says so.
    out.insert("store", false);
    for (name, value) in chat.iter().filter(|(_, value)| !value.is_null()) {
        match &**name {
            "verbosity" => format(&mut out, "verbosity", value.clone()),
            same if SHARED_MEMBERS.contains(&same) => drop(out.insert(same, value.clone())),
            "max_tokens" | "max_completion_tokens" => drop(out.insert("max_output_tokens", value.clone())),
            "messages" => drop(out.insert("input", input(value)?)),
            "reasoning_effort" => drop(out.insert("reasoning", object! { "effort": value.clone() })),
            "response_format" => format(&mut out, "format", response_format(value)),
            "tools" => drop(out.insert("tools", items(value).map(tool).collect::<Result<Vec<_>, _>>()?)),
            "tool_choice" => drop(out.insert("tool_choice", tool_choice(value))),
            "n" if value.as_u64() == Some(1) => {}
            "logprobs" if value.as_bool() == Some(false) => {}
            hint if IGNORED_MEMBERS.contains(&hint) => {}
            other => {
                return Err(format!("`{other}` has no counterpart in the format of this model's server"));
            }
        }
    }
    Ok(out)
}

fn format(out: &mut Object, name: &str, value: Value) {
    let mut text = out.get("text").and_then(Value::as_object).cloned().unwrap_or_default();
    text.insert(name, value);
    out.insert("text", text);
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Array::iter).into_iter().flatten()
}

/// A schema stands one level higher there.
fn response_format(value: &Value) -> Value {
    let mut out = value.get("json_schema").and_then(Value::as_object).cloned().unwrap_or_default();
    out.insert("type", value.get("type").cloned().unwrap_or_default());
    out.into()
}

fn tool(tool: &Value) -> Result<Value, String> {
    let function = tool.get("function").and_then(Value::as_object);
    let function = function
        .ok_or("a tool that is no function has no counterpart in the format of this model's server")?;
    let mut out = function.clone();
    out.insert("type", "function");
    Ok(out.into())
}

fn tool_choice(value: &Value) -> Value {
    match value.get("function").and_then(|function| function.get("name")) {
        Some(name) => object! { "type": "function", "name": name.clone() },
        None => value.clone(),
    }
}

fn input(list: &Value) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    for message in items(list) {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let content = message.get("content").unwrap_or(&Value::Null);
        match role {
            "tool" => {
                let id = message.get("tool_call_id").cloned().unwrap_or_default();
                let output = text_of(content)?;
                out.push(object! { "type": "function_call_output", "call_id": id, "output": output });
            }
            "system" | "developer" | "user" | "assistant" => {
                let parts = parts(content, role)?;
                if !parts.is_empty() {
                    out.push(object! { "type": "message", "role": role, "content": parts });
                }
                for call in message.get("tool_calls").into_iter().flat_map(items) {
                    let function = call.get("function").unwrap_or(&Value::Null);
                    let part = |name| function.get(name).cloned().unwrap_or_default();
                    out.push(object! {
                        "type": "function_call", "call_id": call.get("id").cloned().unwrap_or_default(),
                        "name": part("name"), "arguments": part("arguments"),
                    });
                }
            }
            other => {
                return Err(format!(
                    "a message of role {other:?} has no counterpart in the format of this model's server"
                ));
            }
        }
    }
    Ok(out)
}

fn text_of(content: &Value) -> Result<String, String> {
    if let Value::String(text) = content {
        return Ok(String::from(&**text));
    }
    let text = |part: &Value| {
        let text = part.get("text").and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| {
            "a tool's result that is no text has no counterpart in the format of this model's server"
                .to_owned()
        })
    };
    items(content).map(text).collect()
}

fn parts(content: &Value, role: &str) -> Result<Vec<Value>, String> {
    let kind = if role == "assistant" { "output_text" } else { "input_text" };
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![object! { "type": kind, "text": text.clone() }]),
        Value::Array(list) => list
            .iter()
            .map(|part| match part.get("type").and_then(Value::as_str) {
                Some("text") => {
                    Ok(object! { "type": kind, "text": part.get("text").cloned().unwrap_or_default() })
                }
                Some("image_url") => {
                    let of = |name| part.get("image_url").and_then(|image| image.get(name)).cloned();
                    let mut image = Object::new();
                    image.insert("type", "input_image");
                    image.insert("image_url", of("url").unwrap_or_default());
                    if let Some(detail) = of("detail") {
                        image.insert("detail", detail);
                    }
                    Ok(image.into())
                }
                other => Err(format!(
                    "a part of type {:?} has no counterpart in the format of this model's server",
                    other.unwrap_or("")
                )),
            })
            .collect(),
        _ => Err("a message's content is neither text nor a list of parts".into()),
    }
}

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

/// A whole answer as a chat completion.
///
/// # Errors
/// What the server says went wrong.
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
            // What it thought is not what it said.
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

/// A tool call of a stream.
#[derive(Debug)]
struct Call {
    /// Its place in the output.
    at: u64,
    id: Value,
    has_arguments: bool,
}

/// A stream's events as chunks of a chat completion.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    head: Object,
    /// The tool calls, in order.
    calls: Vec<Call>,
    /// The texts of which pieces came: the places of item and part, and whether they are refusals.
    texts: BTreeSet<(u64, u64, bool)>,
    /// Of an answer that failed.
    pub(crate) usage: Option<Value>,
    pub(crate) done: bool,
}

impl Stream {
    /// # Errors
    /// What the server says went wrong.
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
            // Some servers give texts, items or the whole answer only when they are whole.
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
                // The places of items in the whole answer are not always those of the events.
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

    /// Adds to a delta what of an item did not come before.
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

    /// Adds to a delta a text or refusal of which nothing came before.
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

    /// The chunk of a delta that says something.
    fn rest(&self, rest: Object) -> Option<Value> {
        (!rest.is_empty()).then(|| self.chunk(rest.into(), Value::Null))
    }

    /// Arguments of a tool call. Those that are whole are of use only where no piece came before.
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
