//! Errors that servers report in place of an answer.

use ak_json::Value;

/// What a server says went wrong, where it says so in place of an answer, whatever the status.
pub(crate) fn find_error(value: &Value) -> Option<String> {
    let error = value.get("error").filter(|error| !error.is_null());
    let is_one = |name: &str| value.get(name).and_then(Value::as_str) == Some("error");
    let error = error.or_else(|| (is_one("object") || is_one("type")).then_some(value))?;
    let message = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
    Some(message.unwrap_or("the server says that it failed and not why").to_owned())
}

/// What an event says went wrong that is known to be an error, whatever its form.
pub(crate) fn error_message(event: &Value) -> String {
    let error = event.get("error").filter(|error| !error.is_null()).unwrap_or(event);
    let message = ["message", "detail", "error"].into_iter().find_map(|name| error.get(name)?.as_str());
    message.or_else(|| error.as_str()).unwrap_or("no reason given").to_owned()
}

/// Why an event makes no chunk.
pub(crate) enum ExportError {
    /// Nobody can read it.
    Unreadable(String),
    /// The server says that it failed.
    Reported(String),
}
