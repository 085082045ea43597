//! The usage that providers report for an answer: finds it, under the members that each provider uses, and normalizes
//! it.
//!
//! The normal form is a chat completion's `usage`, with `cache_write_tokens` and `cache_write_1h_tokens` in
//! `prompt_tokens_details`; [`Usage`] reads it. `docs/guide/models.md` lists what each provider reports.

use ak_json::{Object, Value, object};
use ak_kernel::{Usage, token_count};

/// The path of a nested member: names, outermost first.
type FieldPath = &'static [&'static str];

/// Where a chunk or an answer has its usage; the first path that exists is used.
const USAGES: [FieldPath; 7] = [
    &["usage"],
    // Groq, in the last chunk of a stream.
    &["x_groq", "usage"],
    // The response in an event of OpenAI, the message in an event of Anthropic.
    &["response", "usage"],
    &["message", "usage"],
    // Gemini and Bedrock, when a proxy passes on their native members.
    &["usageMetadata"],
    &["amazon-bedrock-invocationMetrics"],
    // llama.cpp, when a request does not ask for usage.
    &["timings"],
];

/// Tokens of the prompt.
const PROMPT: [FieldPath; 6] = [
    &["prompt_tokens"],
    &["input_tokens"],
    &["promptTokenCount"],
    &["inputTokenCount"],
    &["prompt_eval_count"],
    &["prompt_n"],
];
/// Tokens of the answer.
const COMPLETION: [FieldPath; 6] = [
    &["completion_tokens"],
    &["output_tokens"],
    &["candidatesTokenCount"],
    &["outputTokenCount"],
    &["eval_count"],
    &["predicted_n"],
];
/// Tokens of prompt and answer together.
const TOTAL: [FieldPath; 2] = [&["total_tokens"], &["totalTokenCount"]];
/// Tokens of the prompt that were read from a cache.
const CACHE_READ: [FieldPath; 9] = [
    &["prompt_tokens_details", "cached_tokens"],
    &["input_tokens_details", "cached_tokens"],
    &["cache_read_input_tokens"],
    // DeepSeek.
    &["prompt_cache_hit_tokens"],
    // Moonshot; vLLM and SGLang in some versions.
    &["cached_tokens"],
    &["num_cached_tokens"],
    &["cachedContentTokenCount"],
    &["cacheReadInputTokenCount"],
    &["cache_n"],
];
/// Tokens of the prompt that were written to a cache, for any duration.
const CACHE_WRITE: [FieldPath; 5] = [
    &["cache_creation_input_tokens"],
    &["prompt_tokens_details", "cache_write_tokens"],
    &["prompt_tokens_details", "cache_creation_tokens"],
    &["prompt_cache_write_tokens"],
    &["cacheWriteInputTokenCount"],
];
/// Tokens of the prompt that were written to a cache for an hour.
const CACHE_WRITE_1H: [FieldPath; 2] =
    [&["cache_creation", "ephemeral_1h_input_tokens"], &["prompt_tokens_details", "cache_write_1h_tokens"]];
/// Tokens of reasoning.
const REASONING: [FieldPath; 4] = [
    &["completion_tokens_details", "reasoning_tokens"],
    &["output_tokens_details", "reasoning_tokens"],
    &["reasoning_tokens"],
    &["thoughtsTokenCount"],
];
/// Members for tokens of the prompt that do not include cached tokens, with the members that report these: Anthropic's,
/// Bedrock's, and llama.cpp's.
const CACHED_SEPARATELY: [(FieldPath, [FieldPath; 2]); 3] = [
    (&["input_tokens"], [&["cache_read_input_tokens"], &["cache_creation_input_tokens"]]),
    (&["inputTokenCount"], [&["cacheReadInputTokenCount"], &["cacheWriteInputTokenCount"]]),
    (&["prompt_n"], [&["cache_n"], &["cache_n"]]),
];

fn member_at(value: &Value, path: FieldPath) -> Option<&Value> {
    let found = path.iter().try_fold(value, |value, name| value.get(name))?;
    (!found.is_null()).then_some(found)
}

fn number(reported: &Value, paths: &[FieldPath]) -> Option<u64> {
    paths.iter().find_map(|path| token_count(member_at(reported, path)?))
}

/// Returns the usage in a chunk or an answer, in normal form; `None` when it reports none.
pub(crate) fn find(value: &Value) -> Option<Value> {
    let choices = value.get("choices").and_then(Value::as_array).into_iter().flat_map(|list| list.iter());
    // Moonshot reports usage in the choice that ends.
    let reported = USAGES.iter().filter_map(|path| member_at(value, path));
    reported.chain(choices.filter_map(|choice| member_at(choice, &["usage"]))).find_map(normalize)
}

/// Returns a reported usage in normal form, which also keeps the provider's own members; `None` when it reports no
/// tokens.
pub(crate) fn normalize(reported: &Value) -> Option<Value> {
    let mut prompt = number(reported, &PROMPT);
    let (completion, total) = (number(reported, &COMPLETION), number(reported, &TOTAL));
    if prompt.is_none() && completion.is_none() && total.is_none() {
        return None;
    }
    for (name, [read, write]) in CACHED_SEPARATELY {
        if member_at(reported, PROMPT[0]).is_none() && member_at(reported, name).is_some() {
            let parts = if read == write { vec![read] } else { vec![read, write] };
            let beside = parts.iter().filter_map(|path| token_count(member_at(reported, path)?));
            prompt = prompt.map(|prompt| beside.fold(prompt, u64::saturating_add));
        }
    }
    let mut usage = reported.as_object().cloned().unwrap_or_default();
    if let Some(prompt) = prompt {
        usage.insert("prompt_tokens", prompt);
    }
    if let Some(completion) = completion {
        usage.insert("completion_tokens", completion);
    }
    let sum = prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0));
    usage.insert("total_tokens", total.unwrap_or(sum));
    let hour = number(reported, &CACHE_WRITE_1H).unwrap_or(0);
    let minutes = number(reported, &CACHE_WRITE).map(|write| {
        // The first member of `CACHE_WRITE` includes the tokens written for an hour; the others exclude them.
        let together = member_at(reported, CACHE_WRITE[0]).is_some();
        if together { write.saturating_sub(hour) } else { write }
    });
    detail(&mut usage, "prompt_tokens_details", "cached_tokens", number(reported, &CACHE_READ));
    detail(&mut usage, "prompt_tokens_details", "cache_write_tokens", minutes);
    detail(&mut usage, "prompt_tokens_details", "cache_write_1h_tokens", Some(hour));
    detail(&mut usage, "completion_tokens_details", "reasoning_tokens", number(reported, &REASONING));
    Some(usage.into())
}

fn detail(usage: &mut Object, list: &str, name: &str, tokens: Option<u64>) {
    let Some(tokens) = tokens.filter(|tokens| *tokens > 0) else { return };
    let mut details = usage.get(list).and_then(Value::as_object).cloned().unwrap_or_default();
    details.insert(name, tokens);
    usage.insert(list, details);
}

/// Returns a usage with only the members of the normal form.
pub(crate) fn standard_members(usage: &Value) -> Value {
    let names = [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    ];
    let members = names.into_iter().filter_map(|name| Some((name, usage.get(name)?.clone())));
    members.collect::<Object>().into()
}

/// Merges two usages in normal form with [`fold`], and makes the total at least the sum of its parts.
pub(crate) fn merge(before: Option<Value>, now: Value) -> Value {
    let Value::Object(mut merged) = fold(before, now) else { return Value::Null };
    // The total of one event is not the total of all events.
    let known = Value::Object(merged.clone());
    let part = |name| known.get(name).and_then(token_count).unwrap_or(0);
    let sum = part("prompt_tokens").saturating_add(part("completion_tokens"));
    merged.insert("total_tokens", part("total_tokens").max(sum));
    merged.into()
}

/// Merges an earlier and a later report in any form: a number that the later report omits, or gives as zero, keeps its
/// earlier value.
pub(crate) fn fold(before: Option<Value>, now: Value) -> Value {
    let Some(Value::Object(mut merged)) = before else { return now };
    for (name, value) in now.as_object().into_iter().flatten() {
        let kept = merged.get(name).filter(|kept| !kept.is_null());
        let value = match (kept, value) {
            (Some(kept), Value::Object(_)) => fold(Some(kept.clone()), value.clone()),
            (Some(kept), Value::Null) => kept.clone(),
            (Some(kept), value) if token_count(value) == Some(0) => kept.clone(),
            _ => value.clone(),
        };
        merged.insert(name, value);
    }
    merged.into()
}

/// Returns an estimated usage in normal form, marked `estimated`.
pub(crate) fn estimate(prompt: u64, completion: u64) -> Value {
    object! {
        "prompt_tokens": prompt, "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion), "estimated": true,
    }
}

/// The total tokens of a usage in normal form; `None` when it is 0.
pub(crate) fn total(usage: &Value) -> Option<u64> {
    Usage::of(usage).map(|usage| usage.total()).filter(|total| *total > 0)
}

#[cfg(test)]
mod tests {
    use ak_json::Limits;

    use super::*;

    fn json(text: &str) -> Value {
        Value::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    /// One row for each way in which providers report usage: the provider, the last chunk or the answer, and the tokens
    /// of prompt, answer, cache read, cache write, cache write for an hour, and reasoning.
    #[test]
    fn the_usage_of_every_provider_is_understood() {
        for (who, reported, expected) in [
            (
                "OpenAI chat",
                r#"{"choices":[],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,
                "prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":128,"audio_tokens":0}}}"#,
                [2006, 300, 1920, 0, 0, 128],
            ),
            (
                "OpenAI responses",
                r#"{"response":{"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":10},"output_tokens":87,
                "output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}}"#,
                [36, 87, 10, 0, 0, 64],
            ),
            (
                "Azure, with a filter's verdict beside it",
                r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10},"prompt_filter_results":[]}"#,
                [9, 1, 0, 0, 0, 0],
            ),
            (
                "Anthropic: cached tokens stand beside the input",
                r#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,
                "cache_creation":{"ephemeral_5m_input_tokens":15,"ephemeral_1h_input_tokens":5},"output_tokens":7}}"#,
                [123, 7, 100, 15, 5, 0],
            ),
            (
                "Anthropic's message in an event",
                r#"{"type":"message_start","message":{"usage":{"input_tokens":120,"output_tokens":1}}}"#,
                [120, 1, 0, 0, 0, 0],
            ),
            (
                "Gemini's compatible endpoint: thought stands beside the answer",
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115}}"#,
                [10, 105, 0, 0, 0, 100],
            ),
            (
                "Gemini's own words",
                r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":100,"totalTokenCount":115}}"#,
                [10, 105, 0, 0, 0, 100],
            ),
            (
                "Bedrock's own words",
                r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":4,"cacheReadInputTokenCount":3,"cacheWriteInputTokenCount":2}}"#,
                [14, 4, 3, 2, 0, 0],
            ),
            (
                "xAI: thought stands beside the answer, and within the total",
                r#"{"usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"prompt_tokens_details":{"cached_tokens":6},
                "completion_tokens_details":{"reasoning_tokens":94}}}"#,
                [32, 103, 6, 0, 0, 94],
            ),
            (
                "DeepSeek",
                r#"{"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36,
                "completion_tokens_details":{"reasoning_tokens":12}}}"#,
                [100, 20, 64, 0, 0, 12],
            ),
            (
                "Groq's stream",
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"queue_time":0.01,"prompt_tokens":20,
                "completion_tokens":100,"total_tokens":120}}}"#,
                [20, 100, 0, 0, 0, 0],
            ),
            (
                "Moonshot's stream: in the choice",
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3000,"completion_tokens":120,"total_tokens":3120,"cached_tokens":2000}}]}"#,
                [3000, 120, 2000, 0, 0, 0],
            ),
            (
                "OpenRouter",
                r#"{"usage":{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.95,"prompt_tokens_details":{"cached_tokens":0,
                "cache_write_tokens":100},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
                [194, 2, 0, 100, 0, 0],
            ),
            (
                "Mistral",
                r#"{"usage":{"prompt_tokens":21,"total_tokens":86,"completion_tokens":65,"prompt_audio_seconds":null}}"#,
                [21, 65, 0, 0, 0, 0],
            ),
            (
                "vLLM and SGLang without details",
                r#"{"usage":{"prompt_tokens":5,"total_tokens":12,"completion_tokens":7,"prompt_tokens_details":null}}"#,
                [5, 7, 0, 0, 0, 0],
            ),
            (
                "Ollama's own words",
                r#"{"usage":{"prompt_eval_count":26,"eval_count":298}}"#,
                [26, 298, 0, 0, 0, 0],
            ),
            (
                "llama.cpp without usage",
                r#"{"choices":[],"timings":{"cache_n":236,"prompt_n":1,"prompt_ms":30.9,"predicted_n":35}}"#,
                [237, 35, 236, 0, 0, 0],
            ),
            (
                "numbers as texts and fractions",
                r#"{"usage":{"prompt_tokens":"3000","completion_tokens":120.0,"total_tokens":"3120"}}"#,
                [3000, 120, 0, 0, 0, 0],
            ),
        ] {
            let usage = find(&json(reported)).unwrap_or_else(|| panic!("{who} tells nothing"));
            let Usage { prompt, completion, cache_read, cache_write, cache_write_1h, reasoning } =
                Usage::of(&usage).unwrap();
            let found = [prompt, completion, cache_read, cache_write, cache_write_1h, reasoning];
            assert_eq!(found, expected, "{who}: {usage}");
        }
        for nothing in
            ["{}", r#"{"usage":null}"#, r#"{"usage":{"cost":1}}"#, r#"{"usage":[5]}"#, r#"{"usage":"x"}"#]
        {
            assert_eq!(find(&json(nothing)), None, "{nothing}");
        }
    }

    #[test]
    fn usage_omitted_by_a_later_event_stays() {
        let start = normalize(&json(r#"{"input_tokens":120,"output_tokens":1}"#)).unwrap();
        for later in [
            r#"{"input_tokens":0,"output_tokens":50}"#,
            r#"{"output_tokens":50}"#,
            r#"{"input_tokens":null,"output_tokens":50}"#,
        ] {
            let merged = merge(Some(start.clone()), normalize(&json(later)).unwrap());
            assert_eq!(total(&merged), Some(170), "{later}: {merged}");
        }
    }
}
