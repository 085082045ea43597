//! Reads and writes frames over a byte stream, with the JSON payloads that they carry.

use std::{io, sync::Arc};

use ak_json::{Limits, Object, Text, Value};
use ak_kernel::{
    Code, Failure, Operation, Request,
    frame::{Flags, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, encode},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// One frame with its parsed payload.
pub(crate) struct Frame {
    pub(crate) flags: Flags,
    pub(crate) sequence: u64,
    pub(crate) payload: Value,
}

/// Maximum depth by which a payload is nested deeper than the values that it carries.
const WRAPPED_DEPTH: usize = 8;

/// Maximum number of bytes of a payload that are read at a time.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Parsing a payload of more bytes takes so long that it must not delay other tasks.
const LONG_BYTES: usize = 256 << 10;

/// The memory that a frame may take while it is received.
pub(crate) enum ReceiveBudget {
    /// The number of bytes that the frame may still take.
    Bytes(usize),
    /// Pieces from a shared semaphore. The first piece of each frame needs no permit, so that short frames never wait;
    /// each further piece takes a permit, which is returned when the budget is dropped.
    Shared { pieces: Arc<Semaphore>, has_first_piece: bool, permits: Vec<OwnedSemaphorePermit> },
}

impl ReceiveBudget {
    /// Takes `bytes` bytes of the budget, at most [`PIECE_BYTES`]; waits while a shared budget is exhausted.
    async fn acquire(&mut self, bytes: usize) -> Result<(), Failure> {
        let too_large = |left: usize| {
            Failure::new(
                Code::FrameTooLarge,
                format!("the frame is longer than allowed here: {bytes} bytes more, {left} left"),
            )
        };
        match self {
            Self::Bytes(left) => {
                *left = left.checked_sub(bytes).ok_or_else(|| too_large(*left))?;
            }
            Self::Shared { has_first_piece, .. } if !*has_first_piece => *has_first_piece = true,
            Self::Shared { pieces, permits, .. } => {
                permits.push(pieces.clone().acquire_owned().await.map_err(|_| too_large(0))?);
            }
        }
        Ok(())
    }
}

/// Waits for the first byte of a frame; returns `None` when the other side has closed the stream between two frames.
pub(crate) async fn read_first_byte(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u8>, Failure> {
    match stream.read_u8().await {
        Ok(byte) => Ok(Some(byte)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(broken(&error)),
    }
}

/// Reads the rest of a frame after its first byte. Before each piece of the payload is read, memory for it is taken
/// from `budget`.
pub(crate) async fn read_rest(
    stream: &mut (impl AsyncRead + Unpin),
    first: u8,
    budget: &mut ReceiveBudget,
) -> Result<Frame, Failure> {
    let inside = |what: &str, error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Failure::new(Code::FrameInvalid, format!("the stream ended inside {what}"))
        }
        _ => broken(&error),
    };
    let mut header = [first; HEADER_BYTES];
    if let Some(rest) = header.get_mut(1..) {
        stream.read_exact(rest).await.map_err(|error| inside("a frame's header", error))?;
    }
    let header = Header::decode(&header).map_err(frame_failure)?;
    // The buffer grows with the bytes that arrive: a length in a header alone takes no memory.
    let mut payload = Vec::new();
    while payload.len() < header.payload_bytes {
        let (had, piece) = (payload.len(), PIECE_BYTES.min(header.payload_bytes - payload.len()));
        budget.acquire(piece).await?;
        payload.resize(had + piece, 0);
        let piece = payload.get_mut(had..).unwrap_or_default();
        stream.read_exact(piece).await.map_err(|error| inside("a frame", error))?;
    }
    // A long payload must not delay other tasks.
    let payload = match payload.len() > LONG_BYTES && tokio::task::try_id().is_some() {
        true => tokio::task::block_in_place(|| parse(&header, &payload)),
        false => parse(&header, &payload),
    };
    Ok(Frame { flags: header.flags, sequence: header.sequence, payload: payload? })
}

fn parse(header: &Header, payload: &[u8]) -> Result<Value, Failure> {
    header.verify(payload).map_err(frame_failure)?;
    let limits = Limits { bytes_max: PAYLOAD_BYTES_MAX, ..Limits::default() };
    let limits = Limits { depth_max: limits.depth_max + WRAPPED_DEPTH, ..limits };
    Value::parse(payload, &limits)
        .map_err(|error| Failure::new(Code::JsonInvalid, format!("the payload is not JSON: {error}")))
}

/// Reads one frame; returns `None` when the other side has closed the stream between two frames.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, Failure> {
    match read_first_byte(stream).await? {
        Some(byte) => read_rest(stream, byte, &mut ReceiveBudget::Bytes(PAYLOAD_BYTES_MAX)).await.map(Some),
        None => Ok(None),
    }
}

/// Writes one frame.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    flags: Flags,
    sequence: u64,
    payload: &Value,
) -> Result<(), Failure> {
    let frame = encode(flags, sequence, payload.to_json().as_bytes()).map_err(frame_failure)?;
    stream.write_all(&frame).await.map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(Code::Io, format!("the connection broke: {error}"))
}

pub(crate) fn frame_failure(error: ak_kernel::frame::FrameError) -> Failure {
    use ak_kernel::frame::FrameError;
    let code = match error {
        FrameError::TooLarge(_) => Code::FrameTooLarge,
        FrameError::Version(_) => Code::Version,
        FrameError::Magic | FrameError::Flags(_) | FrameError::Checksum => Code::FrameInvalid,
    };
    Failure::new(code, error.to_string())
}

/// Returns the payload of a request that presents the token `cap`, if there is one.
pub(crate) fn request_payload(request: &Request, cap: Option<&str>) -> Value {
    let mut payload = Object::new();
    payload.insert("op", request.operation().name());
    payload.insert("args", request.args());
    if let Some(token) = cap {
        payload.insert("cap", token);
    }
    payload.into()
}

/// Parses the payload of a request into the request and the token that it presents.
pub(crate) fn parse_request(payload: &Value) -> Result<(Request, Option<Text>), Failure> {
    let invalid = |message: &str| Failure::new(Code::InvalidArgument, message);
    let object = payload.as_object().ok_or_else(|| invalid("the payload is not an object"))?;
    if let Some((name, _)) =
        object.iter().find(|(name, _)| !["op", "args", "cap", "id", "trace"].contains(&&***name))
    {
        return Err(invalid(&format!("payload.{}: is not known here", &**name)));
    }
    let name =
        payload.get("op").and_then(Value::as_str).ok_or_else(|| invalid("payload.op: expected a string"))?;
    let operation = Operation::from_name(name)
        .ok_or_else(|| invalid(&format!("payload.op: there is no operation {name:?}")))?;
    let args = payload.get("args").cloned().unwrap_or_else(|| Object::new().into());
    let cap = match payload.get("cap") {
        None => None,
        Some(Value::String(token)) => Some(token.clone()),
        Some(_) => return Err(invalid("payload.cap: expected a string")),
    };
    Ok((Request::decode(operation, &args)?, cap))
}
