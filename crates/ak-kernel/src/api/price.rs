//! The price of tokens. The operator sets it, the host adds it to each request, and the journal stores it with the
//! request.

use alloc::vec::Vec;

use ak_json::{Object, Value};

use crate::api::{
    fields::{FieldError, Fields, insert_some},
    usage::Usage,
};

/// The number of tokens that a rate applies to.
const PER_TOKENS: u128 = 1_000_000;

/// The price of a million tokens, in millionths of a US dollar: 2.50 dollars are 2 500 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Prompt tokens.
    pub input: u64,
    /// Answer tokens.
    pub output: u64,
    /// Prompt tokens read from a cache; `None` means `input`.
    pub cache_read: Option<u64>,
    /// Prompt tokens written to a cache that keeps them for minutes; `None` means `input`.
    pub cache_write: Option<u64>,
    /// Prompt tokens written to a cache that keeps them for an hour; `None` means `cache_write`.
    pub cache_write_1h: Option<u64>,
    /// Reasoning tokens of the answer; `None` means `output`.
    pub reasoning: Option<u64>,
}

/// The price of a model's tokens, images and audio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The rates of prompts to which no tier applies.
    pub rates: Rates,
    /// Rates of longer prompts: each applies to prompts of more than so many tokens. Ascending.
    pub tiers: Vec<(u64, Rates)>,
    /// The price of each image of the prompt, beside its tokens, in millionths of a US dollar.
    pub image: u64,
    /// The price of each second of audio of the prompt, beside its tokens, in millionths of a US dollar.
    pub audio_second: u64,
}

impl Rates {
    const fn cache_write(&self) -> u64 {
        match self.cache_write {
            Some(rate) => rate,
            None => self.input,
        }
    }

    /// The rates of fresh prompt tokens, cache reads, cache writes for minutes, cache writes for an hour,
    /// reasoning, and the rest of the answer, in this order.
    fn all(&self) -> [u64; 6] {
        let (input, output) = (self.input, self.output);
        let hour = self.cache_write_1h.unwrap_or(self.cache_write());
        let read = self.cache_read.unwrap_or(input);
        [input, read, self.cache_write(), hour, self.reasoning.unwrap_or(output), output]
    }

    fn dearest_of_prompt(&self) -> u64 {
        let [input, read, write, hour, ..] = self.all();
        input.max(read).max(write).max(hour)
    }

    fn dearest_of_answer(&self) -> u64 {
        let [.., thought, said] = self.all();
        thought.max(said)
    }

    /// The price of an answer, in 10⁻¹² US dollars.
    fn of(&self, usage: &Usage) -> u128 {
        let said = usage.completion.saturating_sub(usage.reasoning);
        let Usage { cache_read, cache_write, cache_write_1h, reasoning, .. } = *usage;
        let tokens = [usage.fresh(), cache_read, cache_write, cache_write_1h, reasoning, said];
        let parts = tokens.into_iter().zip(self.all());
        parts.map(|(tokens, rate)| u128::from(tokens) * u128::from(rate)).fold(0, u128::saturating_add)
    }

    fn insert_into(&self, members: &mut Object) {
        members.insert("input", self.input);
        members.insert("output", self.output);
        insert_some(members, "cache_read", self.cache_read);
        insert_some(members, "cache_write", self.cache_write);
        insert_some(members, "cache_write_1h", self.cache_write_1h);
        insert_some(members, "reasoning", self.reasoning);
    }

    fn from_fields(fields: &mut Fields<'_>) -> Result<Rates, FieldError> {
        Ok(Rates {
            input: fields.u64("input")?,
            output: fields.u64("output")?,
            cache_read: fields.optional_u64("cache_read")?,
            cache_write: fields.optional_u64("cache_write")?,
            cache_write_1h: fields.optional_u64("cache_write_1h")?,
            reasoning: fields.optional_u64("reasoning")?,
        })
    }
}

/// The images and audio of a prompt, beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Number of images.
    pub images: u64,
    /// Upper bound of the seconds of audio.
    pub audio_seconds: u64,
}

impl Price {
    /// A price with one rate for all prompt tokens and one for all answer tokens.
    pub fn flat(input: u64, output: u64) -> Price {
        Price { rates: Rates { input, output, ..Rates::default() }, ..Price::default() }
    }

    /// The price of an answer in millionths of a US dollar, rounded up. The whole prompt's length selects the tier.
    pub fn of(&self, usage: &Usage, media: Media) -> u64 {
        let tier = self.tiers.iter().rev().find(|(above, _)| usage.prompt > *above);
        let rates = tier.map_or(&self.rates, |(_, rates)| rates);
        self.rounded(rates.of(usage), media)
    }

    /// Upper bound of the price of so many tokens, at the highest rates that a prompt of this length can reach.
    pub fn at_most(&self, prompt: u64, completion: u64, media: Media) -> u64 {
        let reached = self.tiers.iter().filter(|(above, _)| prompt > *above).map(|(_, rates)| rates);
        let costs = reached.chain([&self.rates]).map(|rates| {
            let part = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
            part(prompt, rates.dearest_of_prompt())
                .saturating_add(part(completion, rates.dearest_of_answer()))
        });
        self.rounded(costs.max().unwrap_or(0), media)
    }

    /// Upper bound of the price of `tokens` if it is unknown how many belong to prompt and answer.
    pub(crate) fn of_any(&self, tokens: u64, media: Media) -> u64 {
        let all = self.tiers.iter().map(|(_, rates)| rates).chain([&self.rates]);
        let rate = all.map(|rates| rates.dearest_of_prompt().max(rates.dearest_of_answer())).max();
        self.rounded(u128::from(tokens) * u128::from(rate.unwrap_or(0)), media)
    }

    /// The number of answer tokens that this amount pays for, at the highest rate.
    pub(crate) fn tokens_for(&self, micro_usd: u64) -> u64 {
        let all = self.tiers.iter().map(|(_, rates)| rates).chain([&self.rates]);
        let rate = all.map(Rates::dearest_of_answer).max().unwrap_or(0);
        let tokens = (u128::from(micro_usd) * PER_TOKENS).checked_div(u128::from(rate));
        tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(u64::MAX)
    }

    fn rounded(&self, tokens: u128, media: Media) -> u64 {
        let part = |count: u64, price: u64| u128::from(count) * u128::from(price);
        let media =
            part(media.images, self.image).saturating_add(part(media.audio_seconds, self.audio_second));
        u64::try_from(tokens.div_ceil(PER_TOKENS).saturating_add(media)).unwrap_or(u64::MAX)
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut members = Object::new();
        self.rates.insert_into(&mut members);
        let tiers = self.tiers.iter().map(|(above, rates)| {
            let mut tier = Object::new();
            tier.insert("above", *above);
            rates.insert_into(&mut tier);
            Value::from(tier)
        });
        let tiers: Vec<Value> = tiers.collect();
        insert_some(&mut members, "tiers", (!tiers.is_empty()).then_some(tiers));
        insert_some(&mut members, "image", (self.image > 0).then_some(self.image));
        insert_some(&mut members, "audio_second", (self.audio_second > 0).then_some(self.audio_second));
        members.into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Price, FieldError> {
        let mut fields = Fields::new("price", value)?;
        let rates = Rates::from_fields(&mut fields)?;
        let mut tiers = Vec::new();
        if let Some(list) = fields.optional("tiers") {
            let rows = list.as_array().ok_or_else(|| fields.error("tiers", "expected an array"))?;
            for row in rows.iter() {
                let mut fields = Fields::new("price.tiers", row)?;
                tiers.push((fields.u64("above")?, Rates::from_fields(&mut fields)?));
                fields.finish()?;
            }
        }
        let price = Price {
            rates,
            tiers,
            image: fields.optional_u64("image")?.unwrap_or(0),
            audio_second: fields.optional_u64("audio_second")?.unwrap_or(0),
        };
        fields.finish()?;
        Ok(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Media = Media { images: 0, audio_seconds: 0 };

    fn usage(prompt: u64, completion: u64) -> Usage {
        Usage { prompt, completion, ..Usage::default() }
    }

    #[test]
    fn a_price_is_exact_and_rounds_up() {
        let price = Price::flat(2_500_000, 10_000_000);
        let check = |prompt, completion, expected| {
            assert_eq!(price.of(&usage(prompt, completion), NONE), expected);
        };
        check(0, 0, 0);
        check(1_000_000, 0, 2_500_000);
        check(7, 3, 48);
        check(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!((price.tokens_for(100), price.tokens_for(u64::MAX)), (10, u64::MAX / 10));
        assert_eq!(Price::flat(1, 0).tokens_for(0), u64::MAX);
        assert_eq!(price.of_any(11, NONE), 110);
    }

    #[test]
    fn each_kind_of_token_has_its_rate() {
        let rates = Rates {
            input: 5_000_000,
            output: 20_000_000,
            cache_read: Some(500_000),
            cache_write: Some(6_250_000),
            cache_write_1h: Some(10_000_000),
            reasoning: Some(30_000_000),
        };
        let dear = Rates { input: 9_000_000, output: 40_000_000, ..rates };
        let price = Price { rates, tiers: Vec::from([(200_000, dear)]), image: 1_000, audio_second: 7 };
        let cached = Usage { cache_read: 1_000_000, ..usage(1_000_003, 0) };
        let flat = Price { rates, ..Price::default() };
        assert_eq!(flat.of(&cached, NONE), 500_015);
        let check =
            |usage: Usage, media, expected| assert_eq!(price.of(&usage, media), expected, "{usage:?}");
        check(Usage { cache_write: 10, cache_write_1h: 10, ..usage(30, 0) }, NONE, 213);
        check(Usage { reasoning: 10, ..usage(0, 30) }, NONE, 700);
        check(usage(200_000, 1), NONE, 1_000_020);
        check(usage(200_001, 1), NONE, 1_800_049);
        check(usage(1, 1), Media { images: 2, audio_seconds: 3 }, 2_046);
        // Reservations cover the highest rate that can apply: a cache write for an hour, and reasoning.
        assert_eq!(price.at_most(10, 10, NONE), 400);
        assert_eq!(price.at_most(200_001, 0, NONE), 2_000_010);
        assert_eq!(Price::from_value(&price.to_value()).unwrap(), price);
    }
}
