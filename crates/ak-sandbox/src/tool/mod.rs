//! A tool: its manifest, its compiled module, and idle instances for the next calls.

pub(crate) mod machine;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use ak_json::{Digest, Schema, Value, Work, sha256};
use crossbeam_queue::ArrayQueue;
use wasmi::{Engine, ExternType, FuncType, Module, Store, ValType};

use self::machine::Machine;
use crate::failure::Failure;
use crate::files::names::preopens;
use crate::guest::Guest;
use crate::imports::import;
use crate::limits::{RunLimits, SandboxConfig};
use crate::manifest::{Abi, Manifest};
use crate::module::error::ToolError;
use crate::module::{ChangeableState, prepare};

/// A manifest with its compiled module, ready to run. Clones share both.
///
/// A tool also keeps a few instances that have served a call to its end. They are reset, so the next call finds the
/// same state as in a new instance, but starts sooner.
#[derive(Clone)]
pub struct Tool {
    inner: Arc<Inner>,
}

struct Inner {
    manifest: Manifest,
    digest: Digest,
    input: Schema,
    output: Schema,
    /// The directories that a WASI command finds open.
    preopens: Vec<String>,
    module: Module,
    starts: bool,
    load_work: u64,
    instance_fuel: u64,
    /// `None` if its instances serve one call only.
    state: Option<ChangeableState>,
    /// Machines for the next calls; `None` if none are kept.
    idle: Option<ArrayQueue<Box<Machine>>>,
    recycled_bytes_max: usize,
    engine: Engine,
}

/// The bytes that each WebAssembly module begins with.
const WASM_MAGIC: &[u8] = b"\0asm";

impl Tool {
    /// Loads a module, whose SHA-256 must be the one in the manifest, and checks everything that can be checked
    /// before a run.
    ///
    /// # Errors
    ///
    /// [`ToolError`]. A tool that was loaded can still fail at run time, but only by what it does then.
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
        if !module.starts_with(WASM_MAGIC) {
            let reason = "it is not WebAssembly, which begins with the bytes 00 61 73 6d";
            return Err(ToolError::Invalid { reason: reason.into() });
        }
        let input = schema("input", &manifest.input)?;
        let output = schema("output", &manifest.output)?;
        let prepared = prepare(&module, config)?;
        // Each tool has an engine of its own, so that its compiled code is freed with the tool.
        let engine = Engine::new(&config.engine());
        let module = Module::new(&engine, &prepared.module)
            .map_err(|error| ToolError::Invalid { reason: error.to_string() })?;
        check_imports(&engine, &module, manifest.abi)?;
        check_exports(&module, manifest.abi)?;
        let digest = manifest.to_value().digest();
        let inner = Inner {
            preopens: preopens(&manifest.needs),
            manifest,
            digest,
            input,
            output,
            module,
            starts: prepared.starts,
            load_work: prepared.work.total(),
            instance_fuel: prepared.instance_fuel,
            state: prepared.state,
            idle: (config.recycled_max > 0).then(|| ArrayQueue::new(config.recycled_max)),
            recycled_bytes_max: config.recycled_bytes_max,
            engine,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tool's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Digest of the manifest, which covers the module and the schemas too.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The schema that the arguments of a call must satisfy.
    pub fn input_schema(&self) -> &Schema {
        &self.inner.input
    }

    /// The schema that the result of a call must satisfy.
    pub fn output_schema(&self) -> &Schema {
        &self.inner.output
    }

    pub(crate) fn preopens(&self) -> &[String] {
        &self.inner.preopens
    }

    /// A machine in its first state: an idle one if it fits the call's limits, else a new one.
    pub(crate) fn machine(&self, guest: Guest) -> Result<Box<Machine>, Failure> {
        if let Some(mut machine) = self.inner.idle.as_ref().and_then(ArrayQueue::pop) {
            if machine.fits(&guest) {
                machine.serve(guest);
                return Ok(machine);
            }
            self.keep(machine);
        }
        Machine::new(self, guest).map(Box::new)
    }

    /// Takes back a machine that has served a call to its end, and resets it.
    pub(crate) fn recycle(&self, mut machine: Box<Machine>) {
        if self.inner.idle.is_some() && machine.reset() {
            self.keep(machine);
        }
    }

    /// Keeps a machine for the next call, unless enough are kept already.
    fn keep(&self, machine: Box<Machine>) {
        let Some(idle) = &self.inner.idle else { return };
        let kept_max = self.inner.recycled_bytes_max / machine.memory_bytes().max(1);
        if idle.len() < kept_max.max(1) {
            // If the queue is full, the machine is dropped.
            let _full = idle.push(machine);
        }
    }

    /// `None` if no instance is used twice.
    pub(crate) fn state(&self) -> Option<&ChangeableState> {
        self.inner.state.as_ref().filter(|_| self.inner.idle.is_some())
    }

    /// Whether the module has a start function; an export named [`START_EXPORT`](crate::module::START_EXPORT) alone
    /// does not tell.
    pub(crate) fn starts(&self) -> bool {
        self.inner.starts
    }

    pub(crate) fn recycled_bytes_max(&self) -> usize {
        self.inner.recycled_bytes_max
    }

    /// Units of work for loading the module, at most [`LOAD_WORK_MAX`](crate::LOAD_WORK_MAX); merging parts of the
    /// module saves some of them.
    pub fn load_work(&self) -> u64 {
        self.inner.load_work
    }

    /// Fuel that each call costs for its instance: 0 unless the module has very many parts.
    pub(crate) fn instance_fuel(&self) -> u64 {
        self.inner.instance_fuel
    }

    /// Number of instances that are kept for the next calls.
    pub fn idle(&self) -> usize {
        self.inner.idle.as_ref().map_or(0, ArrayQueue::len)
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

/// Units of [`Work`] for reading a schema, and for each validation of arguments or a result: some 20 ms.
pub(crate) const SCHEMA_WORK: u64 = 2_000_000;

fn schema(which: &'static str, source: &Value) -> Result<Schema, ToolError> {
    Schema::parse(source, &mut Work::new(SCHEMA_WORK))
        .map_err(|error| ToolError::Schema { which, reason: error.to_string() })
}

fn check_imports(engine: &Engine, module: &Module, abi: Abi) -> Result<(), ToolError> {
    let scratch = Guest::new(Arc::from([]), [], &[], &RunLimits::default());
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
