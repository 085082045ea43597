#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "this is where the machine is touched; everything above it forbids unsafe code"
)]
#![deny(unsafe_op_in_unsafe_fn)]
//! The image: boots, claims memory, re-executes the journal that is its boot module, prints the result, and ends.
//!
//! - `fault`: the processor's faults, printed
//! - `runtime`: the functions that compiled code expects of a runtime
//! - `heap`: the allocator
//! - `console`: the serial console
//! - `exit`: the end of the image, with a code for QEMU
//! - `port`: x86 input and output ports
//!
//! Imports: `{fault, runtime} → {console, exit} → port`
//! Imports: `heap`

mod console;
mod exit;
mod fault;
mod heap;
mod port;
mod runtime;

use core::arch::global_asm;
use core::fmt::Write;
use core::ops::Range;

use ak_image::{Boot, ExitCode, MEMORY_END, run};

use console::Console;
use exit::exit;

global_asm!(include_str!("entry.s"));

/// Makes the image depend on the linker script, so that a change of it links the image again.
const _: &str = include_str!("../../linker.ld");

/// The first Rust code to run, on the stack that `entry.s` has set up. `info` is the address of the PVH start information.
#[unsafe(no_mangle)]
extern "C" fn image_main(info: u64) -> ! {
    fault::install();
    let mut console = Console::new();
    let code = match Boot::read(physical, info, image()) {
        Ok(Boot { module, heap }) => {
            heap::claim(heap);
            match module.and_then(|module| physical(module.start, module.end - module.start)) {
                Some(journal) => run(journal, &mut console),
                None => fail(&mut console, "no boot module: pass the journal with -initrd"),
            }
        }
        Err(error) => fail(&mut console, error),
    };
    exit(code)
}

fn fail(console: &mut Console, reason: impl core::fmt::Display) -> ExitCode {
    match writeln!(console, "cannot boot: {reason}") {
        Ok(()) | Err(core::fmt::Error) => ExitCode::Failure,
    }
}

/// The range of physical addresses that this program occupies.
fn image() -> Range<u64> {
    unsafe extern "C" {
        static image_start: u8;
        static image_end: u8;
    }
    (&raw const image_start) as u64..(&raw const image_end) as u64
}

/// The bytes at a physical address: the loader's tables and the boot module. `None` if they are not all below
/// [`MEMORY_END`], overlap this program, or start at 0.
fn physical(at: u64, length: u64) -> Option<&'static [u8]> {
    let end = at.checked_add(length).filter(|&end| at > 0 && end <= MEMORY_END)?;
    let apart = end <= image().start || at >= image().end;
    // SAFETY: the range is mapped (all below `MEMORY_END` is), does not start at null and lies outside the
    // image. The heap is claimed around the module and after the tables were read, so nothing writes to the
    // bytes while they are borrowed.
    apart.then(|| unsafe { core::slice::from_raw_parts(at as *const u8, length as usize) })
}
