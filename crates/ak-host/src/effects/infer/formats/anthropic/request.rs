//! Translates a chat-completions request to the format of Anthropic messages.

use ak_json::{Array, Limits, Object, Value, object};
use ak_kernel::{COMPLETION_TOKENS, OUTGOING_LIMITS};

/// Members that affect how a request is served, not its meaning: the format has no counterpart, and they are dropped.
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

/// Encodes a chat-completions request in this format.
///
/// # Errors
/// Names the member that has no counterpart in the format.
pub(crate) fn encode(chat: &Object) -> Result<Object, String> {
    let mut out = Object::new();
    let has_tools = chat.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    for (name, value) in chat.iter().filter(|(_, value)| !value.is_null()) {
        match &**name {
            // Without tools, this API rejects the members that choose tools.
            "tools" | "tool_choice" | "parallel_tool_calls" if !has_tools => {}
            "model" | "temperature" | "top_p" | "top_k" | "stream" | "thinking" | "cache_control" => {
                drop(out.insert(&**name, value.clone()))
            }
            limit if OUTGOING_LIMITS.contains(&limit) => drop(out.insert("max_tokens", value.clone())),
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
    // This API requires a token limit.
    if !out.contains_key("max_tokens") {
        out.insert("max_tokens", COMPLETION_TOKENS);
    }
    Ok(out)
}

/// Merges members into `tool_choice`, which here combines the chat format's `tool_choice` and `parallel_tool_calls`.
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

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
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
        // This API rejects empty messages.
        if blocks.is_empty() {
            continue;
        }
        // In this API roles alternate, so successive messages of one role are joined.
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

/// Members of a part that have a counterpart, or that servers do not need.
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

/// Returns the blocks of a message, with the message's `cache_control` on the last block.
fn cached(mut blocks: Vec<Value>, message: &Value) -> Vec<Value> {
    let last = blocks.pop();
    blocks.extend(last.map(|last| with_cache_control(last, message)));
    blocks
}

/// Returns a block with the `cache_control` of `said`, if that has one.
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
