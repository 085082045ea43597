use alloc::string::{String, ToString};
use alloc::sync::Arc;

use ak_json::{Digest, sha256};
use wasmi::{Engine, ExternType, Func, FuncType, Module, Store, ValType};

use crate::guest::Guest;
use crate::module::start_as_export;
use crate::{Abi, Manifest, RunLimits, SandboxConfig, host, wasi};

/// A tool that is ready to run: its manifest and its compiled module. Cloning shares both.
#[derive(Clone)]
pub struct Tool {
    inner: Arc<Inner>,
}

struct Inner {
    manifest: Manifest,
    digest: Digest,
    module: Module,
    engine: Engine,
}

impl Tool {
    /// Loads a module, which must be the one that the manifest names by its SHA-256, and checks everything
    /// that can be checked before it runs.
    ///
    /// # Errors
    ///
    /// [`ToolError`]; a tool that loads can still fail at run time, but only by what it does then.
    pub fn new(manifest: Manifest, module: Arc<[u8]>, config: &SandboxConfig) -> Result<Self, ToolError> {
        if module.len() > config.module_bytes_max {
            return Err(ToolError::TooLarge { bytes: module.len(), bytes_max: config.module_bytes_max });
        }
        let actual = sha256(&module);
        if actual != manifest.sha256 {
            return Err(ToolError::Changed { expected: manifest.sha256, actual });
        }
        for (which, schema) in [("input", &manifest.input), ("output", &manifest.output)] {
            if let Some(path) = schema.as_str() {
                return Err(ToolError::SchemaNotLoaded { which, path: path.to_string() });
            }
        }
        // An engine of its own: what a tool has compiled goes when the tool goes.
        let engine = Engine::new(&config.engine());
        let module = Module::new(&engine, start_as_export(&module))
            .map_err(|error| ToolError::Invalid { reason: error.to_string() })?;
        check_imports(&engine, &module, manifest.abi)?;
        check_exports(&module, manifest.abi)?;
        let digest = manifest.to_value().digest();
        Ok(Self { inner: Arc::new(Inner { manifest, digest, module, engine }) })
    }

    /// What the tool says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The digest of the manifest, and so of the module and the schemas too.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn module(&self) -> &Module {
        &self.inner.module
    }
}

impl core::fmt::Debug for Tool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Manifest { name, version, .. } = self.manifest();
        write!(f, "Tool({name}@{version})")
    }
}

/// Why a tool cannot be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ToolError {
    /// The module is larger than the sandbox takes.
    #[error("module of {bytes} bytes: the limit is {bytes_max}")]
    TooLarge {
        /// The module's.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The module is not the one that the manifest was written for.
    #[error("module has sha256 {actual}, the manifest says {expected}")]
    Changed {
        /// In the manifest.
        expected: Digest,
        /// The module's.
        actual: Digest,
    },
    /// A schema is still the path of a file.
    #[error("{which} schema {path:?} is not loaded")]
    SchemaNotLoaded {
        /// `input` or `output`.
        which: &'static str,
        /// As in the manifest.
        path: String,
    },
    /// The module is malformed, breaks a limit on modules, or uses a feature beyond what the sandbox takes.
    #[error("invalid module: {reason}")]
    Invalid {
        /// From the validator.
        reason: String,
    },
    /// The module imports what no sandbox offers.
    #[error("unknown import {module:?} {name:?}")]
    UnknownImport {
        /// Module part of the import.
        module: String,
        /// Name part of the import.
        name: String,
    },
    /// The module imports or exports something under a known name, but of another type.
    #[error("{name:?} has the wrong type: expected {expected}")]
    WrongType {
        /// Of the import or export.
        name: String,
        /// Its proper type.
        expected: String,
    },
    /// The module lacks an export that its ABI demands.
    #[error("export {name:?} is missing")]
    MissingExport {
        /// Its name.
        name: &'static str,
    },
}

/// The host function that an import stands for.
pub(crate) fn import(store: &mut Store<Guest>, abi: Abi, module: &str, name: &str) -> Option<Func> {
    match abi {
        _ if module == host::MODULE => host::function(store, name),
        Abi::Wasi if module == wasi::MODULE => wasi::function(store, name),
        Abi::Wasi | Abi::Native => None,
    }
}

fn check_imports(engine: &Engine, module: &Module, abi: Abi) -> Result<(), ToolError> {
    let scratch = Guest::new(Arc::from([]), "", &RunLimits::default());
    let mut store = Store::new(engine, scratch);
    for item in module.imports() {
        let Some(function) = import(&mut store, abi, item.module(), item.name()) else {
            return Err(ToolError::UnknownImport {
                module: item.module().to_string(),
                name: item.name().to_string(),
            });
        };
        let expected = function.ty(&store);
        if item.ty().func() != Some(&expected) {
            return Err(wrong_type(item.name(), &expected));
        }
    }
    Ok(())
}

fn check_exports(module: &Module, abi: Abi) -> Result<(), ToolError> {
    use ValType::{I32, I64};
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => {}
        Some(ExternType::Func(_) | ExternType::Global(_) | ExternType::Table(_)) => {
            return Err(ToolError::WrongType { name: "memory".to_string(), expected: "memory".to_string() });
        }
        None => return Err(ToolError::MissingExport { name: "memory" }),
    }
    let demanded = match abi {
        Abi::Wasi => alloc::vec![("_start", FuncType::new([], []))],
        Abi::Native => alloc::vec![
            ("ak_alloc", FuncType::new([I32], [I32])),
            ("ak_run", FuncType::new([I32, I32], [I64])),
        ],
    };
    for (name, expected) in demanded {
        match module.get_export(name) {
            None => return Err(ToolError::MissingExport { name }),
            Some(ExternType::Func(actual)) if actual == expected => {}
            Some(_) => return Err(wrong_type(name, &expected)),
        }
    }
    Ok(())
}

fn wrong_type(name: &str, expected: &FuncType) -> ToolError {
    ToolError::WrongType {
        name: name.to_string(),
        expected: alloc::format!("{:?} -> {:?}", expected.params(), expected.results()),
    }
}
