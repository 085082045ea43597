//! What tokens cost. The operator says it, the host adds it to each request, and the journal keeps it with that.

use ak_json::{Value, object};

use crate::fields::{FieldError, Fields};

/// Tokens that a price is for.
const PER_TOKENS: u128 = 1_000_000;

/// What a million tokens of a model cost, in millionths of a US dollar: 2.50 dollars are 2 500 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

impl Price {
    /// Millionths of a US dollar for so many tokens, rounded up.
    pub fn of(self, prompt: u64, completion: u64) -> u64 {
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = part(prompt, self.input).saturating_add(part(completion, self.output));
        u64::try_from(sum.div_ceil(PER_TOKENS)).unwrap_or(u64::MAX)
    }

    /// How many tokens of an answer so much pays for.
    pub(crate) fn tokens_for(self, micro_usd: u64) -> u64 {
        let tokens = (u128::from(micro_usd) * PER_TOKENS).checked_div(u128::from(self.output));
        tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(u64::MAX)
    }

    /// What an answer costs that used so many tokens in all: by its own account of which, where that adds up, else at
    /// the higher price.
    pub(crate) fn of_answer(self, response: &Value, tokens: u64) -> u64 {
        let part = |name| response.get("usage")?.get(name)?.as_u64();
        match (part("prompt_tokens"), part("completion_tokens")) {
            (Some(prompt), Some(completion)) if prompt.checked_add(completion) == Some(tokens) => {
                self.of(prompt, completion)
            }
            _ => self.of_any(tokens),
        }
    }

    /// What so many tokens cost where nobody knows which.
    pub(crate) fn of_any(self, tokens: u64) -> u64 {
        let higher = Price { input: self.input.max(self.output), output: 0 };
        higher.of(tokens, 0)
    }

    pub(crate) fn to_value(self) -> Value {
        object! { "input": self.input, "output": self.output }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Price, FieldError> {
        let mut fields = Fields::new("price", value)?;
        let price = Price { input: fields.u64("input")?, output: fields.u64("output")? };
        fields.finish()?;
        Ok(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_exact_and_rounds_up() {
        let price = Price { input: 2_500_000, output: 10_000_000 };
        let check = |prompt, completion, expected| assert_eq!(price.of(prompt, completion), expected);
        check(0, 0, 0);
        check(1_000_000, 0, 2_500_000);
        check(7, 3, 48);
        check(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!((price.tokens_for(100), price.tokens_for(u64::MAX)), (10, u64::MAX / 10));
        assert_eq!(Price { input: 1, output: 0 }.tokens_for(0), u64::MAX);
        let usage = object! { "usage": object! { "prompt_tokens": 7u64, "completion_tokens": 3u64 } };
        assert_eq!(price.of_answer(&usage, 10), 48);
        assert_eq!(price.of_answer(&usage, 11), 110, "what does not add up costs the higher price");
        assert_eq!(Price::from_value(&price.to_value()).unwrap(), price);
    }
}
