//! Error numbers of `wasi_snapshot_preview1`.

use ak_json::Value;

pub(crate) const SUCCESS: i32 = 0;
pub(crate) const ACCESS: i32 = 2;
pub(crate) const BAD_FILE: i32 = 8;
pub(crate) const EXISTS: i32 = 20;
pub(crate) const TOO_BIG: i32 = 22;
pub(crate) const BAD_TEXT: i32 = 25;
pub(crate) const INVALID: i32 = 28;
pub(crate) const IO: i32 = 29;
pub(crate) const IS_DIRECTORY: i32 = 31;
pub(crate) const TOO_MANY_FILES: i32 = 33;
pub(crate) const NAME_TOO_LONG: i32 = 37;
pub(crate) const NO_ENTRY: i32 = 44;
pub(crate) const NO_SPACE: i32 = 51;
pub(crate) const NOT_SUPPORTED: i32 = 52;
pub(crate) const NOT_DIRECTORY: i32 = 54;
pub(crate) const NOT_SEEKABLE: i32 = 70;
/// Returned for a clock or random call that the host rejects, and for a path that leads out of its directory.
pub(crate) const NOT_CAPABLE: i32 = 76;

/// Whether the host rejected a read because the file is longer than the requested `max`.
pub(crate) fn is_overflow(error: &Value) -> bool {
    error.get("name").and_then(Value::as_str) == Some("BUFFER_OVERFLOW")
}

/// The error number for a rejected file call, by the error's member `name`. An unknown name counts as a denial.
pub(crate) fn of_refusal(error: &Value) -> i32 {
    match error.get("name").and_then(Value::as_str) {
        Some("NOT_FOUND") => NO_ENTRY,
        Some("LIMIT" | "BUFFER_OVERFLOW") => TOO_BIG,
        Some("IO" | "UNKNOWN_OUTCOME" | "DEADLINE") => IO,
        Some(_) | None => ACCESS,
    }
}
