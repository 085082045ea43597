//! The ways in which servers are known to read a path and a query.
//!
//! A server passes a request through steps: it decodes escapes, once, or twice behind a proxy that also decodes; it
//! drops `;parameters`; it treats `\` as `/` and several `/` as one. Servers differ in which steps they take and in
//! what order. The readings of a text are all results of any chain of these steps. A pattern has readings too: the
//! same steps, taken in its literal parts.
//!
//! Texts here are canonical or derived from canonical texts, so that no step leads to `.` or `..`: a URL in which
//! one would is rejected earlier ([`TargetError::HiddenStep`](super::TargetError::HiddenStep)). Escapes of control
//! characters and of bytes outside ASCII stay escaped, because no other step acts on them.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// The most readings of a path, and of a query; a URL or pattern with more is rejected.
pub(crate) const READINGS_MAX: usize = 64;
/// The most bytes of all readings of a path, and of a query, together; a URL or pattern with more is rejected.
pub(crate) const READING_BYTES_MAX: usize = 64 * 1024;
/// The most joint readings of a pattern and a URL; a permit does not match when there are more.
const JOINT_READINGS_MAX: usize = 4 * READINGS_MAX;
/// The most bytes of all joint readings together.
const JOINT_READING_BYTES_MAX: usize = 2 * READING_BYTES_MAX;

/// Stands for `*` in the text of a pattern; no step changes it, and no canonical text contains it.
pub(crate) const STAR: char = '\0';
/// Stands for a `**`, a whole segment, in the text of a pattern.
pub(crate) const DEEP: char = '\u{1}';

/// One reading of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathReading {
    pub(crate) path: String,
    pub(crate) query: ReadQuery,
}

/// The place of the query in a reading of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadQuery {
    /// The query stays where it is.
    Own,
    /// There is no query: a decoded `#` cut it off.
    Cut,
    /// A decoded `?` begins the query, which is this text.
    Behind(String),
}

/// The readings of a URL that has more than one.
#[derive(Debug)]
pub(crate) struct Readings {
    /// The readings of the path in ascending order, including the path as written.
    pub(crate) paths: Box<[PathReading]>,
    /// The readings of the query in ascending order, including the query as written; empty without a query.
    pub(crate) queries: Box<[String]>,
}

/// The URL or pattern has more readings than are examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Readings {
    /// The readings of a path and a query; `None` when each has only one.
    pub(crate) fn of(path: &str, query: Option<&str>) -> Result<Option<Self>, TooMany> {
        if !has_path_readings(path) && !query.is_some_and(has_query_readings) {
            return Ok(None);
        }
        let paths = paths(path)?;
        let queries = query.map(queries).transpose()?.unwrap_or_default();
        Ok((paths.len() > 1 || queries.len() > 1).then_some(Self { paths, queries }))
    }
}

/// Every reading of a path, in ascending order.
pub(crate) fn paths(path: &str) -> Result<Box<[PathReading]>, TooMany> {
    closure([PathReading::own(path)], &PATH_STEPS, READINGS_MAX, READING_BYTES_MAX)
        .map(|readings| readings.into_iter().map(|[reading]| reading).collect())
}

/// Every reading of a query, in ascending order.
pub(crate) fn queries(query: &str) -> Result<Box<[String]>, TooMany> {
    closure([String::from(query)], &QUERY_STEPS, READINGS_MAX, READING_BYTES_MAX)
        .map(|readings| readings.into_iter().map(|[reading]| reading).collect())
}

/// Every pair of readings of two paths that results from the same chain of steps; [`TooMany`] when they exceed
/// `bytes_max` bytes together.
pub(crate) fn joint_paths(a: &str, b: &str, bytes_max: usize) -> Result<Vec<[PathReading; 2]>, TooMany> {
    let start = [PathReading::own(a), PathReading::own(b)];
    closure(start, &PATH_STEPS, JOINT_READINGS_MAX, bytes_max.min(JOINT_READING_BYTES_MAX))
}

/// Every pair of readings of two queries that results from the same chain of steps; [`TooMany`] when they exceed
/// `bytes_max` bytes together.
pub(crate) fn joint_queries(a: &str, b: &str, bytes_max: usize) -> Result<Vec<[String; 2]>, TooMany> {
    let start = [String::from(a), String::from(b)];
    closure(start, &QUERY_STEPS, JOINT_READINGS_MAX, bytes_max.min(JOINT_READING_BYTES_MAX))
}

/// Whether a canonical path may have more than one reading.
fn has_path_readings(path: &str) -> bool {
    path.bytes().any(|byte| matches!(byte, b'%' | b';')) || path.contains("//")
}

/// Whether a canonical query may have more than one reading.
fn has_query_readings(query: &str) -> bool {
    query.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

/// A text, or a path with its query, that steps can be applied to.
trait Text: Clone + Ord {
    fn bytes(&self) -> usize;
}

impl Text for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Text for PathReading {
    fn bytes(&self) -> usize {
        let query = match &self.query {
            ReadQuery::Own | ReadQuery::Cut => 0,
            ReadQuery::Behind(query) => query.len(),
        };
        self.path.len() + query
    }
}

/// One step of a server; `None` when it changes nothing.
type Step<T> = fn(&T) -> Option<T>;

const PATH_STEPS: [Step<PathReading>; 16] = [
    |reading| reading.step(|path| decode(path, |_| true)),
    |reading| reading.step(|path| decode(path, |byte| byte != b'/')),
    |reading| reading.step(without_parameters),
    |reading| reading.step(without_last_parameters),
    |reading| reading.step(merge_slashes),
    |reading| reading.step(without_authority),
    |reading| reading.step(|path| path.contains('\\').then(|| path.replace('\\', "/"))),
    |reading| reading.step(without_line_breaks),
    |reading| reading.step(without_end_spaces),
    PathReading::split,
    PathReading::cut,
    |reading| reading.query_step(|query| query.split_once('#').map(|(query, _)| query.into())),
    |reading| reading.query_step(|query| decode(query, |_| true)),
    |reading| reading.query_step(spaces),
    |reading| reading.query_step(without_line_breaks),
    |reading| reading.query_step(without_end_spaces),
];

const QUERY_STEPS: [Step<String>; 5] = [
    |query| decode(query, |_| true),
    |query| spaces(query),
    |query| without_line_breaks(query),
    |query| without_end_spaces(query),
    |query| query.split_once('#').map(|(query, _)| query.into()),
];

/// All results of any chain of steps, each step being applied to all the texts of an array at once.
fn closure<T: Text, const N: usize>(
    start: [T; N],
    steps: &[Step<T>],
    count_max: usize,
    bytes_max: usize,
) -> Result<Vec<[T; N]>, TooMany> {
    let mut bytes_left = bytes_max;
    let mut known = BTreeSet::from([start.clone()]);
    let mut open = alloc::vec![start];
    while let Some(texts) = open.pop() {
        for step in steps {
            let stepped = texts.each_ref().map(step);
            if stepped.iter().all(Option::is_none) {
                continue;
            }
            let mut next = texts.clone();
            for (next, stepped) in next.iter_mut().zip(stepped) {
                if let Some(stepped) = stepped {
                    *next = stepped;
                }
            }
            // No step lengthens a text or undoes another step, so the closure is finite.
            let bytes = next.iter().map(Text::bytes).sum();
            if known.insert(next.clone()) {
                bytes_left = bytes_left.checked_sub(bytes).ok_or(TooMany)?;
                if known.len() > count_max {
                    return Err(TooMany);
                }
                open.push(next);
            }
        }
    }
    Ok(known.into_iter().collect())
}

impl PathReading {
    pub(crate) fn own(path: &str) -> Self {
        Self { path: path.into(), query: ReadQuery::Own }
    }

    fn step(&self, step: impl Fn(&str) -> Option<String>) -> Option<Self> {
        step(&self.path).map(|path| Self { path, query: self.query.clone() })
    }

    /// Applies a step to a query that came out of the path.
    fn query_step(&self, step: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let ReadQuery::Behind(query) = &self.query else { return None };
        step(query).map(|query| Self { path: self.path.clone(), query: ReadQuery::Behind(query) })
    }

    /// Reads a decoded path as a URL once more: `?` begins a query. The actual query would continue it; its
    /// readings are examined separately.
    fn split(&self) -> Option<Self> {
        let (path, query) = self.path.split_once('?')?;
        Some(Self { path: path.into(), query: ReadQuery::Behind(query.into()) })
    }

    /// Reads a decoded path as a URL once more: `#` begins the fragment, which is not sent.
    fn cut(&self) -> Option<Self> {
        let (path, _) = self.path.split_once('#')?;
        Some(Self { path: path.into(), query: ReadQuery::Cut })
    }
}

/// Decodes those escapes of ASCII characters that `which` accepts; `None` when there are none. Escapes that result
/// from decoding are put into upper case, like all others.
fn decode(text: &str, which: impl Fn(u8) -> bool) -> Option<String> {
    let mut decoded = String::new();
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let byte = escape_at(escape).filter(|byte| which(*byte) && is_decoded(*byte));
        let (decoded_char, bytes) = byte.map_or(('%', 1), |byte| (char::from(byte), 3));
        changed |= byte.is_some();
        decoded.push(decoded_char);
        rest = escape.get(bytes..).unwrap_or_default();
    }
    decoded.push_str(rest);
    changed.then(|| upper_escapes(decoded))
}

/// Whether a step decodes the escape of this byte: printable characters, and those that URL parsers drop.
fn is_decoded(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// The byte whose escape the text begins with.
fn escape_at(text: &str) -> Option<u8> {
    let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(1)? << 4 | digit(2)?).ok()
}

fn upper_escapes(text: String) -> String {
    let is_lower = |at: usize| {
        let escape = text.get(at..at + 3);
        escape.is_some_and(|escape| {
            escape_at(escape).is_some() && escape.bytes().any(|byte| byte.is_ascii_lowercase())
        })
    };
    let lower: Vec<usize> = text.match_indices('%').map(|(at, _)| at).filter(|at| is_lower(*at)).collect();
    let mut text = text;
    for at in lower {
        if let Some(escape) = text.get_mut(at..at + 3) {
            escape.make_ascii_uppercase();
        }
    }
    text
}

/// Drops the text after a `;` in every segment (RFC 3986 §3.3).
fn without_parameters(path: &str) -> Option<String> {
    path.contains(';').then(|| {
        let segments =
            path.split('/').map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name));
        segments.enumerate().fold(String::with_capacity(path.len()), |mut path, (at, segment)| {
            if at > 0 {
                path.push('/');
            }
            path.push_str(segment);
            path
        })
    })
}

/// Drops the text after a `;` in the last segment only (RFC 2396 §3.3, as Python's `urlparse`).
fn without_last_parameters(path: &str) -> Option<String> {
    let (before, last) = path.rsplit_once('/')?;
    let (name, _) = last.split_once(';')?;
    Some(alloc::format!("{before}/{name}"))
}

/// Treats the text after `//` as a host, as parsers of relative references do: `new URL(path, base)`.
fn without_authority(path: &str) -> Option<String> {
    let authority = path.strip_prefix("//")?.trim_start_matches('/');
    // One of the segments that `**` stands for is the host.
    let rest = if authority.starts_with(DEEP) {
        Some(authority)
    } else {
        authority.split_once('/').map(|(_, rest)| rest)
    };
    Some(alloc::format!("/{}", rest.unwrap_or_default()))
}

/// Treats several `/` as one.
fn merge_slashes(path: &str) -> Option<String> {
    path.contains("//").then(|| {
        path.chars().fold(String::with_capacity(path.len()), |mut path, c| {
            if c != '/' || !path.ends_with('/') {
                path.push(c);
            }
            path
        })
    })
}

/// Treats `+` as a space, as in forms.
fn spaces(query: &str) -> Option<String> {
    query.contains('+').then(|| query.replace('+', " "))
}

/// Drops tabs and line breaks, as URL parsers do (WHATWG URL, "basic URL parser").
fn without_line_breaks(text: &str) -> Option<String> {
    text.contains(['\t', '\n', '\r']).then(|| text.replace(['\t', '\n', '\r'], ""))
}

/// Drops spaces at the end, as URL parsers do.
fn without_end_spaces(text: &str) -> Option<String> {
    text.strip_suffix(' ').map(|text| text.trim_end_matches(' ').into())
}
