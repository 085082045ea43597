//! The manifest of a tool: what its author declares about it.

pub(crate) mod error;
mod toml;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Digest, Object, Value};

use self::error::{ManifestError, Reason};

/// Longest name of a tool, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest version of a tool, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// The most entries of each of a manifest's lists: needs, arguments, environment variables.
pub const LISTED_MAX: usize = 256;
/// Longest need, argument or name of an environment variable, in bytes.
pub const LISTED_BYTES_MAX: usize = 4096;
/// The most bytes that all arguments of a tool may have together.
pub const ARGS_BYTES_MAX: usize = 64 << 10;

/// How a module takes its arguments and gives its result: as a WASI command or natively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// A WASI preview 1 command: arguments on stdin, result on stdout.
    Wasi,
    /// A freestanding module that exports `memory`, `ak_alloc` and `ak_run`.
    Native,
}

impl Abi {
    /// The ABI's name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasi => "wasi",
            Self::Native => "native",
        }
    }
}

/// The limits in a manifest; they only lower the kernel's. `None` leaves the kernel's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManifestLimits {
    /// Fuel of one call, in units of [`RunLimits::fuel`](crate::RunLimits::fuel).
    pub fuel: Option<u64>,
    /// Linear memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The result, in bytes of JSON.
    pub output_bytes: Option<u64>,
    /// Wall time of one call, in milliseconds. The sandbox has no clock, so the driver of the run must enforce it.
    pub wall_ms: Option<u64>,
}

/// The manifest of a tool: its name, the SHA-256 of its module, the authority it needs, its schemas and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The tool's name: ASCII letters, digits and `_ - . /`, at most [`NAME_BYTES_MAX`] bytes; no part between
    /// slashes is empty, `.` or `..`.
    pub name: String,
    /// A semantic version without build metadata, at most [`VERSION_BYTES_MAX`] bytes.
    pub version: String,
    /// A description of the tool for people and models.
    pub description: String,
    /// How the module takes its arguments and gives its result.
    pub abi: Abi,
    /// SHA-256 of the module.
    pub sha256: Digest,
    /// The authority that the tool needs, each as `operation:target`.
    pub needs: Vec<String>,
    /// The arguments that a WASI command finds in `argv` after the tool's name, at most [`ARGS_BYTES_MAX`] bytes; the
    /// same in every call.
    pub args: Vec<String>,
    /// Names of the environment variables that the host passes to the tool.
    pub env: Vec<String>,
    /// JSON Schema of the arguments. A string is the path of a file, by whose content the caller must replace it
    /// before loading the tool.
    pub input: Value,
    /// JSON Schema of the result, or a path as for `input`.
    pub output: Value,
    /// The tool's own limits.
    pub limits: ManifestLimits,
}

impl Manifest {
    /// Reads a manifest from TOML.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] with line and column for bad TOML, an unknown or missing key, a wrong type or an invalid
    /// value.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        self::toml::parse(text)
    }

    /// Reads a manifest from a JSON object with the same keys.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] with the JSON Pointer of an unknown or missing key, a wrong type or an invalid value.
    pub fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let fields = Fields::new(value, "", &KEYS)?;
        let limits = match value.get("limits") {
            None => ManifestLimits::default(),
            Some(limits) => {
                let fields = Fields::new(limits, "/limits", &LIMIT_KEYS)?;
                ManifestLimits {
                    fuel: fields.integer("fuel")?,
                    memory_bytes: fields.integer("memory_bytes")?,
                    output_bytes: fields.integer("output_bytes")?,
                    wall_ms: fields.integer("wall_ms")?,
                }
            }
        };
        let manifest = Self {
            name: fields.text("name", is_tool_name, "a name of ASCII letters, digits and `_-./`")?,
            version: fields.text("version", is_version, "a version such as `1.2.0`")?,
            description: match value.get("description") {
                None => String::new(),
                Some(_) => fields.text("description", |_| true, "a string")?,
            },
            abi: match fields.required("abi")?.as_str() {
                Some("wasi") => Abi::Wasi,
                Some("native") => Abi::Native,
                Some(_) | None => return Err(fields.wrong("abi", "`wasi` or `native`")),
            },
            sha256: fields
                .required("sha256")?
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| fields.wrong("sha256", "64 lower-case hexadecimal digits"))?,
            needs: fields.texts("needs", is_need, "`operation:target`")?,
            args: fields.texts("args", is_argument, "a text of at most 4096 bytes, none of them zero")?,
            env: fields.texts("env", is_variable, "the name of an environment variable")?,
            input: fields.schema("input")?,
            output: fields.schema("output")?,
            limits,
        };
        if manifest.abi == Abi::Native && !manifest.args.is_empty() {
            return Err(fields.wrong("args", "empty for the native ABI, where nothing could see them"));
        }
        if manifest.args.iter().map(String::len).sum::<usize>() > ARGS_BYTES_MAX {
            return Err(fields.wrong("args", "at most 65536 bytes together"));
        }
        Ok(manifest)
    }

    /// The manifest as a JSON object, in one fixed form, which [`Tool::digest`](crate::Tool::digest) is the digest
    /// of.
    pub fn to_value(&self) -> Value {
        let mut object = Object::new();
        object.insert("name", Value::from(self.name.as_str()));
        object.insert("version", Value::from(self.version.as_str()));
        object.insert("description", Value::from(self.description.as_str()));
        object.insert("abi", Value::from(self.abi.name()));
        object.insert("sha256", Value::from(self.sha256.to_string()));
        object.insert("needs", texts(&self.needs));
        // Left out if empty, so that tools without arguments keep the digests they had before arguments existed.
        if !self.args.is_empty() {
            object.insert("args", texts(&self.args));
        }
        object.insert("env", texts(&self.env));
        object.insert("input", self.input.clone());
        object.insert("output", self.output.clone());
        let mut limits = Object::new();
        let values =
            [self.limits.fuel, self.limits.memory_bytes, self.limits.output_bytes, self.limits.wall_ms];
        for (key, limit) in LIMIT_KEYS.into_iter().zip(values) {
            if let Some(limit) = limit {
                limits.insert(key, Value::from(limit));
            }
        }
        object.insert("limits", Value::from(limits));
        Value::from(object)
    }
}

const KEYS: [&str; 11] =
    ["name", "version", "description", "abi", "sha256", "needs", "args", "env", "input", "output", "limits"];
const LIMIT_KEYS: [&str; 4] = ["fuel", "memory_bytes", "output_bytes", "wall_ms"];

/// One object of the manifest, with no unknown keys.
struct Fields<'a> {
    object: &'a Object,
    at: &'static str,
}

impl<'a> Fields<'a> {
    fn new(value: &'a Value, at: &'static str, known: &[&str]) -> Result<Self, ManifestError> {
        let Some(object) = value.as_object() else {
            return Err(ManifestError::new(at.to_string(), Reason::Wrong("an object")));
        };
        let fields = Self { object, at };
        for (key, _) in object.iter() {
            if !known.contains(&&**key) {
                return Err(fields.error(key, Reason::UnknownKey));
            }
        }
        Ok(fields)
    }

    fn error(&self, key: &str, reason: Reason) -> ManifestError {
        ManifestError::new(alloc::format!("{}/{}", self.at, escape(key)), reason)
    }

    fn wrong(&self, key: &str, expected: &'static str) -> ManifestError {
        self.error(key, Reason::Wrong(expected))
    }

    fn required(&self, key: &str) -> Result<&'a Value, ManifestError> {
        self.object.get(key).ok_or_else(|| self.error(key, Reason::Missing))
    }

    fn text(
        &self,
        key: &str,
        admits: fn(&str) -> bool,
        expected: &'static str,
    ) -> Result<String, ManifestError> {
        match self.required(key)?.as_str() {
            Some(text) if admits(text) => Ok(text.to_string()),
            Some(_) | None => Err(self.wrong(key, expected)),
        }
    }

    fn texts(
        &self,
        key: &str,
        admits: fn(&str) -> bool,
        expected: &'static str,
    ) -> Result<Vec<String>, ManifestError> {
        let Some(value) = self.object.get(key) else { return Ok(Vec::new()) };
        let array = value.as_array().ok_or_else(|| self.wrong(key, "an array"))?;
        if array.len() > LISTED_MAX {
            return Err(self.wrong(key, "an array of at most 256 texts"));
        }
        let items = array.iter().enumerate().map(|(index, item)| match item.as_str() {
            Some(text) if text.len() <= LISTED_BYTES_MAX && admits(text) => Ok(text.to_string()),
            Some(_) | None => {
                Err(ManifestError::new(alloc::format!("{}/{key}/{index}", self.at), Reason::Wrong(expected)))
            }
        });
        items.collect()
    }

    fn integer(&self, key: &str) -> Result<Option<u64>, ManifestError> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "an integer that is not negative"))
    }

    fn schema(&self, key: &str) -> Result<Value, ManifestError> {
        match self.object.get(key) {
            None => Ok(Value::Bool(true)),
            Some(schema @ (Value::Object(_) | Value::Bool(_) | Value::String(_))) => Ok(schema.clone()),
            Some(Value::Null | Value::Number(_) | Value::Array(_)) => {
                Err(self.wrong(key, "a JSON Schema or the path of one"))
            }
        }
    }
}

fn texts(items: &[String]) -> Value {
    Value::from(items.iter().map(|item| Value::from(item.as_str())).collect::<Vec<_>>())
}

/// Escapes a key for a JSON Pointer, RFC 6901.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn is_tool_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
        // A name used as a path must not lead out of its directory.
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a text is a semantic version without build metadata, which would give one version several names.
fn is_version(text: &str) -> bool {
    text.len() <= VERSION_BYTES_MAX
        && semver::Version::parse(text).is_ok_and(|version| version.build.is_empty())
}

fn is_need(text: &str) -> bool {
    !text.chars().any(char::is_control)
        && text.split_once(':').is_some_and(|(operation, target)| !operation.is_empty() && !target.is_empty())
}

/// Whether a text can be passed as a zero-terminated string.
fn is_argument(text: &str) -> bool {
    !text.contains('\0')
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
