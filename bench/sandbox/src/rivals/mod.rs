//! The alternatives to `ak-sandbox`.

pub(crate) mod extism;
pub(crate) mod wasmi;
pub(crate) mod wasmtime;

/// The address and length of a result.
fn unpack(packed: i64) -> (usize, usize) {
    let packed = packed.cast_unsigned();
    ((packed >> 32) as usize, packed as u32 as usize)
}
