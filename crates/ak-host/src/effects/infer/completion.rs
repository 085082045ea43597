//! Assembles a chat completion from the chunks of a stream, and determines its cost.

use ak_json::{Array, Object, Value, object};
use ak_kernel::Usage;

use crate::{
    effects::infer::formats::usage,
    effects::infer::{
        delta::Choice,
        merge::{change_calls, index_of, slot},
    },
    secrets::redact::Redactor,
};

/// Bytes of text that count as one token when the provider reports no usage.
pub const BYTES_PER_TOKEN: u64 = 4;
/// Estimates the tokens of a text, for when the provider reports no usage.
pub(crate) fn estimate_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// A chat completion, as far as it was received.
#[derive(Default)]
pub(crate) struct ChatCompletion {
    head: Object,
    choices: Vec<Choice>,
    usage: Option<Value>,
    /// Whether the answer is complete, so that `usage` covers all of it.
    ended: bool,
    /// Bytes of all texts received in choices.
    bytes: usize,
    /// Bytes of an answer that was not streamed, and of unreadable chunks, for the estimate of tokens.
    whole: usize,
}

impl ChatCompletion {
    /// Returns the completion of an answer that was not streamed.
    pub(crate) fn whole(value: &Value) -> ChatCompletion {
        ChatCompletion {
            usage: usage::find(value),
            ended: true,
            whole: value.get("choices").map_or(0, Value::json_len),
            ..ChatCompletion::default()
        }
    }

    /// Counts an unreadable chunk by its length; returns the tokens to add for it.
    pub(crate) fn count_unreadable(&mut self, bytes: usize) -> u64 {
        let before = self.estimated_tokens();
        self.bytes = self.bytes.saturating_add(bytes);
        self.whole = self.whole.saturating_add(bytes);
        self.estimated_tokens() - before
    }

    /// Adds a chunk. Returns it redacted, with the tokens counted for it.
    pub(crate) fn add_chunk(&mut self, chunk: &Value, redactor: &Redactor) -> (Value, u64) {
        if let Some(reported_usage) = usage::find(chunk) {
            self.usage = Some(usage::merge(self.usage.take(), reported_usage));
        }
        let filtered = |value: &Value| redactor.value(value).unwrap_or_else(|| value.clone());
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
        let before = self.estimated_tokens();
        let mut choices = Array::new();
        for item in items.iter() {
            let index = index_of(item).map_or(0, |index| usize::try_from(index).unwrap_or(usize::MAX));
            if let Some(choice) = slot(&mut self.choices, index) {
                choices.push(choice.take(item, redactor, &mut self.bytes));
            }
        }
        out.insert("choices", choices);
        (out.into(), self.estimated_tokens() - before)
    }

    /// Returns the text that redaction still holds back at the end, as a last chunk, if there is any.
    pub(crate) fn remaining(&mut self, redactor: &Redactor) -> Option<Value> {
        let rest = self.choices.iter_mut().enumerate().filter_map(|(index, choice)| {
            let mut item = object! { "index": index as u64, "finish_reason": Value::Null };
            choice.flush(&mut item, redactor).then_some(item)
        });
        let rest: Vec<Value> = rest.collect();
        let mut chunk = self.head.clone();
        chunk.insert("object", "chat.completion.chunk");
        (!rest.is_empty()).then(|| {
            chunk.insert("choices", rest);
            chunk.into()
        })
    }

    /// Marks the answer, and its reported usage, as complete.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether any choice has begun.
    pub(crate) fn has_choices(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether every choice that began has ended.
    pub(crate) fn is_ended(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| !choice.finish_reason.is_null())
    }

    /// Adds usage that was reported outside the chunks.
    pub(crate) fn add_usage(&mut self, reported_usage: Option<Value>) {
        if let Some(reported_usage) = reported_usage {
            self.usage = Some(usage::merge(self.usage.take(), reported_usage));
        }
    }

    /// Whether reasoning was received.
    pub(crate) fn has_reasoning(&self) -> bool {
        self.choices.iter().any(Choice::has_reasoning)
    }

    /// Bytes of text received so far.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Tokens of the answer, estimated from its length.
    fn estimated_tokens(&self) -> u64 {
        estimate_tokens(self.choices.iter().map(Choice::length).fold(self.whole, usize::saturating_add))
    }

    /// Tokens of the answer: the provider's count if it reported one, else an estimate.
    pub(crate) fn completion_tokens(&self) -> u64 {
        let reported_usage = self.usage.as_ref().and_then(Usage::of);
        reported_usage.map_or_else(|| self.estimated_tokens(), |usage| usage.completion)
    }

    /// Tokens to charge: the provider's total for a complete answer, else an estimate that is no lower than what the
    /// provider has reported so far.
    pub(crate) fn tokens(&self, prompt_tokens: u64) -> u64 {
        let reported_usage = self.usage.as_ref().and_then(Usage::of).unwrap_or_default();
        let prompt = if reported_usage.prompt > 0 { reported_usage.prompt } else { prompt_tokens };
        self.reported()
            .unwrap_or_else(|| prompt.saturating_add(reported_usage.completion.max(self.estimated_tokens())))
    }

    /// The provider's total for the complete answer; `None` when the answer is incomplete, or the provider reported
    /// nothing or only zeros.
    pub(crate) fn reported(&self) -> Option<u64> {
        usage::total(self.usage.as_ref().filter(|_| self.ended)?)
    }

    /// The usage to report: the provider's own if it covers the complete answer, else an estimate.
    pub(crate) fn usage(&self, prompt_tokens: u64) -> Value {
        match (&self.usage, self.reported()) {
            (Some(usage), Some(_)) => usage.clone(),
            _ => usage::estimate(prompt_tokens, self.estimated_tokens()),
        }
    }

    /// Returns the chat completion assembled from the stream.
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

/// Returns a whole answer as the only chunk of a stream.
pub(crate) fn as_chunk(answer: &Value) -> Value {
    let mut chunk = answer.as_object().cloned().unwrap_or_default();
    chunk.insert("object", "chat.completion.chunk");
    let choices = answer.get("choices").and_then(Value::as_array).into_iter().flatten();
    let choices = choices.map(|choice| {
        let mut choice = choice.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(mut delta)) = choice.remove("message") {
            change_calls(&mut delta, |call, index| drop(call.insert("index", index as u64)));
            choice.insert("delta", delta);
        }
        Value::from(choice)
    });
    chunk.insert("choices", choices.collect::<Array>());
    chunk.into()
}

#[cfg(test)]
mod tests {
    use ak_json::Limits;

    use super::*;
    use crate::effects::infer::{
        delta::TEXTS_MAX,
        merge::{CHOICES_MAX, NAME_BYTES_MAX},
    };

    fn json(text: &str) -> Value {
        Value::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    /// Returns the message assembled from deltas of one choice, as JSON.
    fn together(deltas: &[&str]) -> String {
        let (mut answer, redactor) = (ChatCompletion::default(), Redactor::default());
        for delta in deltas {
            answer
                .add_chunk(&json(&format!("{{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}")), &redactor);
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
                // Some servers send reasoning as a list of parts, and the answer as text.
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
                // A changed id with the same index is the same call; another index is another call.
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

    /// Only output counts, and reasoning counts once, under however many names the server sends it.
    #[test]
    fn only_output_and_reasoning_are_counted() {
        let (mut answer, redactor) = (ChatCompletion::default(), Redactor::default());
        let chunk = r#"{"choices":[{"index":0,"delta":{"content":"four","reasoning":"12345678","reasoning_content":"12345678","odd":"xxxxxxxx"},
            "content_filter_results":{"hate":{"severity":"safe"}},"message":{"content":"four"}}]}"#;
        let (reported_usage, tokens) = answer.add_chunk(&json(chunk), &redactor);
        assert_eq!((reported_usage, tokens), (json(chunk), 3));
        assert_eq!(answer.text_bytes(), 4 + 8 + 8 + 8);
    }

    /// An index above the limit creates no entry.
    #[test]
    fn an_index_beyond_the_limit_is_ignored() {
        let far = CHOICES_MAX;
        let (mut answer, redactor) = (ChatCompletion::default(), Redactor::default());
        let chunk = format!(
            "{{\"choices\":[{{\"index\":{far},\"delta\":{{\"content\":\"x\"}}}},{{\"index\":18446744073709551615}}]}}"
        );
        assert_eq!(answer.add_chunk(&json(&chunk), &redactor).1, 0);
        assert!(answer.choices.is_empty());
        let calls: Vec<String> = (0..=far).map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
        let message = together(&[&format!("{{\"tool_calls\":[{}]}}", calls.join(","))]);
        assert_eq!(json(&message).get("tool_calls").unwrap().as_array().unwrap().len(), CHOICES_MAX);
        let long = "x".repeat(NAME_BYTES_MAX / 2);
        let piece = format!("{{\"function_call\":{{\"name\":\"{long}a\"}}}}");
        let name = |message: &Value| {
            message.get("function_call").unwrap().get("name").unwrap().as_str().unwrap().len()
        };
        assert_eq!(name(&json(&together(&[&piece, &piece.replace('a', "b")]))), long.len() + 1);
        let texts: Vec<String> = (0..TEXTS_MAX + 5).map(|text| format!("\"t{text}\":\"x\"")).collect();
        let deltas = format!("{{{}}}", texts.join(","));
        let (mut answer, chunk) =
            (ChatCompletion::default(), json(&format!("{{\"choices\":[{{\"delta\":{deltas}}}]}}")));
        assert_eq!(
            answer.add_chunk(&chunk, &redactor).0,
            chunk,
            "what is too much to be kept is let out all the same"
        );
        let numbers = format!("{{\"seen\":[{}]}}", vec!["1"; 1_000].join(","));
        assert_eq!(json(&together(&[&numbers])).get("seen").unwrap().as_array().unwrap().len(), 1_000);
    }
}
