//! The functions that C calls. Each checks its pointers, calls safe code, and turns a panic into a failure.
#![allow(unsafe_code, reason = "a C interface takes raw pointers; every use says why it is sound")]
#![deny(unsafe_op_in_unsafe_fn)]

use std::{
    ffi::{CStr, CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use ak_host::ak_kernel::{Code, Failure, outcome_to_value};

use crate::session::{AkSession, code_name};

/// Opens a kernel, embedded or behind a socket, and gives the owner's session, or over a socket the session of
/// the token.
///
/// `options` is a JSON object with any of the strings `url`, `state_dir`, `policy`, `token_file`, `ca`, `host_config`;
/// NULL opens an embedded kernel in memory. Environment variables are not read.
///
/// Returns 0 and sets `*reply` to NULL, or returns the code of the error, sets `*session` to NULL and `*reply` to the
/// outcome in JSON, which `ak_free` frees.
///
/// # Safety
/// `options` is NULL or a NUL-terminated string; `session` and `reply` point to writable pointers, `reply` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_init(
    options: *const c_char,
    session: *mut *mut AkSession,
    reply: *mut *mut c_char,
) -> i32 {
    if session.is_null() {
        return Code::InvalidArgument.number();
    }
    // SAFETY: the caller vouches for a NUL-terminated string that is neither changed nor freed during the call.
    let options = unsafe { read_text(options) };
    let opened = catch_panics(|| AkSession::open(options?.unwrap_or("{}")));
    // SAFETY: both point to writable pointers, `session` was checked, `reply` is checked inside.
    unsafe { write_session(opened, session, reply) }
}

/// Opens a session of the agent with this name, which is created if there is none. `owner` must be the owner's session.
///
/// Returns a code and sets `*session` and `*reply` as `ak_init` does.
///
/// # Safety
/// `owner` comes from `ak_init` and is not shut down; `name` is a NUL-terminated string; `session` and `reply` as for `ak_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_agent(
    owner: *const AkSession,
    name: *const c_char,
    session: *mut *mut AkSession,
    reply: *mut *mut c_char,
) -> i32 {
    if session.is_null() || owner.is_null() {
        return Code::InvalidArgument.number();
    }
    // SAFETY: not NULL; the caller vouches that it is a live session.
    let owner = unsafe { &*owner };
    // SAFETY: the caller vouches for a NUL-terminated string that is neither changed nor freed during the call.
    let name = unsafe { read_text(name) };
    let opened = catch_panics(|| owner.agent(name?.unwrap_or_default()));
    // SAFETY: as in `ak_init`.
    unsafe { write_session(opened, session, reply) }
}

/// Makes a request and waits for its outcome.
///
/// `op` is one of `AK_OP_…`; `args` is the JSON object that the operation takes, or NULL for `{}`. `*reply`
/// becomes `{"ok":true,"result":…}` or `{"ok":false,"error":…}`, which `ak_free` frees. Several threads may
/// call at the same time.
///
/// Returns 0, or the code of the error.
///
/// # Safety
/// `session` comes from `ak_init` or `ak_agent` and is not shut down; `args` is NULL or a NUL-terminated string; `reply` is NULL or
/// points to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_call(
    session: *const AkSession,
    op: u16,
    args: *const c_char,
    reply: *mut *mut c_char,
) -> i32 {
    if session.is_null() {
        return Code::InvalidArgument.number();
    }
    // SAFETY: not NULL; the caller vouches that it is a live session.
    let session = unsafe { &*session };
    // SAFETY: the caller vouches for a NUL-terminated string that is neither changed nor freed during the call.
    let args = unsafe { read_text(args) };
    let outcome = catch_panics(|| session.call(op, args?.unwrap_or("{}")));
    let code = outcome.as_ref().map_or_else(|failure| failure.code.number(), |_| 0);
    // SAFETY: the caller vouches for `reply`.
    unsafe { write_text(&outcome_to_value(&outcome).to_json(), reply) };
    code
}

/// Frees a string that this library wrote to a `reply`. NULL has no effect.
///
/// # Safety
/// `text` is NULL, or this library wrote it to a `reply` and it was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it was made by `CString::into_raw` in `write_text`, and the caller vouches that it is freed once.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Returns the name of a code, such as `POLICY_DENY`; `OK` for 0 and `UNKNOWN` for a number that is no code. It must
/// not be freed.
#[unsafe(no_mangle)]
pub extern "C" fn ak_strerror(code: i32) -> *const c_char {
    code_name(code).as_ptr()
}

/// Ends a session and frees it. Ending the owner's session of an embedded kernel also ends the kernel. NULL has
/// no effect.
///
/// # Safety
/// `session` is NULL or comes from `ak_init` or `ak_agent`, was not shut down before, and no call on it is running.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_shutdown(session: *mut AkSession) {
    if !session.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `write_session`, and the caller vouches that it is freed once.
        let session = unsafe { Box::from_raw(session) };
        // A panic while closing cannot be reported: the session is freed in either case.
        let _ = catch_unwind(AssertUnwindSafe(|| session.close()));
    }
}

/// Runs safe code. A panic becomes a failure and does not unwind into C.
fn catch_panics<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::new(Code::Io, "internal error: the call panicked; shut down this session"))
    })
}

/// Reads a text argument; `None` if the pointer is NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that is not written to while the result lives.
unsafe fn read_text<'a>(pointer: *const c_char) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for exactly what `CStr::from_ptr` requires.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::new(Code::JsonInvalid, "the text is not UTF-8"))
}

/// Writes a copy of a text to `*reply`, unless `reply` is NULL. The caller frees it with [`ak_free`].
///
/// # Safety
/// `reply` is NULL or points to a writable pointer.
unsafe fn write_text(text: &str, reply: *mut *mut c_char) {
    if !reply.is_null() {
        // JSON text has no NUL: control characters are escaped.
        let owned = CString::new(text).unwrap_or_default();
        // SAFETY: not NULL, and the caller vouches that it can be written.
        unsafe { reply.write(owned.into_raw()) };
    }
}

/// Writes a session to `*session` and NULL to `*reply`, or NULL to `*session` and the failure to `*reply`. Returns 0 or
/// the code of the failure.
///
/// # Safety
/// `session` points to a writable pointer; `reply` is NULL or points to one.
unsafe fn write_session(
    opened: Result<AkSession, Failure>,
    session: *mut *mut AkSession,
    reply: *mut *mut c_char,
) -> i32 {
    if !reply.is_null() {
        // SAFETY: not NULL, and the caller vouches that it can be written.
        unsafe { reply.write(ptr::null_mut()) };
    }
    match opened {
        Ok(opened) => {
            // SAFETY: the caller vouches that it can be written.
            unsafe { session.write(Box::into_raw(Box::new(opened))) };
            0
        }
        Err(failure) => {
            let code = failure.code.number();
            // SAFETY: the caller vouches that it can be written.
            unsafe { session.write(ptr::null_mut()) };
            // SAFETY: the caller vouches for `reply`.
            unsafe { write_text(&outcome_to_value(&Err(failure)).to_json(), reply) };
            code
        }
    }
}
