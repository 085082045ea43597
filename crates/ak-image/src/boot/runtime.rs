//! The functions that compiled code expects of a runtime.

use core::arch::global_asm;
use core::fmt::Write;
use core::panic::PanicInfo;

use ak_image::ExitCode;

use crate::console::Console;
use crate::{exit::exit, port};

global_asm!(include_str!("memory.s"));

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The console cannot fail, and no other output exists.
    let _ = writeln!(Console::new(), "{info}");
    exit(ExitCode::Fault)
}

/// The unwind tables of the precompiled `core` name this function. The linker discards the tables, so it is
/// never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    port::halt()
}

/// Landing pads call this function. They are never reached, since panics abort.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    port::halt()
}
