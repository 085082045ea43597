//! Requests to models: the request that is sent, the policy query, and the limit of tokens for a streamed answer.

use alloc::{borrow::Cow, format, vec::Vec};

use ak_audit::Decision;
use ak_json::{Object, Text, Value, object};
use ak_policy::{Action, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use super::{Amounts, Begun, Completed, EffectSize, Family, Permitted, Started, members, query_for};
use crate::{
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, Spent, Step, StepAnswer},
        fields::{FieldError, Fields, insert_some},
        kernel_rule::KernelRule,
        operation::InferOperation,
        price::Price,
        reply::{Failure, Reply},
        request::{InferRequest, Request},
        session::AgentId,
    },
    authz::{
        gate::{DecisionRecord, Gate},
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    models::tokens::{self, ESTIMATE_FACTOR_MAX},
    state::{Caller, Kernel},
};

/// Most bytes of records of the steps of a request to a model, without the chunks of its answer.
pub const INFERENCE_STEPS_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of a request to a model, including images.
const INFERENCE_BYTES_MAX: u64 = 8 << 20;
/// Bytes by which the JSON of a model's answer, or of one chunk, may exceed the longest answer.
const ANSWER_FRAMING_BYTES: u64 = 1 << 20;

/// Longest JSON of a model's answer, or of one chunk, in bytes.
pub(crate) const fn answer_bytes_max(config: &Config) -> u64 {
    config.response_bytes_max.saturating_add(ANSWER_FRAMING_BYTES)
}

impl InferRequest {
    /// The model that the request names.
    fn model(&self) -> Option<&Text> {
        self.request.get("model").and_then(Value::as_text)
    }

    /// Sets the price of the model; `price` receives the model's name.
    pub(crate) fn set_price(&mut self, price: impl FnOnce(&str) -> Option<Price>) {
        self.price = self.model().cloned().and_then(|model| price(&model));
    }
}

impl Family for InferRequest {
    type Row = InferOperation;

    fn row(&self) -> InferOperation {
        InferOperation::Inference
    }

    fn decode(
        InferOperation::Inference: InferOperation,
        fields: &mut Fields<'_>,
    ) -> Result<InferRequest, FieldError> {
        Ok(InferRequest {
            request: fields.value("request")?,
            stream: fields.flag("stream")?,
            price: fields.optional("price").as_ref().map(Price::from_value).transpose()?,
        })
    }

    fn args(&self) -> Value {
        let mut args = Object::new();
        args.insert("request", self.request.clone());
        args.insert("stream", self.stream);
        insert_some(&mut args, "price", self.price.as_ref().map(Price::to_value));
        args.into()
    }

    fn size(&self) -> u64 {
        self.request.json_len() as u64
    }

    fn size_max(&self) -> u64 {
        INFERENCE_BYTES_MAX
    }

    fn longest_name(&self) -> usize {
        0
    }

    fn each_value(&self, look: &mut dyn FnMut(&Value) -> bool) -> bool {
        look(&self.request)
    }

    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        let Some(model) = self.model().filter(|model| !model.is_empty()) else {
            return Err(InvalidTarget {
                op: Cow::Borrowed(Action::Infer.as_str()),
                target: Text::default(),
                reason: "the request names no `model`".into(),
            });
        };
        // The policy decides on the request as it will be sent. A request that cannot be sent is refused by
        // `charges`.
        let judged = tokens::judged(asker.policy, asker.agent, &self.request);
        let args = judged.unwrap_or_else(|_| self.request.clone());
        query_for(Action::Infer, Target::model(model), model, Some(args))
    }

    fn charges(&self, kernel: &Kernel, _caller: &Caller, agent: &str) -> Result<Amounts, Failure> {
        Ok(tokens::tokens(&kernel.policy, agent, &self.request)?.costs(self.price.as_ref()))
    }

    fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        Some(EffectSize {
            outcome_bytes_max: answer_bytes_max(config),
            steps_bytes_max: INFERENCE_STEPS_BYTES_MAX,
        })
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        Vec::from([agent.clone()])
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        members(object! {
            "model": self.request.get("model").cloned().unwrap_or_default(), "stream": self.stream,
        })
    }

    fn outcome_details(&self, reply: &Reply, keys: &mut Object) {
        if let Reply::Value(result) = reply {
            insert_some(keys, "usage", result.get("usage").cloned());
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let Permitted { caller, target: Some(Target::Model(model)), .. } = permitted else {
            return Err(Failure::new(Code::InvalidArgument, "the request names no model"));
        };
        let agent = kernel.agents.name(caller.account);
        let (body, tokens) = tokens::outgoing(&kernel.policy, &agent, &self.request)?;
        let effect = Effect::Infer {
            model: Text::from(model.as_str()),
            request: body,
            stream: self.stream,
            response_bytes_max: kernel.config.response_bytes_max,
        };
        let state = EffectState::Infer { tokens: 0, tokens_max: tokens.limit().unwrap_or(u64::MAX) };
        Ok(Started::Effect(effect, Begun::new(self, state, caller)))
    }

    fn on_step(
        &self,
        kernel: &mut Kernel,
        pending: &mut PendingEffect,
        step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        match step {
            Step::Chunk { tokens, .. } => on_chunk(pending, tokens),
            Step::Resend => Some(kernel.on_resend(pending)),
            Step::Resolved(_) | Step::Redirect { .. } | Step::Link { .. } | Step::Path { .. } => None,
        }
    }

    fn complete(
        &self,
        kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        let Completion::Inferred { response, tokens: spent } = completion else { return None };
        let EffectState::Infer { tokens: seen, tokens_max } = pending.state else { return None };
        let agent = kernel.agents.name(pending.account);
        let asked = (&*agent, &self.request, self.price.as_ref());
        let (used, response) =
            tokens::charge_answer(&kernel.policy, asked, response, (spent, seen, tokens_max));
        Some(Completed::new(Reply::Value(response), used))
    }

    fn charge_failure(&self, kernel: &Kernel, pending: &PendingEffect, spent: &Spent) -> Amounts {
        let mut used = Amounts::from([(Dimension::Bytes, 0)]);
        let EffectState::Infer { tokens: seen, tokens_max } = pending.state else { return used };
        let agent = kernel.agents.name(pending.account);
        let asked = (&*agent, &self.request, self.price.as_ref());
        used.extend(tokens::charge_failure(&kernel.policy, asked, (spent.amount, seen, tokens_max)));
        used
    }
}

/// Decides whether a stream may continue after `more` tokens, which the host estimated.
fn on_chunk(pending: &mut PendingEffect, more: u64) -> Option<(DecisionRecord, StepAnswer)> {
    let EffectState::Infer { tokens, tokens_max } = &mut pending.state else { return None };
    *tokens = tokens.saturating_add(more);
    // An estimate may exceed the number that the server counts, so only a stream far above the limit is aborted.
    if *tokens <= tokens_max.saturating_mul(ESTIMATE_FACTOR_MAX) {
        return Some((DecisionRecord::new(Decision::Permit, KernelRule::Budget, None), StepAnswer::Continue));
    }
    let message = format!("the answer exceeds the {tokens_max} tokens that it was limited to");
    let failure = Failure::new(Code::BudgetExceeded, message).with("kind", Dimension::Tokens.as_str());
    Some((DecisionRecord::new(Decision::Refused, KernelRule::Budget, None), StepAnswer::Abort(failure)))
}

impl Kernel {
    /// Decides on sending the request once more, as on a new request, and counts it. Its tokens are reserved
    /// already.
    fn on_resend(&mut self, pending: &mut PendingEffect) -> (DecisionRecord, StepAnswer) {
        let caller = Caller { host_call: pending.within.map(|_| HostOperation::Infer), ..pending.caller() };
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        let nothing = [(Dimension::Tokens, 0), (Dimension::CostMicroUsd, 0)];
        match gate.authorize_hop(&pending.request, Vec::from(nothing)) {
            (decided, Ok(reservation)) => {
                // The tokens are charged once, with the first reservation.
                self.agents.settle(reservation, &nothing, self.clock.elapsed);
                (decided, StepAnswer::Continue)
            }
            (decided, Err(failure)) => (decided, StepAnswer::Abort(failure)),
        }
    }

    /// Sets a limit on an answer that has none if a budget of tokens or cost must be enforced, or the answer is
    /// `bound` for another reason. The limit is what is left of the budget, at most `COMPLETION_TOKENS`.
    pub(crate) fn limit_answer(&self, account: AgentId, agent: &str, asked: &mut Request, bound: bool) {
        let Request::Infer(InferRequest { request, price, .. }) = asked else { return };
        let left = |dimension| self.agents.left(account, dimension, self.clock.elapsed);
        let budget = (left(Dimension::Tokens), left(Dimension::CostMicroUsd));
        if let Some(limited) = tokens::limited(&self.policy, agent, (request, price.as_ref()), budget, bound)
        {
            *request = limited;
        }
    }
}
