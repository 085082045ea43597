//! Frames over a blocking byte stream, and the JSON they carry.

use std::io::{Read, Write};

use ak_json::{Limits, Object, Text, Value};
use ak_kernel::{
    Code, Failure, Operation, Request,
    wire::{Flags, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX, encode},
};

/// One frame, its payload parsed.
pub(crate) struct Frame {
    pub(crate) flags: Flags,
    pub(crate) sequence: u64,
    pub(crate) payload: Value,
}

/// How much deeper a payload may be nested than the values that it carries.
const WRAPPED_DEPTH: usize = 8;

/// Reads one frame; `None` when the other side has closed the stream between two frames.
pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Frame>, Failure> {
    let broken = |error: std::io::Error| Failure::new(Code::Io, format!("the connection broke: {error}"));
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while let Some(rest) = header.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => {
                return Err(Failure::new(Code::FrameInvalid, "the stream ended inside a frame's header"));
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    let header = Header::decode(&header).map_err(refused)?;
    // Grows with what arrives: a length alone takes no memory.
    let mut payload = Vec::new();
    stream.take(header.payload_bytes as u64).read_to_end(&mut payload).map_err(broken)?;
    if payload.len() != header.payload_bytes {
        return Err(Failure::new(Code::FrameInvalid, "the stream ended inside a frame"));
    }
    header.verify(&payload).map_err(refused)?;
    let limits = Limits { bytes_max: PAYLOAD_BYTES_MAX, ..Limits::default() };
    let limits = Limits { depth_max: limits.depth_max + WRAPPED_DEPTH, ..limits };
    let payload = Value::parse(&payload, &limits)
        .map_err(|error| Failure::new(Code::JsonInvalid, format!("the payload is not JSON: {error}")))?;
    Ok(Some(Frame { flags: header.flags, sequence: header.sequence, payload }))
}

/// Writes one frame.
pub(crate) fn write(
    stream: &mut impl Write,
    flags: Flags,
    sequence: u64,
    payload: &Value,
) -> Result<(), Failure> {
    let frame = encode(flags, sequence, payload.to_json().as_bytes()).map_err(refused)?;
    stream.write_all(&frame).map_err(|error| Failure::new(Code::Io, format!("the connection broke: {error}")))
}

pub(crate) fn refused(error: ak_kernel::wire::FrameError) -> Failure {
    use ak_kernel::wire::FrameError;
    let code = match error {
        FrameError::TooLarge(_) => Code::FrameTooLarge,
        FrameError::Version(_) => Code::Version,
        FrameError::Magic | FrameError::Flags(_) | FrameError::Checksum => Code::FrameInvalid,
    };
    Failure::new(code, error.to_string())
}

/// The payload of a request, and of the token that it presents.
pub(crate) fn request_payload(request: &Request, cap: Option<&str>) -> Value {
    let mut payload = Object::new();
    payload.insert("op", request.operation().name());
    payload.insert("args", request.args());
    if let Some(token) = cap {
        payload.insert("cap", token);
    }
    payload.into()
}

/// Takes the payload of a request apart: the request, and the token that it presents.
pub(crate) fn request_of(payload: &Value) -> Result<(Request, Option<Text>), Failure> {
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
