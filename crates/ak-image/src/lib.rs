#![no_std]
#![forbid(unsafe_code)]
//! The Authority Kernel on bare metal: an x86-64 image that boots by PVH and re-executes the journal it is given.
//!
//! The image itself is the binary of this crate (`boot/`, feature `boot`): entry, page tables, faults, heap, serial
//! console, exit. This library holds the code that does not touch the machine, so that it can be tested on a host:
//!
//! - [`Boot`] reads the loader's information: which module was passed, where the heap can be.
//! - [`run`] re-executes a journal and prints the result. The image calls it once its memory is set up.
//!
//! ```
//! use ak_image::{ExitCode, run};
//! use ak_kernel::{Config, Kernel, Now, Time, export};
//!
//! let mut kernel = Kernel::new(Now::steady(Time::from_micros(1), [7; 32]), Config::default());
//! let journal: Vec<_> = core::iter::from_fn(|| kernel.poll_record()).collect();
//!
//! let mut console = String::new();
//! assert_eq!(run(&export::encode(&journal, &Default::default()), &mut console), ExitCode::Success);
//! assert!(console.contains(&kernel.head().to_string()));
//! ```

extern crate alloc;

mod run;
mod start_info;

pub use run::{ExitCode, run};
pub use start_info::{Boot, BootError, MEMORY_END, MEMORY_START};
