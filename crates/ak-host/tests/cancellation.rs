//! A pending effect ends when its caller no longer waits, and is charged for what it used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::sync::atomic::Ordering;

use ak_host::CancellationToken;
use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{Code, InferRequest, Request};
use support::model::{ANY, Then, delta, failure, kernel, model, request, stream, tokens};
use support::wait_until;

fn streamed(members: Value) -> Request {
    Request::Infer(InferRequest { request: request("m", members), stream: true, price: None })
}

/// A stream from a server that ignores `max_tokens` is stopped once the reservation is used up.
#[test]
fn a_stream_stops_when_its_token_budget_is_used_up() {
    let server = model(|_, _| Then::Endless(delta("word")));
    let (kernel, _scratch) =
        kernel(&[("*", &server, "")], "[infer]\nmodels = [\"*\"]\nmax_tokens = 20\n[budgets]\ntokens = 1000");
    let (chunks, outcome) = stream(&kernel, request("m", object! {}));
    assert_eq!(failure(outcome).code, Code::BudgetExceeded);
    assert!(chunks.len() < 200, "{} chunks", chunks.len());
    let (used, reserved) = tokens(&kernel);
    assert!(used > 0 && used <= 1000 && reserved == 0, "{used}");
}

/// However long the prompt was, none of its part of the reservation is left for an answer that costs money.
#[test]
fn a_stream_stops_when_its_cost_budget_is_used_up() {
    let server = model(|_, _| Then::Endless(delta("word")));
    let (kernel, _scratch) = kernel(
        &[("*", &server, "price = { input = 0, output = 10 }")],
        "[infer]\nmodels = [\"*\"]\nmax_tokens = 100\n[budgets]\ncost_micro_usd = 1000",
    );
    let prompt = ak_host::ak_json::array![object! { "role": "user", "content": "x".repeat(300_000) }];
    let (_, outcome) = stream(&kernel, request("m", object! { "messages": prompt }));
    assert_eq!(failure(outcome).code, Code::BudgetExceeded);
    assert!(tokens(&kernel).0 < 75_100 + 1_000, "{:?}", tokens(&kernel));
}

/// If the budget has room, an answer of long words is not cut off at the estimate of its length.
#[test]
fn an_answer_of_exactly_the_limit_is_complete() {
    let server = model(|_, _| {
        let words = std::iter::repeat_n(delta(" words"), 1_000);
        let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";
        Then::Stream(words.chain([end.into()]).collect())
    });
    let (kernel, _scratch) = kernel(&[("*", &server, "")], "[infer]\nmodels = [\"*\"]\nmax_tokens = 1000");
    let (chunks, outcome) = stream(&kernel, request("m", object! { "max_tokens": 1_000u64 }));
    assert_eq!(chunks.len(), 1_001);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn a_caller_that_stops_a_stream_disconnects_the_server() {
    let server = model(|_, _| Then::Endless(delta("")));
    let (kernel, _scratch) = kernel(&[("*", &server, "")], ANY);
    let mut seen = 0;
    let outcome = kernel.call_streaming(streamed(object! {}), &mut |_| {
        seen += 1;
        seen < 3
    });
    assert_eq!(failure(outcome).code, Code::UnknownOutcome);
    wait_until("the server is asked no more", || {
        server.cut.load(Ordering::SeqCst) > 0 && tokens(&kernel).1 == 0
    });
}

/// A cancelled call ends without waiting for the server.
#[test]
fn a_cancelled_call_ends_though_the_server_is_silent() {
    let server = model(|_, _| Then::Silence);
    let (kernel, scratch) = kernel(&[("*", &server, "")], ANY);
    let remote = support::over_a_socket(&kernel, &scratch);
    for connection in [&kernel, &remote] {
        let before = server.count();
        let stop = CancellationToken::new();
        let outcome = std::thread::scope(|scope| {
            let call = scope.spawn(|| connection.call_until(streamed(object! {}), &mut |_| true, &stop));
            wait_until("the server is asked", || server.count() > before);
            stop.cancel();
            call.join().unwrap()
        });
        assert_eq!(failure(outcome).code, Code::UnknownOutcome);
    }
    wait_until("nothing is under way", || tokens(&kernel).1 == 0);
}

/// An answer that is cancelled midway is charged for what was received, in every call mode.
#[test]
fn a_cancelled_stream_is_charged_for_what_was_received() {
    let server = model(|_, _| Then::Stall(vec![delta("word")]));
    let (kernel, scratch) = kernel(&[("*", &server, "")], ANY);
    let remote = support::over_a_socket(&kernel, &scratch);
    let mut before = 0;
    for connection in [&kernel, &remote] {
        let stop = CancellationToken::new();
        let outcome = connection.call_until(
            streamed(object! {}),
            &mut |_| {
                stop.cancel();
                true
            },
            &stop,
        );
        assert_eq!(failure(outcome).code, Code::UnknownOutcome);
        wait_until("nothing is under way", || tokens(&kernel).1 == 0);
        let used = tokens(&kernel).0 - before;
        // Four bytes of the prompt are estimated as a token, and so are the four that were received. The policy's limit
        // becomes part of the prompt.
        let prompt = request("m", object! { "max_tokens": 100u64 }).to_json().len() as u64;
        assert_eq!(used, prompt.div_ceil(4) + 1);
        before += used;
    }
}

/// However fast the server is, the caller gets nothing more after it cancels.
#[test]
fn a_cancelled_stream_ends_though_the_server_continues() {
    let server = model(|_, _| Then::Endless(delta("word")));
    let (kernel, scratch) = kernel(&[("*", &server, "")], ANY);
    let remote = support::over_a_socket(&kernel, &scratch);
    for connection in [&kernel, &remote] {
        let stop = CancellationToken::new();
        let mut pieces = 0;
        let outcome = connection.call_until(
            streamed(object! {}),
            &mut |_| {
                stop.cancel();
                pieces += 1;
                true
            },
            &stop,
        );
        assert_eq!((failure(outcome).code, pieces), (Code::UnknownOutcome, 1));
    }
}
