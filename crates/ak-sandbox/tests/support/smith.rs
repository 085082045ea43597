//! Modules that nobody would write.

use arbitrary::{Arbitrary, Unstructured};
use wasm_smith::Config;

/// A WASI command from these bytes, with memory, tables, globals and segments of all kinds; none if they are too few.
pub(crate) fn module(seed: &[u8]) -> Option<Vec<u8>> {
    let mut seed = Unstructured::new(seed);
    let mut config = Config::arbitrary(&mut seed).ok()?;
    let exports = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    config.exports = Some(wat::parse_str(exports).ok()?);
    config.available_imports = None;
    (config.max_imports, config.min_imports) = (0, 0);
    (config.max_memories, config.min_memories, config.max_memory32_bytes) = (0, 0, 40 << 16);
    (config.max_tables, config.max_table_elements, config.max_globals) = (4, 1_000, 20);
    config.table_max_size_required = false;
    config.memory_max_size_required = false;
    (config.bulk_memory_enabled, config.reference_types_enabled) = (true, true);
    (config.simd_enabled, config.relaxed_simd_enabled, config.threads_enabled) = (true, false, false);
    (config.memory64_enabled, config.gc_enabled, config.exceptions_enabled) = (false, false, false);
    (config.shared_everything_threads_enabled, config.custom_page_sizes_enabled) = (false, false);
    (config.wide_arithmetic_enabled, config.custom_descriptors_enabled) = (false, false);
    (config.compact_imports_enabled, config.tail_call_enabled) = (false, false);
    config.allow_start_export = true;
    // What traps tells little of the calls after it.
    config.disallow_traps = seed.ratio(3, 4).ok()?;
    wasm_smith::Module::new(config, &mut seed).ok().map(|module| module.to_bytes())
}
