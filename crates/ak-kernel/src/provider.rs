//! What a request to a model has its provider do beside answering: search the web, fetch a picture, run code, keep a
//! conversation. It happens where no gate of ours stands, so a policy has to permit it by name.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use ak_json::{Array, Value};

use crate::inference::{is_data, parts};

/// What may happen at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It acts, by this means.
    Tool(String),
    /// It uses or leaves state.
    State,
}

/// An act, and where in the request it stands (a JSON Pointer).
pub(crate) type Found = (Act, String);

/// Members by which providers are told to act, and by which means. What begins with `search_` or `web_search` searches.
const ACTS: [(&str, &str); 13] = [
    ("betas", "betas"),
    ("anthropic_beta", "betas"),
    ("browser_settings", "browser"),
    ("compound_custom", "code_execution"),
    ("data_sources", "data_sources"),
    ("dataSources", "data_sources"),
    ("enable_search", "web_search"),
    ("extra_body", "extra_body"),
    ("fallbacks", "fallback_models"),
    ("models", "fallback_models"),
    ("mcp_servers", "mcp"),
    ("tool_resources", "file_search"),
    ("return_images", "web_search"),
];
/// Members by which state at the provider is named, made or left.
const STATES: [&str; 15] = [
    "assistant_id",
    "background",
    "cached_content",
    "cachedContent",
    "container",
    "container_id",
    "conversation",
    "conversation_id",
    "file_ids",
    "previous_interaction_id",
    "previous_response_id",
    "prompt",
    "session_id",
    "store",
    "thread_id",
];
/// Members of a message's part that name something to fetch.
const ADDRESSES: [&str; 7] = ["url", "uri", "image_url", "file_url", "file_uri", "video_url", "audio_url"];
/// How deep a message's part is looked into.
const PART_DEPTH_MAX: usize = 8;

/// Everything of the kind that a request asks for.
pub(crate) fn acts(request: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    let act = |name: &str, pointer: String| (Act::Tool(name.to_string()), pointer);
    if let Some(model) = request.get("model").and_then(Value::as_str)
        && model.ends_with(":online")
    {
        found.push(act("web_search", "/model".into()));
    }
    let list =
        |name| request.get(name).and_then(Value::as_array).into_iter().flat_map(Array::iter).enumerate();
    for (at, tool) in list("tools") {
        let kind = tool.get("type").and_then(Value::as_str);
        let is_function = tool.get("function").is_some_and(|function| function.as_object().is_some());
        match kind {
            Some("function" | "custom") => {}
            None if is_function => {}
            Some(kind) => found.push(act(base_name(kind), format!("/tools/{at}/type"))),
            None => {
                let name = tool.as_object().and_then(|tool| tool.iter().next().map(|(name, _)| name.clone()));
                found.push(act(name.as_deref().unwrap_or("unnamed"), format!("/tools/{at}")));
            }
        }
    }
    for (at, plugin) in list("plugins") {
        let name = plugin.get("id").and_then(Value::as_str).unwrap_or("plugins");
        found.push(act(name, format!("/plugins/{at}")));
    }
    for (name, _) in request.as_object().into_iter().flatten().filter(|(_, value)| is_set(value)) {
        let listed = ACTS.iter().find(|(member, _)| *member == &**name).map(|(_, means)| *means);
        let searches = name.starts_with("search_") || name.starts_with("web_search");
        if let Some(means) = listed.or(searches.then_some("web_search")) {
            found.push(act(means, format!("/{}", &**name)));
        }
        if STATES.contains(&&**name) {
            found.push((Act::State, format!("/{}", &**name)));
        }
    }
    for (at, place, part) in parts(request) {
        let pointer = format!("/messages/{at}/content/{place}");
        in_part(part, &pointer, PART_DEPTH_MAX, &mut found);
    }
    found
}

/// Looks for what a part of a message has fetched, and for files that the provider keeps.
fn in_part(part: &Value, pointer: &str, depth: usize, found: &mut Vec<Found>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (name, value) in part.as_object().into_iter().flatten() {
        let pointer = || format!("{pointer}/{}", &**name);
        match value {
            Value::String(address) if ADDRESSES.contains(&&**name) && !is_data(address) => {
                found.push((Act::Tool("remote_media".into()), pointer()));
            }
            Value::String(_) if &**name == "file_id" => found.push((Act::State, pointer())),
            Value::Object(_) => in_part(value, &pointer(), depth, found),
            Value::Array(items) => {
                let place = pointer();
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, item)| in_part(item, &format!("{place}/{at}"), depth, found));
            }
            _ => {}
        }
    }
}

/// Whether a member says anything: what is absent, false or empty asks for nothing.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// A tool's type without the date or stage of its version: `web_search` for `web_search_20250305` and `web_search_preview`.
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
    use ak_json::Limits;

    use super::*;

    #[test]
    fn whatever_acts_at_the_provider_is_named() {
        let check = |text: &str, expected: &[&str]| {
            let request = Value::parse(text.as_bytes(), &Limits::default()).unwrap();
            let told = acts(&request).into_iter().map(|(act, pointer)| match act {
                Act::Tool(name) => format!("{name} {pointer}"),
                Act::State => format!("state {pointer}"),
            });
            assert_eq!(told.collect::<Vec<_>>(), expected, "{text}");
        };
        check(
            r#"{"tools":[{"type":"function","function":{"name":"web_search"}},{"type":"custom"},{"function":{}}]}"#,
            &[],
        );
        check(
            r#"{"messages":[{"content":"https://a/"},{"content":[{"type":"text","text":"https://a/"}]}],"store":false}"#,
            &[],
        );
        check(
            r#"{"tools":[{"type":"web_search_20250305"},{"type":"web_search_preview_2025_03_11"},{"googleSearch":{}},{"type":"mcp"}]}"#,
            &[
                "web_search /tools/0/type",
                "web_search /tools/1/type",
                "googleSearch /tools/2",
                "mcp /tools/3/type",
            ],
        );
        check(r#"{"web_search_options":{"x":1}}"#, &["web_search /web_search_options"]);
        check(r#"{"search_parameters":{"mode":"auto"}}"#, &["web_search /search_parameters"]);
        check(r#"{"model":"a/b:online","plugins":[{"id":"web"}]}"#, &["web_search /model", "web /plugins/0"]);
        check(r#"{"models":["a","b"]}"#, &["fallback_models /models"]);
        check(
            r#"{"previous_response_id":"r","store":true,"conversation":null}"#,
            &["state /previous_response_id", "state /store"],
        );
        check(
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a/b.png"}},
                {"type":"image_url","image_url":"DATA:image/png;base64,AA"},{"type":"file","file":{"file_id":"f"}},
                {"type":"image","source":{"type":"url","url":"http://a"}}]}]}"#,
            &[
                "remote_media /messages/0/content/0/image_url/url",
                "state /messages/0/content/2/file/file_id",
                "remote_media /messages/0/content/3/source/url",
            ],
        );
    }
}
