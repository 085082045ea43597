//! The registered tools, and how a call of one is run.

use alloc::{collections::BTreeMap, format, string::ToString, sync::Arc, vec::Vec};

use ak_json::{Text, Value, object};
use ak_policy::CanonicalTool;
use ak_sandbox::{Manifest, Run, RunLimits, SandboxConfig, Step, Tool, builtin};
use semver::Version;

use crate::{
    code::Code,
    config::Config,
    effect::Completion,
    fields::{FieldError, Fields, base64url},
    reply::Failure,
};

/// How much fuel a tool uses between two looks around.
const SLICE_FUEL: u64 = 10_000_000;

/// Tools by name and version.
#[derive(Debug)]
pub(crate) struct Toolbox {
    tools: BTreeMap<(Text, Text), Registered>,
    tools_max: u64,
}

#[derive(Debug)]
struct Registered {
    tool: Tool,
    /// As it came, for snapshots.
    module: Arc<[u8]>,
}

impl Toolbox {
    pub(crate) const fn empty(config: &Config) -> Toolbox {
        Toolbox { tools: BTreeMap::new(), tools_max: config.tools_max }
    }

    /// The tools that are shipped with the kernel.
    pub(crate) fn with_builtin(config: &Config) -> Toolbox {
        let mut toolbox = Toolbox::empty(config);
        for (manifest, module) in builtin() {
            // Their own tests keep them loadable; were one not, calls of it would say that it is not registered.
            if let Ok(manifest) = Manifest::parse(manifest) {
                let _ = toolbox.register(manifest, module.into());
            }
        }
        toolbox
    }

    /// Registers a tool, or replaces the one with the same name and version.
    pub(crate) fn register(&mut self, manifest: Manifest, module: Arc<[u8]>) -> Result<&Tool, Failure> {
        let refuse =
            |reason: &str| Failure::new(Code::InvalidArgument, format!("the tool is refused: {reason}"));
        if !manifest.needs.is_empty() {
            return Err(refuse("needs: host calls are not granted to tools by this kernel"));
        }
        let tool = Tool::new(manifest, module.clone(), &SandboxConfig::default())
            .map_err(|error| refuse(&error.to_string()))?;
        let key =
            (Text::from(tool.manifest().name.as_str()), Text::from(tool.manifest().version.to_string()));
        if self.tools.len() as u64 >= self.tools_max && !self.tools.contains_key(&key) {
            return Err(Failure::new(Code::Quota, format!("there are {} tools already", self.tools_max)));
        }
        self.tools.insert(key.clone(), Registered { tool, module });
        self.tools.get(&key).map(|registered| &registered.tool).ok_or_else(|| refuse("it is gone"))
    }

    /// The tool with this name, of this version or else the newest registered under the name.
    pub(crate) fn find(&self, wanted: &CanonicalTool) -> Option<&Tool> {
        let name = Text::from(wanted.name());
        match wanted.version() {
            Some(version) => self.tools.get(&(name, Text::from(version))).map(|registered| &registered.tool),
            None => {
                let versions = self.tools.range((name.clone(), Text::default())..);
                let own = versions.take_while(|((other, _), _)| *other == name);
                own.max_by_key(|((_, version), _)| Version::parse(version).ok())
                    .map(|(_, registered)| &registered.tool)
            }
        }
    }

    /// The registered tools as people read them.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.tools.values().map(|Registered { tool, .. }| {
            object! { "manifest": tool.manifest().to_value(), "digest": format!("{}", tool.digest()) }
        });
        object! { "tools": rows.collect::<Vec<Value>>() }
    }

    /// Everything, the modules too.
    pub(crate) fn state(&self) -> Value {
        let rows = self.tools.values().map(|Registered { tool, module }| {
            object! { "manifest": tool.manifest().to_value(), "module": base64url(module) }
        });
        rows.collect::<Vec<Value>>().into()
    }

    pub(crate) fn from_state(value: &Value, config: &Config) -> Result<Toolbox, FieldError> {
        let rows = value.as_array().ok_or_else(|| FieldError::new("tools", "expected an array"))?;
        let mut toolbox = Toolbox::empty(config);
        for row in rows.iter() {
            let mut fields = Fields::new("tools", row)?;
            let manifest = Manifest::from_value(&fields.value("manifest")?);
            let manifest = manifest.map_err(|error| fields.error("manifest", error.to_string()))?;
            let module = fields.bytes("module")?;
            let registered = toolbox.register(manifest, module).map(|_| ());
            registered.map_err(|failure| fields.error("module", failure.message))?;
            fields.finish()?;
        }
        Ok(toolbox)
    }
}

/// How far one call may go under this configuration. A manifest can only lower it.
pub(crate) fn run_limits(config: &Config) -> RunLimits {
    RunLimits {
        fuel: config.tool_fuel_max,
        memory_bytes_max: config.tool_memory_bytes_max,
        output_bytes_max: config.tool_output_bytes_max,
        ..RunLimits::default()
    }
}

/// Runs one call to its end. Pure: the same tool, input and limits give the same completion everywhere.
pub fn run_tool(tool: &Tool, input: &Value, limits: RunLimits) -> Completion {
    let failed = |error: ak_sandbox::RunError| Completion::Failed {
        code: Code::ToolFail,
        message: format!("tool {}: {error}", tool.manifest().name),
        context: ak_json::Object::new(),
        spent: error.fuel,
    };
    let mut run = match Run::start(tool, input, limits) {
        Ok(run) => run,
        Err(error) => return failed(error),
    };
    loop {
        match run.step(SLICE_FUEL) {
            Ok(Step::Yield) => {}
            Ok(Step::HostCall(_)) => {
                if let Err(error) =
                    run.reply(Err(Value::from("host calls are not granted to tools by this kernel")))
                {
                    return failed(error);
                }
            }
            Ok(Step::Done(done)) => return Completion::Tool { output: done.output, fuel: done.fuel },
            Err(error) => return failed(error),
        }
    }
}
