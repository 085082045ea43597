//! The obvious matcher: all ways to match are tried.

use ak_policy::Effect;

use super::Request;

/// Whether a rule's pattern takes the target of a request.
pub(crate) fn target(own: &str, request: &Request, effect: Effect) -> bool {
    let text = request.target.as_str();
    if own == "*" {
        true
    } else if let (Some(own), Some(text)) = (own.strip_prefix('/'), text.strip_prefix('/')) {
        segments(own, text)
    } else if let (Some(own), Some(text)) = (own.strip_prefix("https://"), text.strip_prefix("https://")) {
        url(own, text, effect)
    } else if request.operation == "dns" {
        host(own, text)
    } else {
        glob(own.as_bytes(), text.as_bytes())
    }
}

fn url(own: &str, text: &str, effect: Effect) -> bool {
    let ((own_host, own_path), (host_name, rest)) =
        (own.split_once('/').unwrap(), text.split_once('/').unwrap());
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let query_fits = query.is_none() || own_path.ends_with("**") || effect != Effect::Permit;
    host(own_host, host_name) && segments(own_path, path) && query_fits
}

fn host(own: &str, host: &str) -> bool {
    own == "*" || own == host || own.strip_prefix('*').is_some_and(|end| end.len() > 1 && host.ends_with(end))
}

/// Whether a pattern over segments takes a text; neither has an empty segment.
pub(crate) fn segments(pattern: &str, text: &str) -> bool {
    let split =
        |text: &str| text.split('/').filter(|part| !part.is_empty()).map(String::from).collect::<Vec<_>>();
    each(&split(pattern), &split(text))
}

fn each(pattern: &[String], text: &[String]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [deep, rest @ ..] if deep == "**" => (0..=text.len()).any(|at| each(rest, &text[at..])),
        [own, rest @ ..] => {
            text.first().is_some_and(|part| glob(own.as_bytes(), part.as_bytes())) && each(rest, &text[1..])
        }
    }
}

/// Whether a pattern over one name takes a text.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        [own, rest @ ..] => text.first() == Some(own) && glob(rest, &text[1..]),
    }
}
