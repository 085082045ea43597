//! HTTP: a request, the addresses that it may connect to, and its redirects. The gate decides on each redirect as a
//! request of its own, exactly as it will be sent, and charges it.

use alloc::{
    borrow::Cow,
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::net::IpAddr;

use ak_audit::Decision;
use ak_json::{Limits, Object, Text, Value, object};
use ak_policy::{Action, CanonicalUrl, Target, budget::Dimension};
use ak_sandbox::HostOperation;

use super::{Amounts, Begun, Completed, DATA_BYTES_MAX, EffectSize, Family, Permitted, Started, members};
use crate::{
    api::{
        code::Code,
        config::Config,
        effect::{Completion, Effect, Spent, Step, StepAnswer},
        fields::{FieldError, Fields, encoded_bytes},
        http_hop::HttpHop,
        kernel_rule::KernelRule,
        operation::HttpOperation,
        prepared::{LONG_BYTES, Prepared},
        reply::{Failure, Reply},
        request::{HttpRequest, Request},
    },
    authz::{
        gate::{DecisionRecord, Gate},
        query::{InvalidTarget, PolicyQuery, QueryContext},
    },
    effects::pending::{EffectState, PendingEffect},
    state::{Caller, Kernel},
};

/// Most addresses of a host that the kernel decides on; further ones are dropped.
pub const ADDRESSES_MAX: usize = 64;
/// Most bytes of records of the steps of an HTTP request: addresses and redirects.
pub const HTTP_STEPS_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of an HTTP response's status and headers, as JSON writes them.
pub const RESPONSE_HEAD_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of a body that is parsed as JSON for the policy.
const PARSED_BODY_BYTES_MAX: usize = 1 << 20;

impl Family for HttpRequest {
    type Row = HttpOperation;

    fn row(&self) -> HttpOperation {
        HttpOperation::Http
    }

    fn decode(
        HttpOperation::Http: HttpOperation,
        fields: &mut Fields<'_>,
    ) -> Result<HttpRequest, FieldError> {
        HttpRequest::from_fields(fields)
    }

    fn args(&self) -> Value {
        self.to_value()
    }

    fn size(&self) -> u64 {
        self.bytes()
    }

    fn size_max(&self) -> u64 {
        DATA_BYTES_MAX
    }

    fn longest_name(&self) -> usize {
        self.url.len()
    }

    fn each_value(&self, _look: &mut dyn FnMut(&Value) -> bool) -> bool {
        true
    }

    fn rejection(&self) -> Option<Failure> {
        self.has_too_long_headers().map(|message| Failure::new(Code::Limit, message))
    }

    fn query(&self, asker: &QueryContext<'_>) -> Result<Option<PolicyQuery>, InvalidTarget> {
        let invalid =
            |op: Cow<'static, str>, reason: String| InvalidTarget { op, target: self.url.clone(), reason };
        let action = Action::from_method(&self.method)
            .ok_or_else(|| invalid(Cow::Borrowed("http"), wrong_method(&self.method)))?;
        let named: Cow<'static, str> = Cow::Owned(action.to_string());
        let target = Target::url(&self.url)
            .map_err(|error| invalid(named.clone(), format!("{:?}: {error}", &*self.url)))?;
        let args = http_args(self, asker.prepared).map_err(|reason| invalid(named, reason))?;
        Ok(Some(PolicyQuery { action, target, args: Some(args), owned: false }))
    }

    fn charges(&self, kernel: &Kernel, _caller: &Caller, _agent: &str) -> Result<Amounts, Failure> {
        let response = self.response_bytes_max.min(kernel.config.response_bytes_max);
        Ok(Amounts::from([(Dimension::Bytes, self.size().saturating_add(response))]))
    }

    fn effect_size(&self, config: &Config) -> Option<EffectSize> {
        let body = encoded_bytes(self.response_bytes_max.min(config.response_bytes_max));
        Some(EffectSize {
            outcome_bytes_max: body.saturating_add(RESPONSE_HEAD_BYTES_MAX),
            steps_bytes_max: HTTP_STEPS_BYTES_MAX,
        })
    }

    fn subjects(&self, _kernel: &Kernel, agent: &Text) -> Vec<Text> {
        Vec::from([agent.clone()])
    }

    fn prepare(&self, prepared: &mut Prepared) {
        let body = self.body.as_ref().filter(|_| self.size() >= LONG_BYTES);
        prepared.http_body = body.map(|body| (body.clone(), body_value(body)));
    }

    fn decision_details(&self, _ruling: &DecisionRecord) -> Object {
        members(object! { "method": self.method.clone(), "url": self.url.clone() })
    }

    fn outcome_details(&self, reply: &Reply, keys: &mut Object) {
        if let Reply::Http(response) = reply {
            keys.insert("status", u64::from(response.status));
        }
    }

    fn start(self, kernel: &mut Kernel, permitted: Permitted<'_>) -> Result<Started, Failure> {
        let Permitted { caller, target: Some(Target::Url(url)), .. } = permitted else {
            return Err(Failure::new(Code::InvalidArgument, "the request has no URL"));
        };
        let hop = HttpHop::first(&self, url);
        let effect = Effect::Http {
            hop: hop.clone(),
            response_bytes_max: self.response_bytes_max.min(kernel.config.response_bytes_max),
            timeout_ms: self.timeout_ms.min(kernel.config.http_timeout_ms_max),
        };
        let sent = Vec::from([self.size()]);
        let state = EffectState::Http { hop: Box::new(hop), sent, prepared: kernel.prepared.clone() };
        Ok(Started::Effect(effect, Begun::new(self, state, caller)))
    }

    fn on_step(
        &self,
        kernel: &mut Kernel,
        pending: &mut PendingEffect,
        step: Step,
    ) -> Option<(DecisionRecord, StepAnswer)> {
        let EffectState::Http { hop, .. } = &pending.state else { return None };
        let hop = hop.clone();
        match step {
            Step::Resolved(addresses) => Some(kernel.on_addresses(pending, self, &hop, &addresses)),
            Step::Redirect { method, url } => Some(kernel.on_redirect(pending, self, &hop, &method, &url)),
            Step::Link { .. } | Step::Path { .. } | Step::Resend | Step::Chunk { .. } => None,
        }
    }

    fn complete(
        &self,
        _kernel: &mut Kernel,
        pending: &PendingEffect,
        completion: Completion,
    ) -> Option<Completed> {
        let Completion::Http(response) = completion else { return None };
        let bytes = sent(pending, None).saturating_add(response.body.len() as u64);
        Some(Completed::moved(Reply::Http(response), bytes))
    }

    fn charge_failure(&self, _kernel: &Kernel, pending: &PendingEffect, spent: &Spent) -> Amounts {
        let bytes = sent(pending, spent.hops_sent).saturating_add(spent.amount);
        Amounts::from([(Dimension::Bytes, bytes)])
    }
}

/// What is wrong with a method that the policy does not know.
fn wrong_method(method: &str) -> String {
    let upper = method.to_ascii_uppercase();
    match Action::from_method(&upper) {
        Some(_) => format!("method {method:?}: write {upper:?}"),
        None => format!("method {method:?}: it is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    }
}

/// Bytes of the requests that were sent: of the first `hops_sent`, or of all if it is `None`.
fn sent(pending: &PendingEffect, hops_sent: Option<u64>) -> u64 {
    let EffectState::Http { sent, .. } = &pending.state else { return 0 };
    let hops = hops_sent.and_then(|hops| usize::try_from(hops).ok()).unwrap_or(sent.len());
    sent.iter().take(hops).sum()
}

impl Kernel {
    /// Decides which addresses of a host the effect may connect to.
    fn on_addresses(
        &mut self,
        pending: &mut PendingEffect,
        first: &HttpRequest,
        hop: &HttpHop,
        found: &[IpAddr],
    ) -> (DecisionRecord, StepAnswer) {
        let caller = pending.caller();
        let agent = self.agents.name(caller.account);
        let question = match self.hop_query(pending, first, hop, &agent) {
            Some(question) => question,
            None => {
                return (
                    DecisionRecord::new(Decision::Refused, KernelRule::Step, None),
                    StepAnswer::Connect(Vec::new()),
                );
            }
        };
        let port = hop.url.port();
        let mut gate = self.gate_of(&caller, agent);
        let (open, reservation, refused) = gate.authorize_connection(&question, found, port);
        pending.reservation.join(reservation);
        let target = open.first().or(found.first()).map(|address| Target::addr(*address, port).to_string());
        if !open.is_empty() {
            return (
                DecisionRecord::new(Decision::Permit, KernelRule::Address, target),
                StepAnswer::Connect(open),
            );
        }
        if let Some(failure) = refused {
            return (
                DecisionRecord::new(Decision::DefaultDeny, KernelRule::Address, target),
                StepAnswer::Abort(failure),
            );
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
            DecisionRecord::new(Decision::DefaultDeny, KernelRule::Address, target),
            StepAnswer::Abort(Failure::new(Code::PolicyDeny, message)),
        )
    }

    /// The policy query of the hop that is being sent.
    fn hop_query(
        &self,
        pending: &PendingEffect,
        first: &HttpRequest,
        hop: &HttpHop,
        agent: &Text,
    ) -> Option<PolicyQuery> {
        let EffectState::Http { prepared, .. } = &pending.state else { return None };
        let asker = QueryContext { agent, policy: &self.policy, prepared, owns: &|_| false };
        hop.as_request(first).query(&asker).ok().flatten()
    }

    fn on_redirect(
        &mut self,
        pending: &mut PendingEffect,
        first: &HttpRequest,
        hop: &HttpHop,
        method: &Text,
        url: &Text,
    ) -> (DecisionRecord, StepAnswer) {
        let url = match CanonicalUrl::parse(url) {
            Ok(url) => url,
            Err(error) => {
                let failure = Failure::new(Code::PolicyDeny, format!("redirect to {}: {error}", &**url));
                let decided =
                    DecisionRecord::new(Decision::Refused, KernelRule::Canonical, Some(url.to_string()));
                return (decided, StepAnswer::Abort(failure));
            }
        };
        let next = hop.redirected(method.clone(), url);
        let http = next.as_request(first);
        let size = http.size();
        let request = Request::Http(http);
        let caller = Caller { host_call: pending.within.map(|_| HostOperation::Http), ..pending.caller() };
        let agent = self.agents.name(caller.account);
        let presented = pending.presented.clone();
        let EffectState::Http { hop, sent, prepared } = &mut pending.state else {
            let failure = Failure::new(Code::InvalidArgument, "this step does not belong to this effect");
            return (
                DecisionRecord::new(Decision::Refused, KernelRule::Step, None),
                StepAnswer::Abort(failure),
            );
        };
        let mut gate = Gate { presented, prepared, ..self.gate_of(&caller, agent) };
        match gate.authorize_hop(&request, Vec::from([(Dimension::Bytes, size)])) {
            (decided, Ok(reservation)) => {
                pending.reservation.join(reservation);
                **hop = next.clone();
                sent.push(size);
                (decided, StepAnswer::Follow(Box::new(next)))
            }
            (decided, Err(failure)) => (decided, StepAnswer::Abort(failure)),
        }
    }
}

/// The arguments of an HTTP request that rules can constrain: its headers with lower-case names, and its body,
/// parsed if it is JSON.
///
/// Servers that pass headers on as variables (CGI, WSGI) treat `_` in a name as `-`, so a header with `_` is listed
/// under the name with `-` too.
///
/// # Errors
/// An invalid header name or value, and two headers that some server would treat as one: the policy must see
/// everything that is sent.
fn http_args(request: &HttpRequest, prepared: &Prepared) -> Result<Value, String> {
    if let Some(reason) = request.has_too_long_headers() {
        return Err(reason);
    }
    let mut headers = Object::new();
    for (name, value) in &request.headers {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(format!("{:?} is not a valid header name (RFC 9110)", &**name));
        }
        if value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Err(format!("the value of header {} holds a line break or a NUL", &**name));
        }
        let lower = name.to_ascii_lowercase();
        let dashed = lower.replace('_', "-");
        if headers.get(&dashed).is_some() || headers.get(&lower).is_some() {
            return Err(format!("header {} stands there twice: join its values with a comma", &**name));
        }
        if dashed != lower {
            headers.insert(dashed.as_str(), value.clone());
        }
        headers.insert(lower.as_str(), value.clone());
    }
    let mut args = Object::new();
    args.insert("headers", headers);
    if let Some(body) = &request.body {
        args.insert("body", prepared.http_body(body));
    }
    Ok(args.into())
}

/// A body in the form that rules see: parsed if it is JSON. A body above the limit is a string, so no condition on
/// members can hold for it with certainty.
pub(crate) fn body_value(body: &[u8]) -> Value {
    let parsed = (body.len() <= PARSED_BODY_BYTES_MAX).then(|| Value::parse(body, &Limits::default()).ok());
    parsed.flatten().unwrap_or_else(|| Value::from(String::from_utf8_lossy(body).into_owned()))
}

/// Whether a byte may occur in a header's name (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
