use wasmi::{CompilationMode, Config, CustomFuelCosts, EnforcedLimits};

/// Bytes that the host moves into or out of a guest for one unit of fuel.
pub(crate) const BYTES_PER_FUEL: u32 = 64;

/// Bytes of file names that the host processes (splits, joins, hashes) for one unit of fuel.
pub(crate) const NAME_BYTES_PER_FUEL: u32 = 8;

/// Fuel that every call of a host function costs besides the bytes it moves: about the work of leaving the guest and
/// returning.
pub(crate) const HOST_CALL_FUEL: u64 = 30;

/// Default limit on the size of a module, in bytes.
pub const MODULE_BYTES_MAX: usize = 8 << 20;

/// Limits that hold from the loading of a [`Tool`](crate::Tool) on: size of the module, stacks of the engine,
/// instances kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Largest module, in bytes.
    pub module_bytes_max: usize,
    /// Deepest chain of calls inside the guest, in calls.
    pub call_depth_max: usize,
    /// Largest value stack of the guest, in bytes.
    pub stack_bytes_max: usize,
    /// Longest function, in bytes. The engine translates a function in one go when it is first called, and cannot be
    /// interrupted.
    pub function_bytes_max: usize,
    /// Instances kept for the next calls; 0 keeps none.
    pub recycled_max: usize,
    /// Memory of all instances kept, in bytes. An instance with more memory than that serves one call only.
    pub recycled_bytes_max: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            module_bytes_max: MODULE_BYTES_MAX,
            call_depth_max: 1_000,
            stack_bytes_max: 1_000_000,
            function_bytes_max: 1 << 20,
            recycled_max: 4,
            recycled_bytes_max: 2 << 20,
        }
    }
}

impl SandboxConfig {
    /// The engine's settings. They all serve one purpose: the same call costs the same fuel and gives the same bytes
    /// on every machine.
    pub(crate) fn engine(&self) -> Config {
        let mut config = Config::default();
        // Translation is lazy, so that a large module starts at once, and costs no fuel, so that a first call costs
        // as much as a second.
        config.compilation_mode(CompilationMode::LazyTranslation);
        config.consume_fuel(true);
        config.fuel_cost(CustomFuelCosts {
            bytes_copied_per_fuel: BYTES_PER_FUEL,
            fuel_per_bytes_translated: 0,
            fuel_per_bytes_validated: 0,
        });
        // `prepare` already limits the parts of a module, by the work of loading them.
        config.enforced_limits(EnforcedLimits::default());
        // Relaxed SIMD gives results that depend on the machine.
        config.wasm_relaxed_simd(false);
        config.wasm_multi_memory(false);
        // With a host call in tail position that is resumed later, the engine loses the result and corrupts a local
        // of the caller.
        config.wasm_tail_call(false);
        // `prepare` turns the start section into an export: the engine cannot run a start function in slices.
        config.allow_start_fn(false);
        config.ignore_custom_sections(true);
        config.set_max_recursion_depth(self.call_depth_max);
        // The setter panics below the engine's initial height.
        config.set_min_stack_height(self.stack_bytes_max.min(STACK_BYTES_INITIAL));
        config.set_max_stack_height(self.stack_bytes_max);
        config
    }
}

/// Initial height of the value stack, in bytes.
const STACK_BYTES_INITIAL: usize = 1_000;

/// Limits on what one [`Run`](crate::Run) may use. A manifest's own limits can only lower these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Units of fuel: about one per WebAssembly instruction, 30 per call of a host function, and one per 64 bytes that the
    /// host moves.
    pub fuel: u64,
    /// Linear memory, in bytes.
    pub memory_bytes_max: u64,
    /// Elements of all tables together.
    pub table_elements_max: u64,
    /// The result, in bytes of JSON.
    pub output_bytes_max: u64,
    /// The guest's log, in bytes; of a longer log the end is kept.
    pub log_bytes_max: u64,
    /// Number of host calls that are handed to the driver of the run.
    pub host_calls_max: u32,
    /// Arguments or reply of one host call, or content of one file of a WASI command, in bytes.
    pub host_call_bytes_max: u64,
    /// Files and directories open at the same time, besides the directories that a WASI command finds open.
    pub files_max: u32,
    /// Contents and directory entries of all open files, in bytes; an entry counts as its name and 32 bytes.
    pub file_bytes_max: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            memory_bytes_max: 64 << 20,
            table_elements_max: 65_536,
            output_bytes_max: 4 << 20,
            log_bytes_max: 64 << 10,
            host_calls_max: 1_000,
            host_call_bytes_max: 4 << 20,
            files_max: 64,
            file_bytes_max: 16 << 20,
        }
    }
}
