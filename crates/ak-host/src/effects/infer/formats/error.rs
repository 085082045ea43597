//! Errors that servers report in place of an answer or an event.

use ak_json::Value;

/// Returns the error message of an answer that is an error, whatever its status; `None` for any other answer.
pub(crate) fn find_error(value: &Value) -> Option<String> {
    let error = value.get("error").filter(|error| !error.is_null());
    let is_one = |name: &str| value.get(name).and_then(Value::as_str) == Some("error");
    let error = error.or_else(|| (is_one("object") || is_one("type")).then_some(value))?;
    let message = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
    Some(message.unwrap_or("the server reported an error without a message").to_owned())
}

/// Returns the error message of an event that is known to be an error, whatever its form.
pub(crate) fn error_message(event: &Value) -> String {
    let error = event.get("error").filter(|error| !error.is_null()).unwrap_or(event);
    let message = ["message", "detail", "error"].into_iter().find_map(|name| error.get(name)?.as_str());
    message.or_else(|| error.as_str()).unwrap_or("no reason given").to_owned()
}

/// Why an event cannot be translated to a chunk.
pub(crate) enum StreamError {
    /// The event is malformed.
    Unreadable(String),
    /// The server reported an error.
    Reported(String),
}
