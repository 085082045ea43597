//! The native half of the Python package `authority_nanos`.
//!
//! A shim: it converts what Python gives, calls [`ak_host::Connection`], and converts what comes back. No
//! rule stands here; what is refused is refused by the kernel, with the kernel's codes. The interpreter is
//! released around every call, so threads of one process meet only in the kernel.
//!
//! - `kernel`: the class `AuthorityKernel`: opening, closing, and what is asked of the gate itself
//! - `heap`, `effects`, `audit`: its methods on objects, on what lies outside, on the log
//! - `session`: a connection, and the one way a request takes through it
//! - `stream`: the iterator that `inference_stream` gives
//! - `handle`: the class `Handle`
//! - `capability`: the class `Capability`, and the methods that give and present one
//! - `argument`: what the methods take: handles, paths, numbers, JSON
//! - `convert`: JSON values to and from Python objects
//! - `error`: failures become the exceptions of `authority_nanos.exceptions`
//! - `tables`: the kernel's codes and operations, from which Python's enums are made

mod argument;
mod audit;
mod capability;
mod convert;
mod effects;
mod error;
mod handle;
mod heap;
mod kernel;
mod session;
mod stream;
mod tables;
mod waiting;

use pyo3::{Bound, PyResult, pymodule, types::PyModule};

/// Native half of `authority_nanos`; import that instead.
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
        crate::waiting::end_delivery_at_exit(module)
    }
}
