//! Requests to models: how many tokens they may take, what goes out, and when a streamed answer has taken too many.

use alloc::{format, vec::Vec};

use ak_audit::Verdict as Ruled;
use ak_json::{Object, Value};
use ak_policy::{Policy, budget::Dimension};

use crate::{
    code::Code, effect::Verdict, gate::Ruling, kernel::Kernel, price::Price, reply::Failure,
    request::Request, under_way::UnderWay,
};

/// Tokens of completion where neither the request nor the policy names a limit.
pub const COMPLETION_TOKENS: u64 = 1_000;

/// The names by which servers take a limit on the tokens of an answer. The first is the one that goes out, unless the
/// request names the second: some models take only that.
const LIMITS: [&str; 6] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "n_predict",
    "num_predict",
];
/// The names by which servers take how many answers they are to make of one prompt.
const ANSWERS: [&str; 2] = ["n", "best_of"];

/// The tokens of a streamed answer are estimated from its length. While the budget has room for it, an answer may seem
/// longer than what was set aside by half and so many tokens more.
const ESTIMATE_SLACK: u64 = 64;

/// What a request asks for, and what it may get.
pub(crate) struct Tokens {
    /// The worst case of the prompt: a token is at least one byte of the request. Whatever stands in it may become part of
    /// the prompt: tools, schemas of the answer.
    pub(crate) prompt: u64,
    /// Of one answer.
    each: u64,
    answers: u64,
}

impl Tokens {
    /// Of all answers.
    pub(crate) fn completion(&self) -> u64 {
        self.each.saturating_mul(self.answers)
    }

    pub(crate) fn costs(&self, price: Option<Price>) -> Vec<(Dimension, u64)> {
        let (prompt, completion) = (self.prompt, self.completion());
        let tokens = (Dimension::Tokens, prompt.saturating_add(completion));
        // Where nobody says what it costs, it costs nothing: limits on cost count that too.
        let cost = price.map_or(0, |price| price.of(prompt, completion));
        Vec::from([tokens, (Dimension::CostMicroUsd, cost)])
    }
}

/// How many tokens a request may take, for an agent under a policy.
///
/// # Errors
/// INVALID_ARGUMENT where a number of tokens or answers is none: nobody knows what a server would make of it.
pub(crate) fn tokens(policy: &Policy, agent: &str, request: &Value) -> Result<Tokens, Failure> {
    let count = |name: &&str| match request.get(name) {
        None | Some(Value::Null) => Ok(None),
        // To local servers that is no limit.
        Some(value) if value.as_i64() == Some(-1) && LIMITS.contains(name) => Ok(None),
        Some(value) => whole(value)
            .map(Some)
            .ok_or_else(|| wrong(&format!("has a `{name}` that is no whole number from 0 to 2^64 - 1"))),
    };
    let counts = |names: &[&str]| names.iter().map(count).collect::<Result<Vec<_>, _>>();
    let wanted = counts(&LIMITS)?.into_iter().flatten().min().unwrap_or(COMPLETION_TOKENS);
    let allowed = policy.infer_max_tokens_of(agent).unwrap_or(u64::MAX);
    let answers = counts(&ANSWERS)?.into_iter().flatten().max().unwrap_or(1).max(1);
    Ok(Tokens { prompt: request.json_len() as u64, each: wanted.min(allowed), answers })
}

/// A chat-completions request as it goes out: whole, with its tokens clamped, under one name.
///
/// # Errors
/// INVALID_ARGUMENT where it is no such request.
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
    members.insert(name, tokens.each);
    // Whether to stream is the call's own argument; the host sets it.
    members.remove("stream");
    members.remove("stream_options");
    Ok((members.into(), tokens))
}

/// What rules are asked about: the request that goes out. The limit on its tokens stands under `max_tokens` and the number of
/// answers under `n`, by whatever names they came.
///
/// # Errors
/// As for [`outgoing`].
pub(crate) fn judged(policy: &Policy, agent: &str, request: &Value) -> Result<Value, Failure> {
    let (body, tokens) = outgoing(policy, agent, request)?;
    let Value::Object(mut members) = body else { return Err(wrong("is not a JSON object")) };
    LIMITS.iter().for_each(|name| drop(members.remove(name)));
    let [limit, ..] = LIMITS;
    members.insert(limit, tokens.each);
    if ANSWERS.iter().any(|name| is_given(&members, name)) {
        ANSWERS.iter().for_each(|name| drop(members.remove(name)));
        let [answers, ..] = ANSWERS;
        members.insert(answers, tokens.answers);
    }
    Ok(members.into())
}

impl Kernel {
    /// Decides whether a stream goes on after so many more tokens of its answer.
    pub(crate) fn judge_chunk(&mut self, under_way: &mut UnderWay, tokens: u64) -> (Ruling, Verdict) {
        under_way.tokens = under_way.tokens.saturating_add(tokens);
        let (seen, reserved) = (under_way.tokens, under_way.tokens_max);
        let excess = seen.saturating_sub(reserved);
        if excess == 0 || excess <= self.leeway(under_way) {
            return (Ruling::new(Ruled::Permit, "budget", None), Verdict::Continue);
        }
        let message = format!("the answer exceeds the {reserved} tokens set aside for it");
        let failure = Failure::new(Code::BudgetExceeded, message).with("kind", Dimension::Tokens.as_str());
        (Ruling::new(Ruled::Refused, "budget", None), Verdict::Abort(failure))
    }

    /// By how many tokens an answer may seem longer than what was set aside for it.
    fn leeway(&self, under_way: &UnderWay) -> u64 {
        let Request::Inference { request, price, .. } = &under_way.request else { return 0 };
        // Every byte of the prompt was set aside as a token, which is about four times what it takes.
        let bytes = request.json_len() as u64;
        let prompt = bytes - bytes.div_ceil(4);
        // What a capability allows is known to its own account alone.
        let is_bound = !under_way.hold.capabilities.is_empty();
        let left = |dimension, spare: u64| {
            if is_bound {
                return spare;
            }
            self.agents
                .left(under_way.account, dimension, self.clock.elapsed)
                .map_or(u64::MAX, |left| left.saturating_add(spare))
        };
        let paid_for =
            price.map(|price| price.tokens_for(left(Dimension::CostMicroUsd, price.of(prompt, 0))));
        let estimate = (under_way.tokens_max / 2).saturating_add(ESTIMATE_SLACK);
        estimate.min(left(Dimension::Tokens, prompt)).min(paid_for.unwrap_or(u64::MAX))
    }
}

/// A number that may be written as a fraction, such as 5.0.
fn whole(value: &Value) -> Option<u64> {
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
