//! Assembles one choice of an answer from the deltas of a stream, and releases each part of a streamed text once it
//! cannot belong to a secret.

use std::collections::BTreeMap;

use ak_json::{Array, Object, Text, Value, object};

use crate::{
    effects::infer::merge::{
        CHOICES_MAX, Path, PathSegment, REPLACED_FIELDS, append, change_calls, comes_by_item, index_of,
        merge, slot,
    },
    secrets::redact::{REDACTED, Redactor},
    secrets::redact_stream::StreamRedactor,
};

/// Maximum number of texts of one choice that are joined from pieces. Further texts are passed on unchanged if there
/// are no secrets, else replaced by [`REDACTED`].
pub(crate) const TEXTS_MAX: usize = 1_024;
/// Members whose length gives the estimate of the answer's tokens, together with reasoning.
const OUTPUT_FIELDS: [&str; 4] = ["content", "function_call", "refusal", "tool_calls"];
/// Members that hold reasoning. Some servers send the same reasoning in several of them.
const REASONING_FIELDS: [&str; 3] = ["reasoning", "reasoning_content", "reasoning_details"];

/// A choice, as far as it was received.
#[derive(Default)]
pub(crate) struct Choice {
    /// Everything except streamed texts.
    message: Object,
    texts: BTreeMap<Path, StreamedText>,
    /// Number of items received of each list that is streamed item by item.
    lists: BTreeMap<Path, usize>,
    /// Bytes of output; `reasoning_bytes` has the bytes of reasoning by member.
    output_bytes: usize,
    reasoning_bytes: [usize; REASONING_FIELDS.len()],
    /// For each tool call, the index that the server gave it, if any, and its id.
    calls: Vec<(Option<u64>, Text)>,
    /// Null until the choice has ended.
    pub(crate) finish_reason: Value,
}

/// A text that is streamed in pieces.
#[derive(Default)]
struct StreamedText {
    whole: String,
    pieces: StreamRedactor,
}

impl Choice {
    /// Adds a piece of the choice, and returns it redacted. Adds the length of its texts to `bytes`.
    pub(crate) fn take(&mut self, item: &Value, redactor: &Redactor, bytes: &mut usize) -> Value {
        let reason = item.get("finish_reason").filter(|reason| !reason.is_null());
        if let Some(reason) = reason {
            self.finish_reason = redactor.value(reason).unwrap_or_else(|| reason.clone());
        }
        let mut item = item.as_object().cloned().unwrap_or_default();
        // A delta that is not an object is ignored.
        if let Some(Value::Object(mut delta)) = item.remove("delta") {
            if let Some(calls) = delta.get("tool_calls").and_then(Value::as_array) {
                let calls = calls.iter().filter_map(|call| self.with_index(call)).collect::<Array>();
                delta.insert("tool_calls", calls);
            }
            item.insert("delta", delta);
        }
        let item = Value::from(item);
        let mut out = self.filter_deltas(&item, &mut Path::new(), redactor, bytes);
        if let Some(delta) = out.get("delta") {
            merge(&mut self.message, delta);
        }
        // `logprobs` repeat the text token by token, so they are removed when the text was changed or is held back.
        if let Value::Object(object) = &mut out
            && item.get("logprobs").is_some_and(|told| !told.is_null())
            && (item.get("delta") != object.get("delta")
                || self.texts.values().any(|text| !text.pieces.is_empty()))
        {
            object.insert("logprobs", Value::Null);
        }
        if reason.is_some() {
            self.flush(&mut out, redactor);
        }
        out
    }

    /// Whether reasoning was received.
    pub(crate) fn has_reasoning(&self) -> bool {
        self.reasoning_bytes.iter().any(|bytes| *bytes > 0)
    }

    /// Bytes of output and reasoning, from which tokens are estimated. Reasoning counts once, by its longest member.
    pub(crate) fn length(&self) -> usize {
        self.output_bytes.saturating_add(self.reasoning_bytes.into_iter().max().unwrap_or(0))
    }

    /// Returns a tool call with its index among the choice's calls. Some servers give no index, or the same one to all
    /// calls: then a new id with a new name is a new call.
    fn with_index(&mut self, call: &Value) -> Option<Value> {
        let given = index_of(call);
        let id = call.get("id").and_then(Value::as_text).cloned().unwrap_or_default();
        let named = |kind| call.get(kind)?.get("name")?.as_str();
        let begins = named("function").or_else(|| named("custom")).is_some_and(|name| !name.is_empty());
        let same = |(index, known): &(Option<u64>, Text)| {
            let is_other = !id.is_empty() && !known.is_empty() && *known != id;
            *index == given && !(is_other && (begins || given.is_none()))
        };
        let known = match given {
            // Calls without an index are distinguished by id; a piece without an id belongs to the last call.
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
        // Some servers send the arguments as an object, not as text.
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

    /// Copies a value, with each text replaced by the part that can be released now. The path of a text identifies it.
    fn filter_deltas(
        &mut self,
        value: &Value,
        path: &mut Path,
        redactor: &Redactor,
        bytes: &mut usize,
    ) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => {
                *bytes = bytes.saturating_add(text.len());
                self.count_text(path, text.len());
                let is_whole = matches!(path.last(), Some(PathSegment::Member(name)) if REPLACED_FIELDS.contains(&&**name));
                let is_one_more = self.texts.len() >= TEXTS_MAX && !self.texts.contains_key(path);
                // A text that is not joined could let a secret through piece by piece.
                if is_one_more && !is_whole && !redactor.is_idle() {
                    return Value::from(REDACTED);
                }
                if is_whole || is_one_more {
                    return redactor.value(value).unwrap_or_else(|| value.clone());
                }
                let text = self.texts.entry(path.clone()).or_default().push(redactor, text);
                Value::from(text)
            }
            Value::Array(items) => {
                let before = match path.last() {
                    Some(PathSegment::Member(name)) if comes_by_item(name, items) => {
                        let received = self.lists.entry(path.clone()).or_default();
                        std::mem::replace(received, received.saturating_add(items.len()))
                    }
                    _ => 0,
                };
                let filtered = items.iter().enumerate().filter_map(|(at, item)| {
                    let at = index_of(item)
                        .map_or(before + at, |index| usize::try_from(index).unwrap_or(usize::MAX));
                    path.push(PathSegment::Item(at));
                    let fits = at < CHOICES_MAX || item.as_object().is_none();
                    let item = fits.then(|| self.filter_deltas(item, path, redactor, bytes));
                    path.pop();
                    item
                });
                Value::Array(filtered.collect())
            }
            Value::Object(members) => {
                let mut out = Object::new();
                for (name, value) in members {
                    let name = redactor.text(name).map_or_else(|| name.clone(), Text::from);
                    // Only `delta` and `text` are streamed in pieces.
                    if path.is_empty() && &*name != "delta" && &*name != "text" {
                        out.insert(name, redactor.value(value).unwrap_or_else(|| value.clone()));
                        continue;
                    }
                    path.push(PathSegment::Member(name.clone()));
                    let value = self.filter_deltas(value, path, redactor, bytes);
                    path.pop();
                    out.insert(name, value);
                }
                Value::Object(out)
            }
        }
    }

    /// Counts the bytes of a text as output or reasoning, by its path.
    fn count_text(&mut self, path: &[PathSegment], bytes: usize) {
        let name = match path {
            [PathSegment::Member(delta), PathSegment::Member(name), ..] if &**delta == "delta" => name,
            [PathSegment::Member(text)] => text,
            _ => return,
        };
        if OUTPUT_FIELDS.contains(&&**name) || &**name == "text" {
            self.output_bytes = self.output_bytes.saturating_add(bytes);
        } else if let Some(place) = REASONING_FIELDS.iter().position(|thought| *thought == &**name)
            && let Some(thought) = self.reasoning_bytes.get_mut(place)
        {
            *thought = thought.saturating_add(bytes);
        }
    }

    /// Adds the texts that were held back to a piece of the choice. Returns whether there were any.
    pub(crate) fn flush(&mut self, item: &mut Value, redactor: &Redactor) -> bool {
        let mut some = false;
        for (path, text) in &mut self.texts {
            let rest = text.finish(redactor);
            if !rest.is_empty() {
                some = true;
                append(item, path, &rest);
            }
        }
        some
    }

    pub(crate) fn into_value(self, index: usize) -> Value {
        let mut message = object! { "role": "assistant", "content": "" };
        if let Value::Object(message) = &mut message {
            for (name, value) in self.message.iter().filter(|(_, value)| !value.is_null()) {
                message.insert(name, value.clone());
            }
        }
        for (path, text) in &self.texts {
            if let Some((PathSegment::Member(first), rest)) = path.split_first()
                && &**first == "delta"
                && !text.whole.is_empty()
            {
                append(&mut message, rest, &text.whole);
            }
        }
        if let Value::Object(message) = &mut message {
            // The position in the list gives the index.
            change_calls(message, |call, _| drop(call.remove("index")));
        }
        object! { "index": index as u64, "message": message, "finish_reason": self.finish_reason }
    }
}

impl StreamedText {
    fn push(&mut self, redactor: &Redactor, piece: &str) -> String {
        let out = self.pieces.push(redactor, piece);
        self.whole.push_str(&out);
        out
    }

    fn finish(&mut self, redactor: &Redactor) -> String {
        let rest = self.pieces.finish(redactor);
        self.whole.push_str(&rest);
        rest
    }
}
