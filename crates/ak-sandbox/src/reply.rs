//! How the outcome of a host call reaches the guest.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::Value;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wasmi::Val;

use crate::guest::{Delivery, range_mut};
use crate::host::{HostCall, envelope};
use crate::run::State;
use crate::wasi::{self, Act};
use crate::{Failure, Run, RunError};

/// What follows from a reply.
enum Delivered {
    /// The guest's call returns this.
    Returns(Val),
    /// There is more to ask.
    Asks(HostCall, Delivery),
}

impl Run {
    /// Gives the outcome of a host call: its result, or the error object that the guest shall see.
    ///
    /// # Errors
    ///
    /// [`RunError`] ends the run: the reply is too long, does not fit the call, or nobody waits for one.
    pub fn reply(&mut self, reply: Result<Value, Value>) -> Result<(), RunError> {
        let State::Waiting(trap, call, delivery) = core::mem::replace(&mut self.state, State::Over) else {
            return Err(self.error(Failure::OutOfOrder("no reply is due")));
        };
        let path = call.args.get("path").and_then(Value::as_str).unwrap_or_default();
        let refused = |error: &Value| Failure::FileNotWritten { path: path.into(), reason: error.to_json() };
        let delivered = match (&trap, reply) {
            // The guest has ended: nobody is left to look at an error number.
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

    /// Puts a reply where the guest expects it.
    fn deliver(
        &mut self,
        call: &HostCall,
        delivery: Delivery,
        reply: Result<Value, Value>,
    ) -> Result<Delivered, Failure> {
        let call = call.operation.name();
        let bad = |reason: &str| Failure::BadReply { call, reason: reason.to_string() };
        let bytes_max = self.limits.host_call_bytes_max;
        self.meanwhile(|memory, guest| {
            let (at, bytes): (u32, Vec<u8>) = match (delivery, reply) {
                (Delivery::Taken, reply) => {
                    let reply = envelope(reply).to_json().into_bytes();
                    let length =
                        u32::try_from(reply.len()).ok().filter(|&length| u64::from(length) <= bytes_max);
                    let length = length.ok_or_else(|| bad("it is too long"))?;
                    guest.meter.spend_bytes(length.into())?;
                    guest.reply = Some(reply);
                    return Ok(Delivered::Returns(Val::I32(length.cast_signed())));
                }
                (Delivery::File(pending), reply) => {
                    return Ok(match wasi::answered(memory, guest, call, pending, reply)? {
                        Act::Errno(number) => Delivered::Returns(Val::I32(number)),
                        Act::Ask(call, pending) => Delivered::Asks(call, Delivery::File(pending)),
                    });
                }
                (Delivery::ClockAt(_) | Delivery::RandomAt(..), Err(_)) => {
                    return Ok(Delivered::Returns(Val::I32(wasi::NOT_CAPABLE)));
                }
                (Delivery::ClockAt(at), Ok(time)) => {
                    let micros = time.as_u64().ok_or_else(|| bad("expected an integer"))?;
                    (at, micros.saturating_mul(1_000).to_le_bytes().to_vec())
                }
                (Delivery::RandomAt(at, length), Ok(text)) => {
                    let bytes = text.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                    let bytes = bytes.filter(|bytes| bytes.len() == length as usize);
                    (at, bytes.ok_or_else(|| bad("expected that many bytes in base64url"))?)
                }
            };
            let length = u32::try_from(bytes.len()).map_err(|_| bad("it is too long"))?;
            range_mut(memory, call, at, length)?.copy_from_slice(&bytes);
            Ok(Delivered::Returns(Val::I32(wasi::SUCCESS)))
        })
    }
}
