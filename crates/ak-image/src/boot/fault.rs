//! Faults of the processor: each is printed and ends the image. Interrupts are off.

use core::arch::{asm, global_asm};
use core::fmt::Write;

use ak_image::ExitCode;

use crate::console::Console;
use crate::exit::exit;

/// The number of vectors that the processor itself raises.
const VECTORS: usize = 32;
const STUB_BYTES: u64 = 16;
const PAGE_FAULT: u64 = 14;
const CODE_SELECTOR: u16 = 8;
const TASK_SELECTOR: u16 = 16;
const STACK_BYTES: usize = 16 << 10;
/// The addresses below the stack, which `entry.s` leaves unmapped.
const STACK_GUARD: core::ops::Range<u64> = (4 << 30)..(4 << 30) + (2 << 20);

// One stub of 16 bytes for each vector: pushes a zero where the processor pushes no error code, then the vector.
global_asm!(
    ".section .text.fault, \"ax\", @progbits",
    ".balign 16",
    "fault_stubs:",
    ".set vector, 0",
    ".rept 32",
    "    .balign 16",
    "    .if (vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17) | (vector == 21)",
    "    .else",
    "        push 0",
    "    .endif",
    "    push vector",
    "    jmp fault_common",
    "    .set vector, vector + 1",
    ".endr",
    "fault_common:",
    "    mov rdi, rsp",
    "    and rsp, -16",
    "    call {report}",
    report = sym report,
);

/// The values on top of the fault stack. The stub pushed the vector; the error code is 0 where the processor
/// pushes none.
#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    instruction: u64,
}

extern "C" fn report(frame: &Frame) -> ! {
    let mut console = Console::new();
    let Frame { vector, error, instruction } = frame;
    let address: u64;
    // SAFETY: reading a control register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    // The console cannot fail, and no other output exists.
    let _ = match *vector {
        PAGE_FAULT if STACK_GUARD.contains(&address) => {
            writeln!(console, "stack overflow at {instruction:#x}")
        }
        PAGE_FAULT => writeln!(console, "page fault {error:#x} at {instruction:#x}: address {address:#x}"),
        _ => writeln!(console, "fault {vector}, error {error:#x}, at {instruction:#x}"),
    };
    exit(ExitCode::Fault)
}

/// The 64-bit task state segment. Only its first interrupt stack is used.
#[repr(C, packed)]
struct Task {
    reserved: u32,
    stacks: [u64; 3],
    reserved_too: u64,
    fault_stacks: [u64; 7],
    reserved_last: u64,
    reserved_word: u16,
    ports: u16,
}

/// The operand of `lgdt` and `lidt`: the size less one, and the address.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

#[repr(C, align(16))]
struct Tables {
    segments: [u64; 4],
    gates: [[u64; 2]; VECTORS],
    task: Task,
    stack: [u8; STACK_BYTES],
}

static mut TABLES: Tables = Tables {
    // Null, 64-bit code, and two words for the task segment.
    segments: [0, 0x00af_9a00_0000_ffff, 0, 0],
    gates: [[0; 2]; VECTORS],
    task: Task {
        reserved: 0,
        stacks: [0; 3],
        reserved_too: 0,
        fault_stacks: [0; 7],
        reserved_last: 0,
        reserved_word: 0,
        ports: size_of::<Task>() as u16,
    },
    stack: [0; STACK_BYTES],
};

/// Installs a handler for every fault, on a stack of its own, so that a stack overflow is reported too.
pub(crate) fn install() {
    unsafe extern "C" {
        static fault_stubs: u8;
    }
    // SAFETY: called once, before anything else runs, so this is the only reference to `TABLES`. The processor reads
    // the tables through the addresses taken from it, and writes to the stack; both exist until the image ends.
    let tables = unsafe { &mut *(&raw mut TABLES) };
    tables.task.fault_stacks = [(&raw const tables.stack) as u64 + STACK_BYTES as u64; 7];

    // Intel's manual, volume 3, figures 8-4 (task segment descriptor) and 7-8 (interrupt gate).
    let task = (&raw const tables.task) as u64;
    let limit = size_of::<Task>() as u64 - 1;
    tables.segments[2] = limit | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
    tables.segments[3] = task >> 32;
    for (stub, gate) in (0u64..).zip(&mut tables.gates) {
        let entry = (&raw const fault_stubs) as u64 + stub * STUB_BYTES;
        let present_on_first_stack = 0x8e01 << 32;
        *gate = [
            entry & 0xffff
                | u64::from(CODE_SELECTOR) << 16
                | present_on_first_stack
                | (entry >> 16 & 0xffff) << 48,
            entry >> 32,
        ];
    }
    let segments = Pointer {
        limit: size_of_val(&tables.segments) as u16 - 1,
        base: (&raw const tables.segments) as u64,
    };
    let gates =
        Pointer { limit: size_of_val(&tables.gates) as u16 - 1, base: (&raw const tables.gates) as u64 };
    // SAFETY: the code segment keeps its selector and meaning, the task segment and the gates are those just written.
    unsafe {
        asm!(
            "lgdt [{segments}]", "lidt [{gates}]", "ltr {task:x}",
            segments = in(reg) &raw const segments, gates = in(reg) &raw const gates, task = in(reg) TASK_SELECTOR,
            options(nostack, preserves_flags),
        )
    }
}
