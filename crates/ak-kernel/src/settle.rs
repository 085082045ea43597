//! Effects under way: what may happen on the way, and what their end means.

use alloc::{format, string::ToString, vec::Vec};
use core::net::IpAddr;

use ak_audit::Verdict as Ruled;
use ak_json::{Text, Value, object};
use ak_policy::{Action, CanonicalUrl, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use crate::{
    code::Code,
    effect::{Completion, Step, Verdict},
    gate::{Gate, Ruling},
    kernel::Kernel,
    question::Question,
    reply::{Failure, Reply},
    request::Request,
    tool_run::FUEL,
    under_way::UnderWay,
};

impl Kernel {
    /// Decides on a step of an effect.
    pub(crate) fn judge(&mut self, under_way: &mut UnderWay, step: Step) -> (Ruling, Verdict) {
        match (step, under_way.url.clone()) {
            (Step::Resolved(addresses), Some(url)) => self.judge_addresses(under_way, &url, &addresses),
            (Step::Redirect { method, url }, Some(_)) => self.judge_redirect(under_way, &method, &url),
            (Step::Chunk { tokens, .. }, None) if matches!(under_way.request, Request::Inference { .. }) => {
                self.judge_chunk(under_way, tokens)
            }
            (Step::Resolved(_) | Step::Redirect { .. } | Step::Chunk { .. }, _) => {
                let failure = Failure::new(Code::InvalidArgument, "this step does not belong to this effect");
                (Ruling::new(Ruled::Refused, "step", None), Verdict::Abort(failure))
            }
        }
    }

    /// Of a host's addresses those remain that may be connected to.
    fn judge_addresses(
        &mut self,
        under_way: &UnderWay,
        url: &CanonicalUrl,
        found: &[IpAddr],
    ) -> (Ruling, Verdict) {
        let agent = self.agents.name(under_way.session);
        let tools = under_way.tools.clone();
        let question = match Question::of(&under_way.request, &agent) {
            Ok(Some(question)) => Question { target: Target::Url(url.clone()), ..question },
            Ok(None) | Err(_) => {
                return (Ruling::new(Ruled::Refused, "step", None), Verdict::Connect(Vec::new()));
            }
        };
        let gate = Gate { tools, ..self.gate(under_way.session, agent) };
        let open = gate.open_addresses(&question, found, url.port());
        let target = found.first().map(|address| Target::addr(*address, url.port()).to_string());
        if !open.is_empty() {
            return (Ruling::new(Ruled::Permit, "address", target), Verdict::Connect(open));
        }
        let closed: Vec<_> =
            found.iter().map(|address| Target::addr(*address, url.port()).to_string()).collect();
        let message = match closed.as_slice() {
            [] => format!("{url}: the host has no address"),
            _ => format!(
                "{url}: private and special addresses are closed unless `[net] connect` grants them: {}",
                closed.join(", ")
            ),
        };
        (
            Ruling::new(Ruled::DefaultDeny, "address", target),
            Verdict::Abort(Failure::new(Code::PolicyDeny, message)),
        )
    }

    /// A redirect is a request of its own.
    fn judge_redirect(&mut self, under_way: &mut UnderWay, method: &str, url: &Text) -> (Ruling, Verdict) {
        let refuse = |reason: &str| {
            let failure = Failure::new(Code::PolicyDeny, format!("redirect to {}: {reason}", &**url));
            (Ruling::new(Ruled::Refused, "canonical", Some(url.to_string())), Verdict::Abort(failure))
        };
        let Some(action) = Action::from_method(method) else { return refuse("the method is not known") };
        let url = match CanonicalUrl::parse(url) {
            Ok(url) => url,
            Err(error) => return refuse(&error.to_string()),
        };
        let agent = self.agents.name(under_way.session);
        let args = Question::of(&under_way.request, &agent).ok().flatten().and_then(|question| question.args);
        let question = Question { action, target: Target::Url(url.clone()), args, owned: false };
        let (presented, tools) = (under_way.presented.clone(), under_way.tools.clone());
        let host_call = under_way.within.map(|_| HostOperation::Http);
        let gate = Gate { presented, tools, host_call, ..self.gate(under_way.session, agent) };
        match gate.ask(&question, &[]) {
            (ruling, Ok(_)) => {
                under_way.url = Some(url.clone());
                (ruling, Verdict::Follow(url))
            }
            (ruling, Err(failure)) => (ruling, Verdict::Abort(failure)),
        }
    }

    /// Settles an effect's account and turns its end into the reply.
    pub(crate) fn conclude(&mut self, under_way: UnderWay, completion: Completion) -> Result<Reply, Failure> {
        let UnderWay { request, hold, aborted, within, .. } = under_way;
        let price = match &request {
            Request::Inference { price, .. } => *price,
            _ => None,
        };
        let sent = match &request {
            Request::FsWrite { data, .. } => data.len() as u64,
            Request::Http(http) => http.body.as_ref().map_or(0, |body| body.len() as u64),
            _ => 0,
        };
        let used = |received: u64| [(Dimension::Bytes, sent.saturating_add(received))];
        let (reply, actual) = match completion {
            Completion::Unknown => {
                // Whatever was set aside counts as used.
                self.agents.settle(hold, &[]);
                let message =
                    "this was begun, and nothing reliable came back: it may or may not have happened";
                return Err(aborted.unwrap_or_else(|| Failure::new(Code::UnknownOutcome, message)));
            }
            Completion::Failed { code, message, context, spent } => {
                let dimension = match &request {
                    Request::Inference { .. } => Some(Dimension::Tokens),
                    // A tool that was called by a tool has used up the outer one's.
                    Request::Call { .. } if within.is_none() => Some(Dimension::Cpu),
                    _ => None,
                };
                let received = matches!(request, Request::Http(_)).then_some(spent).unwrap_or_default();
                let mut actual = Vec::from(used(received));
                actual.extend(dimension.map(|dimension| (dimension, spent)));
                actual.extend(price.map(|price| (Dimension::CostMicroUsd, price.of_any(spent))));
                if matches!(request, Request::Call { .. }) {
                    actual.push((Dimension::ToolCalls, 1));
                }
                self.agents.settle(hold, &actual);
                let mut failure = aborted.unwrap_or(Failure { context, ..Failure::new(code, message) });
                if within.is_some() && matches!(request, Request::Call { .. }) {
                    failure = failure.with(FUEL, spent);
                }
                return Err(failure);
            }
            Completion::Done => (Reply::Done, Vec::from(used(0))),
            Completion::File(bytes) => {
                let actual = Vec::from(used(bytes.len() as u64));
                (Reply::Bytes(bytes), actual)
            }
            Completion::Value(value) => (Reply::Value(value), Vec::from(used(0))),
            Completion::Http(response) => {
                let actual = Vec::from(used(response.body.len() as u64));
                (Reply::Http(response), actual)
            }
            Completion::Inferred { response, tokens } => {
                let cost = price.map(|price| (Dimension::CostMicroUsd, price.of_answer(&response, tokens)));
                (Reply::Value(response), [(Dimension::Tokens, tokens)].into_iter().chain(cost).collect())
            }
            Completion::Tool { output, fuel, .. } => {
                let mut actual = Vec::from([(Dimension::ToolCalls, 1)]);
                let mut reply = object! { "output": output };
                match (&mut reply, within) {
                    (Value::Object(reply), Some(_)) => {
                        reply.insert(FUEL, fuel);
                    }
                    _ => actual.push((Dimension::Cpu, fuel)),
                }
                (Reply::Value(reply), actual)
            }
        };
        self.agents.settle(hold, &actual);
        match aborted {
            None => Ok(reply),
            Some(failure) => Err(failure),
        }
    }
}
