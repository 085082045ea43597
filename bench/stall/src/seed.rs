//! Seeds: one file for each attack by which a session might delay others.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ak_host::{
    ak_json::{Limits, Object, Value},
    ak_kernel::{Config, Operation, Request},
};

use crate::generate::Scope;

/// How many levels deeper than the kernel's limit the JSON of a request may be. So the kernel, and not this bench,
/// refuses a document that is too deep.
const DEPTH_MORE: usize = 8;
/// The longest request in JSON, in bytes. It is above the kernel's limit, so the kernel refuses a request that is too
/// long, under its lock.
const REQUEST_BYTES_MAX: usize = 128 << 20;

/// An attack, with the setup that it needs.
pub(crate) struct Seed {
    pub(crate) name: String,
    /// The fault, in the table of found faults, of which this is a case or another member.
    pub(crate) row: String,
    pub(crate) title: String,
    /// Whether the seed also runs on a state directory.
    pub(crate) is_durable: bool,
    pub(crate) policy: Option<Value>,
    pub(crate) host: Option<Value>,
    pub(crate) files: Vec<Files>,
    pub(crate) setup: Vec<Step>,
    pub(crate) attack: Vec<Step>,
    /// Why the kernel has to stop during the attack. The wait is then reported without a bound. Only for attacks that
    /// the owner alone can make.
    pub(crate) pause: Option<String>,
    /// The codes that the attack's requests may end with, by name, or OK. If empty, any.
    pub(crate) outcomes: Vec<String>,
}

/// Files that are made before the kernel is opened.
pub(crate) struct Files {
    pub(crate) path: Value,
    pub(crate) text: Value,
    pub(crate) repeat: u64,
}

/// A request, made once or more often.
pub(crate) struct Step {
    pub(crate) operation: Operation,
    args: Value,
    /// The session that makes the request: `owner`, or an agent's name.
    agent: Value,
    /// The capability's token that the request presents.
    present: Option<Value>,
    pub(crate) repeat: u64,
    /// The number of threads that make the request at once; they share the repetitions.
    pub(crate) threads: u64,
    /// The name under which a part of each result is saved, and the pointer to that part.
    pub(crate) save: Option<(String, String)>,
}

/// A request that is ready to be made.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    pub(crate) agent: String,
    pub(crate) token: Option<String>,
}

impl Seed {
    /// The JSON files in a directory, in the order of their names.
    pub(crate) fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
        let listed = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut paths: Vec<PathBuf> = listed
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        Ok(paths)
    }

    pub(crate) fn read(path: &Path) -> Result<Seed, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        let value = Value::parse(&text, &Limits::default()).map_err(|error| format!("{name}: {error}"))?;
        Seed::from_value(&name, &value).map_err(|reason| format!("{name}: {reason}"))
    }

    fn from_value(name: &str, value: &Value) -> Result<Seed, String> {
        let members = members(
            value,
            &["row", "title", "durable", "pause", "policy", "host", "files", "setup", "attack", "expect"],
        )?;
        let steps = |name: &str, agent: &str| -> Result<Vec<Step>, String> {
            let steps = members.get(name).map(|steps| steps.as_array().ok_or("expected an array"));
            let steps = steps.transpose().map_err(|reason| format!("{name}: {reason}"))?;
            let read = |(index, step)| {
                Step::from_value(step, agent).map_err(|reason| format!("{name}.{index}: {reason}"))
            };
            steps.into_iter().flat_map(|steps| steps.iter()).enumerate().map(read).collect()
        };
        let files = members.get("files").and_then(Value::as_array);
        let files = files.into_iter().flat_map(|files| files.iter()).map(Files::from_value);
        let seed = Seed {
            name: name.to_owned(),
            row: text(members, "row")?,
            title: text(members, "title")?,
            is_durable: members.get("durable").and_then(Value::as_bool).unwrap_or(false),
            pause: members.contains_key("pause").then(|| text(members, "pause")).transpose()?,
            policy: members.get("policy").cloned(),
            host: members.get("host").cloned(),
            files: files.collect::<Result<_, _>>()?,
            setup: steps("setup", "owner")?,
            attack: steps("attack", "spy")?,
            outcomes: outcomes(members.get("expect"))?,
        };
        let by_owner = |step: &Step| step.agent.as_str() == Some("owner");
        if seed.pause.is_some() && !seed.attack.iter().all(by_owner) {
            return Err("pause: somebody else than the owner attacks".into());
        }
        if seed.attack.is_empty() { Err("nobody attacks".into()) } else { Ok(seed) }
    }

    /// Prepares the first and the last request of each step, without a kernel.
    ///
    /// # Errors
    /// Says which step cannot be prepared.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut scope = Scope {
            directory: "/nowhere".into(),
            server: "127.0.0.1:1".into(),
            counters: vec![0],
            is_check: true,
            ..Scope::default()
        };
        for (name, template) in [("policy", &self.policy), ("host", &self.host)] {
            if let Some(template) = template {
                text_of(&scope, template).map_err(|reason| format!("{}: {name}: {reason}", self.name))?;
            }
        }
        for (name, steps) in [("setup", &self.setup), ("attack", &self.attack)] {
            for (index, step) in steps.iter().enumerate() {
                let last = step.repeat.saturating_sub(1);
                for number in [0].into_iter().chain((last > 0).then_some(last)) {
                    scope.counters = vec![number];
                    let at = |reason| format!("{}: {name}.{index}: {reason}", self.name);
                    step.prepare(&scope).map_err(at)?;
                }
            }
        }
        Ok(())
    }
}

impl Files {
    fn from_value(value: &Value) -> Result<Files, String> {
        let members = members(value, &["path", "text", "repeat"])?;
        Ok(Files {
            path: members.get("path").cloned().ok_or("files: no path")?,
            text: members.get("text").cloned().unwrap_or_else(|| "".into()),
            repeat: times(members, "repeat")?,
        })
    }
}

impl Step {
    fn from_value(value: &Value, agent: &str) -> Result<Step, String> {
        let members = members(value, &["op", "args", "as", "present", "repeat", "threads", "save"])?;
        let name = text(members, "op")?;
        let save = match members.get("save").and_then(Value::as_array) {
            None => None,
            Some(save) => {
                let part = |index| Some(save.get(index)?.as_str()?.to_owned());
                Some(part(0).zip(part(1)).ok_or("save: expected a name and a pointer")?)
            }
        };
        Ok(Step {
            operation: Operation::from_name(&name).ok_or_else(|| format!("there is no {name}"))?,
            args: members.get("args").cloned().unwrap_or_else(|| Object::new().into()),
            agent: members.get("as").cloned().unwrap_or_else(|| agent.into()),
            present: members.get("present").cloned(),
            repeat: times(members, "repeat")?,
            threads: times(members, "threads")?,
            save,
        })
    }

    /// Makes the request from its JSON text, as for a request that arrives from outside.
    pub(crate) fn prepare(&self, scope: &Scope) -> Result<Prepared, String> {
        let text = scope.expand(&self.args)?.to_json();
        let limits = Config::default().json_limits();
        let limits = Limits {
            depth_max: limits.depth_max.saturating_add(DEPTH_MORE),
            bytes_max: REQUEST_BYTES_MAX,
            ..limits
        };
        let args = Value::parse(text.as_bytes(), &limits).map_err(|error| error.to_string())?;
        let request = Request::decode(self.operation, &args).map_err(|error| error.to_string())?;
        let token = self.present.as_ref().map(|token| text_of(scope, token)).transpose()?;
        Ok(Prepared { request, agent: text_of(scope, &self.agent)?, token })
    }
}

/// Expands a template to a text.
pub(crate) fn text_of(scope: &Scope, template: &Value) -> Result<String, String> {
    match scope.expand(template)? {
        Value::String(text) => Ok(text.as_str().to_owned()),
        other => Err(format!("expected a text, found {other}")),
    }
}

/// The longest time that an attack may take. An attack that takes longer is noted in the report.
pub(crate) const ATTACK_MAX: Duration = Duration::from_secs(20);

fn members<'v>(value: &'v Value, known: &[&str]) -> Result<&'v Object, String> {
    let members = value.as_object().ok_or("expected an object")?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown member {:?}", name.as_str())),
        None => Ok(members),
    }
}

fn text(members: &Object, name: &str) -> Result<String, String> {
    let text = members.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("{name}: expected a text"))
}

fn times(members: &Object, name: &str) -> Result<u64, String> {
    match members.get(name) {
        None => Ok(1),
        Some(value) => {
            value.as_u64().filter(|times| *times > 0).ok_or_else(|| format!("{name}: expected a count"))
        }
    }
}

fn outcomes(expect: Option<&Value>) -> Result<Vec<String>, String> {
    let Some(expect) = expect else { return Ok(Vec::new()) };
    let listed = members(expect, &["outcomes"])?.get("outcomes").and_then(Value::as_array);
    let listed = listed.ok_or("expect: expected outcomes")?;
    let names = listed.iter().map(|name| name.as_str().map(str::to_owned));
    names.collect::<Option<_>>().ok_or_else(|| "expect: expected names of codes".into())
}
