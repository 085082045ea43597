//! Tokens of requests to models: limits, the request that is sent, and what an answer is charged.

use alloc::{format, vec::Vec};

use ak_json::{Array, Object, Value};
use ak_policy::{Policy, budget::Dimension};

use crate::{
    api::{
        code::Code,
        price::{Media, Price},
        reply::Failure,
        usage::Usage,
    },
    models::provider_actions,
};

/// Tokens that are reserved for an answer if neither the request nor the policy has a limit. If a budget must be
/// enforced, they are also the highest limit that is added to the request; otherwise none is added.
pub const COMPLETION_TOKENS: u64 = 4_096;
/// Tokens that are reserved for each image of a prompt.
pub const IMAGE_TOKENS: u64 = 4_096;
/// Tokens that are reserved for each second of audio in a prompt.
pub const AUDIO_SECOND_TOKENS: u64 = 32;
/// Fewest bytes of a second of audio: speech with fewer would not be intelligible.
const AUDIO_SECOND_BYTES: u64 = 750;
/// Upper bound of the length of a limit that is added to a request, in bytes.
const LIMIT_BYTES_MAX: u64 = 32;
/// Most tokens that any server counts for one image.
const IMAGE_TOKENS_MAX: u64 = 1 << 16;
/// Most tokens that a server adds to a prompt: its template, and its description of the tools.
const TEMPLATE_TOKENS_MAX: u64 = 1 << 13;
/// Most reasoning tokens that a model uses beyond the limit on its answer, if its server does not include them.
const THOUGHT_TOKENS_MAX: u64 = 1 << 17;
/// Most tokens of an answer without a limit.
const ANSWER_TOKENS_MAX: u64 = 1 << 22;
/// A token of an answer is hardly ever longer than this many estimated tokens. If a stream exceeds its limit by
/// this factor, its server does not enforce the limit.
pub(crate) const ESTIMATE_FACTOR_MAX: u64 = 8;

/// The names under which a limit on the tokens of an answer is sent. One of them is used, under whatever name it
/// came.
pub const OUTGOING_LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];
/// The names under which servers accept a limit on the tokens of an answer. The first one is sent, unless the
/// request has the second: some models accept only that.
const LIMITS: [&str; 6] = [
    OUTGOING_LIMITS[0],
    OUTGOING_LIMITS[1],
    "max_output_tokens",
    "max_new_tokens",
    "n_predict",
    "num_predict",
];
/// The names under which servers accept the number of answers to one prompt.
const ANSWERS: [&str; 2] = ["n", "best_of"];

/// The tokens that a request may use.
pub(crate) struct Tokens {
    /// Upper bound of the tokens of the prompt's text: a token is at least one byte of the request. All of the
    /// request counts, since tools and schemas may become part of the prompt too.
    text: u64,
    media: Media,
    /// The limit on one answer that is sent, if there is one.
    each: Option<u64>,
    answers: u64,
}

impl Tokens {
    /// Tokens that are reserved for the prompt.
    pub(crate) fn prompt(&self) -> u64 {
        let images = self.media.images.saturating_mul(IMAGE_TOKENS);
        let audio = self.media.audio_seconds.saturating_mul(AUDIO_SECOND_TOKENS);
        self.text.saturating_add(images).saturating_add(audio)
    }

    /// Tokens that are reserved for all answers together.
    pub(crate) fn completion(&self) -> u64 {
        self.each.unwrap_or(COMPLETION_TOKENS).saturating_mul(self.answers)
    }

    /// The limit on all answers together; `None` if no limit is sent.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.each.map(|each| each.saturating_mul(self.answers))
    }

    pub(crate) fn costs(&self, price: Option<&Price>) -> Vec<(Dimension, u64)> {
        let (prompt, completion) = (self.prompt(), self.completion());
        let tokens = (Dimension::Tokens, prompt.saturating_add(completion));
        // Without a price the cost is 0, which limits on cost count too.
        let cost = price.map_or(0, |price| price.at_most(prompt, completion, self.media));
        Vec::from([tokens, (Dimension::CostMicroUsd, cost)])
    }

    /// The same with the limit that was sent, since the policy may have changed; 2^64 - 1 means that none was sent.
    fn with_limit(self, limit: u64) -> Tokens {
        let each = (limit != u64::MAX).then_some(limit / self.answers);
        Tokens { each, ..self }
    }

    /// Most tokens that a server may count for the prompt. Content that it fetches or stores is part of the prompt.
    fn prompt_possible(&self, request: &Value) -> u64 {
        if provider_actions::find(request, |_| true).is_some() {
            return ANSWER_TOKENS_MAX;
        }
        let images = self.media.images.saturating_mul(IMAGE_TOKENS_MAX);
        self.prompt().saturating_add(images).saturating_add(TEMPLATE_TOKENS_MAX)
    }

    /// The reported usage, reduced to what is possible for this request. At least `seen` answer tokens are
    /// possible.
    fn possible(&self, request: &Value, told: &Usage, seen: u64) -> Usage {
        let prompt = self.prompt_possible(request);
        let thought = if told.reasoning > 0 { THOUGHT_TOKENS_MAX.saturating_mul(self.answers) } else { 0 };
        let completion = match self.limit() {
            Some(limit) => limit.saturating_add(thought),
            None => ANSWER_TOKENS_MAX.saturating_mul(self.answers),
        };
        told.at_most(prompt, completion.max(seen))
    }
}

/// The tokens that a request of an agent may use under a policy.
///
/// # Errors
/// INVALID_ARGUMENT if a number of tokens or answers is not a whole number, because a server might read it in any
/// way.
pub(crate) fn tokens(policy: &Policy, agent: &str, request: &Value) -> Result<Tokens, Failure> {
    let count = |name: &&str| match request.get(name) {
        None | Some(Value::Null) => Ok(None),
        // Local servers read -1 as no limit.
        Some(value) if value.as_i64() == Some(-1) && LIMITS.contains(name) => Ok(None),
        Some(value) => exactly(value)
            .map(Some)
            .ok_or_else(|| wrong(&format!("has a `{name}` that is no whole number from 0 to 2^64 - 1"))),
    };
    let counts = |names: &[&str]| names.iter().map(count).collect::<Result<Vec<_>, _>>();
    let wanted = counts(&LIMITS)?.into_iter().flatten().min();
    let each = wanted.into_iter().chain(policy.infer_max_tokens_of(agent)).min();
    let answers = counts(&ANSWERS)?.into_iter().flatten().max().unwrap_or(1).max(1);
    let (media, data) = media_of(request);
    let text = (request.json_len() as u64).saturating_sub(data);
    Ok(Tokens { text, media, each, answers })
}

/// Estimates the tokens of a prompt whose usage is not reported: its text at `bytes_per_token`, and the tokens that
/// are reserved for images and audio.
pub fn prompt_estimate(request: &Value, bytes_per_token: u64) -> u64 {
    let (media, data) = media_of(request);
    let text = (request.json_len() as u64).saturating_sub(data);
    let beside = Tokens { text: text.div_ceil(bytes_per_token.max(1)), media, each: None, answers: 1 };
    beside.prompt()
}

/// The images and audio of a prompt, and the number of bytes of the request that are their data.
fn media_of(request: &Value) -> (Media, u64) {
    let (mut media, mut data) = (Media::default(), 0u64);
    for part in parts(request).map(|(_, _, part)| part) {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        let url = |image: &Value| image.as_text().or_else(|| image.get("url")?.as_text()).cloned();
        if matches!(kind, "image_url" | "input_image" | "image") {
            media.images = media.images.saturating_add(1);
            let own = part.get("image_url").and_then(url).filter(|url| is_data(url));
            let source = part.get("source").and_then(|source| source.get("data")?.as_text().cloned());
            let bytes = own.or(source).map_or(0, |own| own.len() as u64);
            data = data.saturating_add(bytes);
        }
        if kind == "input_audio"
            && let Some(sound) = part.get("input_audio").and_then(|sound| sound.get("data")?.as_text())
        {
            // Base64 has four characters for three bytes.
            let bytes = sound.len() as u64;
            let seconds = (bytes - bytes / 4).div_ceil(AUDIO_SECOND_BYTES);
            media.audio_seconds = media.audio_seconds.saturating_add(seconds);
            data = data.saturating_add(bytes);
        }
    }
    (media, data)
}

/// Whether a URL is a `data:` URL, which contains its content.
pub(crate) fn is_data(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Every part of every message, with the indexes of message and part.
pub(crate) fn parts(request: &Value) -> impl Iterator<Item = (usize, usize, &Value)> {
    let messages = request.get("messages").and_then(Value::as_array).into_iter().flat_map(Array::iter);
    messages.enumerate().flat_map(|(at, message)| {
        let parts = message.get("content").and_then(Value::as_array).into_iter().flat_map(Array::iter);
        parts.enumerate().map(move |(place, part)| (at, place, part))
    })
}

/// The chat-completions request that is sent: its limit of tokens is lowered to what is permitted, and has one name.
///
/// # Errors
/// INVALID_ARGUMENT if it is not a chat-completions request.
pub(crate) fn outgoing(policy: &Policy, agent: &str, request: &Value) -> Result<(Value, Tokens), Failure> {
    let Some(mut members) = request.as_object().cloned() else {
        return Err(wrong("is not a JSON object"));
    };
    if request.get("messages").and_then(Value::as_array).is_none_or(|messages| messages.is_empty()) {
        return Err(wrong("has no `messages`"));
    }
    let tokens = tokens(policy, agent, request)?;
    let [first, second, ..] = LIMITS;
    let name = if is_given(&members, second) { second } else { first };
    LIMITS.iter().filter(|other| **other != name).for_each(|other| drop(members.remove(other)));
    match tokens.each {
        Some(each) => drop(members.insert(name, each)),
        None => drop(members.remove(name)),
    }
    // The host sets the streaming members according to the call's own argument.
    members.remove("stream");
    members.remove("stream_options");
    Ok((members.into(), tokens))
}

/// The request as rules see it: the one that is sent, but with the limit of tokens under `max_tokens` and the
/// number of answers under `n`, under whatever names they came.
///
/// # Errors
/// As for [`outgoing`].
pub(crate) fn judged(policy: &Policy, agent: &str, request: &Value) -> Result<Value, Failure> {
    let (body, tokens) = outgoing(policy, agent, request)?;
    let Value::Object(mut members) = body else { return Err(wrong("is not a JSON object")) };
    LIMITS.iter().for_each(|name| drop(members.remove(name)));
    let [limit, ..] = LIMITS;
    if let Some(each) = tokens.each {
        members.insert(limit, each);
    }
    if ANSWERS.iter().any(|name| is_given(&members, name)) {
        ANSWERS.iter().for_each(|name| drop(members.remove(name)));
        let [answers, ..] = ANSWERS;
        members.insert(answers, tokens.answers);
    }
    Ok(members.into())
}

/// The request with a limit on its answer, if it has none and needs one: a budget of tokens or cost has so much
/// left, or the answer is `bound` for another reason. `None` if the request stays as it is.
pub(crate) fn limited(
    policy: &Policy,
    agent: &str,
    (request, price): (&Value, Option<&Price>),
    (tokens_left, cost_left): (Option<u64>, Option<u64>),
    bound: bool,
) -> Option<Value> {
    // A request that cannot be sent is refused when its costs are computed.
    let tokens = tokens(policy, agent, request).ok()?;
    if tokens.each.is_some() {
        return None;
    }
    // The limit becomes part of the request, and so counts as prompt.
    let prompt = tokens.prompt().saturating_add(LIMIT_BYTES_MAX);
    let paid_for = cost_left
        .zip(price)
        .map(|(left, price)| price.tokens_for(left.saturating_sub(price.at_most(prompt, 0, tokens.media))));
    let left = tokens_left.map(|left| left.saturating_sub(prompt));
    let most = left.into_iter().chain(paid_for).chain(bound.then_some(COMPLETION_TOKENS)).min()?;
    let mut members = request.as_object().cloned()?;
    let [name, ..] = LIMITS;
    members.insert(name, (most / tokens.answers).clamp(1, COMPLETION_TOKENS));
    Some(members.into())
}

/// The tokens and cost that an answer is charged, and the answer, with its usage marked if it is an estimate.
/// `spent` is the number of tokens that the host reports; the server's report is in the answer. At most what was
/// possible is charged.
pub(crate) fn charge_answer(
    policy: &Policy,
    (agent, request, price): (&str, &Value, Option<&Price>),
    response: Value,
    (spent, seen, limit): (u64, u64, u64),
) -> (Vec<(Dimension, u64)>, Value) {
    let told = response.get("usage").and_then(Usage::of).filter(|usage| usage.total() == spent);
    let usage = told.unwrap_or(Usage { completion: spent, ..Usage::default() });
    let Ok(tokens) = tokens(policy, agent, request) else {
        return (Vec::from([(Dimension::Tokens, spent)]), response);
    };
    let tokens = tokens.with_limit(limit);
    // The usage is unknown, so everything that was reserved is charged.
    if spent == u64::MAX {
        return (tokens.costs(price), estimated(response));
    }
    let (is_clamped, usage) = match (tokens.possible(request, &usage, seen), told) {
        (possible, Some(_)) => (possible != usage, possible),
        // It is unknown which of the tokens belong to prompt and answer.
        (_, None) => {
            let most = tokens
                .prompt_possible(request)
                .saturating_add(tokens.possible(request, &usage, seen).completion);
            (true, Usage { completion: spent.min(most), ..Usage::default() })
        }
    };
    let cost = price.map(|price| match told {
        Some(_) => price.of(&usage, tokens.media),
        None => price.of_any(usage.total(), tokens.media),
    });
    let is_estimated =
        is_clamped || price.is_some_and(|price| price.audio_second > 0) && tokens.media.audio_seconds > 0;
    let cost = cost.map(|cost| (Dimension::CostMicroUsd, cost));
    let charged = [(Dimension::Tokens, usage.total())].into_iter().chain(cost).collect();
    (charged, if is_estimated { estimated(response) } else { response })
}

/// The tokens and cost that a failed answer is charged after it used `spent` tokens: at the highest rate, and at
/// most what was reserved or possible. `spent` is 2^64 - 1 if the usage is unknown. At least `seen` answer tokens
/// are possible.
pub(crate) fn charge_failure(
    policy: &Policy,
    (agent, request, price): (&str, &Value, Option<&Price>),
    (spent, seen, limit): (u64, u64, u64),
) -> Vec<(Dimension, u64)> {
    let Ok(tokens) = tokens(policy, agent, request) else { return Vec::new() };
    let tokens = tokens.with_limit(limit);
    let (prompt, completion) = match spent {
        u64::MAX => (tokens.prompt(), tokens.completion()),
        // The usage that the server reported may exceed the reservation.
        _ => (tokens.prompt_possible(request), tokens.completion().max(seen)),
    };
    let most = prompt.saturating_add(completion);
    let cost = |price: &Price| match spent {
        0 => 0,
        spent => price.of_any(spent, tokens.media).min(price.at_most(prompt, completion, tokens.media)),
    };
    Vec::from([(Dimension::Tokens, spent.min(most)), (Dimension::CostMicroUsd, price.map_or(0, cost))])
}

/// The answer, its usage marked as estimated.
fn estimated(response: Value) -> Value {
    let Value::Object(mut members) = response else { return response };
    let mut usage = members.get("usage").and_then(Value::as_object).cloned().unwrap_or_default();
    usage.insert("estimated", true);
    members.insert("usage", usage);
    members.into()
}

/// A whole number, which may be written as a fraction such as 5.0.
fn exactly(value: &Value) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let as_float = || {
        let float = value.as_f64().filter(|float| (0.0..=EXACT_MAX).contains(float))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
        let whole = float as u64;
        #[expect(clippy::cast_precision_loss, reason = "it is exact")]
        let is_whole = whole as f64 == float;
        is_whole.then_some(whole)
    };
    value.as_u64().or_else(as_float)
}

fn is_given(members: &Object, name: &str) -> bool {
    members.get(name).is_some_and(|value| !value.is_null())
}

fn wrong(what: &str) -> Failure {
    Failure::new(Code::InvalidArgument, format!("the inference request {what}"))
}
