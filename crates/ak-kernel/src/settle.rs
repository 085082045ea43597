//! Effects under way: what may happen on the way, and what their end means.

use alloc::{boxed::Box, format, string::ToString, vec::Vec};
use core::net::IpAddr;

use ak_audit::Decision as Ruled;
use ak_json::{Text, Value, object};
use ak_policy::{CanonicalUrl, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use crate::{
    code::Code,
    effect::{Completion, Step, Verdict},
    gate::{Gate, Ruling},
    http_hop::HttpHop,
    kernel::{Caller, Kernel},
    question::Question,
    reply::{Failure, Reply},
    request::Request,
    tool_request::stands_for,
    tool_run::FUEL,
    under_way::UnderWay,
    upgrade::Recorded,
};

impl Kernel {
    /// Decides on a step of an effect.
    pub(crate) fn judge(&mut self, under_way: &mut UnderWay, step: Step) -> (Ruling, Verdict) {
        if let Some(recorded) = self.recorded.clone() {
            return self.step_as_recorded(under_way, step, &recorded);
        }
        match (step, under_way.hop.clone()) {
            (Step::Resolved(addresses), Some(hop)) => self.judge_addresses(under_way, &hop, &addresses),
            (Step::Redirect { method, url }, Some(hop)) => {
                self.judge_redirect(under_way, &hop, &method, &url)
            }
            (Step::Chunk { tokens, .. }, None) if matches!(under_way.request, Request::Inference { .. }) => {
                self.judge_chunk(under_way, tokens)
            }
            (Step::Link { path }, None) if under_way.links_beneath.is_some() => {
                self.judge_link(under_way, &path)
            }
            (Step::Resend, None) if matches!(under_way.request, Request::Inference { .. }) => {
                self.judge_resend(under_way)
            }
            (
                Step::Resolved(_)
                | Step::Redirect { .. }
                | Step::Link { .. }
                | Step::Resend
                | Step::Chunk { .. },
                _,
            ) => {
                let failure = Failure::new(Code::InvalidArgument, "this step does not belong to this effect");
                (Ruling::new(Ruled::Refused, "step", None), Verdict::Abort(failure))
            }
        }
    }

    /// Takes a step as an earlier version decided about it.
    fn step_as_recorded(
        &mut self,
        under_way: &mut UnderWay,
        step: Step,
        recorded: &Recorded,
    ) -> (Ruling, Verdict) {
        let ruling = Ruling { rule: recorded.rule.clone(), ..Ruling::new(recorded.decision, "", None) };
        if recorded.code != 0 {
            let code = Code::from_number(recorded.code).unwrap_or(Code::PolicyDeny);
            return (ruling, Verdict::Abort(Failure::new(code, code.meaning())));
        }
        match step {
            Step::Redirect { method, url } => {
                let url = CanonicalUrl::parse(&url).ok();
                let next = under_way.hop.as_ref().zip(url).map(|(hop, url)| hop.redirected(method, url));
                under_way.hop = next.or_else(|| under_way.hop.clone());
            }
            Step::Chunk { tokens, .. } => under_way.tokens = under_way.tokens.saturating_add(tokens),
            Step::Resolved(_) | Step::Link { .. } | Step::Resend => {}
        }
        (ruling, Verdict::Continue)
    }

    /// Of a host's addresses those remain that may be connected to.
    fn judge_addresses(
        &mut self,
        under_way: &mut UnderWay,
        hop: &HttpHop,
        found: &[IpAddr],
    ) -> (Ruling, Verdict) {
        let caller = under_way.caller();
        let agent = self.agents.name(caller.account);
        let question = match self.question_of(under_way, hop, &agent) {
            Some(question) => question,
            None => return (Ruling::new(Ruled::Refused, "step", None), Verdict::Connect(Vec::new())),
        };
        let port = hop.url.port();
        let mut gate = self.gate_of(&caller, agent);
        let (open, hold, refused) = gate.authorize_connection(&question, found, port);
        under_way.hold.join(hold);
        let target = open.first().or(found.first()).map(|address| Target::addr(*address, port).to_string());
        if !open.is_empty() {
            return (Ruling::new(Ruled::Permit, "address", target), Verdict::Connect(open));
        }
        if let Some(failure) = refused {
            return (Ruling::new(Ruled::DefaultDeny, "address", target), Verdict::Abort(failure));
        }
        let closed: Vec<_> = found.iter().map(|address| Target::addr(*address, port).to_string()).collect();
        let url = &hop.url;
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

    /// The question that the request puts which is sent at the moment.
    fn question_of(&self, under_way: &UnderWay, hop: &HttpHop, agent: &Text) -> Option<Question> {
        let Request::Http(first) = &under_way.request else { return None };
        let request = Request::Http(hop.as_request(first));
        Question::of(&request, agent, &self.policy, &under_way.prepared, |_| false).ok().flatten()
    }

    /// A redirect is a request of its own: it is decided on as it will be sent, and charged.
    fn judge_redirect(
        &mut self,
        under_way: &mut UnderWay,
        hop: &HttpHop,
        method: &Text,
        url: &Text,
    ) -> (Ruling, Verdict) {
        let refuse = |reason: &str| {
            let failure = Failure::new(Code::PolicyDeny, format!("redirect to {}: {reason}", &**url));
            (Ruling::new(Ruled::Refused, "canonical", Some(url.to_string())), Verdict::Abort(failure))
        };
        let Request::Http(first) = &under_way.request else { return refuse("this is no HTTP request") };
        let url = match CanonicalUrl::parse(url) {
            Ok(url) => url,
            Err(error) => return refuse(&error.to_string()),
        };
        let next = hop.redirected(method.clone(), url);
        let http = next.as_request(first);
        let size = http.size();
        let request = Request::Http(http);
        let caller =
            Caller { host_call: under_way.within.map(|_| HostOperation::Http), ..under_way.caller() };
        let agent = self.agents.name(caller.account);
        let presented = under_way.presented.clone();
        let mut gate = Gate { presented, prepared: &under_way.prepared, ..self.gate_of(&caller, agent) };
        match gate.authorize_hop(&request, Vec::from([(Dimension::Bytes, size)])) {
            (ruling, Ok(hold)) => {
                under_way.hold.join(hold);
                under_way.hop = Some(next.clone());
                under_way.sent.push(size);
                (ruling, Verdict::Follow(Box::new(next)))
            }
            (ruling, Err(failure)) => (ruling, Verdict::Abort(failure)),
        }
    }

    /// What a link leads to is asked for under its own path, which must not leave the root that was granted. Its bytes are set
    /// aside already.
    fn judge_link(&mut self, under_way: &mut UnderWay, path: &Text) -> (Ruling, Verdict) {
        let refuse = |reason: &str| {
            let failure = Failure::new(Code::PolicyDeny, format!("the link to {}: {reason}", &**path));
            (Ruling::new(Ruled::Refused, "link", Some(path.to_string())), Verdict::Abort(failure))
        };
        let root = under_way.links_beneath.clone().unwrap_or_default();
        let rest = path.strip_prefix(root.trim_end_matches('/'));
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return refuse(&format!("it leads out of {}", &*root));
        }
        if !Target::path(path).is_ok_and(|target| target.to_string() == **path) {
            return refuse("it is not in its canonical form");
        }
        let mut request = under_way.request.clone();
        match &mut request {
            Request::FsRead { path: own, .. }
            | Request::FsWrite { path: own, .. }
            | Request::FsList { path: own }
            | Request::FsStat { path: own }
            | Request::FsDelete { path: own } => own.clone_from(path),
            _ => return refuse("this is no file"),
        }
        let operation = HostOperation::ALL
            .into_iter()
            .find(|operation| stands_for(*operation) == Some(request.operation()));
        let caller = Caller { host_call: under_way.within.and(operation), ..under_way.caller() };
        let agent = self.agents.name(caller.account);
        let presented = under_way.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        match gate.authorize_hop(&request, Vec::from([(Dimension::Bytes, 0)])) {
            (ruling, Ok(hold)) => {
                under_way.hold.join(hold);
                (ruling, Verdict::Continue)
            }
            (ruling, Err(failure)) => (ruling, Verdict::Abort(failure)),
        }
    }

    /// Sending once more is a request of its own: it is decided on as the first was, and counted. Its tokens are set aside
    /// already.
    fn judge_resend(&mut self, under_way: &mut UnderWay) -> (Ruling, Verdict) {
        let caller =
            Caller { host_call: under_way.within.map(|_| HostOperation::Infer), ..under_way.caller() };
        let agent = self.agents.name(caller.account);
        let presented = under_way.presented.clone();
        let mut gate = Gate { presented, ..self.gate_of(&caller, agent) };
        let nothing = Vec::from([(Dimension::Tokens, 0), (Dimension::CostMicroUsd, 0)]);
        match gate.authorize_hop(&under_way.request, nothing) {
            (ruling, Ok(hold)) => {
                // What it uses is charged once, where it was first set aside.
                self.agents.settle(
                    hold,
                    &[(Dimension::Tokens, 0), (Dimension::CostMicroUsd, 0)],
                    self.clock.elapsed,
                );
                (ruling, Verdict::Continue)
            }
            (ruling, Err(failure)) => (ruling, Verdict::Abort(failure)),
        }
    }

    /// Settles an effect's account and turns its end into the reply.
    pub(crate) fn conclude(&mut self, under_way: UnderWay, completion: Completion) -> Result<Reply, Failure> {
        let UnderWay {
            request,
            hold,
            aborted,
            within,
            sent: hops,
            account,
            tokens: seen,
            tokens_max: limit,
            ..
        } = under_way;
        let agent = self.agents.name(account);
        let sent = match &request {
            Request::FsWrite { data, .. } => data.len() as u64,
            // What never left this machine was not sent.
            Request::Http(_) => hops.iter().take(completion.hops_sent(hops.len())).sum(),
            _ => 0,
        };
        let used = |received: u64| [(Dimension::Bytes, sent.saturating_add(received))];
        let (reply, actual) = match completion {
            Completion::Unknown => {
                // Whatever was set aside counts as used.
                self.agents.settle(hold, &[], self.clock.elapsed);
                let message =
                    "this was begun, and nothing reliable came back: it may or may not have happened";
                return Err(aborted.unwrap_or_else(|| Failure::new(Code::UnknownOutcome, message)));
            }
            Completion::Failed { code, message, context, spent } => {
                let dimension = match &request {
                    // A tool that was called by a tool has used up the outer one's.
                    Request::Call { .. } if within.is_none() => Some(Dimension::Cpu),
                    _ => None,
                };
                let received = matches!(request, Request::Http(_)).then_some(spent).unwrap_or_default();
                let mut actual = Vec::from(used(received));
                match &request {
                    Request::Inference { request: asked, price, .. } => {
                        actual.extend(
                            self.charge_failure((&agent, asked, price.as_ref()), (spent, seen, limit)),
                        );
                    }
                    _ => actual.extend(dimension.map(|dimension| (dimension, spent))),
                }
                if matches!(request, Request::Call { .. }) {
                    actual.push((Dimension::ToolCalls, 1));
                }
                self.agents.settle(hold, &actual, self.clock.elapsed);
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
            Completion::Value(value) => {
                // What the log needs to know of an erasure is no part of the answer.
                let objects = value.get("objects").cloned();
                let value = match &request {
                    Request::Erase { .. } => object! { "objects": objects },
                    _ => value,
                };
                (Reply::Value(value), Vec::from(used(0)))
            }
            Completion::Http(response) => {
                let actual = Vec::from(used(response.body.len() as u64));
                (Reply::Http(response), actual)
            }
            Completion::Inferred { response, tokens } => {
                let Request::Inference { request: asked, price, .. } = &request else {
                    unreachable!("a completion is of its request's kind")
                };
                let (charged, response) =
                    self.charge_answer((&agent, asked, price.as_ref()), response, (tokens, seen, limit));
                (Reply::Value(response), charged)
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
        self.agents.settle(hold, &actual, self.clock.elapsed);
        match aborted {
            None => Ok(reply),
            Some(failure) => Err(failure),
        }
    }
}
