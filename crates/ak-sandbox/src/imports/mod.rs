//! What a module can import: the functions of `ak`, and for commands those of WASI.

pub(crate) mod ak;
pub(crate) mod wasi;

use wasmi::{Func, Store};

use crate::guest::Guest;
use crate::manifest::Abi;

/// The host function that an import stands for.
pub(crate) fn import(store: &mut Store<Guest>, abi: Abi, module: &str, name: &str) -> Option<Func> {
    match abi {
        _ if module == ak::MODULE => ak::function(store, name),
        Abi::Wasi if module == wasi::MODULE => wasi::function(store, name),
        Abi::Wasi | Abi::Native => None,
    }
}
