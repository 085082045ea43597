//! Translates a chat-completions request to the format of OpenAI responses.

use ak_json::{Array, Object, Value, object};
use ak_kernel::OUTGOING_LIMITS;

/// Members that have the same meaning in both formats.
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
/// Members that affect how a request is served, not its meaning: the format has no counterpart, and they are dropped.
const IGNORED_MEMBERS: [&str; 5] =
    ["frequency_penalty", "logit_bias", "presence_penalty", "seed", "stream_options"];

/// Encodes a chat-completions request in this format.
///
/// # Errors
/// Names the member that has no counterpart in the format.
pub(crate) fn encode(chat: &Object) -> Result<Object, String> {
    let mut out = Object::new();
    // The server must not store the response unless the request says so.
    out.insert("store", false);
    for (name, value) in chat.iter().filter(|(_, value)| !value.is_null()) {
        match &**name {
            "verbosity" => format(&mut out, "verbosity", value.clone()),
            same if SHARED_MEMBERS.contains(&same) => drop(out.insert(same, value.clone())),
            limit if OUTGOING_LIMITS.contains(&limit) => drop(out.insert("max_output_tokens", value.clone())),
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

pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Array::iter).into_iter().flatten()
}

/// In this format the members of `json_schema` are one level higher.
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
