//! Reads the body of a model's answer piece by piece, not ahead of the caller.

use std::time::{Duration, SystemTime};

use hyper::{
    Response,
    body::{Bytes, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};

use crate::net::{connection::HttpConnection, error::HttpError};

/// Maximum pause between two pieces of an answer, in milliseconds; after that the call fails.
pub const STREAM_IDLE_MS_MAX: u64 = 120_000;
/// A step of a stream ends once it has this many bytes, even if more are ready.
const STEP_BYTES_MAX: usize = 8 << 10;

/// Reads a body piece by piece, up to `bytes_max` bytes.
pub(super) struct BodyReader<'l> {
    body: Incoming,
    connection: &'l mut HttpConnection,
    total: u64,
    bytes_max: u64,
}

impl BodyReader<'_> {
    pub(super) fn of(
        response: Response<Incoming>,
        connection: &mut HttpConnection,
        bytes_max: u64,
    ) -> BodyReader<'_> {
        BodyReader { body: response.into_body(), connection, total: 0, bytes_max }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let idle = Duration::from_millis(STREAM_IDLE_MS_MAX);
        match tokio::time::timeout(idle, self.connection.next_chunk(&mut self.body)).await {
            Ok(data) => self.count(data?),
            Err(_) => Err(HttpError::Timeout(STREAM_IDLE_MS_MAX)),
        }
    }

    /// Waits for the next piece and passes it to `take`, with further pieces that are ready, so that they become one
    /// step and one record. Returns false at the end of the body.
    pub(super) async fn read_available(&mut self, mut take: impl FnMut(&[u8])) -> Result<bool, HttpError> {
        let Some(mut data) = self.next().await? else { return Ok(false) };
        let mut bytes = 0;
        loop {
            bytes += data.len();
            take(&data);
            if bytes >= STEP_BYTES_MAX {
                return Ok(true);
            }
            let ready = self.connection.try_next_ready(&mut self.body).await?;
            match self.count(ready)? {
                Some(more) => data = more,
                None => return Ok(true),
            }
        }
    }

    fn count(&mut self, data: Option<Bytes>) -> Result<Option<Bytes>, HttpError> {
        self.total = self.total.saturating_add(data.as_ref().map_or(0, Bytes::len) as u64);
        if self.total > self.bytes_max { Err(HttpError::TooLong(self.bytes_max)) } else { Ok(data) }
    }
}

/// Returns the content coding of a body, if it is not `identity`.
pub(super) fn content_coding(response: &Response<Incoming>) -> Option<String> {
    let codings = response.headers().get_all(CONTENT_ENCODING).into_iter();
    let mut codings = codings.map(|coding| String::from_utf8_lossy(coding.as_bytes()).trim().to_owned());
    codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

pub(super) fn is_json(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Returns how long the server asks to wait before a retry, in milliseconds (RFC 9110 §10.2.3).
pub(super) fn retry_after_ms(response: &Response<Incoming>) -> Option<u64> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::trim);
    let milliseconds = header("retry-after-ms").and_then(|told| told.parse::<u64>().ok());
    milliseconds.or_else(|| {
        let told = header(RETRY_AFTER.as_str())?;
        if let Ok(seconds) = told.parse::<u64>() {
            return Some(seconds.saturating_mul(1_000));
        }
        let wait =
            httpdate::parse_http_date(told).ok()?.duration_since(SystemTime::now()).unwrap_or_default();
        u64::try_from(wait.as_millis()).ok()
    })
}
