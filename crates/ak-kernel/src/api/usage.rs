//! The tokens that a model's answer used, as its provider reports them.

use ak_json::{Limits, Number, Value};

/// The tokens that an answer used, as the `usage` of a chat completion reports them. The host converts the formats
/// that `docs/guide/models.md` lists into this form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, including those that a cache read or wrote.
    pub prompt: u64,
    /// Answer tokens, including reasoning.
    pub completion: u64,
    /// Prompt tokens that were read from a cache.
    pub cache_read: u64,
    /// Prompt tokens that were written to a cache that keeps them for minutes.
    pub cache_write: u64,
    /// Prompt tokens that were written to a cache that keeps them for an hour.
    pub cache_write_1h: u64,
    /// Reasoning tokens of the answer.
    pub reasoning: u64,
}

impl Usage {
    /// Reads a chat completion's `usage`; `None` if it has no number of tokens.
    ///
    /// If the total is more than prompt and answer together, the difference counts as reasoning.
    pub fn of(usage: &Value) -> Option<Usage> {
        let number = |name: &str| usage.get(name).and_then(token_count);
        let detail = |list: &str, name: &str| usage.get(list)?.get(name).and_then(token_count);
        let told = [number("prompt_tokens"), number("completion_tokens"), number("total_tokens")];
        if told.iter().all(Option::is_none) {
            return None;
        }
        let [prompt, completion, total] = told;
        let total = total.unwrap_or(0);
        // If one of the three numbers is missing, it follows from the other two.
        let prompt = prompt.unwrap_or_else(|| total.saturating_sub(completion.unwrap_or(0)));
        let said = completion.unwrap_or_else(|| total.saturating_sub(prompt));
        let beside = total.saturating_sub(prompt.saturating_add(said));
        let thought = detail("completion_tokens_details", "reasoning_tokens").unwrap_or(0);
        let completion = said.saturating_add(beside);
        let input = |name| detail("prompt_tokens_details", name).unwrap_or(0);
        Some(Usage {
            prompt,
            completion,
            cache_read: input("cached_tokens"),
            cache_write: input("cache_write_tokens"),
            cache_write_1h: input("cache_write_1h_tokens"),
            reasoning: thought.max(beside).min(completion),
        })
    }

    /// Tokens of prompt and answer together.
    pub const fn total(&self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }

    /// Prompt tokens that no cache read or wrote.
    pub const fn fresh(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write).saturating_add(self.cache_write_1h);
        self.prompt.saturating_sub(cached)
    }

    /// The same usage, limited to these numbers of prompt and answer tokens.
    #[must_use]
    pub(crate) fn at_most(self, prompt: u64, completion: u64) -> Usage {
        let answered = self.completion.min(completion);
        Usage {
            prompt: self.prompt.min(prompt),
            completion: answered,
            cache_read: self.cache_read.min(prompt),
            cache_write: self.cache_write.min(prompt),
            cache_write_1h: self.cache_write_1h.min(prompt),
            reasoning: self.reasoning.min(answered),
        }
    }
}

/// Reads a number of tokens. Some servers write it as a fraction such as 5.0, or as a string. Fractions are rounded
/// up; numbers above 2^64 - 1 become 2^64 - 1. `None` for anything else, such as a negative number.
pub fn token_count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => of_number(number),
        Value::String(text) => match Value::parse(text.trim().as_bytes(), &Limits::default()) {
            Ok(Value::Number(number)) => of_number(&number),
            Ok(_) | Err(_) => None,
        },
        _ => None,
    }
}

fn of_number(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let float = number.as_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let floor = float as u64;
        #[expect(clippy::cast_precision_loss, reason = "where it is lost, the float is whole")]
        let is_whole = floor as f64 >= float;
        (float >= 0.0).then(|| if is_whole { floor } else { floor.saturating_add(1) })
    })
}

#[cfg(test)]
mod tests {
    use ak_json::object;

    use super::*;

    #[test]
    fn what_is_told_is_read_in_every_form() {
        let check = |text: &str, expected: [u64; 6]| {
            let usage = Usage::of(&Value::parse(text.as_bytes(), &Limits::default()).unwrap()).unwrap();
            let Usage { prompt, completion, cache_read, cache_write, cache_write_1h, reasoning } = usage;
            assert_eq!(
                [prompt, completion, cache_read, cache_write, cache_write_1h, reasoning],
                expected,
                "{text}"
            );
        };
        check(r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#, [3, 2, 0, 0, 0, 0]);
        check(r#"{"prompt_tokens":"3","completion_tokens":2.0}"#, [3, 2, 0, 0, 0, 0]);
        check(r#"{"prompt_tokens":2.5,"completion_tokens":1e30}"#, [3, u64::MAX, 0, 0, 0, 0]);
        check(r#"{"prompt_tokens":3,"total_tokens":9}"#, [3, 6, 0, 0, 0, 0]);
        check(r#"{"total_tokens":9}"#, [9, 0, 0, 0, 0, 0]);
        // Reasoning tokens beside the answer's, and among them.
        check(r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":9}"#, [3, 6, 0, 0, 0, 4]);
        check(
            r#"{"prompt_tokens":3,"completion_tokens":6,"completion_tokens_details":{"reasoning_tokens":4},
               "prompt_tokens_details":{"cached_tokens":1,"cache_write_tokens":2,"cache_write_1h_tokens":null}}"#,
            [3, 6, 1, 2, 0, 4],
        );
        assert_eq!(Usage::of(&object! { "prompt_tokens": -1, "completion_tokens": "x" }), None);
        let usage = Usage { prompt: 3, cache_read: 5, ..Usage::default() };
        assert_eq!(usage.fresh(), 0, "more cached than there is");
    }
}
