//! Asking models: the kernel's request in the server's format, the answer as a chat completion, streamed or whole.

pub(crate) mod body;
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

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ak_json::{Limits, Text, Value, object};
use ak_kernel::{Code, Completion, Failure, Step, Verdict, prompt_estimate};
use hyper::{Response, StatusCode, body::Incoming};

use crate::{
    config::tables::ApiFormat,
    effects::context::EffectContext,
    effects::infer::circuit::Try,
    effects::infer::completion::{Answer, BYTES_PER_TOKEN, as_chunk},
    effects::infer::formats::anthropic,
    effects::infer::formats::responses,
    effects::infer::formats::usage,
    effects::infer::formats::{
        Stream,
        error::{Fault, error_in},
    },
    effects::infer::reasoning::thinks,
    effects::infer::routes::Route,
    effects::infer::sse::Events,
    effects::infer::{
        body::{Taken, coding, is_json, wait},
        error::Ended,
        outgoing::InferJob,
    },
    net::Net,
    net::connection::{Line, Unanswered},
    net::error::HttpError,
    secrets::redact::Filter,
};

/// How often a request is sent again that surely did not run.
pub const INFER_RETRIES_MAX: u32 = 2;
/// Longest wait before a request is sent again, in milliseconds. A server that wants more is told of.
pub const RETRY_WAIT_MS_MAX: u64 = 2_000;
/// First wait before a request is sent again, in milliseconds; it doubles.
const RETRY_WAIT_MS: u64 = 100;
/// How many times longer than the longest answer a stream may be: most of it is not text.
pub const STREAM_FRAMING_MAX: u64 = 16;
/// How long a connection is waited for whose stream is over, so that it can be used again.
const STREAM_END: Duration = Duration::from_millis(20);
/// Longest error text of a server that is passed on, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Tokens where nobody knows what became of a request: the kernel charges what it has set aside.
const EVERYTHING: u64 = u64::MAX;

/// What the call rests on.
pub(crate) struct Around<'a, C> {
    pub(crate) net: &'a Net,
    pub(crate) filter: &'a Filter,
    pub(crate) asker: &'a C,
}

/// How far a call came: what it may have cost depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Nothing was sent that could have run.
    Nothing,
    /// It was sent, and nobody knows what became of it.
    Sent,
    /// An answer began.
    Answer,
}

/// Asks the model on a route.
pub(crate) async fn perform<C: EffectContext>(
    route: &Arc<Route>,
    job: InferJob,
    around: &Around<'_, C>,
) -> Completion {
    let prompt_tokens = prompt_estimate(&job.request, BYTES_PER_TOKEN);
    let stream = Stream::of(route.format);
    let answer = Answer::default();
    let mut call = Call {
        route,
        job,
        around,
        leave: None,
        stream,
        answer,
        reached: Reached::Nothing,
        whole: None,
        is_plain: false,
    };
    let whole = Duration::from_millis(route.timeout_ms);
    let ended = match around.asker.while_wanted(tokio::time::timeout(whole, call.run())).await {
        Some(Ok(ended)) => ended,
        Some(Err(_)) => Err(HttpError::Timeout(route.timeout_ms).into()),
        None => Err(HttpError::Unwanted.into()),
    };
    if ended.as_ref().is_err_and(Ended::is_servers) {
        call.tell(false);
    }
    call.answer.told(call.stream.usage());
    let thinks = call.answer.has_thought() || thinks(&call.job.request);
    let spent = match call.reached {
        Reached::Nothing => 0,
        Reached::Sent => EVERYTHING,
        // What a model thought shows nowhere but in what the server tells.
        Reached::Answer if thinks && call.answer.reported().is_none() => EVERYTHING,
        Reached::Answer => call.answer.tokens(prompt_tokens),
    };
    // What nobody told is an estimate.
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
        Err(Ended::Http(error)) => {
            let message = format!("{}: {error}", route.url);
            failed(Failure::new(error.code(), message))
        }
        Err(Ended::Refused(failure)) => failed(failure),
    }
}

fn failed(failure: Failure, route: &Route, spent: u64) -> Completion {
    let failure = failure.with("circuit", route.circuit.state().as_str());
    Completion::Failed { code: failure.code, message: failure.message, context: failure.context, spent }
}

struct Call<'c, C> {
    route: &'c Arc<Route>,
    job: InferJob,
    around: &'c Around<'c, C>,
    /// Until it is known whether the server answers.
    leave: Option<Try<'c>>,
    stream: Stream,
    answer: Answer,
    whole: Option<Value>,
    reached: Reached,
    /// Whether the server refused `stream_options`, and is asked without.
    is_plain: bool,
}

impl<C: EffectContext> Call<'_, C> {
    async fn run(&mut self) -> Result<(), Ended> {
        let mut body = self.outgoing()?;
        let mut tries = 0;
        loop {
            let leave = self.route.circuit.admit(Instant::now());
            self.leave = Some(leave.map_err(|left| Ended::Refused(open(self.route, left)))?);
            let sent = self.send(&body).await;
            let again = match &sent {
                // A request that was turned away did not run.
                Ok((response, _)) => {
                    (response.status() == StatusCode::TOO_MANY_REQUESTS).then(|| wait(response))
                }
                Err(HttpError::Connect(_)) => Some(None),
                Err(_) => None,
            };
            let pause = again.map(|asked| asked.unwrap_or(RETRY_WAIT_MS << tries.min(8)));
            if let Some(pause) =
                pause.filter(|pause| tries < INFER_RETRIES_MAX && *pause <= RETRY_WAIT_MS_MAX)
            {
                self.tell(sent.is_ok());
                tries += 1;
                self.reached = Reached::Nothing;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if sent.is_ok() {
                    self.ask_again().await?;
                }
                continue;
            }
            let (response, mut line) = sent?;
            if !response.status().is_success() {
                self.tell(!response.status().is_server_error());
                // Whoever gave up waiting for a model does not know whether it ran.
                let is_unknown = matches!(response.status().as_u16(), 408 | 502 | 504 | 520..=527);
                self.reached = if is_unknown { Reached::Sent } else { Reached::Nothing };
                let failure = self.refusal(response, &mut line).await;
                let asked = self.job.stream && !self.is_plain && self.route.takes_stream_options();
                if asked && self.route.is_about_stream_options(&failure) {
                    self.is_plain = true;
                    body = self.outgoing()?;
                    self.ask_again().await?;
                    continue;
                }
                return Err(Ended::Refused(failure));
            }
            if self.is_plain {
                // Without it the same request is taken: it was that.
                self.route.refuse_stream_options();
            }
            if let Some(coding) = coding(&response) {
                self.reached = Reached::Sent;
                let reason = format!("the server compressed its answer ({coding}), which nobody asked for");
                return Err(HttpError::Answer(reason).into());
            }
            let is_over = match self.job.stream && !is_json(&response) {
                true => self.read_stream(response, &mut line).await?,
                false => self.read_whole(response, &mut line).await?,
            };
            self.tell(true);
            if is_over {
                self.route.pool.put(line);
            }
            return Ok(());
        }
    }

    fn outgoing(&self) -> Result<Vec<u8>, Ended> {
        outgoing::outgoing(self.route, &self.job, self.is_plain)
            .map_err(|message| Ended::Refused(Failure::new(Code::InvalidArgument, message)))
    }

    /// Asks the kernel whether the request may be sent once more.
    async fn ask_again(&self) -> Result<(), Ended> {
        match self.around.asker.ask(Step::Resend).await {
            Verdict::Abort(failure) => Err(Ended::Refused(failure)),
            Verdict::Continue | Verdict::Connect(_) | Verdict::Follow(_) => Ok(()),
        }
    }

    /// Says of the server whether it answers; once it did, only that it failed after all.
    fn tell(&mut self, good: bool) {
        match self.leave.take() {
            Some(leave) => leave.tell(good, Instant::now()),
            None if good => {}
            None => self.route.circuit.fail(Instant::now()),
        }
    }

    /// Sends over a connection that is there, else over a new one. What a closed connection did not take is sent again.
    async fn send(&mut self, body: &[u8]) -> Result<(Response<Incoming>, Line), HttpError> {
        let mut request = outgoing::http_request(self.route, body)?;
        while let Some(mut line) = self.route.pool.take() {
            match line.send_again(request, || self.reached = Reached::Sent).await {
                Ok(response) => return Ok((response, line)),
                Err(Unanswered::Unsent(unsent)) => request = *unsent,
                Err(Unanswered::Broken(error)) => return Err(error),
            }
        }
        self.reached = Reached::Nothing;
        let addresses = self.around.net.resolve(&self.route.url).await?;
        let mut line = self.around.net.connect(&self.route.url, &addresses, self.route.way).await?;
        self.reached = Reached::Sent;
        Ok((line.send(request).await?, line))
    }

    /// What a server says when it does not answer.
    async fn refusal(&self, response: Response<Incoming>, line: &mut Line) -> Failure {
        let (status, wait) = (response.status(), wait(&response));
        let mut text = Vec::new();
        // The status says enough where the text is too long or breaks off.
        let mut body = Taken::of(response, line, ERROR_BYTES_MAX);
        while let Ok(Some(data)) = body.next().await {
            text.extend_from_slice(&data);
        }
        let text = match Value::parse(&text, &Limits::default()) {
            // Within JSON a secret may stand in another form.
            Ok(value) => self.around.filter.value(&value).unwrap_or(value).to_json(),
            Err(_) => String::from_utf8_lossy(&text).into_owned(),
        };
        let message = format!("{}: the server answered {status}: {text}", self.route.url);
        let code = if status == StatusCode::TOO_MANY_REQUESTS { Code::RateLimit } else { Code::Io };
        let failure = Failure::new(code, message).with("status", u64::from(status.as_u16()));
        wait.map_or(failure.clone(), |wait| failure.with("retry_after_ms", wait))
    }

    /// Reads an answer that comes in one piece. True where the connection can be used again.
    async fn read_whole(&mut self, response: Response<Incoming>, line: &mut Line) -> Result<bool, Ended> {
        let mut text = Vec::new();
        let mut body = Taken::of(response, line, self.job.response_bytes_max);
        // Until all of it is there, it may have cost whatever it was allowed to.
        while let Some(data) = body.next().await? {
            text.extend_from_slice(&data);
        }
        // Until it is understood, nobody knows what it took.
        let no_answer =
            |reason: String| HttpError::Answer(format!("the answer is not what was asked for: {reason}"));
        let value = Value::parse(&text, &Limits::default()).map_err(|error| no_answer(error.to_string()))?;
        if let Some(error) = error_in(&value) {
            // What it took all the same, it says.
            self.answer = Answer::default();
            self.answer.told(value.get("usage").and_then(|usage| match self.route.format {
                ApiFormat::Responses => responses::usage(usage),
                ApiFormat::Chat | ApiFormat::Anthropic => usage::in_form(usage),
            }));
            self.answer.end();
            let is_told = self.answer.reported().is_some();
            self.reached = if is_told { Reached::Answer } else { Reached::Nothing };
            self.tell(true);
            return Err(HttpError::Said(error).into());
        }
        let value = match self.route.format {
            ApiFormat::Chat => value,
            ApiFormat::Responses => responses::answer(&value).map_err(no_answer)?,
            ApiFormat::Anthropic => anthropic::answer(&value).map_err(no_answer)?,
        };
        if value.get("choices").and_then(Value::as_array).is_none() {
            return Err(no_answer("it has no `choices`".into()).into());
        }
        self.reached = Reached::Answer;
        self.answer = Answer::whole(&value);
        if self.job.stream {
            // The server does not stream.
            let chunk = as_chunk(&value);
            let chunk = self.around.filter.value(&chunk).unwrap_or(chunk);
            deliver(vec![(chunk, self.answer.completion_tokens())], self.around.asker).await?;
        }
        self.whole = Some(value);
        Ok(true)
    }

    /// Reads server-sent events: a chunk reaches the caller only after the kernel has seen what it costs. True where the
    /// connection can be used again.
    async fn read_stream(&mut self, response: Response<Incoming>, line: &mut Line) -> Result<bool, Ended> {
        self.reached = Reached::Answer;
        let mut events = Events::default();
        let Around { filter, asker, .. } = *self.around;
        let bytes_max = self.job.response_bytes_max;
        let mut body = Taken::of(response, line, bytes_max.saturating_mul(STREAM_FRAMING_MAX));
        let mut unread: Option<String> = None;
        loop {
            let mut found = Vec::new();
            let mut fed = Ok(());
            let more = body
                .gather(|data| {
                    if fed.is_ok() {
                        fed = events.feed(data, |event| found.push(event));
                    }
                })
                .await;
            let (mut chunks, mut broken) = (Vec::new(), Ok(()));
            for event in found {
                match self.stream.chunk(&event) {
                    Ok(chunk) => chunks.extend(chunk.map(|chunk| self.answer.take(&chunk, filter))),
                    // What cannot be read is told of, counted by its length, and ends nothing.
                    Err(Fault::Unreadable(reason)) => {
                        unread.get_or_insert_with(|| reason.clone());
                        let chunk =
                            object! { "error": object! { "type": "unreadable_chunk", "message": reason } };
                        let chunk = filter.value(&chunk).unwrap_or(chunk);
                        chunks.push((chunk, self.answer.lose(event.data.len())));
                    }
                    Err(Fault::Said(reason)) => {
                        broken = Err(HttpError::Said(reason));
                        break;
                    }
                }
            }
            if let Some(leave) = self.leave.as_mut().filter(|_| !chunks.is_empty()) {
                leave.is_answered();
            }
            // What came before the fault was said, and counts.
            deliver(chunks, asker).await?;
            broken?;
            fed.map_err(|error| HttpError::Answer(error.to_string()))?;
            if self.answer.text_bytes() > bytes_max {
                return Err(HttpError::TooLong(bytes_max).into());
            }
            // Whatever becomes of the connection then.
            if self.stream.is_done() || !more? {
                break;
            }
        }
        if !self.stream.is_done() && !self.answer.is_ended() {
            return Err(HttpError::Answer("the stream broke off".into()).into());
        }
        if let Some(reason) = unread.filter(|_| !self.answer.has_choices()) {
            return Err(HttpError::Answer(reason).into());
        }
        self.answer.end();
        let rest = self.answer.rest(filter);
        deliver(rest.map(|rest| (rest, 0)).into_iter().collect(), asker).await?;
        // Nobody waits for a server that has said all and does not end.
        let end = async {
            loop {
                match body.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        };
        Ok(tokio::time::timeout(STREAM_END, end).await.unwrap_or(false))
    }
}

/// Has the kernel see what came, and hands it over if it may go on.
async fn deliver(chunks: Vec<(Value, u64)>, asker: &impl EffectContext) -> Result<(), HttpError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let tokens = chunks.iter().fold(0, |sum, (_, tokens)| tokens.saturating_add(sum));
    let texts: Vec<String> = chunks.iter().map(|(chunk, _)| chunk.to_json()).collect();
    match asker.ask(Step::Chunk { data: Text::from(texts.join("\n")), tokens }).await {
        Verdict::Continue => {}
        Verdict::Connect(_) | Verdict::Follow(_) | Verdict::Abort(_) => return Err(HttpError::Aborted),
    }
    for text in &texts {
        if !asker.deliver(text).await {
            return Err(HttpError::Unwanted);
        }
    }
    Ok(())
}

fn open(route: &Route, left: Duration) -> Failure {
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let message = format!("{}: not asked for another {left} ms: it failed too often", route.url);
    Failure::new(Code::Io, message).with("retry_after_ms", left)
}
