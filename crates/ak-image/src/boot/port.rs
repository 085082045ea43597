//! x86 input and output ports.

use core::arch::asm;

/// Writes one byte.
///
/// # Safety
///
/// The effect of a write depends on the device at the port: the device must not be one that can write to memory.
pub(crate) unsafe fn write(port: u16, value: u8) {
    // SAFETY: privileged code may use ports; the caller vouches for the device.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads one byte.
///
/// # Safety
///
/// As for [`write`].
pub(crate) unsafe fn read(port: u16) -> u8 {
    let value;
    // SAFETY: as in `write`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Halts the processor for ever.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: interrupts are off, so this waits for ever and touches nothing.
        unsafe { asm!("hlt", options(nomem, nostack, preserves_flags)) }
    }
}
