//! What one would use instead.

pub(crate) mod extism;
pub(crate) mod wasmi;
pub(crate) mod wasmtime;

/// Address and length of a result.
fn unpack(packed: i64) -> (usize, usize) {
    let packed = packed.cast_unsigned();
    ((packed >> 32) as usize, packed as u32 as usize)
}
