//! Which models may think beside what they say: of such an answer that breaks off, nobody knows what it took.

use ak_json::Value;

/// Members by which a request has the model think.
const THINKING: [&str; 6] =
    ["enable_thinking", "reasoning", "reasoning_effort", "thinking", "thinking_budget", "thinking_config"];
/// How the names of models begin that think unless they are told otherwise, and what stands in them.
const THINKERS: [&str; 9] =
    ["o1", "o3", "o4", "gpt-5", "gpt-oss", "gemini-2.5", "gemini-3", "grok-4", "magistral"];
const THOUGHTFUL: [&str; 5] = ["-r1", "reason", "think", "qwq", "kimi-k2"];

/// Whether the model may think beside what it says, as far as the request and the model's name tell.
pub(crate) fn thinks(request: &Value) -> bool {
    let asked = |name: &&str| match request.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(value) => {
            let is_off = |value: &Value| matches!(value.as_str(), Some("none" | "disabled" | "off"));
            !is_off(value)
                && !value.get("type").is_some_and(is_off)
                && !value.get("effort").is_some_and(is_off)
        }
    };
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let model = model.rsplit('/').next().unwrap_or_default();
    THINKING.iter().any(asked)
        || THINKERS.iter().any(|start| model.starts_with(start))
        || THOUGHTFUL.iter().any(|part| model.contains(part))
}
