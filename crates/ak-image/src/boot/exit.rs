//! The end of the image.

use ak_image::ExitCode;

use crate::port;

/// QEMU's `isa-debug-exit` device.
const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Ends QEMU with a code; a machine without the debug exit device halts.
pub(crate) fn exit(code: ExitCode) -> ! {
    // SAFETY: the port belongs to the debug exit device or to nothing.
    unsafe { port::write(DEBUG_EXIT_PORT, code as u8) };
    port::halt()
}
