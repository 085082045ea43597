//! What a guest may ask of the world outside: the import module `ak`.
//!
//! | import | meaning |
//! |---|---|
//! | `fail(ptr, len)` | ends the run; the text is the message |
//! | `log(ptr, len)` | appends a line to the log |
//! | `take(ptr)` | copies the reply to the last host call to `ptr`, once |
//! | every [`HostOperation`] `(ptr, len) -> len` | takes JSON arguments, gives the length of a JSON reply |
//!
//! A reply is `{"ok":true,"result":…}` or `{"ok":false,"error":…}`; one too long for the guest is an error named `LIMIT`. The guest learns its length first and
//! takes it when it has made room, so the host never calls back into a guest that waits.

use alloc::string::{String, ToString};

use ak_json::{Limits, Object, Value};
use wasmi::{Caller, Error, Func, Store};

use crate::Failure;
use crate::guest::{Delivery, Guest, Interrupt, admit, enter, range, range_mut};

/// A request that a guest makes of the world outside; the run waits for [`Run::reply`](crate::Run::reply).
///
/// A native module's arguments may have any shape, and so may the reply. For a WASI command the sandbox makes and reads
/// them itself; bytes are base64url without padding:
///
/// | operation | arguments | result |
/// |---|---|---|
/// | [`HostOperation::FsRead`] | `path`, `max` (bytes) | `bytes` |
/// | [`HostOperation::FsWrite`] | `path`, `data` | anything |
/// | [`HostOperation::FsStat`] | `path` | `kind` (`file`, `directory`, `link` …), `size`, `modified` (µs since 1970) |
/// | [`HostOperation::FsList`] | `path` | `entries`: objects with `name` and `kind` |
/// | [`HostOperation::FsDelete`] | `path` | anything |
/// | [`HostOperation::Random`] | `bytes` (how many) | a string: so many bytes |
/// | [`HostOperation::Now`] | none | an integer, µs since 1970 |
///
/// A refusal is an error number to a command, by the error's member `name`: `NOT_FOUND` is `ENOENT`, `LIMIT` and
/// `BUFFER_OVERFLOW` are `EFBIG`, `IO`, `DEADLINE` and `UNKNOWN_OUTCOME` are `EIO`, everything else is `EACCES`; for
/// clock and random it is always `ENOTCAPABLE`. After `BUFFER_OVERFLOW` a file is described and read once more: it has
/// grown.
///
/// A native module's `max` of [`HostOperation::FsRead`] and [`HostOperation::Http`] is lowered to what a reply can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCall {
    /// What is asked for.
    pub operation: HostOperation,
    /// The guest's arguments, of any shape; for [`HostOperation::Random`] `{"bytes": n}`, for
    /// [`HostOperation::Now`] as the guest gave them.
    pub args: Value,
}

/// What a guest can ask for. The sandbox decides nothing: whoever drives the run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostOperation {
    /// Read a file.
    FsRead,
    /// Write a file.
    FsWrite,
    /// Describe a file or directory.
    FsStat,
    /// List a directory.
    FsList,
    /// Delete a file.
    FsDelete,
    /// Make an HTTP request.
    Http,
    /// Ask a model.
    Infer,
    /// Read a heap object.
    HeapRead,
    /// Patch a heap object.
    HeapWrite,
    /// Call another tool.
    Call,
    /// The time; the result is an integer, µs since the Unix epoch.
    Now,
    /// Random bytes; the result is `bytes` many of them, base64url without padding.
    Random,
}

impl HostOperation {
    /// Every operation.
    pub const ALL: [Self; 12] = [
        Self::FsRead,
        Self::FsWrite,
        Self::FsStat,
        Self::FsList,
        Self::FsDelete,
        Self::Http,
        Self::Infer,
        Self::HeapRead,
        Self::HeapWrite,
        Self::Call,
        Self::Now,
        Self::Random,
    ];

    /// The name of the import.
    pub fn name(self) -> &'static str {
        match self {
            Self::FsRead => "fs_read",
            Self::FsWrite => "fs_write",
            Self::FsStat => "fs_stat",
            Self::FsList => "fs_list",
            Self::FsDelete => "fs_delete",
            Self::Http => "http",
            Self::Infer => "infer",
            Self::HeapRead => "heap_read",
            Self::HeapWrite => "heap_write",
            Self::Call => "call",
            Self::Now => "now",
            Self::Random => "random",
        }
    }
}

/// The import module of this table.
pub(crate) const MODULE: &str = "ak";

/// The host function of this name, if there is one.
pub(crate) fn function(store: &mut Store<Guest>, name: &str) -> Option<Func> {
    match name {
        "fail" => Some(Func::wrap(store, fail)),
        "log" => Some(Func::wrap(store, log)),
        "take" => Some(Func::wrap(store, take)),
        _ => {
            let operation = HostOperation::ALL.into_iter().find(|operation| operation.name() == name)?;
            Some(Func::wrap(store, move |caller: Caller<'_, Guest>, at: u32, length: u32| {
                host_call(caller, operation, at, length)
            }))
        }
    }
}

fn fail(caller: Caller<'_, Guest>, at: u32, length: u32) -> Result<(), Error> {
    enter(caller, |memory, guest| {
        admit(memory, guest, "fail", at, length)?;
        let bytes = range(memory, "fail", at, length)?;
        // As long as a log may be: a message is for people.
        guest.log.write(bytes);
        let message = bytes.get(..MESSAGE_BYTES_MAX).unwrap_or(bytes);
        Err(Interrupt::Fail(String::from_utf8_lossy(message).into_owned()))
    })
}

/// Longest message of a failing tool, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

fn log(caller: Caller<'_, Guest>, at: u32, length: u32) -> Result<(), Error> {
    enter(caller, |memory, guest| {
        admit(memory, guest, "log", at, length)?;
        guest.log.write(range(memory, "log", at, length)?);
        guest.log.write(b"\n");
        Ok(())
    })
}

fn take(caller: Caller<'_, Guest>, at: u32) -> Result<(), Error> {
    enter(caller, |memory, guest| {
        let none = || Failure::BadHostCall { call: "take", reason: "no reply is waiting".to_string() };
        // It was paid for when it came, and one too long for 32 bits was refused.
        let reply = guest.reply.take().ok_or_else(none)?;
        let length = u32::try_from(reply.len()).unwrap_or(u32::MAX);
        range_mut(memory, "take", at, length)?.copy_from_slice(&reply);
        Ok(())
    })
}

fn host_call(
    caller: Caller<'_, Guest>,
    operation: HostOperation,
    at: u32,
    length: u32,
) -> Result<u32, Error> {
    let call = operation.name();
    enter(caller, |memory, guest| {
        admit(memory, guest, call, at, length)?;
        guest.reply = None;
        let limits = Limits {
            bytes_max: usize::try_from(guest.host_call_bytes_max).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        let args = Value::parse(range(memory, call, at, length)?, &limits);
        let mut args = args.map_err(|error| Failure::BadHostCall { call, reason: error.to_string() })?;
        if matches!(operation, HostOperation::FsRead | HostOperation::Http) {
            cap(&mut args, guest.host_call_bytes_max);
        }
        Err(Interrupt::HostCall(HostCall { operation, args }, Delivery::Taken))
    })
}

/// What a reply holds besides the bytes that were asked for.
const REPLY_REST_BYTES: u64 = 1024;

/// Asks for no more bytes than a reply can hold in base64url.
fn cap(args: &mut Value, reply_bytes_max: u64) {
    let most = reply_bytes_max.saturating_sub(REPLY_REST_BYTES) / 4 * 3;
    if let Value::Object(args) = args
        && args.get("max").and_then(Value::as_u64).is_some_and(|max| max > most)
    {
        args.insert("max", most);
    }
}

/// The reply as the guest sees it.
pub(crate) fn envelope(reply: Result<Value, Value>) -> Value {
    let mut object = Object::new();
    object.insert("ok", Value::Bool(reply.is_ok()));
    match reply {
        Ok(result) => object.insert("result", result),
        Err(error) => object.insert("error", error),
    };
    Value::from(object)
}
