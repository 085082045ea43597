//! The registered tools.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use ak_json::{Object, Text, Value, object};
use ak_policy::CanonicalTool;
use ak_sandbox::{Manifest, ManifestError, SandboxConfig, Tool, builtin};
use semver::Version;

use crate::{
    accounts::tool_permissions::ToolPermissions,
    api::{
        code::Code,
        config::Config,
        fields::{FieldError, Fields, base64url, env_field},
        reply::Failure,
    },
};

/// Longest manifest of a tool, in bytes of JSON.
pub(crate) const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Longest environment of a tool, names and values together, in bytes.
pub const ENV_BYTES_MAX: usize = 64 << 10;

/// Tools by name and version.
#[derive(Debug)]
pub(crate) struct Toolbox {
    tools: BTreeMap<(Text, Text), Registered>,
    tools_max: u64,
}

/// A registered tool with its needs, environment and module.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) tool: Tool,
    pub(crate) needs: Arc<ToolPermissions>,
    /// The environment variables that its manifest lists, if they are set.
    pub(crate) env: Vec<(Text, Text)>,
    /// The module's bytes, for snapshots.
    module: Arc<[u8]>,
}

impl Toolbox {
    pub(crate) const fn empty(config: &Config) -> Toolbox {
        Toolbox { tools: BTreeMap::new(), tools_max: config.tools_max }
    }

    /// The tools that come with the kernel.
    pub(crate) fn with_builtin(config: &Config) -> Toolbox {
        let mut toolbox = Toolbox::empty(config);
        for (manifest, module) in builtin() {
            let module: Arc<[u8]> = module.into();
            // Tests ensure that these tools load. If one did not, calls of it would fail with NOT_FOUND.
            let tool = Manifest::parse(manifest).map_err(|error| error.to_string());
            if let Ok(tool) = tool.and_then(|manifest| fit(manifest, module.clone())) {
                let _ = toolbox.register(tool, module, Vec::new());
            }
        }
        toolbox
    }

    /// Whether the name belongs to a different tool that comes with the kernel. A policy that permits that name
    /// means that tool.
    pub(crate) fn is_taken(name: &str, module: &[u8]) -> bool {
        let is_it = |shipped: &str| Manifest::parse(shipped).is_ok_and(|shipped| shipped.name == name);
        builtin().into_iter().any(|(shipped, own)| *own != *module && is_it(shipped))
    }

    /// Registers a tool, or replaces the one with the same name and version.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a need that is not accepted, or an environment that is too long; QUOTA if there are too
    /// many tools.
    pub(crate) fn register(
        &mut self,
        tool: Tool,
        module: Arc<[u8]>,
        mut env: Vec<(Text, Text)>,
    ) -> Result<&Tool, Failure> {
        let manifest = tool.manifest();
        let refuse =
            |reason: &str| Failure::new(Code::InvalidArgument, format!("the tool is refused: {reason}"));
        let needs = ToolPermissions::of(manifest).map_err(|error| refuse(&error.to_string()))?;
        env.retain(|(name, _)| manifest.env.iter().any(|listed| **listed == **name));
        if env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > ENV_BYTES_MAX {
            return Err(refuse(&format!("its environment is longer than {ENV_BYTES_MAX} bytes")));
        }
        let key =
            (Text::from(tool.manifest().name.as_str()), Text::from(tool.manifest().version.to_string()));
        if self.tools.len() as u64 >= self.tools_max && !self.tools.contains_key(&key) {
            return Err(Failure::new(Code::Quota, format!("there are {} tools already", self.tools_max)));
        }
        self.tools.insert(key.clone(), Registered { tool, needs: Arc::new(needs), env, module });
        self.tools.get(&key).map(|registered| &registered.tool).ok_or_else(|| refuse("it is gone"))
    }

    /// The tool with this name and version, or the highest registered version if none is given.
    pub(crate) fn find(&self, wanted: &CanonicalTool) -> Option<&Registered> {
        let name = Text::from(wanted.name());
        match wanted.version() {
            Some(version) => self.tools.get(&(name, Text::from(version))),
            None => {
                let versions = self.tools.range((name.clone(), Text::default())..);
                let own = versions.take_while(|((other, _), _)| *other == name);
                own.max_by_key(|((_, version), _)| Version::parse(version).ok())
                    .map(|(_, registered)| registered)
            }
        }
    }

    /// The list of registered tools, for a reply.
    pub(crate) fn to_value(&self) -> Value {
        let rows = self.tools.values().map(|Registered { tool, .. }| {
            object! { "manifest": tool.manifest().to_value(), "digest": format!("{}", tool.digest()) }
        });
        object! { "tools": rows.collect::<Vec<Value>>() }
    }

    /// The names of the tools, each with the JSON Schema of its arguments.
    pub(crate) fn schemas(&self) -> Vec<(Text, Value)> {
        let schema = |tool: &Tool| (Text::from(tool.manifest().name.as_str()), tool.manifest().input.clone());
        self.tools.values().map(|registered| schema(&registered.tool)).collect()
    }

    /// The registered tools with their modules, for a snapshot.
    pub(crate) fn state(&self) -> Value {
        let rows = self.tools.values().map(|Registered { tool, env, module, .. }| {
            let env: Object = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            object! { "manifest": tool.manifest().to_value(), "module": base64url(module), "env": env }
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
            let module: Arc<[u8]> = fields.bytes("module")?;
            let env = env_field(&mut fields)?;
            let tool = fit(manifest, module.clone()).map_err(|reason| fields.error("module", reason))?;
            let registered = toolbox.register(tool, module, env).map(|_| ());
            registered.map_err(|failure| fields.error("module", failure.message))?;
            fields.finish()?;
        }
        Ok(toolbox)
    }
}

/// Makes a tool of a manifest and a module, or returns the reason for which it is refused.
pub(crate) fn checked(value: &Value, module: Arc<[u8]>) -> Result<Tool, String> {
    if value.json_len() > MANIFEST_BYTES_MAX {
        return Err(format!("the tool's manifest is longer than {MANIFEST_BYTES_MAX} bytes"));
    }
    let manifest = manifest(value).map_err(|error| format!("the tool's manifest is refused: {error}"))?;
    fit(manifest, module)
}

fn fit(manifest: Manifest, module: Arc<[u8]>) -> Result<Tool, String> {
    Tool::new(manifest, module, &SandboxConfig::default())
        .map_err(|error| format!("the tool is refused: {error}"))
}

/// Parses the manifest of a request: TOML text, or the same content as an object.
pub(crate) fn manifest(value: &Value) -> Result<Manifest, ManifestError> {
    match value.as_str() {
        Some(text) => Manifest::parse(text),
        None => Manifest::from_value(value),
    }
}
