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

/// Opens a kernel and gives the owner's session.
///
/// `options` is a JSON object with any of `url`, `state_dir`, `policy`, `token_file`, `ca`, `host_config`, or NULL for an embedded kernel in
/// memory. The environment is not consulted.
///
/// Returns 0, or a code; `*session` is NULL then. `*reply` is NULL, or a JSON outcome that says why; free it with `ak_free`.
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
    // SAFETY: the caller vouches for a NUL-terminated string that stays put during the call.
    let options = unsafe { read_text(options) };
    let opened = catch_panics(|| AkSession::open(options?.unwrap_or("{}")));
    // SAFETY: both point to writable pointers, `session` was checked, `reply` is checked inside.
    unsafe { write_session(opened, session, reply) }
}

/// Opens a session for an agent, if `owner` is the owner's session.
///
/// Returns and gives what `ak_init` does.
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
    // SAFETY: the caller vouches for a NUL-terminated string that stays put during the call.
    let name = unsafe { read_text(name) };
    let opened = catch_panics(|| owner.agent(name?.unwrap_or_default()));
    // SAFETY: as in `ak_init`.
    unsafe { write_session(opened, session, reply) }
}

/// Makes a request and waits for its outcome.
///
/// `op` is one of `AK_OP_…`; `args` is the JSON object that the operation takes, or NULL for `{}`. `*reply` becomes
/// `{"ok":true,"result":…}` or `{"ok":false,"error":…}`; free it with `ak_free`. Any thread may call, also at the same time.
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
    // SAFETY: the caller vouches for a NUL-terminated string that stays put during the call.
    let args = unsafe { read_text(args) };
    let outcome = catch_panics(|| session.call(op, args?.unwrap_or("{}")));
    let code = outcome.as_ref().map_or_else(|failure| failure.code.number(), |_| 0);
    // SAFETY: the caller vouches for `reply`.
    unsafe { write_text(&outcome_to_value(&outcome).to_json(), reply) };
    code
}

/// Frees a string that this library gave out. NULL is fine.
///
/// # Safety
/// `text` is NULL or was given out by this library and not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it was made by `CString::into_raw` in `write_text`, and the caller vouches that it is freed once.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// The name of a code, such as `POLICY_DENY`; `OK` for 0 and `UNKNOWN` for a number that is no code. Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn ak_strerror(code: i32) -> *const c_char {
    code_name(code).as_ptr()
}

/// Ends a session; an owner's session ends its embedded kernel. NULL is fine.
///
/// # Safety
/// `session` is NULL or comes from `ak_init` or `ak_agent`, was not shut down before, and no call on it is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ak_shutdown(session: *mut AkSession) {
    if !session.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `write_session`, and the caller vouches that it is freed once.
        let session = unsafe { Box::from_raw(session) };
        // A panic while closing cannot be reported; the session is gone either way.
        let _ = catch_unwind(AssertUnwindSafe(|| session.close()));
    }
}

/// Runs safe code. A panic becomes a failure and does not unwind into C.
fn catch_panics<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure::new(Code::Io, "libak has a bug: a call panicked; shut the session down"))
    })
}

/// Reads an argument that is text; none where it is NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that is not written to while the result lives.
unsafe fn read_text<'a>(pointer: *const c_char) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise is exactly what `CStr::from_ptr` asks for.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::new(Code::JsonInvalid, "the text is not UTF-8"))
}

/// Gives a text to C, which frees it with [`ak_free`].
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

/// Gives a session to C, or the reason why there is none. Returns 0 or the code of the failure.
///
/// # Safety
/// `session` points to a writable pointer; `reply` is NULL or does.
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
