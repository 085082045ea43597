//! libak: the C interface of the Authority Kernel.
//!
//! JSON in, JSON out: [`ak_call`] takes the `args` of the wire form and gives the whole outcome, exactly as the daemon's socket
//! carries them. `include/libak.h` is generated from `c_api` and from the kernel's tables of operations and codes.
//!
//! - `c_api`: the functions that C calls: they check pointers, and turn panics into failures
//! - `session`: the safe half: a session with requests and outcomes in JSON
//!
//! Imports: `c_api → session`

mod c_api;
mod session;

pub use c_api::{ak_agent, ak_call, ak_free, ak_init, ak_shutdown, ak_strerror};
pub use session::AkSession;
