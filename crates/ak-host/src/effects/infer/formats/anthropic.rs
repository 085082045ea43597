//! Anthropic messages (<https://docs.anthropic.com/en/api/messages>, version 2023-06-01) as chat completions.

use ak_json::{Array, Limits, Object, Value, object};
use ak_kernel::COMPLETION_TOKENS;

use crate::{effects::infer::formats::error::error_message, effects::infer::formats::usage};

/// The version of the format, which every request names.
pub(crate) const VERSION: &str = "2023-06-01";

/// Where servers of chat completions tell what a model thought.
const THOUGHT: &str = "reasoning_content";

/// Members that say how to serve a request, not what to answer: they have no counterpart and are left out.
const IGNORED_MEMBERS: [&str; 12] = [
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "verbosity",
    "stream_options",
];

/// A chat-completions request in this format.
///
/// # Errors
/// Names the member that has no counterpart.
pub(crate) fn request(chat: &Object) -> Result<Object, String> {
    let mut out = Object::new();
    let has_tools = chat.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    for (name, value) in chat.iter().filter(|(_, value)| !value.is_null()) {
        match &**name {
            // Without tools there is nothing to choose, and to say so is an error there.
            "tools" | "tool_choice" | "parallel_tool_calls" if !has_tools => {}
            "model" | "temperature" | "top_p" | "top_k" | "stream" | "thinking" | "cache_control" => {
                drop(out.insert(&**name, value.clone()))
            }
            "max_tokens" | "max_completion_tokens" => drop(out.insert("max_tokens", value.clone())),
            "messages" => messages(value, &mut out)?,
            "stop" => {
                let stop =
                    if value.as_array().is_some() { value.clone() } else { ak_json::array![value.clone()] };
                out.insert("stop_sequences", stop);
            }
            "tools" => drop(out.insert("tools", items(value).map(tool).collect::<Result<Vec<_>, _>>()?)),
            "tool_choice" => choice(&mut out, tool_choice(value)?),
            "parallel_tool_calls" if value.as_bool() == Some(true) => {}
            "parallel_tool_calls" => {
                let mut members = Object::new();
                members.insert("disable_parallel_tool_use", true);
                choice(&mut out, members);
            }
            "user" => drop(out.insert("metadata", object! { "user_id": value.clone() })),
            "n" if value.as_u64() == Some(1) => {}
            "logprobs" if value.as_bool() == Some(false) => {}
            "response_format" if value.get("type").and_then(Value::as_str) == Some("text") => {}
            hint if IGNORED_MEMBERS.contains(&hint) => {}
            other => {
                return Err(format!("`{other}` has no counterpart in the format of this model's server"));
            }
        }
    }
    // The format has no request without a limit.
    if !out.contains_key("max_tokens") {
        out.insert("max_tokens", COMPLETION_TOKENS);
    }
    Ok(out)
}

/// What is said of choosing tools comes in two members there and in one here.
fn choice(out: &mut Object, members: Object) {
    let mut choice = out.get("tool_choice").and_then(Value::as_object).cloned().unwrap_or_default();
    members.iter().for_each(|(name, value)| drop(choice.insert(&**name, value.clone())));
    if !choice.contains_key("type") {
        choice.insert("type", "auto");
    }
    if choice.get("type").and_then(Value::as_str) == Some("none") {
        choice.remove("disable_parallel_tool_use");
    }
    out.insert("tool_choice", choice);
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Array::iter).into_iter().flatten()
}

fn messages(list: &Value, out: &mut Object) -> Result<(), String> {
    let mut system: Vec<Value> = Vec::new();
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in items(list) {
        let content = message.get("content").unwrap_or(&Value::Null);
        let (role, blocks) = match message.get("role").and_then(Value::as_str).unwrap_or_default() {
            "system" | "developer" => {
                system.extend(cached(blocks(content)?, message));
                continue;
            }
            "user" => ("user", blocks(content)?),
            "assistant" => {
                let mut said = blocks(content)?;
                for call in message.get("tool_calls").into_iter().flat_map(items) {
                    said.push(tool_use(call)?);
                }
                ("assistant", said)
            }
            "tool" => {
                let id = message.get("tool_call_id").cloned().unwrap_or_default();
                let result =
                    object! { "type": "tool_result", "tool_use_id": id, "content": blocks(content)? };
                ("user", vec![result])
            }
            other => {
                return Err(format!(
                    "a message of role {other:?} has no counterpart in the format of this model's server"
                ));
            }
        };
        let blocks = cached(blocks, message);
        // Nobody says nothing there.
        if blocks.is_empty() {
            continue;
        }
        // Roles take turns: what the same one says twice is one turn.
        match turns.last_mut() {
            Some((last, said)) if *last == role => said.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    if !system.is_empty() {
        out.insert("system", system);
    }
    let turns = turns.into_iter().map(|(role, said)| object! { "role": role, "content": said });
    out.insert("messages", turns.collect::<Vec<Value>>());
    Ok(())
}

fn blocks(content: &Value) -> Result<Vec<Value>, String> {
    match content {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![object! { "type": "text", "text": text.clone() }]),
        Value::Array(parts) => {
            let is_empty = |part: &&Value| part.get("text").and_then(Value::as_str) == Some("");
            parts.iter().filter(|part| !is_empty(part)).map(block).collect()
        }
        Value::Null => Ok(Vec::new()),
        _ => Err("a message's content is neither text nor a list of parts".into()),
    }
}

/// Members of a part that have a counterpart or say nothing that a server needs.
const OF_PARTS: [&str; 6] = ["annotations", "cache_control", "image_url", "index", "text", "type"];

fn block(part: &Value) -> Result<Value, String> {
    let mut names = part.as_object().into_iter().flatten().map(|(name, _)| name);
    if let Some(other) = names.find(|name| !OF_PARTS.contains(&&***name)) {
        return Err(format!("`{other}` of a part has no counterpart in the format of this model's server"));
    }
    let block = match part.get("type").and_then(Value::as_str) {
        Some("text") => object! { "type": "text", "text": part.get("text").cloned().unwrap_or_default() },
        Some("image_url") => {
            let url = part
                .get("image_url")
                .and_then(|image| image.get("url"))
                .and_then(Value::as_str)
                .unwrap_or_default();
            let source = match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
                Some((kind, data)) => object! { "type": "base64", "media_type": kind, "data": data },
                None => object! { "type": "url", "url": url },
            };
            object! { "type": "image", "source": source }
        }
        other => {
            return Err(format!(
                "a part of type {:?} has no counterpart in the format of this model's server",
                other.unwrap_or("")
            ));
        }
    };
    Ok(with_cache_control(block, part))
}

/// The parts of a message: what is said of the message to the provider's cache is said of the last.
fn cached(mut blocks: Vec<Value>, message: &Value) -> Vec<Value> {
    let last = blocks.pop();
    blocks.extend(last.map(|last| with_cache_control(last, message)));
    blocks
}

/// The same, with what is said of it to the provider's cache.
fn with_cache_control(block: Value, said: &Value) -> Value {
    match (block, said.get("cache_control").filter(|control| !control.is_null())) {
        (Value::Object(mut block), Some(control)) => {
            block.insert("cache_control", control.clone());
            block.into()
        }
        (block, _) => block,
    }
}

fn tool_use(call: &Value) -> Result<Value, String> {
    let function = call.get("function").unwrap_or(&Value::Null);
    let arguments = function.get("arguments").and_then(Value::as_str).unwrap_or_default();
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let input = Value::parse(arguments.as_bytes(), &Limits::default())
        .map_err(|error| format!("the arguments of a tool call are not JSON: {error}"))?;
    let id = call.get("id").cloned().unwrap_or_default();
    Ok(
        object! { "type": "tool_use", "id": id, "name": function.get("name").cloned().unwrap_or_default(), "input": input },
    )
}

fn tool(tool: &Value) -> Result<Value, String> {
    let function = tool
        .get("function")
        .ok_or("a tool that is no function has no counterpart in the format of this model's server")?;
    let mut out = Object::new();
    out.insert("name", function.get("name").cloned().unwrap_or_default());
    if let Some(description) = function.get("description") {
        out.insert("description", description.clone());
    }
    let none = || object! { "type": "object" };
    let parameters = function.get("parameters").filter(|parameters| !parameters.is_null());
    out.insert("input_schema", parameters.cloned().unwrap_or_else(none));
    let said = if tool.get("cache_control").is_some() { tool } else { function };
    Ok(with_cache_control(out.into(), said))
}

fn tool_choice(value: &Value) -> Result<Object, String> {
    let named = value.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
    let mut out = Object::new();
    match (value.as_str(), named) {
        (Some("auto"), _) => drop(out.insert("type", "auto")),
        (Some("none"), _) => drop(out.insert("type", "none")),
        (Some("required"), _) => drop(out.insert("type", "any")),
        (_, Some(name)) => {
            out.insert("type", "tool");
            out.insert("name", name);
        }
        _ => return Err("this `tool_choice` has no counterpart in the format of this model's server".into()),
    }
    Ok(out)
}

fn finish_reason(stop: Option<&str>) -> Value {
    match stop {
        None => Value::Null,
        Some("max_tokens" | "model_context_window_exceeded") => "length".into(),
        Some("tool_use") => "tool_calls".into(),
        Some("refusal") => "content_filter".into(),
        Some(_) => "stop".into(),
    }
}

/// A whole answer as a chat completion.
///
/// # Errors
/// When it is none.
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
        said.insert(THOUGHT, thought);
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

/// A stream's events as chunks of a chat completion.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    head: Object,
    /// What was said of the usage so far, in the server's words: one event tells of the input, another of what caches served.
    usage: Option<Value>,
    /// The tool calls, in order: the place of each among the blocks, and its arguments unless they come in pieces.
    calls: Vec<(u64, Option<Value>)>,
    pub(crate) done: bool,
}

impl Stream {
    /// # Errors
    /// What the server says went wrong.
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
                    members.insert(THOUGHT, thought.clone());
                    return Ok(Some(self.chunk(members.into(), Value::Null)));
                }
                Ok(delta.get("partial_json").and_then(|json| self.arguments(block, json)))
            }
            // A call without arguments has an empty object of them.
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

    /// What was said of it so far.
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
