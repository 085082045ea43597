//! The kernel's guarantees: each test states one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod agents;
mod budgets;
mod effects;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use ak_json::{Value, object};
use ak_kernel::{AuditRequest, HttpRequest, InferRequest, Request};

use support::json;

fn http(url: &str) -> Request {
    Request::Http(HttpRequest {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: None,
        response_bytes_max: 1000,
        timeout_ms: 1000,
    })
}

fn infer(model: &str, max_tokens: u64) -> Request {
    let request = object! {
        "model": model, "max_tokens": max_tokens, "messages": json(r#"[{"role":"user","content":"hello"}]"#),
    };
    Request::Infer(InferRequest { request, stream: true, price: None })
}

fn about(subject: &str) -> Request {
    Request::Audit(AuditRequest::Log {
        event: "shipped".into(),
        details: Value::Null,
        subject: Some(subject.into()),
    })
}
