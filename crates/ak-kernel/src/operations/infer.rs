//! Requests to models: what goes out, what the policy judges, when a streamed answer has taken too many tokens.

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

/// Most bytes of records of the steps of a request to a model, the pieces of its answer not counted.
pub const INFERENCE_STEPS_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of a request to a model, pictures among them.
const INFERENCE_BYTES_MAX: u64 = 8 << 20;
/// How much longer the JSON of a model's answer may be than the longest answer, and that of one piece of it, in bytes.
const ANSWER_FRAMING_BYTES: u64 = 1 << 20;

/// Longest JSON of a model's answer, and of one piece of it, in bytes.
pub(crate) const fn answer_bytes_max(config: &Config) -> u64 {
    config.response_bytes_max.saturating_add(ANSWER_FRAMING_BYTES)
}

impl InferRequest {
    /// The model that it names.
    fn model(&self) -> Option<&Text> {
        self.request.get("model").and_then(Value::as_text)
    }

    /// The same with what the model's tokens cost, as `price` says by the model's name.
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
        // What goes out is what is judged; what cannot go out is refused when its costs are worked out.
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

/// Decides whether a stream goes on after so many more tokens of its answer, by their estimate.
fn on_chunk(pending: &mut PendingEffect, more: u64) -> Option<(DecisionRecord, StepAnswer)> {
    let EffectState::Infer { tokens, tokens_max } = &mut pending.state else { return None };
    *tokens = tokens.saturating_add(more);
    // What the server bounds, an estimate does not: only a server that does not is stopped.
    if *tokens <= tokens_max.saturating_mul(ESTIMATE_FACTOR_MAX) {
        return Some((DecisionRecord::new(Decision::Permit, KernelRule::Budget, None), StepAnswer::Continue));
    }
    let message = format!("the answer exceeds the {tokens_max} tokens that it was limited to");
    let failure = Failure::new(Code::BudgetExceeded, message).with("kind", Dimension::Tokens.as_str());
    Some((DecisionRecord::new(Decision::Refused, KernelRule::Budget, None), StepAnswer::Abort(failure)))
}

impl Kernel {
    /// Sending once more is a request of its own: it is decided on as the first was, and counted. Its tokens are set aside
    /// already.
    fn on_resend(&mut self, pending: &mut PendingEffect) -> (DecisionRecord, StepAnswer) {
        let caller = Caller { host_call: pending.within.map(|_| HostOperation::Infer), ..pending.caller() };
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        let nothing = [(Dimension::Tokens, 0), (Dimension::CostMicroUsd, 0)];
        match gate.authorize_hop(&pending.request, Vec::from(nothing)) {
            (decided, Ok(reservation)) => {
                // What it uses is charged once, where it was first set aside.
                self.agents.settle(reservation, &nothing, self.clock.elapsed);
                (decided, StepAnswer::Continue)
            }
            (decided, Err(failure)) => (decided, StepAnswer::Abort(failure)),
        }
    }

    /// Sets a limit on an answer that has none, as long as a budget of tokens or cost is to be kept: of what is left no more is
    /// taken than is there.
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
