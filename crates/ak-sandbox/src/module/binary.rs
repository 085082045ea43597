//! Reading and writing the binary format of WebAssembly.

use alloc::vec::Vec;

use wasmparser::BinaryReaderError;

use super::error::ToolError;
use super::work::TooMuchWork;

/// Why reading a module stops before its end.
pub(crate) enum ReadStop {
    /// The engine stops at the same place, and gives the reason.
    Malformed,
    TooMuchWork,
    Refused(ToolError),
}

impl From<BinaryReaderError> for ReadStop {
    fn from(_: BinaryReaderError) -> Self {
        Self::Malformed
    }
}

impl From<TooMuchWork> for ReadStop {
    fn from(_: TooMuchWork) -> Self {
        Self::TooMuchWork
    }
}

impl From<ToolError> for ReadStop {
    fn from(error: ToolError) -> Self {
        Self::Refused(error)
    }
}

/// Writes an unsigned number in LEB128, WebAssembly's variable-length encoding.
pub(crate) fn write_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
