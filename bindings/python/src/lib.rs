//! The native half of the Python package `authority_nanos`.
//!
//! It converts arguments, calls [`ak_host::Connection`], and converts replies. It decides nothing: denials and errors
//! come from the kernel, with the kernel's codes. The interpreter is released around every call, so threads of one
//! process wait for each other only in the kernel.
//!
//! Classes and methods:
//! - `kernel`: the class `AuthorityKernel`: opening, closing, policy, budgets
//! - `heap`, `effects`, `audit`: its methods on objects, with effects, on the audit log
//! - `capability`: the class `Capability`, and the methods that grant and present one
//! - `stream`: the class `InferenceStream`, which `inference_stream` gives
//! - `tables`: the kernel's codes and operations, from which Python's enums are made
//!
//! Sending and waiting:
//! - `session`: a session, and the one function that sends its requests
//! - `signals`: waiting with the interpreter released while signals are handled
//! - `delivery`: asyncio futures, and the thread that resolves them
//!
//! Conversion:
//! - `argument`: paths, bytes, JSON, headers, tool calls, messages to models
//! - `handle`: the class `Handle`, and arguments that name an object
//! - `scalar`: texts, integers, durations
//! - `from_python`, `to_python`: Python objects as JSON values, and back
//! - `error`: failures as exceptions of `authority_nanos.exceptions`
//!
//! Imports: `{audit, capability, effects, heap} → kernel → {argument, session} → error → to_python`
//! Imports: `argument → from_python → handle → scalar → error`
//! Imports: `effects → stream → delivery → error`
//! Imports: `{session, stream} → signals`
//! Imports: `session → delivery`
//! Imports: `tables`

mod argument;
mod audit;
mod capability;
mod delivery;
mod effects;
mod error;
mod from_python;
mod handle;
mod heap;
mod kernel;
mod scalar;
mod session;
mod signals;
mod stream;
mod tables;
mod to_python;

use pyo3::{Bound, PyResult, pymodule, types::PyModule};

/// The native half of `authority_nanos`. Import `authority_nanos` instead of this module.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::capability::Capability;
    #[pymodule_export]
    use crate::handle::Handle;
    #[pymodule_export]
    use crate::kernel::AuthorityKernel;
    #[pymodule_export]
    use crate::stream::InferenceStream;
    #[pymodule_export]
    use crate::tables::{codes, operations};

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        crate::delivery::end_delivery_at_exit(module)
    }
}
