//! The import module `ak`, through which a guest makes requests of its host.
//!
//! | import | meaning |
//! |---|---|
//! | `fail(ptr, len)` | ends the run; the text is the message |
//! | `log(ptr, len)` | appends a line to the log |
//! | `take(ptr)` | copies the reply to the last host call to `ptr`, once |
//! | every [`HostOperation`] `(ptr, len) -> len` | takes JSON arguments, returns the length of a JSON reply |
//!
//! A reply is `{"ok":true,"result":…}` or `{"ok":false,"error":…}`; in place of one that is too long, the guest gets
//! an error named `LIMIT`. The guest first learns the length and then takes the reply into memory that it has
//! allocated, so the host never calls into a suspended guest.

use alloc::string::{String, ToString};

use ak_json::{Limits, Object, Value};
use wasmi::{Caller, Error, Func, Store};

use crate::failure::Failure;
use crate::guest::{Delivery, Guest, Interrupt, admit, enter, range, range_mut};
use crate::host_call::{HostCall, HostOperation};

/// The import module of this table.
pub(crate) const MODULE: &str = "ak";

/// The host function with this name; `None` if there is none.
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
        // The log gets the whole text, up to its own limit; the message, which is for people, is cut.
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
        // The guest paid for it when it arrived, and a reply too long for 32 bits was rejected.
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

/// Bytes of a reply besides the requested content.
const REPLY_REST_BYTES: u64 = 1024;

/// Lowers `max` to the number of bytes that a reply can hold in base64url.
fn cap(args: &mut Value, reply_bytes_max: u64) {
    let most = reply_bytes_max.saturating_sub(REPLY_REST_BYTES) / 4 * 3;
    if let Value::Object(args) = args
        && args.get("max").and_then(Value::as_u64).is_some_and(|max| max > most)
    {
        args.insert("max", most);
    }
}

/// The reply in the form for the guest.
pub(crate) fn envelope(reply: Result<Value, Value>) -> Value {
    let mut object = Object::new();
    object.insert("ok", Value::Bool(reply.is_ok()));
    match reply {
        Ok(result) => object.insert("result", result),
        Err(error) => object.insert("error", error),
    };
    Value::from(object)
}
