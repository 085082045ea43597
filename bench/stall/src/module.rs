//! WebAssembly modules of any size.

use sha2::{Digest, Sha256};

/// A module of the native ABI with `functions` functions of `instructions` instructions each, besides the exports of a
/// tool. Each function pushes and drops constants.
pub(crate) fn module(functions: usize, instructions: usize) -> Vec<u8> {
    let count = functions + 2;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // () -> (), (i32) -> i32, (i32, i32) -> i64
    section(&mut module, 1, &[3, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 1, 0x7e]);
    let mut types = number(count);
    types.extend([1, 2]);
    types.resize(types.len() + functions, 0);
    section(&mut module, 3, &types);
    section(&mut module, 5, &[1, 0, 1]);
    let mut exports = vec![3];
    for (name, kind, index) in [("memory", 2, 0), ("ak_alloc", 0, 0), ("ak_run", 0, 1)] {
        exports.push(name.len() as u8);
        exports.extend(name.as_bytes());
        exports.extend([kind, index]);
    }
    section(&mut module, 7, &exports);
    let mut code = number(count);
    // i32.const 0; i64.const 0
    code.extend([4, 0, 0x41, 0, 0x0b, 4, 0, 0x42, 0, 0x0b]);
    // i32.const 1; drop
    let mut body = vec![0];
    body.extend([0x41, 1, 0x1a].repeat(instructions / 2));
    body.push(0x0b);
    let size = number(body.len());
    for _ in 0..functions {
        code.extend(&size);
        code.extend(&body);
    }
    section(&mut module, 10, &code);
    module
}

/// The SHA-256 of a module, in hexadecimal.
pub(crate) fn sha256(module: &[u8]) -> String {
    Sha256::digest(module).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn section(module: &mut Vec<u8>, id: u8, content: &[u8]) {
    module.push(id);
    module.extend(number(content.len()));
    module.extend(content);
}

/// A number in LEB128.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
