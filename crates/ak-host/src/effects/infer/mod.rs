//! Calls models: translates the kernel's request into the server's format, and the server's answer, streamed or whole,
//! into a chat completion.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod circuit;
pub(crate) mod completion;
pub(crate) mod delta;
mod error;
pub(crate) mod formats;
pub(crate) mod merge;
pub(crate) mod outgoing;
pub(crate) mod reasoning;
pub(crate) mod routes;
pub(crate) mod sse;

use std::{sync::Arc, time::Duration};

use ak_json::Value;
use ak_kernel::{Completion, Failure, Spent, prompt_estimate};

use crate::{
    effects::{
        context::EffectContext,
        infer::{
            call::{Call, RequestProgress},
            completion::{BYTES_PER_TOKEN, ChatCompletion},
            error::InferError,
            formats::Stream,
            outgoing::InferJob,
            reasoning::may_reason,
            routes::Route,
        },
    },
    net::{Net, error::HttpError},
    secrets::redact::Redactor,
};

/// Stands for the tokens of a request whose usage is unknown: the kernel charges the whole reservation.
const ALL_RESERVED: u64 = u64::MAX;

/// The parts of the host that a model call uses.
pub(crate) struct InferContext<'a, C> {
    pub(crate) net: &'a Net,
    pub(crate) redactor: &'a Redactor,
    pub(crate) effect: &'a C,
}

/// Performs one model call on a route.
pub(crate) async fn perform<C: EffectContext>(
    route: &Arc<Route>,
    job: InferJob,
    context: &InferContext<'_, C>,
) -> Completion {
    let prompt_tokens = prompt_estimate(&job.request, BYTES_PER_TOKEN);
    let stream = Stream::of(route.format);
    let answer = ChatCompletion::default();
    let mut call = Call {
        route,
        job,
        context,
        permit: None,
        stream,
        answer,
        progress: RequestProgress::NotSent,
        whole: None,
        omits_stream_options: false,
    };
    let whole = Duration::from_millis(route.timeout_ms);
    let ended = match context.effect.while_wanted(tokio::time::timeout(whole, call.run())).await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) => Err(HttpError::Timeout(route.timeout_ms).into()),
        None => Err(HttpError::Abandoned.into()),
    };
    if ended.as_ref().is_err_and(InferError::is_server_failure) {
        call.report(false);
    }
    call.answer.add_usage(call.stream.usage());
    let may_reason = call.answer.has_reasoning() || may_reason(&call.job.request);
    let spent = match call.progress {
        RequestProgress::NotSent => 0,
        RequestProgress::Sent => ALL_RESERVED,
        // Only the server knows how many tokens the model used for reasoning.
        RequestProgress::Answering if may_reason && call.answer.reported().is_none() => ALL_RESERVED,
        RequestProgress::Answering => call.answer.tokens(prompt_tokens),
    };
    // Usage that the server did not report is estimated.
    let is_estimated = spent > 0 && call.answer.reported() != Some(spent);
    let failed = |failure: Failure| {
        let failure = if is_estimated { failure.with("estimated", true) } else { failure };
        failed(failure, route, spent)
    };
    match ended {
        Ok(()) => {
            let usage = call.answer.usage(prompt_tokens);
            let response = match call.whole {
                Some(Value::Object(mut whole)) => {
                    whole.insert("usage", usage);
                    whole.into()
                }
                Some(other) => other,
                None => call.answer.into_completion(prompt_tokens),
            };
            Completion::Inferred { response, tokens: spent }
        }
        Err(InferError::Http(error)) => {
            let message = format!("{}: {error}", route.url);
            failed(Failure::new(error.code(), message))
        }
        Err(InferError::Refused(failure)) => failed(failure),
    }
}

fn failed(failure: Failure, route: &Route, spent: u64) -> Completion {
    let failure = failure.with("circuit", route.circuit.state().as_str());
    Completion::Failed {
        code: failure.code,
        message: failure.message,
        context: failure.context,
        spent: Spent::from(spent),
    }
}
