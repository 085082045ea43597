//! An answer as it comes together from the chunks of a stream, and what it costs.

use std::collections::BTreeMap;

use ak_json::{Array, Object, Text, Value, object};

use crate::redact::{Filter, Pieces};

/// Bytes of text that count as one token where the provider reports no usage.
pub const BYTES_PER_TOKEN: u64 = 4;
/// Most choices, and most items of one list in a choice: tool calls, say.
const CHOICES_MAX: usize = 128;
/// Most texts of one choice that are put together.
const TEXTS_MAX: usize = 1_024;
/// Longest name that is put together, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// Texts that come in one piece, wherever they stand. Every other may come piece by piece.
const WHOLE: [&str; 6] = ["finish_reason", "format", "id", "name", "role", "type"];
/// What the tokens of an answer are estimated from, beside what was thought.
const SAID: [&str; 4] = ["content", "function_call", "refusal", "tool_calls"];
/// What was thought. Some servers tell it under several of these names at once.
const THOUGHT: [&str; 3] = ["reasoning", "reasoning_content", "reasoning_details"];

/// What so many bytes of text count for where nobody says.
pub(crate) fn count(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// An answer as far as it came.
#[derive(Default)]
pub(crate) struct Answer {
    head: Object,
    choices: Vec<Choice>,
    usage: Option<Value>,
    /// Whether the usage is of the whole answer.
    ended: bool,
    /// Bytes of all text in it.
    bytes: usize,
    /// Bytes of an answer that came whole, or that nobody has understood.
    whole: usize,
}

#[derive(Default)]
struct Choice {
    /// All but the texts that come in pieces.
    message: Object,
    texts: BTreeMap<Path, Pieced>,
    /// How many items came of lists that come item by item.
    lists: BTreeMap<Path, usize>,
    /// Bytes of what was said, and of what was thought under each name.
    said: usize,
    thought: [usize; THOUGHT.len()],
    /// Of each tool call the index that the server gave it, if any, and its id.
    calls: Vec<(Option<u64>, Text)>,
    finish_reason: Value,
}

/// Where in a choice something stands.
type Path = Vec<Place>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Member(Text),
    Item(usize),
}

/// A text that comes in pieces.
#[derive(Default)]
struct Pieced {
    whole: String,
    pieces: Pieces,
}

impl Answer {
    /// A whole answer.
    pub(crate) fn whole(value: &Value) -> Answer {
        Answer {
            usage: value.get("usage").cloned(),
            ended: true,
            whole: value.get("choices").map_or(0, Value::json_len),
            ..Answer::default()
        }
    }

    /// So many bytes of an answer that nobody has understood yet.
    pub(crate) fn unread(bytes: usize) -> Answer {
        Answer { whole: bytes, ..Answer::default() }
    }

    /// Takes a chunk; gives it as it may be let out, and the tokens that are counted for it.
    pub(crate) fn take(&mut self, chunk: &Value, filter: &Filter) -> (Value, u64) {
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        let filtered = |value: &Value| filter.value(value).unwrap_or_else(|| value.clone());
        let mut out = Object::new();
        for (name, value) in chunk.as_object().into_iter().flatten() {
            match &**name {
                "choices" => {}
                "object" | "usage" => drop(out.insert(name, filtered(value))),
                _ => {
                    let value = filtered(value);
                    self.head.insert(name, value.clone());
                    out.insert(name, value);
                }
            }
        }
        let Some(items) = chunk.get("choices").and_then(Value::as_array) else { return (out.into(), 0) };
        let before = self.counted();
        let mut choices = Array::new();
        for item in items.iter() {
            let index = index_of(item).map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX));
            if let Some(choice) = slot(&mut self.choices, index) {
                choices.push(choice.take(item, filter, &mut self.bytes));
            }
        }
        out.insert("choices", choices);
        (out.into(), self.counted() - before)
    }

    /// What was held back and never came to an end: a last chunk, where there is something.
    pub(crate) fn rest(&mut self, filter: &Filter) -> Option<Value> {
        let rest = self.choices.iter_mut().enumerate().filter_map(|(index, choice)| {
            let mut item = object! { "index": index as u64, "finish_reason": Value::Null };
            choice.flush(&mut item, filter).then_some(item)
        });
        let rest: Vec<Value> = rest.collect();
        let mut chunk = self.head.clone();
        chunk.insert("object", "chat.completion.chunk");
        (!rest.is_empty()).then(|| {
            chunk.insert("choices", rest);
            chunk.into()
        })
    }

    /// Says that it came to its end, and so does what was said of its usage.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether every choice that began has ended.
    pub(crate) fn is_ended(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| !choice.finish_reason.is_null())
    }

    /// Takes what was said of the usage beside the chunks.
    pub(crate) fn told(&mut self, usage: Option<Value>) {
        if self.usage.is_none() {
            self.usage = usage;
        }
    }

    /// Bytes of text that came so far.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Tokens of the answer, counted here.
    fn counted(&self) -> u64 {
        count(self.choices.iter().map(Choice::length).fold(self.whole, usize::saturating_add))
    }

    /// Tokens of the answer: the provider's own count where it is there.
    pub(crate) fn completion_tokens(&self) -> u64 {
        let told = self.usage.as_ref().and_then(|usage| usage.get("completion_tokens")?.as_u64());
        told.unwrap_or_else(|| self.counted())
    }

    /// Tokens to charge: the provider's own count, else ours. Of an answer that broke off the provider may have told a part.
    pub(crate) fn tokens(&self, prompt_tokens: u64) -> u64 {
        let part = |name| self.usage.as_ref()?.get(name)?.as_u64();
        let prompt = part("prompt_tokens").filter(|told| *told > 0).unwrap_or(prompt_tokens);
        let completion = part("completion_tokens").unwrap_or(0).max(self.counted());
        self.reported().unwrap_or_else(|| prompt.saturating_add(completion))
    }

    /// What the provider says of the whole answer. It does not count if it is nothing but zeros.
    pub(crate) fn reported(&self) -> Option<u64> {
        let usage = self.usage.as_ref().filter(|_| self.ended)?;
        let part = |name| usage.get(name).and_then(Value::as_u64);
        let sum = part("prompt_tokens").and_then(|prompt| prompt.checked_add(part("completion_tokens")?));
        part("total_tokens").max(sum).filter(|total| *total > 0)
    }

    /// The usage to tell: the provider's own, else ours.
    pub(crate) fn usage(&self, prompt_tokens: u64) -> Value {
        match (&self.usage, self.reported()) {
            (Some(usage), Some(_)) => usage.clone(),
            _ => object! {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": self.counted(),
                "total_tokens": prompt_tokens.saturating_add(self.counted()),
            },
        }
    }

    /// A stream put together.
    pub(crate) fn into_completion(self, prompt_tokens: u64) -> Value {
        let usage = self.usage(prompt_tokens);
        let mut response = self.head;
        response.insert("object", "chat.completion");
        let choices = self.choices.into_iter().enumerate();
        response
            .insert("choices", choices.map(|(index, choice)| choice.into_value(index)).collect::<Vec<_>>());
        response.insert("usage", usage);
        response.into()
    }
}

/// A whole answer as the one chunk of a stream.
pub(crate) fn as_chunk(answer: &Value) -> Value {
    let mut chunk = answer.as_object().cloned().unwrap_or_default();
    chunk.insert("object", "chat.completion.chunk");
    let choices = answer.get("choices").and_then(Value::as_array).into_iter().flatten();
    let choices = choices.map(|choice| {
        let mut choice = choice.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(mut delta)) = choice.remove("message") {
            if let Some(Value::Array(calls)) = delta.get("tool_calls") {
                let numbered = calls.iter().enumerate().map(|(index, call)| {
                    let mut call = call.as_object().cloned().unwrap_or_default();
                    call.insert("index", index as u64);
                    Value::from(call)
                });
                let numbered: Array = numbered.collect();
                delta.insert("tool_calls", numbered);
            }
            choice.insert("delta", delta);
        }
        Value::from(choice)
    });
    chunk.insert("choices", choices.collect::<Array>());
    chunk.into()
}

fn index_of(item: &Value) -> Option<u64> {
    item.get("index").and_then(Value::as_u64)
}

fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index < CHOICES_MAX && list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    list.get_mut(index)
}

impl Choice {
    /// Takes a piece of a choice; gives it as it may be let out.
    fn take(&mut self, item: &Value, filter: &Filter, bytes: &mut usize) -> Value {
        let reason = item.get("finish_reason").filter(|reason| !reason.is_null());
        if let Some(reason) = reason {
            self.finish_reason = filter.value(reason).unwrap_or_else(|| reason.clone());
        }
        let mut item = item.as_object().cloned().unwrap_or_default();
        // What is no object is no delta.
        if let Some(Value::Object(mut delta)) = item.remove("delta") {
            if let Some(calls) = delta.get("tool_calls").and_then(Value::as_array) {
                let calls = calls.iter().filter_map(|call| self.numbered(call)).collect::<Array>();
                delta.insert("tool_calls", calls);
            }
            item.insert("delta", delta);
        }
        let item = Value::from(item);
        let mut out = self.strain(&item, &mut Path::new(), filter, bytes);
        if let Some(delta) = out.get("delta") {
            merge(&mut self.message, delta);
        }
        // They tell the same text again, token by token.
        if let Value::Object(object) = &mut out
            && item.get("logprobs").is_some_and(|told| !told.is_null())
            && (item.get("delta") != object.get("delta")
                || self.texts.values().any(|text| !text.pieces.is_empty()))
        {
            object.insert("logprobs", Value::Null);
        }
        if reason.is_some() {
            self.flush(&mut out, filter);
        }
        out
    }

    /// How long the answer is, for what its tokens are estimated from.
    fn length(&self) -> usize {
        self.said.saturating_add(self.thought.into_iter().max().unwrap_or(0))
    }

    /// A tool call with its place among the choice's calls. Some servers give none, or the same to all: a new id with a new
    /// name is a new call then.
    fn numbered(&mut self, call: &Value) -> Option<Value> {
        let given = index_of(call);
        let id = call.get("id").and_then(Value::as_text).cloned().unwrap_or_default();
        let named = |kind| call.get(kind)?.get("name")?.as_str();
        let begins = named("function").or_else(|| named("custom")).is_some_and(|name| !name.is_empty());
        let same = |(index, known): &(Option<u64>, Text)| {
            let is_other = !id.is_empty() && !known.is_empty() && *known != id;
            *index == given && !(is_other && (begins || given.is_none()))
        };
        let known = match given {
            // An id tells one from another; without one a piece belongs to the last.
            None if !id.is_empty() => self.calls.iter().position(same),
            _ => self.calls.iter().rposition(same),
        };
        let at = known.unwrap_or(self.calls.len());
        let own = slot(&mut self.calls, at)?;
        own.0 = given;
        if own.1.is_empty() {
            own.1 = id;
        }
        let mut call = call.as_object().cloned().unwrap_or_default();
        call.insert("index", at as u64);
        // Some give the arguments as they are, not as a text.
        let function = call.get("function").and_then(Value::as_object).cloned();
        if let Some(mut function) = function
            && let Some(arguments @ Value::Object(_)) = function.get("arguments")
        {
            let arguments = arguments.to_json();
            function.insert("arguments", arguments);
            call.insert("function", function);
        }
        Some(call.into())
    }

    /// A copy of what came, with what can be let out of each text. A text is told from another by where it stands.
    fn strain(&mut self, value: &Value, path: &mut Path, filter: &Filter, bytes: &mut usize) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => {
                *bytes = bytes.saturating_add(text.len());
                self.measure(path, text.len());
                let is_whole = matches!(path.last(), Some(Place::Member(name)) if WHOLE.contains(&&**name));
                let is_one_more = self.texts.len() >= TEXTS_MAX && !self.texts.contains_key(path);
                if is_whole || is_one_more {
                    return filter.value(value).unwrap_or_else(|| value.clone());
                }
                let text = self.texts.entry(path.clone()).or_default().push(filter, text);
                Value::from(text)
            }
            Value::Array(items) => {
                let before = match path.last() {
                    Some(Place::Member(name)) if comes_by_item(name, items) => {
                        let came = self.lists.entry(path.clone()).or_default();
                        std::mem::replace(came, came.saturating_add(items.len()))
                    }
                    _ => 0,
                };
                let strained = items.iter().enumerate().filter_map(|(at, item)| {
                    let at = index_of(item)
                        .map_or(before + at, |index| usize::try_from(index).unwrap_or(usize::MAX));
                    path.push(Place::Item(at));
                    let fits = at < CHOICES_MAX || item.as_object().is_none();
                    let item = fits.then(|| self.strain(item, path, filter, bytes));
                    path.pop();
                    item
                });
                Value::Array(strained.collect())
            }
            Value::Object(members) => {
                let mut out = Object::new();
                for (name, value) in members {
                    let name = filter.text(name).map_or_else(|| name.clone(), Text::from);
                    // Beside the delta nothing comes in pieces.
                    if path.is_empty() && &*name != "delta" && &*name != "text" {
                        out.insert(name, filter.value(value).unwrap_or_else(|| value.clone()));
                        continue;
                    }
                    path.push(Place::Member(name.clone()));
                    let value = self.strain(value, path, filter, bytes);
                    path.pop();
                    out.insert(name, value);
                }
                Value::Object(out)
            }
        }
    }

    /// Counts a text by where it stands.
    fn measure(&mut self, path: &[Place], bytes: usize) {
        let name = match path {
            [Place::Member(delta), Place::Member(name), ..] if &**delta == "delta" => name,
            [Place::Member(text)] => text,
            _ => return,
        };
        if SAID.contains(&&**name) || &**name == "text" {
            self.said = self.said.saturating_add(bytes);
        } else if let Some(place) = THOUGHT.iter().position(|thought| *thought == &**name)
            && let Some(thought) = self.thought.get_mut(place)
        {
            *thought = thought.saturating_add(bytes);
        }
    }

    /// Adds what was held back to a piece of the choice; says whether there was something.
    fn flush(&mut self, item: &mut Value, filter: &Filter) -> bool {
        let mut some = false;
        for (path, text) in &mut self.texts {
            let rest = text.finish(filter);
            if !rest.is_empty() {
                some = true;
                append(item, path, &rest);
            }
        }
        some
    }

    fn into_value(self, index: usize) -> Value {
        let mut message = object! { "role": "assistant", "content": "" };
        if let Value::Object(message) = &mut message {
            for (name, value) in self.message.iter().filter(|(_, value)| !value.is_null()) {
                message.insert(name, value.clone());
            }
        }
        for (path, text) in &self.texts {
            if let Some((Place::Member(first), rest)) = path.split_first()
                && &**first == "delta"
                && !text.whole.is_empty()
            {
                append(&mut message, rest, &text.whole);
            }
        }
        if let Value::Object(message) = &mut message
            && let Some(Value::Array(calls)) = message.get("tool_calls").cloned()
        {
            // The place in the list says it.
            let calls = calls.iter().map(|call| {
                let mut call = call.as_object().cloned().unwrap_or_default();
                call.remove("index");
                Value::from(call)
            });
            let calls: Array = calls.collect();
            // Some servers say with every piece that there are none.
            if calls.is_empty() {
                message.remove("tool_calls");
            } else {
                message.insert("tool_calls", calls);
            }
        }
        object! { "index": index as u64, "message": message, "finish_reason": self.finish_reason }
    }
}

impl Pieced {
    fn push(&mut self, filter: &Filter, piece: &str) -> String {
        let out = self.pieces.push(filter, piece);
        self.whole.push_str(&out);
        out
    }

    fn finish(&mut self, filter: &Filter) -> String {
        let rest = self.pieces.finish(filter);
        self.whole.push_str(&rest);
        rest
    }
}

/// Adds to what came of a message all of a delta but the texts that come in pieces.
fn merge(message: &mut Object, delta: &Value) {
    for (name, value) in delta.as_object().into_iter().flatten() {
        let merged = match (value, message.get(name)) {
            (Value::Null, Some(_)) => continue,
            (Value::String(text), Some(Value::String(before))) if &**name == "name" => {
                if text == before || before.len().saturating_add(text.len()) > NAME_BYTES_MAX {
                    continue;
                }
                Value::from(format!("{before}{text}"))
            }
            (Value::String(text), _) if !WHOLE.contains(&&**name) || text.is_empty() => {
                if message.contains_key(name) {
                    continue;
                }
                Value::from("")
            }
            (Value::Object(_), before) => {
                let mut members = before.and_then(Value::as_object).cloned().unwrap_or_default();
                merge(&mut members, value);
                members.into()
            }
            (Value::Array(items), _) if items.iter().any(|item| item.as_object().is_none()) => blank(value),
            (Value::Array(items), before) if comes_by_item(name, items) => {
                let mut list = before.and_then(Value::as_array).cloned().unwrap_or_default();
                items.iter().for_each(|item| list.push(blank(item)));
                list.into()
            }
            (Value::Array(items), before) => {
                let mut list = before.and_then(Value::as_array).cloned().unwrap_or_default();
                for (at, item) in items.iter().enumerate() {
                    let at = index_of(item).map_or(at, |index| usize::try_from(index).unwrap_or(usize::MAX));
                    merge_item(&mut list, at, item);
                }
                list.into()
            }
            (value, _) => value.clone(),
        };
        message.insert(name, merged);
    }
}

/// Whether a list comes item by item: its items say nothing of their places, and are not parts of a text.
fn comes_by_item(name: &str, items: &Array) -> bool {
    let is_part = |item: &Value| item.get("text").is_some_and(|text| text.as_str().is_some());
    let stands_alone =
        |item: &Value| item.as_object().is_some() && index_of(item).is_none() && !is_part(item);
    name != "content" && items.iter().all(stands_alone)
}

/// A value without the texts that are put together elsewhere.
fn blank(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::from(""),
        Value::Array(items) => Value::Array(items.iter().map(blank).collect()),
        Value::Object(members) => {
            let keep = |name: &Text, value: &Value| match value {
                Value::String(_) if WHOLE.contains(&&**name) => value.clone(),
                _ => blank(value),
            };
            members.iter().map(|(name, value)| (name.clone(), keep(name, value))).collect::<Object>().into()
        }
        _ => value.clone(),
    }
}

fn merge_item(list: &mut Array, at: usize, item: &Value) {
    while list.len() <= at && at < CHOICES_MAX {
        list.push(Object::new());
    }
    let mut members = list.get(at).and_then(Value::as_object).cloned().unwrap_or_default();
    merge(&mut members, item);
    list.set(at, members);
}

/// Appends to the text at a path, which is made where it is not there.
fn append(value: &mut Value, path: &[Place], text: &str) {
    match (path.split_first(), &*value) {
        // A text beside the parts of one is a part too.
        (None, Value::Array(parts)) => {
            let mut parts = parts.clone();
            parts.push(object! { "type": "text", "text": text });
            *value = parts.into();
        }
        (None, Value::Null | Value::String(_)) => {
            *value = Value::from(format!("{}{text}", value.as_str().unwrap_or_default()));
        }
        // Where something of another kind came, that stays.
        (None, _) => {}
        (Some((Place::Member(_), _)), Value::Array(_)) => {}
        (Some(_), Value::String(before)) if !before.is_empty() => {}
        (Some((Place::Member(name), rest)), _) => {
            let mut members = value.as_object().cloned().unwrap_or_default();
            let mut member = members.get(name).cloned().unwrap_or_default();
            append(&mut member, rest, text);
            members.insert(name, member);
            *value = members.into();
        }
        (Some((Place::Item(_), _)), Value::Object(_)) => {}
        (Some((Place::Item(index), rest)), _) => {
            let mut list = value.as_array().cloned().unwrap_or_default();
            let own = u64::try_from(*index).ok();
            let is_it = |item: &Value| index_of(item).is_none_or(|index| Some(index) == own);
            let here = list.get(*index).is_some_and(is_it).then_some(*index);
            let at = here.or_else(|| list.iter().position(|item| index_of(item) == own));
            let at = at.unwrap_or_else(|| {
                list.push(object! { "index": *index as u64 });
                list.len() - 1
            });
            let mut item = list.get(at).cloned().unwrap_or_default();
            append(&mut item, rest, text);
            list.set(at, item);
            *value = list.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use ak_json::Limits;

    use super::*;

    fn json(text: &str) -> Value {
        Value::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    /// What comes of these deltas of one choice.
    fn together(deltas: &[&str]) -> String {
        let (mut answer, filter) = (Answer::default(), Filter::default());
        for delta in deltas {
            answer.take(&json(&format!("{{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}")), &filter);
        }
        answer
            .into_completion(0)
            .get("choices")
            .unwrap()
            .as_array()
            .unwrap()
            .get(0)
            .unwrap()
            .get("message")
            .unwrap()
            .to_json()
    }

    #[test]
    fn a_message_is_its_deltas() {
        for (deltas, message) in [
            (&["{}"][..], r#"{"role":"assistant","content":""}"#),
            (
                &[r#"{"role":"assistant","content":null}"#, r#"{"tool_calls":[]}"#],
                r#"{"role":"assistant","content":""}"#,
            ),
            (
                &[r#"{"content":"a"}"#, r#"{"content":"b","refusal":null}"#, r#"{"content":"c"}"#],
                r#"{"role":"assistant","content":"abc"}"#,
            ),
            (
                &[
                    r#"{"function_call":{"name":"f","arguments":""}}"#,
                    r#"{"function_call":{"arguments":"{}"}}"#,
                ],
                r#"{"role":"assistant","content":"","function_call":{"name":"f","arguments":"{}"}}"#,
            ),
            (
                &[
                    r#"{"content":[{"type":"text","text":"a"}]}"#,
                    r#"{"content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}"#,
                ],
                r#"{"role":"assistant","content":[{"type":"text","text":"ab"},{"type":"text","text":"c"}]}"#,
            ),
            (
                &[r#"{"tags":["x","y"],"seen":[1,2]}"#, r#"{"odd":{"deep":[[1]]}}"#],
                r#"{"role":"assistant","content":"","tags":["x","y"],"seen":[1,2],"odd":{"deep":[[1]]}}"#,
            ),
            (
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"get_","arguments":""}}]}"#,
                    r#"{"tool_calls":[{"index":0,"function":{"name":"it","arguments":"1"}}]}"#,
                ],
                r#"{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"name":"get_it","arguments":"1"}}]}"#,
            ),
            (
                // Some think in a list, and speak in a text.
                &[
                    r#"{"content":""}"#,
                    r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"}]}]}"#,
                    r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m"}]}]}"#,
                    r#"{"content":"so"}"#,
                ],
                r#"{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"so"}]}"#,
            ),
            (
                &[r#"{"notes":[{"url":"a"}]}"#, r#"{"notes":[{"url":"b"},{"url":"c"}]}"#],
                r#"{"role":"assistant","content":"","notes":[{"url":"a"},{"url":"b"},{"url":"c"}]}"#,
            ),
            (
                &[r#"{"odd":[["x"],[1,{"text":"y"}]]}"#],
                r#"{"role":"assistant","content":"","odd":[["x"],[1,{"text":"y"}]]}"#,
            ),
            (
                // An id that changes on the way makes no other call; a place of its own does.
                &[
                    r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}}]}"#,
                    r#"{"tool_calls":[{"index":0,"id":"b","function":{"arguments":"2"}}]}"#,
                    r#"{"tool_calls":[{"index":1,"id":"a","function":{"name":"g","arguments":"3"}}]}"#,
                ],
                r#"{"role":"assistant","content":"","tool_calls":[{"id":"b","function":{"name":"f","arguments":"12"}},{"id":"a","function":{"name":"g","arguments":"3"}}]}"#,
            ),
            (&["5", "null", "[]", "\"x\""], r#"{"role":"assistant","content":""}"#),
        ] {
            assert_eq!(json(&together(deltas)), json(message), "{deltas:?}");
        }
    }

    /// Only what the model said counts, and what it thought once, under however many names.
    #[test]
    fn what_is_not_said_is_not_counted() {
        let (mut answer, filter) = (Answer::default(), Filter::default());
        let chunk = r#"{"choices":[{"index":0,"delta":{"content":"four","reasoning":"12345678","reasoning_content":"12345678","odd":"xxxxxxxx"},
            "content_filter_results":{"hate":{"severity":"safe"}},"message":{"content":"four"}}]}"#;
        let (told, tokens) = answer.take(&json(chunk), &filter);
        assert_eq!((told, tokens), (json(chunk), 3));
        assert_eq!(answer.text_bytes(), 4 + 8 + 8 + 8);
    }

    /// Numbers that mean no place take none.
    #[test]
    fn a_place_far_away_is_left_out() {
        let far = CHOICES_MAX;
        let (mut answer, filter) = (Answer::default(), Filter::default());
        let chunk = format!(
            "{{\"choices\":[{{\"index\":{far},\"delta\":{{\"content\":\"x\"}}}},{{\"index\":18446744073709551615}}]}}"
        );
        assert_eq!(answer.take(&json(&chunk), &filter).1, 0);
        assert!(answer.choices.is_empty());
        let calls: Vec<String> = (0..=far).map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
        let message = together(&[&format!("{{\"tool_calls\":[{}]}}", calls.join(","))]);
        assert_eq!(json(&message).get("tool_calls").unwrap().as_array().unwrap().len(), CHOICES_MAX);
        let numbers = format!("{{\"seen\":[{}]}}", vec!["1"; 1_000].join(","));
        assert_eq!(json(&together(&[&numbers])).get("seen").unwrap().as_array().unwrap().len(), 1_000);
    }
}
