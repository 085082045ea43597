//! What is read from a module's functions before they are compiled, and what is put into them.

use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{BlockType, FunctionBody, MemArg, VisitOperator, for_each_visit_operator};

use crate::module::write_leb128;

/// Most locals of a function. They are put to zero at each call, whose price does not tell how many there are; compilers need
/// a few dozen, and some hundreds where they do not optimise.
pub(crate) const LOCALS_MAX: u64 = 2_000;

/// Most values that the branches of a module take. A table of branches names a label by a byte, and validation looks at each
/// value of each.
pub(crate) const BRANCH_VALUES_MAX: u64 = 2_000_000;

/// How much there is to validate and to translate: of a malformed module, up to where it is.
#[derive(Debug, Default)]
pub(crate) struct Code {
    /// The longest function body, in bytes.
    pub(crate) function_bytes: usize,
    /// The function of the most locals, and how many these are.
    pub(crate) locals: (u32, u64),
    /// Values that blocks and branches take, as if each were the widest of its function.
    pub(crate) branch_values: u64,
    bodies: Vec<Range<usize>>,
    /// Where something is put in, in order, and what.
    insertions: Vec<(usize, Insertion)>,
}

/// Instructions as bytes.
type Insertion = [u8; 6];

/// `i32.const 1 i32.rotl i32.const 1 i32.rotr`: what is on top stays, but as a new value.
const RENEW_32: Insertion = [0x41, 1, 0x77, 0x41, 1, 0x78];
/// `i64.const 1 i64.rotl i64.const 1 i64.rotr`.
const RENEW_64: Insertion = [0x42, 1, 0x89, 0x42, 1, 0x8a];

/// The largest offset of a store for which the engine has an instruction for every pair of operands. Beyond it there is
/// none for a pointer and a value in the one register that integers have, as where a local is stored far from itself, and
/// the engine panics. A new value is in no register that the pointer is in.
const SHORT_OFFSET_MAX: u64 = u16::MAX as u64;

impl Code {
    /// Adds a function of this index and of so many results. None if it is malformed.
    pub(crate) fn add(
        &mut self,
        index: u32,
        body: &FunctionBody<'_>,
        types: &[FunctionType],
        results: u64,
    ) -> Option<()> {
        self.function_bytes = self.function_bytes.max(body.range().len());
        let mut locals = 0u64;
        let mut reader = body.get_locals_reader().ok()?;
        for _ in 0..reader.get_count() {
            locals = locals.saturating_add(reader.read().ok()?.0.into());
            if locals > self.locals.1 {
                self.locals = (index, locals);
            }
        }
        self.bodies.push(body.range());
        let mut reader = body.get_operators_reader().ok()?;
        let mut scan =
            Scan { code: self, types, widest: results.max(1), pushed: [Pushed::Unknown; 2], at: 0 };
        while !reader.eof() {
            scan.at = reader.original_position();
            reader.visit_operator(&mut scan).ok()?;
        }
        Some(())
    }

    /// The content of the code section, with what is put in.
    pub(crate) fn section(&self, module: &[u8]) -> Option<Vec<u8>> {
        let mut section = Vec::new();
        write_leb128(&mut section, u32::try_from(self.bodies.len()).ok()?);
        let mut insertions = self.insertions.iter().peekable();
        for body in &self.bodies {
            let mut bytes = Vec::with_capacity(body.len());
            let mut from = body.start;
            while let Some((at, insertion)) = insertions.next_if(|(at, _)| *at < body.end) {
                bytes.extend_from_slice(module.get(from..*at)?);
                bytes.extend_from_slice(insertion);
                from = *at;
            }
            bytes.extend_from_slice(module.get(from..body.end)?);
            write_leb128(&mut section, u32::try_from(bytes.len()).ok()?);
            section.extend_from_slice(&bytes);
        }
        Some(section)
    }
}

/// What an instruction is known to have left on top of the stack.
#[derive(Clone, Copy)]
enum Pushed {
    Local(u32),
    /// Nobody else's value.
    New,
    Unknown,
}

/// A look at each instruction of a function. By visits, for to make a value of each takes longer than all of this.
struct Scan<'s> {
    code: &'s mut Code,
    types: &'s [FunctionType],
    /// The most values that a block or branch of this function was seen to take.
    widest: u64,
    /// By the last two instructions.
    pushed: [Pushed; 2],
    /// Where the instruction is.
    at: usize,
}

impl Scan<'_> {
    fn push(&mut self, pushed: Pushed) {
        self.pushed = [self.pushed[1], pushed];
    }

    fn block(&mut self, ty: BlockType) {
        if let BlockType::FuncType(index) = ty {
            let ty = self.types.get(index as usize).copied().unwrap_or_default();
            self.widest = self.widest.max(ty.params).max(ty.results);
        }
        self.branch(1);
    }

    fn branch(&mut self, labels: u64) {
        self.code.branch_values = self.code.branch_values.saturating_add(self.widest.saturating_mul(labels));
        self.push(Pushed::Unknown);
    }

    /// A store, before which something may have to stand.
    fn store(&mut self, memarg: MemArg, renewal: Insertion) {
        if memarg.offset > SHORT_OFFSET_MAX && !are_apart(self.pushed) {
            self.code.insertions.push((self.at, renewal));
        }
        self.push(Pushed::Unknown);
    }
}

/// What is done at an instruction.
macro_rules! look {
    ($scan:ident LocalGet $index:ident) => { $scan.push(Pushed::Local($index)) };
    ($scan:ident I32Const $value:ident) => { look!($scan new $value) };
    ($scan:ident I64Const $value:ident) => { look!($scan new $value) };
    ($scan:ident I32Load $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident I64Load $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident I32Load8S $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident I32Load8U $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident I32Load16S $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident I32Load16U $memarg:ident) => { look!($scan new $memarg) };
    ($scan:ident new $argument:ident) => {{
        let _ = $argument;
        $scan.push(Pushed::New)
    }};
    ($scan:ident I32Store $memarg:ident) => { $scan.store($memarg, RENEW_32) };
    ($scan:ident I32Store8 $memarg:ident) => { $scan.store($memarg, RENEW_32) };
    ($scan:ident I32Store16 $memarg:ident) => { $scan.store($memarg, RENEW_32) };
    ($scan:ident I64Store $memarg:ident) => { $scan.store($memarg, RENEW_64) };
    ($scan:ident I64Store8 $memarg:ident) => { $scan.store($memarg, RENEW_64) };
    ($scan:ident I64Store16 $memarg:ident) => { $scan.store($memarg, RENEW_64) };
    ($scan:ident I64Store32 $memarg:ident) => { $scan.store($memarg, RENEW_64) };
    ($scan:ident Block $ty:ident) => { $scan.block($ty) };
    ($scan:ident Loop $ty:ident) => { $scan.block($ty) };
    ($scan:ident If $ty:ident) => { $scan.block($ty) };
    ($scan:ident Br $depth:ident) => { look!($scan branch $depth) };
    ($scan:ident BrIf $depth:ident) => { look!($scan branch $depth) };
    ($scan:ident branch $depth:ident) => {{
        let _ = $depth;
        $scan.branch(1)
    }};
    ($scan:ident BrTable $targets:ident) => { $scan.branch(u64::from($targets.len()) + 1) };
    ($scan:ident $other:ident $($argument:ident)*) => {{
        let _ = ($($argument,)*);
        $scan.push(Pushed::Unknown)
    }};
}

macro_rules! visits {
    ($(@$proposal:ident $operator:ident $({ $($argument:ident: $ty:ty),* })? => $visit:ident ($($rest:tt)*))*) => {
        $(fn $visit(&mut self $($(, $argument: $ty)*)?) {
            look!(self $operator $($($argument)*)?)
        })*
    };
}

impl<'a> VisitOperator<'a> for Scan<'_> {
    type Output = ();

    for_each_visit_operator!(visits);
}

/// Whether the two values on top, as the last two instructions left them, cannot be one.
fn are_apart([below, top]: [Pushed; 2]) -> bool {
    match (below, top) {
        (_, Pushed::New) | (Pushed::New, Pushed::Local(_)) => true,
        (Pushed::Local(below), Pushed::Local(top)) => below != top,
        (_, Pushed::Unknown) | (Pushed::Unknown, _) => false,
    }
}

/// How many values a function takes and gives.
#[derive(Clone, Copy, Default)]
pub(crate) struct FunctionType {
    pub(crate) params: u64,
    pub(crate) results: u64,
}
