//! Checks function bodies before they are compiled, and rewrites instructions that the engine mistranslates.

use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{
    BlockType, FunctionBody, MemArg, ValType, VisitOperator, VisitSimdOperator, for_each_visit_operator,
    for_each_visit_simd_operator,
};

use super::binary::{ReadStop, write_leb128};
use super::error::ToolError;
use super::work::{LoadWork, ModulePart};

/// Most locals of a function; a vector counts as two. Each call zeroes them, but its fuel does not depend on their
/// number. Compilers need a few dozen, and some hundreds without optimisation.
pub(crate) const LOCALS_MAX: u64 = 2_000;

/// Most values that the calls, blocks and branches of a function take. A branch table names a label by a single byte,
/// and the translation, which cannot be interrupted, visits every value of each label.
pub(crate) const FUNCTION_VALUES_MAX: u64 = 2_000_000;

/// Most results of a function, and most values that a block takes: all are moved for one unit of fuel. Parameters
/// need no limit, as each was pushed by an instruction with fuel of its own.
pub(crate) const MOVED_VALUES_MAX: u64 = 32;

/// The function bodies of a module, as far as they were read, with their edits.
#[derive(Debug, Default)]
pub(crate) struct BodyRewrite {
    bodies: Vec<Range<usize>>,
    /// Sorted by position in the module.
    edits: Vec<Edit>,
    /// Some instruction names a data segment.
    pub(crate) names_data: bool,
}

/// Instructions to insert, or to write in place of others.
#[derive(Debug)]
struct Edit {
    at: usize,
    /// Number of bytes that they replace; 0 to insert.
    replaced: usize,
    instructions: Instructions,
}

/// A few instructions as bytes, at most 10.
#[derive(Clone, Copy, Debug, Default)]
struct Instructions {
    bytes: [u8; 10],
    length: usize,
}

impl Instructions {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl FromIterator<u8> for Instructions {
    fn from_iter<T: IntoIterator<Item = u8>>(bytes: T) -> Self {
        let mut instructions = Self::default();
        bytes.into_iter().for_each(|byte| instructions.push(byte));
        instructions
    }
}

/// `i32.const 1 i32.rotl i32.const 1 i32.rotr`: leaves the top of the stack equal, but as a new value.
const RENEW_32: [u8; 6] = [0x41, 1, 0x77, 0x41, 1, 0x78];
/// `i64.const 1 i64.rotl i64.const 1 i64.rotr`.
const RENEW_64: [u8; 6] = [0x42, 1, 0x89, 0x42, 1, 0x8a];

/// The largest offset of a store for which the engine has an instruction for every pair of operands. For a larger one
/// it has none when pointer and value are both in its only integer register, as when a local is stored at its own
/// address, and panics. A new value never shares a register with the pointer.
///
/// For a larger offset the engine also decodes `v128.store8_lane` and `v128.store16_lane` in another order than it
/// encodes them, and then reads memory outside the guest's.
const SHORT_OFFSET_MAX: u64 = u16::MAX as u64;

/// The two instructions that replace a store of a vector lane: one extracts the lane, one stores it.
#[derive(Clone, Copy)]
struct LaneStore {
    /// Opcode after [`VECTOR_PREFIX`].
    extract: u8,
    store: u8,
}

const VECTOR_PREFIX: u8 = 0xfd;
/// `i8x16.extract_lane_u` and `i32.store8`.
const LANE_8: LaneStore = LaneStore { extract: 0x16, store: 0x3a };
/// `i16x8.extract_lane_u` and `i32.store16`.
const LANE_16: LaneStore = LaneStore { extract: 0x19, store: 0x3b };

/// The types of a module, and the type of each of its functions.
#[derive(Clone, Copy)]
pub(crate) struct Signatures<'a> {
    pub(crate) types: &'a [FunctionType],
    pub(crate) functions: &'a [u32],
}

impl Signatures<'_> {
    /// An unknown index gives the empty type; validation rejects the module.
    fn of_type(self, index: u32) -> FunctionType {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    fn of_function(self, index: u32) -> FunctionType {
        self.functions.get(index as usize).map(|&ty| self.of_type(ty)).unwrap_or_default()
    }
}

impl BodyRewrite {
    /// Checks the function with this index and records its edits.
    pub(crate) fn add(
        &mut self,
        index: u32,
        body: &FunctionBody<'_>,
        signatures: Signatures<'_>,
        bytes_max: usize,
        work: &mut LoadWork,
    ) -> Result<(), ReadStop> {
        let bytes = body.range().len();
        if bytes > bytes_max {
            return Err(ToolError::FunctionTooLarge { bytes, bytes_max }.into());
        }
        let mut locals = 0u64;
        let mut reader = body.get_locals_reader()?;
        work.add(ModulePart::LocalGroups, reader.get_count().into())?;
        for _ in 0..reader.get_count() {
            let (count, ty) = reader.read()?;
            let slots = if ty == ValType::V128 { 2 } else { 1 };
            locals = locals.saturating_add(u64::from(count) * slots);
        }
        if locals > LOCALS_MAX {
            return Err(ToolError::TooManyLocals { function: index, locals, locals_max: LOCALS_MAX }.into());
        }
        self.bodies.push(body.range());
        let mut reader = body.get_operators_reader()?;
        let mut scan = Scan {
            rewrite: self,
            signatures,
            widest: signatures.of_function(index).results.max(1),
            values: 0,
            block_values: 0,
            pushed: [Pushed::Unknown; 2],
            inserted: None,
            replacement: None,
        };
        let mut instructions = 0;
        while !reader.eof() {
            let at = reader.original_position();
            reader.visit_operator(&mut scan)?;
            instructions += 1;
            if let Some(renewal) = scan.inserted.take() {
                let instructions = Instructions::from_iter(renewal);
                scan.rewrite.edits.push(Edit { at, replaced: 0, instructions });
            }
            if let Some(instructions) = scan.replacement.take() {
                let replaced = reader.original_position() - at;
                scan.rewrite.edits.push(Edit { at, replaced, instructions });
            }
        }
        let (values, block_values) = (scan.values, scan.block_values);
        if values > FUNCTION_VALUES_MAX {
            let values_max = FUNCTION_VALUES_MAX;
            return Err(ToolError::TooManyBranches { function: index, values, values_max }.into());
        }
        if block_values > MOVED_VALUES_MAX {
            let values = block_values;
            return Err(
                ToolError::TooWide { what: "a block takes", values, values_max: MOVED_VALUES_MAX }.into()
            );
        }
        work.add(ModulePart::Instructions, instructions)?;
        Ok(work.add(ModulePart::Values, values)?)
    }

    /// The content of the code section, with all edits.
    pub(crate) fn section(&self, module: &[u8]) -> Option<Vec<u8>> {
        let mut section = Vec::new();
        write_leb128(&mut section, u32::try_from(self.bodies.len()).ok()?);
        let mut edits = self.edits.iter().peekable();
        for body in &self.bodies {
            let mut bytes = Vec::with_capacity(body.len());
            let mut from = body.start;
            while let Some(edit) = edits.next_if(|edit| edit.at < body.end) {
                bytes.extend_from_slice(module.get(from..edit.at)?);
                bytes.extend_from_slice(edit.instructions.as_bytes());
                from = edit.at + edit.replaced;
            }
            bytes.extend_from_slice(module.get(from..body.end)?);
            write_leb128(&mut section, u32::try_from(bytes.len()).ok()?);
            section.extend_from_slice(&bytes);
        }
        Some(section)
    }
}

/// What is known of a value that an instruction pushed on the stack.
#[derive(Clone, Copy)]
enum Pushed {
    Local(u32),
    /// A new value, which shares no register with another one.
    New,
    /// A condition that is not a comparison of 32-bit integers.
    Condition,
    Unknown,
}

/// Visits each instruction of a function. Visitors are used because making a value of each instruction takes longer
/// than the whole scan.
struct Scan<'s> {
    rewrite: &'s mut BodyRewrite,
    signatures: Signatures<'s>,
    /// The most values that a block or branch of this function has taken so far.
    widest: u64,
    /// Values that calls, blocks and branches take; each branch counts as the widest one so far.
    values: u64,
    /// The most values that a block takes at its start.
    block_values: u64,
    /// Pushed by the last two instructions.
    pushed: [Pushed; 2],
    /// Instructions to insert before the current one, and instructions to replace it.
    inserted: Option<[u8; 6]>,
    replacement: Option<Instructions>,
}

impl Scan<'_> {
    fn push(&mut self, pushed: Pushed) {
        self.pushed = [self.pushed[1], pushed];
    }

    fn block(&mut self, ty: BlockType) {
        if let BlockType::FuncType(index) = ty {
            let ty = self.signatures.of_type(index);
            self.block_values = self.block_values.max(ty.params);
            self.widest = self.widest.max(ty.params).max(ty.results);
        }
        self.branch(1);
    }

    fn branch(&mut self, labels: u64) {
        self.values = self.values.saturating_add(self.widest.saturating_mul(labels));
        self.push(Pushed::Unknown);
    }

    fn call(&mut self, ty: FunctionType) {
        self.values = self.values.saturating_add(ty.params).saturating_add(ty.results);
        self.push(Pushed::Unknown);
    }

    fn name_data(&mut self) {
        self.rewrite.names_data = true;
        self.push(Pushed::Unknown);
    }

    /// A store: inserts the renewal of its value if the engine could not translate it otherwise.
    fn store(&mut self, memarg: MemArg, renewal: [u8; 6]) {
        if memarg.offset > SHORT_OFFSET_MAX && !are_apart(self.pushed) {
            self.inserted = Some(renewal);
        }
        self.push(Pushed::Unknown);
    }

    /// A `select`: inserts the renewal of its condition if needed.
    ///
    /// If the condition is a 32-bit comparison with zero, the engine drops the comparison and selects by the compared
    /// value, which it expects in its register. But the value is there only if it was not a local or on the stack;
    /// otherwise some other value decides.
    fn select(&mut self) {
        if matches!(self.pushed[1], Pushed::Unknown) {
            self.inserted = Some(RENEW_32);
        }
        self.push(Pushed::Unknown);
    }

    /// A store of a lane: replaces it by two instructions if its offset is large.
    fn store_lane(&mut self, memarg: MemArg, lane: u8, instead: LaneStore) {
        self.push(Pushed::Unknown);
        // Invalid instructions are left for the engine to reject.
        let Ok(offset) = u32::try_from(memarg.offset) else { return };
        if memarg.offset <= SHORT_OFFSET_MAX || memarg.memory != 0 {
            return;
        }
        let mut bytes = alloc::vec![VECTOR_PREFIX, instead.extract, lane, instead.store, memarg.align];
        write_leb128(&mut bytes, offset);
        self.replacement = Some(bytes.into_iter().collect());
    }
}

/// The action for an instruction.
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
    ($scan:ident V128Store8Lane $memarg:ident $lane:ident) => { $scan.store_lane($memarg, $lane, LANE_8) };
    ($scan:ident V128Store16Lane $memarg:ident $lane:ident) => { $scan.store_lane($memarg, $lane, LANE_16) };
    ($scan:ident Select) => { $scan.select() };
    ($scan:ident TypedSelect $ty:ident) => {{
        let _ = $ty;
        $scan.select()
    }};
    ($scan:ident I64LtS) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64LtU) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64GtS) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64GtU) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64LeS) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64LeU) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64GeS) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64GeU) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64Eqz) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64Eq) => { $scan.push(Pushed::Condition) };
    ($scan:ident I64Ne) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Eq) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Ne) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Lt) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Gt) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Le) => { $scan.push(Pushed::Condition) };
    ($scan:ident F32Ge) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Eq) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Ne) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Lt) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Gt) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Le) => { $scan.push(Pushed::Condition) };
    ($scan:ident F64Ge) => { $scan.push(Pushed::Condition) };
    ($scan:ident Block $ty:ident) => { $scan.block($ty) };
    ($scan:ident Loop $ty:ident) => { $scan.block($ty) };
    ($scan:ident If $ty:ident) => { $scan.block($ty) };
    ($scan:ident Br $depth:ident) => { look!($scan branch $depth) };
    ($scan:ident BrIf $depth:ident) => { look!($scan branch $depth) };
    ($scan:ident branch $depth:ident) => {{
        let _ = $depth;
        $scan.branch(1)
    }};
    ($scan:ident Call $function:ident) => { $scan.call($scan.signatures.of_function($function)) };
    ($scan:ident CallIndirect $ty:ident $table:ident) => {{
        let _ = $table;
        $scan.call($scan.signatures.of_type($ty))
    }};
    ($scan:ident MemoryInit $segment:ident $memory:ident) => {{
        let _ = ($segment, $memory);
        $scan.name_data()
    }};
    ($scan:ident DataDrop $segment:ident) => {{
        let _ = $segment;
        $scan.name_data()
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

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    for_each_visit_operator!(visits);
}

/// No vector shares a register with a pointer, so most of these instructions need no edit.
impl VisitSimdOperator<'_> for Scan<'_> {
    for_each_visit_simd_operator!(visits);
}

/// Whether the two values on top of the stack are certainly in different registers.
fn are_apart([below, top]: [Pushed; 2]) -> bool {
    match (below, top) {
        (_, Pushed::New) | (Pushed::New, Pushed::Local(_)) => true,
        (Pushed::Local(below), Pushed::Local(top)) => below != top,
        (_, Pushed::Unknown | Pushed::Condition) | (Pushed::Unknown | Pushed::Condition, _) => false,
    }
}

/// Numbers of values that a function takes and returns.
#[derive(Clone, Copy, Default)]
pub(crate) struct FunctionType {
    pub(crate) params: u64,
    pub(crate) results: u64,
}
