//! Chat completions over the OpenAI wire format, streamed or whole.

use ak_json::{Array, Limits, Object, Text, Value, object};
use ak_kernel::{Code, Completion, Step, Verdict};
use ak_policy::CanonicalUrl;
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};

use crate::{
    driver::Asker,
    http::{self, HttpError},
};

/// Bytes of text that count as one token where the provider reports no usage.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Where models are asked. The operator's own setting: the policy's `[net]` does not apply to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: CanonicalUrl,
    key: Option<Text>,
}

impl Endpoint {
    /// From `AK_INFER_URL` and `AK_INFER_KEY`, or `OPENAI_BASE_URL` and `OPENAI_API_KEY`; `None` where no URL is set.
    ///
    /// # Errors
    /// Says which variable is wrong, and why.
    pub(crate) fn from_env() -> Result<Option<Endpoint>, String> {
        let pair = |url: &'static str, key: &str| {
            std::env::var(url).ok().map(|value| (url, value, std::env::var(key).ok()))
        };
        let Some((variable, url, key)) =
            pair("AK_INFER_URL", "AK_INFER_KEY").or_else(|| pair("OPENAI_BASE_URL", "OPENAI_API_KEY"))
        else {
            return Ok(None);
        };
        Endpoint::new(&url, key.as_deref()).map(Some).map_err(|error| format!("{variable}: {error}"))
    }

    /// The endpoint beneath a base URL such as `http://127.0.0.1:8080/v1`.
    ///
    /// # Errors
    /// When it is not an absolute HTTP URL.
    pub(crate) fn new(base: &str, key: Option<&str>) -> Result<Endpoint, ak_policy::TargetError> {
        let base = base.trim_end_matches('/');
        let url = match base.ends_with("/chat/completions") {
            true => CanonicalUrl::parse(base)?,
            false => CanonicalUrl::parse(&format!("{base}/chat/completions"))?,
        };
        Ok(Endpoint { url, key: key.map(Text::from) })
    }
}

/// Asks the model.
pub(crate) async fn perform(
    endpoint: Option<&Endpoint>,
    request: Value,
    stream: bool,
    bytes_max: u64,
    asker: &Asker,
) -> Completion {
    let Some(endpoint) = endpoint else {
        return Completion::failed(
            Code::NotConfigured,
            "no model endpoint is configured: set AK_INFER_URL (or OPENAI_BASE_URL) to the base URL of an \
             OpenAI-compatible server, such as http://127.0.0.1:8080/v1, and AK_INFER_KEY (or OPENAI_API_KEY) to its key",
        );
    };
    let mut answer = Answer::default();
    let ended = match ask(endpoint, &request, stream, bytes_max).await {
        Ok(response) if stream => answer.read_stream(response, bytes_max, asker).await,
        Ok(response) => answer.read_whole(response, bytes_max).await,
        Err(error) => Err(error),
    };
    let prompt_tokens = count(request.get("messages").map_or(0, Value::json_len));
    match ended {
        Ok(()) => answer.completion(prompt_tokens),
        Err(error) => match error.completion(endpoint.url.as_str()) {
            Completion::Failed { code, message, context, .. } => {
                let spent = answer.spent(prompt_tokens);
                Completion::Failed { code, message, context, spent }
            }
            other => other,
        },
    }
}

async fn ask(
    endpoint: &Endpoint,
    request: &Value,
    stream: bool,
    bytes_max: u64,
) -> Result<Response<Incoming>, HttpError> {
    let mut request = request.as_object().cloned().unwrap_or_default();
    if stream {
        request.insert("stream", true);
        request.insert("stream_options", object! { "include_usage": true });
    }
    let body = Value::from(request).to_json();
    let mut headers = vec![(Text::from("content-type"), Text::from("application/json"))];
    if let Some(key) = &endpoint.key {
        headers.push((Text::from("authorization"), Text::from(format!("Bearer {}", &**key))));
    }
    let addresses = http::resolve(&endpoint.url).await?;
    let request = http::request("POST", &endpoint.url, &headers, Some(body.as_bytes()))?;
    let response = http::send(&endpoint.url, &addresses, request).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let mut text = Vec::new();
    read(response, bytes_max.min(ERROR_BYTES_MAX), |data| {
        text.extend_from_slice(data);
        Ok(())
    })
    .await?;
    Err(HttpError::Connect(format!("the server answered {status}: {}", String::from_utf8_lossy(&text))))
}

/// Longest error text of a server that is passed on, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

async fn read(
    response: Response<Incoming>,
    bytes_max: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), HttpError>,
) -> Result<(), HttpError> {
    let mut body = response.into_body();
    let mut total = 0u64;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            total = total.saturating_add(data.len() as u64);
            if total > bytes_max {
                return Err(HttpError::TooLong(bytes_max));
            }
            take(&data)?;
        }
    }
    Ok(())
}

fn count(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// What has come of an answer so far.
#[derive(Default)]
struct Answer {
    whole: Option<Value>,
    head: Object,
    choices: Vec<Choice>,
    usage: Option<Value>,
    counted_tokens: u64,
    reached: bool,
}

#[derive(Default)]
struct Choice {
    content: String,
    tool_calls: Vec<Object>,
    finish_reason: Value,
}

impl Answer {
    async fn read_whole(&mut self, response: Response<Incoming>, bytes_max: u64) -> Result<(), HttpError> {
        self.reached = true;
        let mut text = Vec::new();
        read(response, bytes_max, |data| {
            text.extend_from_slice(data);
            Ok(())
        })
        .await?;
        let value = Value::parse(&text, &Limits::default())
            .map_err(|error| HttpError::Connect(format!("the answer is not JSON: {error}")))?;
        self.counted_tokens = count(value.get("choices").map_or(0, Value::json_len));
        self.usage = value.get("usage").cloned();
        self.whole = Some(value);
        Ok(())
    }

    /// Reads server-sent events: a chunk reaches the caller only after the kernel has seen what it costs.
    async fn read_stream(
        &mut self,
        response: Response<Incoming>,
        bytes_max: u64,
        asker: &Asker,
    ) -> Result<(), HttpError> {
        self.reached = true;
        let mut line: Vec<u8> = Vec::new();
        let mut done = false;
        read(response, bytes_max, |data| {
            for &byte in data {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                line.clear();
                match text.strip_prefix("data:").map(str::trim) {
                    None => {}
                    Some("[DONE]") => done = true,
                    Some(_) if done => {}
                    Some(event) => self.event(event, asker)?,
                }
            }
            Ok(())
        })
        .await?;
        if done { Ok(()) } else { Err(HttpError::Connect(String::from("the stream broke off"))) }
    }

    fn event(&mut self, event: &str, asker: &Asker) -> Result<(), HttpError> {
        let value = Value::parse(event.as_bytes(), &Limits::default())
            .map_err(|error| HttpError::Connect(format!("a chunk is not JSON: {error}")))?;
        if let Some(usage) = value.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        let tokens = self.take_choices(&value);
        self.counted_tokens = self.counted_tokens.saturating_add(tokens);
        match asker.ask(Step::Chunk { data: Text::from(event), tokens }) {
            Verdict::Continue if asker.deliver(event) => Ok(()),
            Verdict::Continue | Verdict::Connect(_) | Verdict::Follow(_) | Verdict::Abort(_) => {
                Err(HttpError::Aborted)
            }
        }
    }

    /// Adds a chunk's deltas to what is there and counts them.
    fn take_choices(&mut self, chunk: &Value) -> u64 {
        for name in ["id", "model", "created"] {
            if let Some(value) = chunk.get(name) {
                self.head.insert(name, value.clone());
            }
        }
        let mut tokens = 0;
        for item in chunk.get("choices").and_then(Value::as_array).map(Array::iter).into_iter().flatten() {
            let index = item
                .get("index")
                .and_then(Value::as_u64)
                .and_then(|index| usize::try_from(index).ok())
                .unwrap_or(0);
            if index > CHOICES_MAX {
                continue;
            }
            if self.choices.len() <= index {
                self.choices.resize_with(index + 1, Choice::default);
            }
            let Some(choice) = self.choices.get_mut(index) else { continue };
            if let Some(reason) = item.get("finish_reason").filter(|reason| !reason.is_null()) {
                choice.finish_reason = reason.clone();
            }
            let Some(delta) = item.get("delta") else { continue };
            if let Some(text) = delta.get("content").and_then(Value::as_str) {
                choice.content.push_str(text);
                tokens += count(text.len());
            }
            for call in
                delta.get("tool_calls").and_then(Value::as_array).map(Array::iter).into_iter().flatten()
            {
                tokens += count(call.json_len());
                choice.take_tool_call(call);
            }
        }
        tokens
    }

    fn reported_tokens(&self) -> Option<u64> {
        self.usage.as_ref()?.get("total_tokens")?.as_u64()
    }

    /// Tokens to charge: the provider's own count, else ours.
    fn spent(&self, prompt_tokens: u64) -> u64 {
        let counted = prompt_tokens.saturating_add(self.counted_tokens);
        if self.reached { self.reported_tokens().unwrap_or(counted) } else { 0 }
    }

    fn completion(self, prompt_tokens: u64) -> Completion {
        let tokens = self.spent(prompt_tokens);
        let response = match self.whole {
            Some(whole) => whole,
            None => {
                let usage = self.usage.clone().unwrap_or_else(|| {
                    object! {
                        "prompt_tokens": prompt_tokens,
                        "completion_tokens": self.counted_tokens,
                        "total_tokens": prompt_tokens.saturating_add(self.counted_tokens),
                    }
                });
                let mut response = self.head;
                response.insert("object", "chat.completion");
                let choices = self.choices.into_iter().enumerate();
                response.insert(
                    "choices",
                    choices.map(|(index, choice)| choice.into_value(index)).collect::<Vec<_>>(),
                );
                response.insert("usage", usage);
                response.into()
            }
        };
        Completion::Inferred { response, tokens }
    }
}

/// Most choices and tool calls of one answer.
const CHOICES_MAX: usize = 128;

impl Choice {
    /// A tool call arrives in pieces: its name first, then its arguments bit by bit.
    fn take_tool_call(&mut self, piece: &Value) {
        let index = piece
            .get("index")
            .and_then(Value::as_u64)
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(0);
        if index > CHOICES_MAX {
            return;
        }
        if self.tool_calls.len() <= index {
            self.tool_calls.resize_with(index + 1, Object::new);
        }
        let Some(call) = self.tool_calls.get_mut(index) else { return };
        for name in ["id", "type"] {
            if let Some(value) = piece.get(name) {
                call.insert(name, value.clone());
            }
        }
        let mut function = call.get("function").and_then(Value::as_object).cloned().unwrap_or_default();
        for name in ["name", "arguments"] {
            if let Some(text) =
                piece.get("function").and_then(|function| function.get(name)).and_then(Value::as_str)
            {
                let before = function.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                function.insert(name, before + text);
            }
        }
        call.insert("function", function);
    }

    fn into_value(self, index: usize) -> Value {
        let mut message = Object::new();
        message.insert("role", "assistant");
        message.insert("content", self.content);
        if !self.tool_calls.is_empty() {
            message.insert("tool_calls", self.tool_calls.into_iter().map(Value::from).collect::<Vec<_>>());
        }
        object! { "index": index as u64, "message": Value::from(message), "finish_reason": self.finish_reason }
    }
}
