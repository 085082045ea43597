//! An answer as it comes together from the chunks of a stream, and what it costs.

use ak_json::{Array, Object, Value, object};

use crate::redact::{Filter, Pieces};

/// Bytes of text that count as one token where the provider reports no usage.
pub const BYTES_PER_TOKEN: u64 = 4;
/// Most choices, and most tool calls of one choice, in one answer.
const CHOICES_MAX: usize = 128;

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
    /// Tokens of the answer, counted here.
    pub(crate) counted: u64,
}

#[derive(Default)]
struct Choice {
    /// The text members of the message: `content`, and what servers add beside it.
    texts: Vec<(String, String, Pieces)>,
    tool_calls: Vec<ToolCall>,
    finish_reason: Value,
}

#[derive(Default)]
struct ToolCall {
    members: Object,
    name: String,
    arguments: String,
    pieces: Pieces,
}

/// The members of a delta that are text and come in pieces.
const TEXTS: [&str; 4] = ["content", "refusal", "reasoning_content", "reasoning"];

impl Answer {
    /// A whole answer.
    pub(crate) fn whole(value: &Value) -> Answer {
        Answer {
            usage: value.get("usage").cloned(),
            counted: count(value.get("choices").map_or(0, Value::json_len)),
            ..Answer::default()
        }
    }

    /// Takes a chunk; gives it as it may be let out, and the tokens that are counted for it.
    pub(crate) fn take(&mut self, chunk: &Value, filter: &Filter) -> (Value, u64) {
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        for name in ["id", "model", "created"] {
            if let Some(value) = chunk.get(name) {
                self.head.insert(name, filter.value(value).unwrap_or_else(|| value.clone()));
            }
        }
        let Some(items) = chunk.get("choices").and_then(Value::as_array) else {
            return (filter.value(chunk).unwrap_or_else(|| chunk.clone()), 0);
        };
        let mut tokens = 0;
        let mut out = Vec::new();
        for item in items.iter() {
            let index = index_of(item);
            let Some(choice) = slot(&mut self.choices, index) else { continue };
            let (delta, counted) = choice.take(item, filter);
            tokens += counted;
            let mut item = item.as_object().cloned().unwrap_or_default();
            if let Some(delta) = delta {
                item.insert("delta", delta);
            }
            out.push(Value::from(item));
        }
        self.counted = self.counted.saturating_add(tokens);
        let mut chunk = chunk.as_object().cloned().unwrap_or_default();
        chunk.insert("choices", out);
        let chunk = Value::from(chunk);
        (filter.value(&chunk).unwrap_or(chunk), tokens)
    }

    /// What was held back and never came to an end: a last chunk, where there is something.
    pub(crate) fn rest(&mut self, filter: &Filter) -> Option<Value> {
        let rest = self.choices.iter_mut().enumerate().filter_map(|(index, choice)| {
            let mut delta = Object::new();
            choice.flush(&mut delta, filter);
            let choice = object! { "index": index as u64, "delta": Value::from(delta.clone()), "finish_reason": Value::Null };
            (!delta.is_empty()).then_some(choice)
        });
        let rest: Vec<Value> = rest.collect();
        let mut chunk = self.head.clone();
        chunk.insert("object", "chat.completion.chunk");
        (!rest.is_empty()).then(|| {
            chunk.insert("choices", rest);
            chunk.into()
        })
    }

    /// Whether every choice that began has ended.
    pub(crate) fn is_ended(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| !choice.finish_reason.is_null())
    }

    /// Tokens to charge: the provider's own count, else ours.
    pub(crate) fn tokens(&self, prompt_tokens: u64) -> u64 {
        self.reported().unwrap_or_else(|| prompt_tokens.saturating_add(self.counted))
    }

    fn reported(&self) -> Option<u64> {
        let usage = self.usage.as_ref()?;
        let part = |name| usage.get(name).and_then(Value::as_u64);
        let sum = || part("prompt_tokens")?.checked_add(part("completion_tokens")?);
        // A server that reports nothing but zeros does not count.
        part("total_tokens").or_else(sum).filter(|total| *total > 0)
    }

    /// The usage to tell: the provider's own, else ours.
    pub(crate) fn usage(&self, prompt_tokens: u64) -> Value {
        match (&self.usage, self.reported()) {
            (Some(usage), Some(_)) => usage.clone(),
            _ => object! {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": self.counted,
                "total_tokens": prompt_tokens.saturating_add(self.counted),
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

fn index_of(item: &Value) -> usize {
    let index = item.get("index").and_then(Value::as_u64);
    index.map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX))
}

fn slot<T: Default>(list: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index < CHOICES_MAX && list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    list.get_mut(index)
}

impl Choice {
    fn take(&mut self, item: &Value, filter: &Filter) -> (Option<Value>, u64) {
        let reason = item.get("finish_reason").filter(|reason| !reason.is_null());
        if let Some(reason) = reason {
            self.finish_reason = reason.clone();
        }
        let mut tokens = 0;
        let mut delta = item.get("delta").and_then(Value::as_object).cloned();
        if let Some(delta) = &mut delta {
            for name in TEXTS {
                let Some(text) = delta.get(name).and_then(Value::as_str).map(str::to_owned) else { continue };
                tokens += count(text.len());
                let (whole, pieces) = self.text(name);
                let text = pieces.push(filter, &text);
                whole.push_str(&text);
                delta.insert(name, text);
            }
            if let Some(calls) = delta.get("tool_calls").and_then(Value::as_array) {
                let calls: Vec<Value> = calls
                    .iter()
                    .filter_map(|call| {
                        tokens += count(call.json_len());
                        Some(slot(&mut self.tool_calls, index_of(call))?.take(call, filter))
                    })
                    .collect();
                delta.insert("tool_calls", calls);
            }
        }
        if reason.is_some() {
            self.flush(delta.get_or_insert_with(Object::new), filter);
        }
        (delta.map(Value::from), tokens)
    }

    fn text(&mut self, name: &str) -> (&mut String, &mut Pieces) {
        let at = self.texts.iter().position(|(known, _, _)| known == name).unwrap_or_else(|| {
            self.texts.push((name.to_owned(), String::new(), Pieces::default()));
            self.texts.len() - 1
        });
        // It was found or has just been put there.
        #[expect(clippy::indexing_slicing, reason = "the position is that of an element")]
        let (_, whole, pieces) = &mut self.texts[at];
        (whole, pieces)
    }

    /// Adds what was held back to a delta.
    fn flush(&mut self, delta: &mut Object, filter: &Filter) {
        for (name, whole, pieces) in &mut self.texts {
            let rest = pieces.finish(filter);
            if !rest.is_empty() {
                whole.push_str(&rest);
                let before = delta.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                delta.insert(name.as_str(), before + &rest);
            }
        }
        let mut calls: Vec<Value> = delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .map(|calls| calls.iter().cloned().collect())
            .unwrap_or_default();
        let before = calls.len();
        for (index, call) in self.tool_calls.iter_mut().enumerate() {
            let rest = call.pieces.finish(filter);
            if !rest.is_empty() {
                call.arguments.push_str(&rest);
                calls.push(object! { "index": index as u64, "function": object! { "arguments": rest } });
            }
        }
        if calls.len() > before {
            delta.insert("tool_calls", calls);
        }
    }

    fn into_value(self, index: usize) -> Value {
        let mut message = Object::new();
        message.insert("role", "assistant");
        message.insert("content", "");
        for (name, whole, _) in self.texts {
            message.insert(name, whole);
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.into_iter().map(ToolCall::into_value);
            message.insert("tool_calls", calls.collect::<Array>());
        }
        object! { "index": index as u64, "message": Value::from(message), "finish_reason": self.finish_reason }
    }
}

impl ToolCall {
    /// A tool call arrives in pieces: its name first, then its arguments bit by bit.
    fn take(&mut self, piece: &Value, filter: &Filter) -> Value {
        let mut out = piece.as_object().cloned().unwrap_or_default();
        for name in ["id", "type"] {
            if let Some(value) = piece.get(name).filter(|value| !value.is_null()) {
                self.members.insert(name, filter.value(value).unwrap_or_else(|| value.clone()));
            }
        }
        let Some(function) = piece.get("function").and_then(Value::as_object) else { return out.into() };
        let mut function = function.clone();
        if let Some(name) = function.get("name").and_then(Value::as_str) {
            self.name.push_str(name);
        }
        if let Some(text) = function.get("arguments").and_then(Value::as_str) {
            let text = self.pieces.push(filter, text);
            self.arguments.push_str(&text);
            function.insert("arguments", text);
        }
        out.insert("function", function);
        out.into()
    }

    fn into_value(self) -> Value {
        let mut call = self.members;
        call.insert("function", object! { "name": self.name, "arguments": self.arguments });
        call.into()
    }
}
