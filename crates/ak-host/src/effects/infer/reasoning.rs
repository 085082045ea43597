//! Recognises models that may reason: their usage is unknown when an answer breaks off, since reasoning tokens are not
//! all sent.

use ak_json::Value;

/// Members of a request that enable reasoning.
const REASONING_MEMBERS: [&str; 6] =
    ["enable_thinking", "reasoning", "reasoning_effort", "thinking", "thinking_budget", "thinking_config"];
/// Prefixes of the names of models that reason by default. A vendor's name may precede the model's, as in `openai/` or
/// `openai.`.
const REASONING_MODEL_PREFIXES: [&str; 14] = [
    "ernie-x1",
    "gemini-2.5",
    "gemini-3",
    "glm-4.5",
    "glm-4.6",
    "gpt-5",
    "gpt-oss",
    "grok-4",
    "magistral",
    "minimax-m",
    "o1",
    "o3",
    "o4",
    "qwen3",
];
/// Parts of the names of further models that reason by default.
const REASONING_MODEL_PARTS: [&str; 6] = ["-r1", ".r1", "reason", "think", "qwq", "kimi-k2"];

/// Whether the model may reason, judging by the request's members and the model's name.
pub(crate) fn may_reason(request: &Value) -> bool {
    let is_enabled = |name: &&str| match request.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(value) => {
            let is_off = |value: &Value| matches!(value.as_str(), Some("none" | "disabled" | "off"));
            !is_off(value)
                && !value.get("type").is_some_and(is_off)
                && !value.get("effort").is_some_and(is_off)
        }
    };
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let begins = |start: &&str| {
        let mut places = model.match_indices(start).map(|(at, _)| model.get(..at).unwrap_or_default());
        places.any(|before| before.is_empty() || before.ends_with(['/', '.', ':']))
    };
    REASONING_MEMBERS.iter().any(is_enabled)
        || REASONING_MODEL_PREFIXES.iter().any(begins)
        || REASONING_MODEL_PARTS.iter().any(|part| model.contains(part))
}

#[cfg(test)]
mod tests {
    use ak_json::object;

    use super::*;

    #[test]
    fn reasoning_is_recognised_by_model_name_or_request() {
        for (model, expected) in [
            ("o3-mini", true),
            ("openai/gpt-5", true),
            ("openai.gpt-oss-120b-1:0", true),
            ("us.deepseek.r1-v1:0", true),
            ("deepseek-ai/DeepSeek-R1", true),
            ("qwen/Qwen3-32B", true),
            ("google/gemini-2.5-pro", true),
            ("gpt-4o3", false),
            ("gpt-4o", false),
            ("llama-3.1-8b", false),
        ] {
            assert_eq!(may_reason(&object! { "model": model }), expected, "{model}");
        }
        assert!(may_reason(&object! { "model": "m", "reasoning_effort": "low" }));
        assert!(!may_reason(
            &object! { "model": "m", "reasoning_effort": "none", "thinking": object! { "type": "disabled" } }
        ));
    }
}
