use wasmi::{CompilationMode, Config, CustomFuelCosts, EnforcedLimits};

/// Bytes that the host moves into or out of a guest for one unit of fuel.
pub(crate) const BYTES_PER_FUEL: u32 = 64;

/// Bytes of names of files that the host looks at for one unit of fuel: it takes them apart, puts them together, hashes them.
pub(crate) const NAME_BYTES_PER_FUEL: u32 = 8;

/// Fuel of every host call, besides what it moves: about what it takes to leave the guest and to come back.
pub(crate) const HOST_CALL_FUEL: u64 = 30;

/// Largest module where nothing else is set, in bytes.
pub const MODULE_BYTES_MAX: usize = 8 << 20;

/// What holds for a [`Tool`](crate::Tool) from the day it is loaded: the size of the module and the engine's
/// stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Largest module, in bytes.
    pub module_bytes_max: usize,
    /// Deepest chain of calls inside the guest.
    pub call_depth_max: usize,
    /// Largest value stack of the guest, in bytes.
    pub stack_bytes_max: usize,
    /// Longest function, in bytes: one is translated at once, when it is first called, and cannot be interrupted.
    pub function_bytes_max: usize,
    /// How many instances are kept for the next calls; 0 to keep none.
    pub recycled_max: usize,
    /// Memory of all instances that are kept, in bytes. An instance of more than that serves one call only.
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
    /// The engine's settings. Every choice serves one aim: the same call costs the same fuel and gives the
    /// same bytes everywhere.
    pub(crate) fn engine(&self) -> Config {
        let mut config = Config::default();
        // Translation is lazy, so that a big module starts at once, and free, so that the first call costs
        // what the second costs.
        config.compilation_mode(CompilationMode::LazyTranslation);
        config.consume_fuel(true);
        config.fuel_cost(CustomFuelCosts {
            bytes_copied_per_fuel: BYTES_PER_FUEL,
            fuel_per_bytes_translated: 0,
            fuel_per_bytes_validated: 0,
        });
        // `prepare` has bounded what there may be, by the work that it takes.
        config.enforced_limits(EnforcedLimits::default());
        // Its results depend on the machine.
        config.wasm_relaxed_simd(false);
        config.wasm_multi_memory(false);
        // The engine loses the result of a host call that was a tail call and comes only later, and spoils a local of the
        // caller's with it.
        config.wasm_tail_call(false);
        // `Tool` turns a start section into an export: a start function run by the engine could not be
        // sliced.
        config.allow_start_fn(false);
        config.ignore_custom_sections(true);
        config.set_max_recursion_depth(self.call_depth_max);
        // The setter panics below the engine's initial height.
        config.set_min_stack_height(self.stack_bytes_max.min(STACK_BYTES_INITIAL));
        config.set_max_stack_height(self.stack_bytes_max);
        config
    }
}

/// Height at which a value stack starts, in bytes.
const STACK_BYTES_INITIAL: usize = 1_000;

/// What one [`Run`](crate::Run) may use. A manifest's own limits can only lower these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Fuel: about one unit per WASM instruction, plus 30 per host call and one per 64 bytes that the host moves.
    pub fuel: u64,
    /// Linear memory, in bytes.
    pub memory_bytes_max: u64,
    /// Elements of all tables together.
    pub table_elements_max: u64,
    /// The result, in bytes of JSON.
    pub output_bytes_max: u64,
    /// What is kept of the guest's log, in bytes: its end.
    pub log_bytes_max: u64,
    /// Host calls that leave the sandbox.
    pub host_calls_max: u32,
    /// Arguments or reply of one host call, or one file of a command, in bytes.
    pub host_call_bytes_max: u64,
    /// Files and directories open at a time, besides those that a command finds open.
    pub files_max: u32,
    /// What the open files hold together, in bytes; an entry of a directory counts for its name and 32 bytes.
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
