//! Finds what a request to a model asks its provider to do besides answering: search the web, fetch an image, run
//! code, keep a conversation. These actions pass no gate of this kernel, so a policy must permit them by name.
//!
//! Providers add new actions all the time, so a member that is not known to be harmless counts as an action under
//! its own name.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use ak_json::{Pointer, Text, Value};

use crate::models::tokens::is_data;

/// An action that a provider performs besides answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It uses the tool of this name.
    Tool(String),
    /// It uses state at the provider, or leaves some there.
    State,
}

/// An action, and the JSON Pointer of the member that requests it, truncated if it is long.
pub(crate) type Found = (Act, String);

/// Longest pointer that is reported, in bytes.
const POINTER_BYTES_MAX: usize = 512;

/// Members that only control the answer or how it is made.
const HARMLESS: [&str; 107] = [
    "add_generation_prompt",
    "audio",
    "bad_words",
    "best_of",
    "cache_control",
    "cache_prompt",
    "chat_template_kwargs",
    "continue_final_message",
    "do_sample",
    "documents",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "echo",
    "enable_thinking",
    "format",
    "frequency_penalty",
    "function_call",
    "functions",
    "grammar",
    "guided_choice",
    "guided_decoding_backend",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "id_slot",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "json_schema",
    "keep_alive",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "max_thinking_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "min_p",
    "min_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "modalities",
    "model",
    "n",
    "n_keep",
    "n_predict",
    "n_probs",
    "num_ctx",
    "num_predict",
    "options",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "priority",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_mode",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "response_format",
    "return_token_ids",
    "safe_prompt",
    "safety_identifier",
    "safety_settings",
    "samplers",
    "seed",
    "separate_reasoning",
    "service_tier",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_sequences",
    "stop_token_ids",
    "stream",
    "stream_options",
    "structured_outputs",
    "temperature",
    "tfs_z",
    "thinking",
    "thinking_budget",
    "tool_choice",
    "top_a",
    "top_k",
    "top_logprobs",
    "top_p",
    "transforms",
    "truncate_prompt_tokens",
    "typical_p",
    "usage",
    "user",
    "verbosity",
    "xtc_probability",
    "xtc_threshold",
];
/// Members that request an action, with the name of the action if it differs from the member's. Members that begin
/// with `search_` or `web_search` request `web_search`.
const ACTS: [(&str, &str); 10] = [
    ("anthropic_beta", "betas"),
    ("browser_settings", "browser"),
    ("compound_custom", "code_execution"),
    ("dataSources", "data_sources"),
    ("enable_code_interpreter", "code_interpreter"),
    ("enable_search", "web_search"),
    ("fallbacks", "fallback_models"),
    ("mcp_servers", "mcp"),
    ("models", "fallback_models"),
    ("tool_resources", "file_search"),
];
/// Members of a function that the caller itself performs.
const FUNCTION: [&str; 12] = [
    "cache_control",
    "custom",
    "description",
    "format",
    "function",
    "input_examples",
    "input_schema",
    "name",
    "parameters",
    "strict",
    "type",
    "title",
];
/// Members that use state at the provider, or leave some there.
const STATES: [&str; 17] = [
    "assistant_id",
    "background",
    "cached_content",
    "cachedContent",
    "container",
    "container_id",
    "conversation",
    "conversation_id",
    "deferred",
    "file_id",
    "file_ids",
    "previous_interaction_id",
    "previous_response_id",
    "prompt",
    "session_id",
    "store",
    "thread_id",
];
/// Members whose names contain one of these contain images, audio or video, or their addresses.
const MEDIA: [&str; 5] = ["audio", "image", "uri", "url", "video"];
/// Members of a message, or of a part of one, that are text for the model or were written by it. The provider reads
/// them and does not act on them.
const READ: [&str; 12] = [
    "annotations",
    "arguments",
    "function_call",
    "name",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "signature",
    "text",
    "thinking",
    "tool_calls",
];

/// The first action of a request for which `is_closed` returns true.
pub(crate) fn find(request: &Value, is_closed: impl Fn(&Act) -> bool) -> Option<Found> {
    Search { is_closed, way: Vec::new() }.request(request)
}

/// One step of the path to a member of the request.
#[derive(Clone, Copy)]
enum Step<'v> {
    Member(&'v str),
    Item(usize),
}

struct Search<'v, F> {
    is_closed: F,
    way: Vec<Step<'v>>,
}

impl<'v, F: Fn(&Act) -> bool> Search<'v, F> {
    fn request(&mut self, request: &'v Value) -> Option<Found> {
        for (name, value) in request.as_object().into_iter().flatten().filter(|(_, value)| is_set(value)) {
            let found = self.within(Step::Member(name), |search| search.member(name, value));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Examines a member of the request itself.
    fn member(&mut self, name: &'v str, value: &'v Value) -> Option<Found> {
        match name {
            "model" => {
                let model = value.as_str().unwrap_or_default().to_ascii_lowercase();
                // A preset is a collection of settings at the provider, which may include tools.
                let kept = model.contains("@preset").then(|| self.told(Act::State)).flatten();
                let is_online = model.split(':').skip(1).any(|variant| variant == "online");
                kept.or_else(|| is_online.then(|| self.tool("web_search")).flatten())
            }
            "messages" => self.each(value, |search, message| search.part(message)),
            "tools" if value.as_array().is_some() => {
                self.each(value, |search, tool| search.listed_tool(tool))
            }
            "plugins" if value.as_array().is_some() => self.each(value, |search, plugin| {
                search.tool(plugin.get("id").and_then(Value::as_str).unwrap_or("plugins"))
            }),
            // Other tiers have other rates, and answers that no rate covers.
            "service_tier"
                if !matches!(value.as_str(), Some("auto" | "default" | "standard_only" | "flex")) =>
            {
                self.tool(name)
            }
            "modalities" if value.as_array().is_some() => {
                self.each(value, |search, kind| match kind.as_str() {
                    Some("text") => None,
                    kind => search.tool(kind.unwrap_or("modalities")),
                })
            }
            "modalities" => self.tool(name),
            name if HARMLESS.contains(&name) => None,
            name if STATES.contains(&name) => self.told(Act::State),
            name if name.starts_with("search_") || name.starts_with("web_search") => self.tool("web_search"),
            name => {
                let means = ACTS.iter().find(|(member, _)| *member == name).map(|(_, means)| *means);
                self.tool(means.unwrap_or(name))
            }
        }
    }

    fn listed_tool(&mut self, tool: &'v Value) -> Option<Found> {
        let is_function = tool.get("function").is_some_and(|function| function.as_object().is_some());
        match tool.get("type").and_then(Value::as_str) {
            Some("function" | "custom") => self.function(tool),
            None if is_function => self.function(tool),
            Some(kind) => self.within(Step::Member("type"), |search| search.tool(base_name(kind))),
            None => {
                let name = tool.as_object().and_then(|tool| tool.iter().next()).map(|(name, _)| &**name);
                self.tool(name.unwrap_or("tools"))
            }
        }
    }

    /// Examines a function. The caller performs it, so only unknown members count as actions.
    fn function(&mut self, tool: &'v Value) -> Option<Found> {
        let members = tool.as_object()?.iter();
        let mut others = members.filter(|(name, value)| is_set(value) && !FUNCTION.contains(&&***name));
        others.find_map(|(name, _)| self.within(Step::Member(name), |search| search.tool(name)))
    }

    /// Examines a message or anything in one. Addresses count as remote media, ids of files or audio as state.
    fn part(&mut self, part: &'v Value) -> Option<Found> {
        match part {
            Value::Object(members) => members.iter().find_map(|(name, value)| match (&**name, value) {
                (name, _) if READ.contains(&name) => None,
                ("content", Value::String(_)) => None,
                (member, _) if is_kept(member, value) => {
                    self.within(Step::Member(name), |search| search.told(Act::State))
                }
                _ => self.within(Step::Member(name), |search| search.part(value)),
            }),
            Value::Array(_) => self.each(part, |search, item| search.part(item)),
            Value::String(text) if self.is_address(text) => self.tool("remote_media"),
            _ => None,
        }
    }

    /// Whether a text is an address that the server fetches. In members for media, servers also open names of local
    /// files, which are not URLs. The base64 data of an image contains neither a dot nor a colon.
    fn is_address(&self, text: &str) -> bool {
        let member = self.way.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(*name),
            Step::Item(_) => None,
        });
        let is_media = MEDIA.iter().any(|kind| member.is_some_and(|name| name.contains(kind)));
        !is_data(text) && (text.contains("://") || is_media && text.contains(['.', ':']))
    }

    fn each(
        &mut self,
        list: &'v Value,
        look: impl Fn(&mut Self, &'v Value) -> Option<Found>,
    ) -> Option<Found> {
        let items = list.as_array()?.iter().enumerate();
        items.into_iter().find_map(|(at, item)| self.within(Step::Item(at), |search| look(search, item)))
    }

    fn within(&mut self, step: Step<'v>, look: impl FnOnce(&mut Self) -> Option<Found>) -> Option<Found> {
        self.way.push(step);
        let found = look(self);
        self.way.pop();
        found
    }

    fn tool(&self, name: &str) -> Option<Found> {
        self.told(Act::Tool(name.into()))
    }

    fn told(&self, act: Act) -> Option<Found> {
        if !(self.is_closed)(&act) {
            return None;
        }
        let (mut pointer, mut bytes) = (Pointer::root(), 0);
        for step in &self.way {
            match step {
                Step::Item(at) => pointer.push_index(*at),
                Step::Member(name) => {
                    bytes += name.len();
                    if bytes > POINTER_BYTES_MAX {
                        break;
                    }
                    pointer.push(Text::from(*name));
                }
            }
        }
        Some((act, pointer.to_string()))
    }
}

/// Whether a member of a part refers to something that the provider stores: a file, audio of an earlier answer, or
/// an item by id.
fn is_kept(member: &str, value: &Value) -> bool {
    match member {
        "audio" => value.get("id").is_some(),
        "type" => value.as_str() == Some("item_reference"),
        member => STATES.contains(&member) && is_set(value),
    }
}

/// Whether a member has an effect: an absent, false or empty one requests nothing.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The type of a tool without date or stage of its version: `web_search` for `web_search_20250305` and
/// `web_search_preview`.
fn base_name(kind: &str) -> &str {
    let dated = kind
        .rsplit_once('_')
        .filter(|(_, end)| end.len() >= 4 && end.bytes().all(|byte| byte.is_ascii_digit()));
    let name = dated.map_or(kind, |(name, _)| name);
    let staged = name.find("_preview").and_then(|at| name.get(..at));
    staged.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use ak_json::Limits;

    use super::*;

    /// The first action that a request asks for.
    fn first(text: &str) -> String {
        let request = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
        match find(&request, |_| true) {
            None => String::new(),
            Some((Act::Tool(name), pointer)) => format!("{name} {pointer}"),
            Some((Act::State, pointer)) => format!("state {pointer}"),
        }
    }

    #[test]
    fn whatever_acts_at_the_provider_is_named() {
        let part = |part: &str| format!("{{\"messages\":[{{\"content\":[{part}]}}]}}");
        let at = |name: &str, rest: &str| format!("{name} /messages/0/content/0/{rest}");
        for (text, expected) in [
            (
                r#"{"tools":[{"type":"function","function":{"name":"web_search"}},{"type":"custom"},{"function":{}}]}"#,
                "",
            ),
            (
                r#"{"messages":[{"content":"https://a/"},{"content":[{"type":"text","text":"https://a/"}]}],"store":false}"#,
                "",
            ),
            (
                r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"https://a"}}],"annotations":[{"url":"https://a"}]}]}"#,
                "",
            ),
            (
                r#"{"model":"m","n":1,"temperature":0,"reasoning_effort":"low","response_format":{"type":"text"},"service_tier":"auto"}"#,
                "",
            ),
            (r#"{"tools":[{"type":"web_search_20250305"}]}"#, "web_search /tools/0/type"),
            (r#"{"tools":[{"type":"web_search_preview_2025_03_11"}]}"#, "web_search /tools/0/type"),
            (r#"{"tools":[{"type":"function"},{"googleSearch":{}}]}"#, "googleSearch /tools/1"),
            (r#"{"tools":{"web_search":{}}}"#, "tools /tools"),
            (r#"{"web_search_options":{"x":1}}"#, "web_search /web_search_options"),
            (r#"{"search_parameters":{"mode":"auto"}}"#, "web_search /search_parameters"),
            (r#"{"model":"a/b:online"}"#, "web_search /model"),
            (r#"{"model":"a/b:Online:free"}"#, "web_search /model"),
            (r#"{"model":"a/online:free"}"#, ""),
            (r#"{"model":"a/b@preset/c"}"#, "state /model"),
            (r#"{"provider":{"order":["x"]}}"#, "provider /provider"),
            (
                r#"{"tools":[{"type":"function","function":{},"strict":true,"google_search":{"x":1}}]}"#,
                "google_search /tools/0/google_search",
            ),
            (
                r#"{"tools":[{"function":{"name":"f"},"code_execution":true}]}"#,
                "code_execution /tools/0/code_execution",
            ),
            (r#"{"plugins":[{"id":"web"}]}"#, "web /plugins/0"),
            (r#"{"models":["a","b"]}"#, "fallback_models /models"),
            (r#"{"enable_code_interpreter":true}"#, "code_interpreter /enable_code_interpreter"),
            (r#"{"kv_transfer_params":{"remote_host":"a"}}"#, "kv_transfer_params /kv_transfer_params"),
            (r#"{"service_tier":"priority"}"#, "service_tier /service_tier"),
            (r#"{"modalities":["text","audio"]}"#, "audio /modalities/1"),
            (r#"{"modalities":"audio"}"#, "modalities /modalities"),
            (r#"{"messages":[{"file_ids":["f"]}]}"#, "state /messages/0/file_ids"),
            (r#"{"messages":[{"type":"item_reference","id":"m"}]}"#, "state /messages/0/type"),
            (r#"{"messages":[{"images":["/etc/a.png"]}]}"#, "remote_media /messages/0/images/0"),
            (r#"{"messages":[{"images":["/9j/4AAQ+w=="]}]}"#, ""),
            (r#"{"previous_response_id":"r","conversation":null}"#, "state /previous_response_id"),
            (r#"{"store":true}"#, "state /store"),
            (r#"{"deferred":true}"#, "state /deferred"),
            (r#"{"messages":[{"audio":{"id":"a"}}]}"#, "state /messages/0/audio"),
            (r#"{"messages":[{"images":["https://a"]}]}"#, "remote_media /messages/0/images/0"),
            (
                r#"{"messages":[{"content":{"type":"image_url","image_url":"https://a"}}]}"#,
                "remote_media /messages/0/content/image_url",
            ),
            (
                &part(r#"{"type":"image_url","image_url":{"url":"https://a/b.png"}}"#),
                &at("remote_media", "image_url/url"),
            ),
            (
                &part(r#"{"type":"image_url","image_url":{"url":"file:/etc/a"}}"#),
                &at("remote_media", "image_url/url"),
            ),
            (&part(r#"{"type":"image_url","image_url":{"url":"a","detail":"low"}}"#), ""),
            (&part(r#"{"type":"image_url","image_url":"DATA:image/png;base64,AA"}"#), ""),
            (&part(r#"{"type":"file","file":{"file_id":"f"}}"#), &at("state", "file/file_id")),
            (
                &part(r#"{"type":"file","file":{"file_data":"https://a"}}"#),
                &at("remote_media", "file/file_data"),
            ),
            (
                &part(r#"{"type":"document_url","document_url":"https://a/?q=1"}"#),
                &at("remote_media", "document_url"),
            ),
            (
                &part(r#"{"type":"input_audio","input_audio":{"data":"https://a"}}"#),
                &at("remote_media", "input_audio/data"),
            ),
            (&part(r#"{"type":"video","video":["gs://a"]}"#), &at("remote_media", "video/0")),
            (
                &part(r#"{"type":"image","source":{"type":"url","url":"http://a"}}"#),
                &at("remote_media", "source/url"),
            ),
        ] {
            assert_eq!(first(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_told_of_a_place_is_short() {
        let name = "n".repeat(1 << 20);
        let text =
            format!("{{\"messages\":[{{\"content\":[{{\"{name}\":[{}\"x://y\"]}}]}}]}}", "1,".repeat(10_000));
        assert_eq!(first(&text), "remote_media /messages/0/content/0");
    }
}
