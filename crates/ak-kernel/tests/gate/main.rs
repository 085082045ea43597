//! The gate: everything that leaves the host or changes state is decided with the arguments that are really used,
//! and charged.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod agents;
mod charges;
mod decisions;
mod http;
mod limits;
mod models;
#[path = "../support/mod.rs"]
mod support;

use ak_json::Value;
use ak_kernel::{
    AdminRequest, AgentRequest, Completion, HttpRequest, HttpResponse, Operation, Request, SessionId, Step,
    StepAnswer, Ticket,
};
use ak_policy::budget::Dimension;

use support::{Machine, json, value};

fn http(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Request {
    Request::Http(HttpRequest {
        method: method.into(),
        url: url.into(),
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.map(Into::into),
        response_bytes_max: 1_000,
        timeout_ms: 1_000,
    })
}

fn grant(machine: &mut Machine, terms: &str) {
    machine.call(Request::decode(Operation::CapGrant, &json(terms)).unwrap()).unwrap();
}

fn resolved(machine: &mut Machine, ticket: Ticket, address: &str) -> StepAnswer {
    machine.progress(ticket, Step::Resolved(vec![address.parse().unwrap()]))
}

fn redirect(machine: &mut Machine, ticket: Ticket, method: &str, url: &str) -> StepAnswer {
    machine.progress(ticket, Step::Redirect { method: method.into(), url: url.into() })
}

fn answered(bytes: usize) -> Completion {
    Completion::Http(HttpResponse { status: 200, headers: Vec::new(), body: vec![7; bytes].into() })
}

fn used(machine: &mut Machine, session: SessionId, dimension: Dimension) -> u64 {
    let status = value(machine.call_as(
        session,
        Request::Agent(AgentRequest::BudgetStatus { dimension: Some(dimension), agent: None }),
    ));
    status.get(dimension.as_str()).and_then(|row| row.get("used")?.as_u64()).unwrap()
}

fn authorized(machine: &mut Machine, session: SessionId, operation: &str, target: &str, args: Value) -> bool {
    let asked = Request::Admin(AdminRequest::Authorize {
        operation: operation.into(),
        target: target.into(),
        args: Some(args),
    });
    value(machine.call_as(session, asked)).get("authorized").and_then(Value::as_bool).unwrap()
}
