//! The serial console: a 16550 at COM1. It is slow, and meant for text that people read.

use core::fmt;

use crate::port;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Writes to COM1. It has no state, so the panic and fault handlers can make consoles of their own.
pub(crate) struct Console(());

impl Console {
    /// Sets up 115,200 baud, 8 data bits, no parity, no interrupts.
    pub(crate) fn new() -> Self {
        for (register, value) in [(1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xc7), (4, 0x03)]
        {
            // SAFETY: these ports are COM1's, which moves bytes over a wire and never to memory.
            unsafe { port::write(COM1 + register, value) }
        }
        Self(())
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: as above.
            while unsafe { port::read(LINE_STATUS) } & TRANSMITTER_EMPTY == 0 {
                core::hint::spin_loop();
            }
            // SAFETY: as above.
            unsafe { port::write(COM1, byte) }
        }
        Ok(())
    }
}
