//! The prices of models, as the operator writes them.

use ak_kernel::{Price, Rates};
use serde::Deserialize;

/// The price of a million tokens, by kind, and of each image and second of audio, in US dollars.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceTable {
    input: Dollars,
    output: Dollars,
    cache_read: Option<Dollars>,
    cache_write: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    reasoning: Option<Dollars>,
    image: Option<Dollars>,
    audio_second: Option<Dollars>,
    #[serde(default)]
    tiers: Vec<TierTable>,
}

/// The price of a million tokens when the prompt has more than `above` tokens; an absent price is that of the tier
/// before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierTable {
    above: u64,
    input: Option<Dollars>,
    output: Option<Dollars>,
    cache_read: Option<Dollars>,
    cache_write: Option<Dollars>,
    cache_write_1h: Option<Dollars>,
    reasoning: Option<Dollars>,
}

impl PriceTable {
    /// Returns the price as the kernel charges it.
    ///
    /// # Errors
    /// When the tiers do not ascend.
    pub(crate) fn price(&self) -> Result<Price, String> {
        let of = |dollars: &Option<Dollars>| dollars.map(|dollars| dollars.0);
        let mut rates = Rates {
            input: self.input.0,
            output: self.output.0,
            cache_read: of(&self.cache_read),
            cache_write: of(&self.cache_write),
            cache_write_1h: of(&self.cache_write_1h),
            reasoning: of(&self.reasoning),
        };
        let (image, audio_second) = (of(&self.image).unwrap_or(0), of(&self.audio_second).unwrap_or(0));
        let mut price = Price { rates, tiers: Vec::new(), image, audio_second };
        for tier in &self.tiers {
            if price.tiers.last().is_some_and(|(above, _)| *above >= tier.above) {
                return Err("price.tiers: `above` has to ascend".into());
            }
            rates = Rates {
                input: of(&tier.input).unwrap_or(rates.input),
                output: of(&tier.output).unwrap_or(rates.output),
                cache_read: of(&tier.cache_read).or(rates.cache_read),
                cache_write: of(&tier.cache_write).or(rates.cache_write),
                cache_write_1h: of(&tier.cache_write_1h).or(rates.cache_write_1h),
                reasoning: of(&tier.reasoning).or(rates.reasoning),
            };
            price.tiers.push((tier.above, rates));
        }
        Ok(price)
    }
}

/// An amount, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Dollars(u64);

impl TryFrom<f64> for Dollars {
    type Error = &'static str;

    fn try_from(dollars: f64) -> Result<Dollars, &'static str> {
        // Up to this amount, millionths are exact in an `f64`: they stay below 2^53.
        const MOST: f64 = 1e9;
        if !(0.0..=MOST).contains(&dollars) {
            return Err("expected an amount of US dollars from 0 to a thousand million");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
        Ok(Dollars((dollars * 1e6).round() as u64))
    }
}
