//! The modules that every contender runs.

use ak_sandbox::builtin;

/// `add {a, b}`, in Zig: reads and writes JSON, with two pages of memory.
pub(crate) fn add() -> Vec<u8> {
    builtin()[0].1.to_vec()
}

/// The same module with 17 pages, as compilers make it that reserve 1 MiB for the stack.
pub(crate) fn add_of_17_pages() -> Vec<u8> {
    let mut module = add();
    // The memory section: three bytes, one memory without a maximum, at least two pages.
    let section = [5, 3, 1, 0, 2];
    let found: Vec<usize> = (0..module.len()).filter(|&at| module[at..].starts_with(&section)).collect();
    assert_eq!(found.len(), 1, "the memory section is where it was");
    module[found[0] + 4] = 17;
    module
}

/// A native module whose `ak_run` has this body and returns the text `0`, which is at address 0.
fn native(locals: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 0) "0")
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "ak_run") (param i32 i32) (result i64) {locals} {body} (i64.const 1)))"#
    );
    wat::parse_str(text).expect("the text is right")
}

/// A module that does nothing.
pub(crate) fn trivial() -> Vec<u8> {
    native("", "")
}

/// The iterations of the loop.
pub(crate) const ROUNDS: u32 = 200_000;

/// A module with a loop over integers and memory.
pub(crate) fn compute() -> Vec<u8> {
    native(
        "(local $i i32) (local $h i64)",
        &format!(
            "(loop $again
               (local.set $h (i64.mul (i64.xor (local.get $h) (i64.extend_i32_u (local.get $i)))
                 (i64.const 1099511628211)))
               (i64.store offset=2048 (i32.and (local.get $i) (i32.const 4088)) (local.get $h))
               (local.set $h (i64.add (local.get $h)
                 (i64.load offset=2048 (i32.and (i32.wrap_i64 (local.get $h)) (i32.const 4088)))))
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $again (i32.lt_u (local.get $i) (i32.const {ROUNDS}))))"
        ),
    )
}

/// A module with about 500 KB of functions, none of which is called.
pub(crate) fn large() -> Vec<u8> {
    let mut functions = String::new();
    for function in 0..1_500 {
        functions += "(func (param $a i32) (param $b i64) (result i64) (local $c i64)";
        for line in 0..16 {
            let constant = function * 31 + line * 7 + 1;
            functions += &format!(
                "(if (i32.gt_u (local.get $a) (i32.const {constant})) (then
                   (local.set $c (i64.add (local.get $c) (i64.mul (local.get $b) (i64.const {constant}))))
                   (i32.store (i32.and (local.get $a) (i32.const 1023)) (i32.const {line}))))"
            );
        }
        functions += "(i64.xor (local.get $c) (local.get $b)))";
    }
    let text = format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 0) "0") {functions}
            (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "ak_run") (param i32 i32) (result i64) (i64.const 1)))"#
    );
    let module = wat::parse_str(text).expect("the text is right");
    assert!((450_000..1_000_000).contains(&module.len()), "{} bytes", module.len());
    module
}
