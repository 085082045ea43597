//! Error numbers of `wasi_snapshot_preview1`.

use ak_json::Value;

pub(crate) const SUCCESS: i32 = 0;
pub(super) const ACCESS: i32 = 2;
pub(super) const BAD_FILE: i32 = 8;
pub(super) const EXISTS: i32 = 20;
pub(super) const TOO_BIG: i32 = 22;
pub(super) const BAD_TEXT: i32 = 25;
pub(super) const INVALID: i32 = 28;
pub(super) const IO: i32 = 29;
pub(super) const IS_DIRECTORY: i32 = 31;
pub(super) const TOO_MANY_FILES: i32 = 33;
pub(super) const NAME_TOO_LONG: i32 = 37;
pub(super) const NO_ENTRY: i32 = 44;
pub(super) const NO_SPACE: i32 = 51;
pub(super) const NOT_SUPPORTED: i32 = 52;
pub(super) const NOT_DIRECTORY: i32 = 54;
pub(super) const NOT_SEEKABLE: i32 = 70;
/// Answered to a clock or random call that the host refuses, and to a path that leaves its directory.
pub(crate) const NOT_CAPABLE: i32 = 76;

/// Whether what was asked for is longer than it was asked for.
pub(super) fn is_overflow(error: &Value) -> bool {
    error.get("name").and_then(Value::as_str) == Some("BUFFER_OVERFLOW")
}

/// What a refused file call is to the guest, by the error's member `name`. What is not known is a denial.
pub(super) fn of_refusal(error: &Value) -> i32 {
    match error.get("name").and_then(Value::as_str) {
        Some("NOT_FOUND") => NO_ENTRY,
        Some("LIMIT" | "BUFFER_OVERFLOW") => TOO_BIG,
        Some("IO" | "UNKNOWN_OUTCOME" | "DEADLINE") => IO,
        Some(_) | None => ACCESS,
    }
}
