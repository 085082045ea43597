//! What servers are known to read in a path and in a query.
//!
//! A server that gets a request passes it through steps: it decodes escapes, once or, behind a proxy that
//! decoded too, twice; it drops `;parameters`; it takes `\` for `/` and several `/` for one. Servers differ in
//! which steps they take and in what order. The readings of a text are all that any chain of these steps makes
//! of it. A pattern has readings as well: the same steps, taken in its literal parts.
//!
//! Texts here are canonical or come from canonical texts, so that no step leads to `.` or `..`: a URL in which
//! one would is refused before ([`TargetError::HiddenStep`](super::TargetError::HiddenStep)). Escapes of control
//! characters and of bytes outside ASCII stay escapes, since no step does anything else with them.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// The most readings of a path, and of a query; a URL or pattern with more is refused.
pub(crate) const READINGS_MAX: usize = 64;
/// All readings of a path, and of a query, have at most so many bytes together; a URL or pattern with more is
/// refused.
pub(crate) const READING_BYTES_MAX: usize = 64 * 1024;
/// A pattern and a target are read together in at most so many ways; a permit fails where there are more.
const JOINT_READINGS_MAX: usize = 4 * READINGS_MAX;
/// The bytes that all joint readings have at most together.
const JOINT_READING_BYTES_MAX: usize = 2 * READING_BYTES_MAX;

/// Stands for `*` where a pattern is read; no step touches it, and no canonical text holds it.
pub(crate) const STAR: char = '\0';
/// Stands for a `**` that is a segment of a pattern.
pub(crate) const DEEP: char = '\u{1}';

/// One reading of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathReading {
    pub(crate) path: String,
    pub(crate) query: ReadQuery,
}

/// Where the query stands in a reading of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadQuery {
    /// Where it stood before.
    Own,
    /// Nowhere: a decoded `#` cut it off.
    Cut,
    /// Behind a decoded `?`, with what followed it.
    Behind(String),
}

/// The readings of a URL that has more than one.
#[derive(Debug)]
pub(crate) struct Readings {
    /// Ascending, the path as it stands among them.
    pub(crate) paths: Box<[PathReading]>,
    /// Ascending, the query as it stands among them; nothing without a query.
    pub(crate) queries: Box<[String]>,
}

/// The URL or pattern has more readings than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Readings {
    /// The readings of a path and a query; `None` when each has one.
    pub(crate) fn of(path: &str, query: Option<&str>) -> Result<Option<Self>, TooMany> {
        if !has_path_readings(path) && !query.is_some_and(has_query_readings) {
            return Ok(None);
        }
        let paths = paths(path)?;
        let queries = query.map(queries).transpose()?.unwrap_or_default();
        Ok((paths.len() > 1 || queries.len() > 1).then_some(Self { paths, queries }))
    }
}

/// Every reading of a path, ascending.
pub(crate) fn paths(path: &str) -> Result<Box<[PathReading]>, TooMany> {
    closure([PathReading::own(path)], &PATH_STEPS, READINGS_MAX, READING_BYTES_MAX)
        .map(|readings| readings.into_iter().map(|[reading]| reading).collect())
}

/// Every reading of a query, ascending.
pub(crate) fn queries(query: &str) -> Result<Box<[String]>, TooMany> {
    closure([String::from(query)], &QUERY_STEPS, READINGS_MAX, READING_BYTES_MAX)
        .map(|readings| readings.into_iter().map(|[reading]| reading).collect())
}

/// Every pair of readings of two paths that the same chain of steps makes of them, of at most `bytes_max` bytes
/// together.
pub(crate) fn joint_paths(a: &str, b: &str, bytes_max: usize) -> Result<Vec<[PathReading; 2]>, TooMany> {
    let start = [PathReading::own(a), PathReading::own(b)];
    closure(start, &PATH_STEPS, JOINT_READINGS_MAX, bytes_max.min(JOINT_READING_BYTES_MAX))
}

/// Every pair of readings of two queries that the same chain of steps makes of them, of at most `bytes_max` bytes
/// together.
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

/// What steps are taken on.
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

/// All that any chain of steps makes of texts that take each step together.
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
            // A step never makes a text longer, and undoes none: the closure is finite.
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

    /// Takes a step in a query that came out of the path.
    fn query_step(&self, step: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let ReadQuery::Behind(query) = &self.query else { return None };
        step(query).map(|query| Self { path: self.path.clone(), query: ReadQuery::Behind(query) })
    }

    /// Reads a decoded path as a URL once more: `?` begins a query. What already was the query goes on behind it;
    /// it is looked at by itself.
    fn split(&self) -> Option<Self> {
        let (path, query) = self.path.split_once('?')?;
        Some(Self { path: path.into(), query: ReadQuery::Behind(query.into()) })
    }

    /// Reads a decoded path as a URL once more: `#` begins what is not sent.
    fn cut(&self) -> Option<Self> {
        let (path, _) = self.path.split_once('#')?;
        Some(Self { path: path.into(), query: ReadQuery::Cut })
    }
}

/// Decodes escapes of ASCII characters, those that `which` takes. An escape that comes to stand there is
/// written in upper case, as it does elsewhere.
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

/// Whether a step decodes the escape of a byte: printable characters, and those that parsers of URLs drop.
fn is_decoded(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// The byte whose escape a text begins with.
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

/// Drops what stands behind a `;` in every segment (RFC 3986 §3.3).
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

/// Drops what stands behind a `;` in the last segment alone (RFC 2396 §3.3, as Python's `urlparse`).
fn without_last_parameters(path: &str) -> Option<String> {
    let (before, last) = path.rsplit_once('/')?;
    let (name, _) = last.split_once(';')?;
    Some(alloc::format!("{before}/{name}"))
}

/// Takes what stands behind `//` for a host, as parsers of relative references do: `new URL(path, base)`.
fn without_authority(path: &str) -> Option<String> {
    let authority = path.strip_prefix("//")?.trim_start_matches('/');
    // Of the segments that `**` stands for, one is taken.
    let rest = if authority.starts_with(DEEP) {
        Some(authority)
    } else {
        authority.split_once('/').map(|(_, rest)| rest)
    };
    Some(alloc::format!("/{}", rest.unwrap_or_default()))
}

/// Takes several `/` for one.
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

/// Takes `+` for a space, as forms do.
fn spaces(query: &str) -> Option<String> {
    query.contains('+').then(|| query.replace('+', " "))
}

/// Drops tabs and line breaks, as parsers of URLs do (WHATWG URL, "basic URL parser").
fn without_line_breaks(text: &str) -> Option<String> {
    text.contains(['\t', '\n', '\r']).then(|| text.replace(['\t', '\n', '\r'], ""))
}

/// Drops spaces at the end, as parsers of URLs do.
fn without_end_spaces(text: &str) -> Option<String> {
    text.strip_suffix(' ').map(|text| text.trim_end_matches(' ').into())
}
