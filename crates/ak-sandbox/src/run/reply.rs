//! Delivers the outcome of a host call to the guest.

use alloc::string::ToString;

use ak_json::{Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wasmi::Val;

use super::{Run, State};
use crate::failure::{Failure, RunError};
use crate::files::errno::{NOT_CAPABLE, SUCCESS};
use crate::guest::{Delivery, range_mut};
use crate::host_call::HostCall;
use crate::imports::ak::envelope;
use crate::imports::wasi::{self, SyscallOutcome};

/// What follows from the delivery of a reply.
enum Delivered {
    /// The guest's call returns this value.
    Returns(Val),
    /// The guest's call needs another host call.
    Asks(HostCall, Delivery),
}

impl Run {
    /// Gives the outcome of a host call: its result, or the error object for the guest.
    ///
    /// # Errors
    ///
    /// [`RunError`] ends the run: the reply is too long or does not fit the call, no reply is due, or writing a file
    /// back failed after the guest's end.
    pub fn reply(&mut self, reply: Result<Value, Value>) -> Result<(), RunError> {
        let State::Waiting(trap, call, delivery) = core::mem::replace(&mut self.state, State::Over) else {
            return Err(self.error(Failure::OutOfOrder("no reply is due")));
        };
        let path = call.args.get("path").and_then(Value::as_str).unwrap_or_default();
        let refused = |error: &Value| Failure::FileNotWritten { path: path.into(), reason: error.to_json() };
        let delivered = match (&trap, reply) {
            // The guest has ended and cannot handle an error number.
            (None, Err(error)) => Err(refused(&error)),
            (_, reply) => self.deliver(&call, delivery, reply),
        };
        self.state = match (delivered, trap) {
            (Err(failure), _) => return Err(self.error(failure)),
            (Ok(Delivered::Asks(call, delivery)), trap) => State::Ask(trap, call, delivery),
            (Ok(Delivered::Returns(value)), Some(trap)) => State::Resume(trap, alloc::vec![value]),
            (Ok(Delivered::Returns(_)), None) => State::Ended,
        };
        Ok(())
    }

    /// Delivers a reply to where the guest expects it.
    fn deliver(
        &mut self,
        call: &HostCall,
        delivery: Delivery,
        reply: Result<Value, Value>,
    ) -> Result<Delivered, Failure> {
        let call = call.operation.name();
        let bad = |reason: &str| Failure::BadReply { call, reason: reason.to_string() };
        let bytes_max = self.limits.host_call_bytes_max;
        self.with_host(|memory, guest| {
            Ok(match (delivery, reply) {
                (Delivery::Taken, reply) => {
                    let mut reply = envelope(reply).to_json().into_bytes();
                    if reply.len() as u64 > bytes_max {
                        reply = envelope(Err(too_long(bytes_max))).to_json().into_bytes();
                    }
                    let length = u32::try_from(reply.len()).map_err(|_| bad("it is too long"))?;
                    guest.meter.spend_bytes(length.into())?;
                    guest.reply = Some(reply);
                    Delivered::Returns(Val::I32(length.cast_signed()))
                }
                (Delivery::File(pending), reply) => {
                    match wasi::resume(memory, guest, call, pending, reply)? {
                        SyscallOutcome::Errno(number) => Delivered::Returns(Val::I32(number)),
                        SyscallOutcome::Ask(call, pending) => Delivered::Asks(call, Delivery::File(pending)),
                    }
                }
                (Delivery::ClockAt(_) | Delivery::RandomAt { .. }, Err(_)) => {
                    Delivered::Returns(Val::I32(NOT_CAPABLE))
                }
                (Delivery::ClockAt(at), Ok(time)) => {
                    let micros = time.as_u64().ok_or_else(|| bad("expected an integer"))?;
                    let nanos = micros.saturating_mul(1_000).to_le_bytes();
                    range_mut(memory, call, at, 8)?.copy_from_slice(&nanos);
                    Delivered::Returns(Val::I32(SUCCESS))
                }
                (Delivery::RandomAt { at, bytes: length, rest }, Ok(text)) => {
                    let bytes = text.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                    let bytes = bytes.filter(|bytes| bytes.len() == length as usize);
                    let bytes = bytes.ok_or_else(|| bad("expected that many bytes in base64url"))?;
                    range_mut(memory, call, at, length)?.copy_from_slice(&bytes);
                    if rest == 0 {
                        Delivered::Returns(Val::I32(SUCCESS))
                    } else {
                        let (call, delivery) = wasi::random(guest, at.saturating_add(length), rest);
                        Delivered::Asks(call, delivery)
                    }
                }
            })
        })
    }
}

/// The error that the guest gets in place of a reply that is too long.
fn too_long(bytes_max: u64) -> Value {
    let message = alloc::format!("the reply is longer than {bytes_max} bytes");
    Value::from(Object::from_iter([("name", Value::from("LIMIT")), ("message", Value::from(message))]))
}
