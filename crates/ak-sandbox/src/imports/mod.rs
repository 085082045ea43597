//! The functions that a module can import: those of `ak`, and for WASI commands those of WASI.

pub(crate) mod ak;
pub(crate) mod wasi;

use wasmi::{Func, Store};

use crate::guest::Guest;
use crate::manifest::Abi;

/// The host function for an import; `None` if there is none in this ABI.
pub(crate) fn import(store: &mut Store<Guest>, abi: Abi, module: &str, name: &str) -> Option<Func> {
    match abi {
        _ if module == ak::MODULE => ak::function(store, name),
        Abi::Wasi if module == wasi::MODULE => wasi::function(store, name),
        Abi::Wasi | Abi::Native => None,
    }
}
