//! One model call: sends the request over an idle or a new connection, retries it while it certainly did not run, and
//! reads the answer, whole or streamed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ak_json::{Limits, Text, Value, object};
use ak_kernel::{Code, Failure, Step, StepAnswer};
use hyper::{Response, StatusCode, body::Incoming};

use crate::{
    config::tables::ApiFormat,
    effects::{
        context::EffectContext,
        infer::{
            InferContext,
            body::{BodyReader, content_coding, is_json, retry_after_ms},
            circuit::CircuitPermit,
            completion::{ChatCompletion, as_chunk},
            error::InferError,
            formats::{
                Stream, anthropic,
                error::{StreamError, find_error},
                responses, usage,
            },
            outgoing::{self, InferJob},
            routes::Route,
            sse::Events,
        },
    },
    net::{
        connection::{HttpConnection, SendError},
        error::HttpError,
    },
};

/// Maximum number of retries of a request that did not run.
pub const INFER_RETRIES_MAX: u32 = 2;
/// Maximum wait before a retry, in milliseconds. If the server asks for a longer wait, the request fails with the
/// server's refusal.
pub const RETRY_WAIT_MS_MAX: u64 = 2_000;
/// Wait before the first retry, in milliseconds; it doubles with each retry.
const RETRY_WAIT_MS: u64 = 100;
/// Maximum length of a stream, as a multiple of the longest permitted answer: most bytes of a stream are not text of
/// the answer.
pub const STREAM_FRAMING_MAX: u64 = 16;
/// How long to wait for the end of a finished stream, so that its connection can be reused.
const STREAM_END_GRACE: Duration = Duration::from_millis(20);
/// Maximum length of a server's error text that is read and passed on, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// How far a request got, which determines its possible cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestProgress {
    /// Nothing was sent that the server could have run.
    NotSent,
    /// The request was sent, and its outcome is unknown.
    Sent,
    /// An answer has begun.
    Answering,
}

/// One model call, with its retries.
pub(super) struct Call<'c, C> {
    pub(super) route: &'c Arc<Route>,
    pub(super) job: InferJob,
    pub(super) context: &'c InferContext<'c, C>,
    /// The circuit's permit; `None` once it is reported whether the server answers.
    pub(super) permit: Option<CircuitPermit<'c>>,
    pub(super) stream: Stream,
    pub(super) answer: ChatCompletion,
    pub(super) whole: Option<Value>,
    pub(super) progress: RequestProgress,
    /// Whether the server rejected `stream_options`, so that the request is sent without them.
    pub(super) omits_stream_options: bool,
}

impl<C: EffectContext> Call<'_, C> {
    /// Sends the request and reads the answer. Retries a request that did not run.
    pub(super) async fn run(&mut self) -> Result<(), InferError> {
        let mut body = self.outgoing()?;
        let mut tries = 0;
        loop {
            let permit = self.route.circuit.admit(Instant::now());
            self.permit = Some(permit.map_err(|left| InferError::Refused(open(self.route, left)))?);
            let sent = self.send(&body).await;
            let again = match &sent {
                // A rejected request did not run.
                Ok((response, _)) => {
                    (response.status() == StatusCode::TOO_MANY_REQUESTS).then(|| retry_after_ms(response))
                }
                Err(HttpError::Connect(_)) => Some(None),
                Err(_) => None,
            };
            let pause = again.map(|wait_ms| wait_ms.unwrap_or(RETRY_WAIT_MS << tries.min(8)));
            if let Some(pause) =
                pause.filter(|pause| tries < INFER_RETRIES_MAX && *pause <= RETRY_WAIT_MS_MAX)
            {
                self.report(sent.is_ok());
                tries += 1;
                self.progress = RequestProgress::NotSent;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if sent.is_ok() {
                    self.ask_again().await?;
                }
                continue;
            }
            let (response, mut connection) = sent?;
            if !response.status().is_success() {
                self.report(!response.status().is_server_error());
                // A gateway that timed out does not know whether the model ran.
                let is_unknown = matches!(response.status().as_u16(), 408 | 502 | 504 | 520..=527);
                self.progress = if is_unknown { RequestProgress::Sent } else { RequestProgress::NotSent };
                let failure = self.read_refusal(response, &mut connection).await;
                let sent_options =
                    self.job.stream && !self.omits_stream_options && self.route.takes_stream_options();
                if sent_options && self.route.is_about_stream_options(&failure) {
                    self.omits_stream_options = true;
                    body = self.outgoing()?;
                    self.ask_again().await?;
                    continue;
                }
                return Err(InferError::Refused(failure));
            }
            if self.omits_stream_options {
                // The server accepts the same request without `stream_options`, so it rejected the first one because of
                // them.
                self.route.refuse_stream_options();
            }
            if let Some(coding) = content_coding(&response) {
                self.progress = RequestProgress::Sent;
                let reason = format!("the server compressed its answer ({coding}), which nobody asked for");
                return Err(HttpError::BadResponse(reason).into());
            }
            let is_over = match self.job.stream && !is_json(&response) {
                true => self.read_stream(response, &mut connection).await?,
                false => self.read_whole(response, &mut connection).await?,
            };
            self.report(true);
            if is_over {
                self.route.pool.put(connection);
            }
            return Ok(());
        }
    }

    fn outgoing(&self) -> Result<Vec<u8>, InferError> {
        outgoing::outgoing(self.route, &self.job, self.omits_stream_options)
            .map_err(|message| InferError::Refused(Failure::new(Code::InvalidArgument, message)))
    }

    /// Asks the kernel whether the request may be sent once more.
    async fn ask_again(&self) -> Result<(), InferError> {
        match self.context.effect.ask(Step::Resend).await {
            StepAnswer::Abort(failure) => Err(InferError::Refused(failure)),
            StepAnswer::Continue => Ok(()),
            StepAnswer::Skip | StepAnswer::Connect(_) | StepAnswer::Follow(_) => {
                let message = "the kernel did not answer whether to send once more";
                Err(InferError::Refused(Failure::new(Code::Io, message)))
            }
        }
    }

    /// Reports to the circuit whether the server answers. After a first report, only a failure is reported.
    pub(super) fn report(&mut self, good: bool) {
        match self.permit.take() {
            Some(permit) => permit.report(good, Instant::now()),
            None if good => {}
            None => self.route.circuit.fail(Instant::now()),
        }
    }

    /// Sends the request over an idle connection, else over a new one. When an idle connection turns out to be closed
    /// before it took the request, the next one is tried.
    async fn send(&mut self, body: &[u8]) -> Result<(Response<Incoming>, HttpConnection), HttpError> {
        let mut request = outgoing::http_request(self.route, body)?;
        while let Some(mut connection) = self.route.pool.take() {
            match connection.send_reused(request, || self.progress = RequestProgress::Sent).await {
                Ok(response) => return Ok((response, connection)),
                Err(SendError::Unsent(unsent)) => request = *unsent,
                Err(SendError::Broken(error)) => return Err(error),
            }
        }
        self.progress = RequestProgress::NotSent;
        let addresses = self.context.net.resolve(&self.route.url).await?;
        let mut connection =
            self.context.net.connect(&self.route.url, &addresses, self.route.proxy_mode).await?;
        self.progress = RequestProgress::Sent;
        Ok((connection.send(request).await?, connection))
    }

    /// Reads an error response, and returns it as a failure with the secrets removed.
    async fn read_refusal(&self, response: Response<Incoming>, connection: &mut HttpConnection) -> Failure {
        let (status, wait) = (response.status(), retry_after_ms(&response));
        let mut text = Vec::new();
        // When the text is too long or breaks off, the failure holds the part that was read.
        let mut body = BodyReader::of(response, connection, ERROR_BYTES_MAX);
        while let Ok(Some(data)) = body.next().await {
            text.extend_from_slice(&data);
        }
        let text = match Value::parse(&text, &Limits::default()) {
            // In JSON a secret may be escaped, so the values are redacted, not the text.
            Ok(value) => self.context.redactor.value(&value).unwrap_or(value).to_json(),
            Err(_) => String::from_utf8_lossy(&text).into_owned(),
        };
        let message = format!("{}: the server answered {status}: {text}", self.route.url);
        let code = if status == StatusCode::TOO_MANY_REQUESTS { Code::RateLimit } else { Code::Io };
        let failure = Failure::new(code, message).with("status", u64::from(status.as_u16()));
        wait.map_or(failure.clone(), |wait| failure.with("retry_after_ms", wait))
    }

    /// Reads an answer that is not streamed. Returns true: the connection can be reused.
    async fn read_whole(
        &mut self,
        response: Response<Incoming>,
        connection: &mut HttpConnection,
    ) -> Result<bool, InferError> {
        let mut text = Vec::new();
        let mut body = BodyReader::of(response, connection, self.job.response_bytes_max);
        // Until the answer is complete, its cost is unknown: the whole reservation is charged if reading fails.
        while let Some(data) = body.next().await? {
            text.extend_from_slice(&data);
        }
        // As long as the answer is not parsed, its usage is unknown.
        let no_answer = |reason: String| {
            HttpError::BadResponse(format!("the answer is not what was asked for: {reason}"))
        };
        let value = Value::parse(&text, &Limits::default()).map_err(|error| no_answer(error.to_string()))?;
        if let Some(error) = find_error(&value) {
            // An error may also report usage.
            self.answer = ChatCompletion::default();
            self.answer.add_usage(value.get("usage").and_then(|usage| match self.route.format {
                ApiFormat::Responses => responses::usage(usage),
                ApiFormat::Chat | ApiFormat::Anthropic => usage::normalize(usage),
            }));
            self.answer.end();
            let is_told = self.answer.reported().is_some();
            self.progress = if is_told { RequestProgress::Answering } else { RequestProgress::NotSent };
            self.report(true);
            return Err(HttpError::ServerError(error).into());
        }
        let value = match self.route.format {
            ApiFormat::Chat => value,
            ApiFormat::Responses => responses::completion(&value).map_err(no_answer)?,
            ApiFormat::Anthropic => anthropic::completion(&value).map_err(no_answer)?,
        };
        if value.get("choices").and_then(Value::as_array).is_none() {
            return Err(no_answer("it has no `choices`".into()).into());
        }
        self.progress = RequestProgress::Answering;
        self.answer = ChatCompletion::whole(&value);
        if self.job.stream {
            // The server did not stream: the whole answer is delivered as one chunk.
            let chunk = as_chunk(&value);
            let chunk = self.context.redactor.value(&chunk).unwrap_or(chunk);
            deliver(vec![(chunk, self.answer.completion_tokens())], self.context.effect).await?;
        }
        self.whole = Some(value);
        Ok(true)
    }

    /// Reads an answer of server-sent events. The caller gets a chunk only after the kernel has accounted for its cost.
    /// Returns whether the connection can be reused.
    async fn read_stream(
        &mut self,
        response: Response<Incoming>,
        connection: &mut HttpConnection,
    ) -> Result<bool, InferError> {
        self.progress = RequestProgress::Answering;
        let mut events = Events::default();
        let InferContext { redactor, effect, .. } = *self.context;
        let bytes_max = self.job.response_bytes_max;
        let mut body = BodyReader::of(response, connection, bytes_max.saturating_mul(STREAM_FRAMING_MAX));
        let mut unread: Option<String> = None;
        loop {
            let mut found = Vec::new();
            let mut fed = Ok(());
            let more = body
                .read_available(|data| {
                    if fed.is_ok() {
                        fed = events.feed(data, |event| found.push(event));
                    }
                })
                .await;
            let (mut chunks, mut broken) = (Vec::new(), Ok(()));
            for event in found {
                match self.stream.chunk(&event) {
                    Ok(chunk) => chunks.extend(chunk.map(|chunk| self.answer.add_chunk(&chunk, redactor))),
                    // An unreadable chunk is reported and counted by its length; the stream continues.
                    Err(StreamError::Unreadable(reason)) => {
                        unread.get_or_insert_with(|| reason.clone());
                        let chunk =
                            object! { "error": object! { "type": "unreadable_chunk", "message": reason } };
                        let chunk = redactor.value(&chunk).unwrap_or(chunk);
                        chunks.push((chunk, self.answer.count_unreadable(event.data.len())));
                    }
                    Err(StreamError::Reported(reason)) => {
                        broken = Err(HttpError::ServerError(reason));
                        break;
                    }
                }
            }
            if let Some(permit) = self.permit.as_mut().filter(|_| !chunks.is_empty()) {
                permit.response_started();
            }
            // Chunks before an error are delivered and charged.
            deliver(chunks, effect).await?;
            broken?;
            fed.map_err(|error| HttpError::BadResponse(error.to_string()))?;
            if self.answer.text_bytes() > bytes_max {
                return Err(HttpError::TooLong(bytes_max).into());
            }
            // A failure of the connection after the end of the stream does not matter.
            if self.stream.is_done() || !more? {
                break;
            }
        }
        if !self.stream.is_done() && !self.answer.is_ended() {
            return Err(HttpError::BadResponse("the stream broke off".into()).into());
        }
        if let Some(reason) = unread.filter(|_| !self.answer.has_choices()) {
            return Err(HttpError::BadResponse(reason).into());
        }
        self.answer.end();
        let rest = self.answer.remaining(redactor);
        deliver(rest.map(|rest| (rest, 0)).into_iter().collect(), effect).await?;
        // A server that has sent the whole stream but does not end the response is not awaited for longer than this.
        let end = async {
            loop {
                match body.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        };
        Ok(tokio::time::timeout(STREAM_END_GRACE, end).await.unwrap_or(false))
    }
}

/// Puts received chunks to the kernel as one step, and delivers them to the caller if the kernel lets the effect
/// continue.
async fn deliver(chunks: Vec<(Value, u64)>, effect: &impl EffectContext) -> Result<(), HttpError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let tokens = chunks.iter().fold(0, |sum, (_, tokens)| tokens.saturating_add(sum));
    let texts: Vec<String> = chunks.iter().map(|(chunk, _)| chunk.to_json()).collect();
    match effect.ask(Step::Chunk { data: Text::from(texts.join("\n")), tokens }).await {
        StepAnswer::Continue => {}
        StepAnswer::Skip | StepAnswer::Connect(_) | StepAnswer::Follow(_) | StepAnswer::Abort(_) => {
            return Err(HttpError::Aborted);
        }
    }
    for text in &texts {
        if !effect.deliver(text).await {
            return Err(HttpError::Abandoned);
        }
    }
    Ok(())
}

fn open(route: &Route, left: Duration) -> Failure {
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let message = format!("{}: not asked for another {left} ms: it failed too often", route.url);
    Failure::new(Code::Io, message).with("retry_after_ms", left)
}
