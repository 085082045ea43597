//! libak: the C interface of the Authority Kernel.
//!
//! Requests and outcomes are JSON: [`ak_call`] takes the `args` of a request and returns its outcome in the
//! form that the daemon's socket carries. `include/libak.h` is generated from `c_api` and from the kernel's
//! tables of operations and codes.
//!
//! - `c_api`: the functions that C calls; they check pointers and turn panics into failures
//! - `session`: a session with requests and outcomes in JSON, in safe code
//!
//! Imports: `c_api → session`

mod c_api;
mod session;

pub use c_api::{ak_agent, ak_call, ak_free, ak_init, ak_shutdown, ak_strerror};
pub use session::AkSession;
