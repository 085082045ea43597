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

/// Most locals of a function, of which a vector counts for two. They are put to zero at each call, whose price does not tell how
/// many there are; compilers need a few dozen, and some hundreds where they do not optimise.
pub(crate) const LOCALS_MAX: u64 = 2_000;

/// Most values that the calls, blocks and branches of a function take. A table of branches names a label by a byte, and
/// translation, which cannot be interrupted, looks at each value of each.
pub(crate) const FUNCTION_VALUES_MAX: u64 = 2_000_000;

/// Most results of a function, and most values that a block takes: they are moved for a unit of fuel. Parameters were each put
/// where they are by an instruction that was paid for.
pub(crate) const MOVED_VALUES_MAX: u64 = 32;

/// The functions of a module, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct BodyRewrite {
    bodies: Vec<Range<usize>>,
    /// In order.
    edits: Vec<Edit>,
    /// An instruction names a segment of data.
    pub(crate) names_data: bool,
}

/// Instructions in place of others.
#[derive(Debug)]
struct Edit {
    at: usize,
    /// How many bytes they take the place of.
    replaced: usize,
    instructions: Instructions,
}

/// A few instructions as bytes.
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

/// `i32.const 1 i32.rotl i32.const 1 i32.rotr`: what is on top stays, but as a new value.
const RENEW_32: [u8; 6] = [0x41, 1, 0x77, 0x41, 1, 0x78];
/// `i64.const 1 i64.rotl i64.const 1 i64.rotr`.
const RENEW_64: [u8; 6] = [0x42, 1, 0x89, 0x42, 1, 0x8a];

/// The largest offset of a store for which the engine has an instruction for every pair of operands. Beyond it there is
/// none for a pointer and a value in the one register that integers have, as where a local is stored far from itself, and
/// the engine panics. A new value is in no register that the pointer is in.
///
/// Beyond it, too, the engine reads what it has encoded for `v128.store8_lane` and `v128.store16_lane` in another order than it was
/// written, and then memory that is not the guest's.
const SHORT_OFFSET_MAX: u64 = u16::MAX as u64;

/// What stands for a store of a lane of a vector: to take the lane out, and to store it.
#[derive(Clone, Copy)]
struct LaneStore {
    /// After [`VECTOR_PREFIX`].
    extract: u8,
    store: u8,
}

const VECTOR_PREFIX: u8 = 0xfd;
/// `i8x16.extract_lane_u` and `i32.store8`.
const LANE_8: LaneStore = LaneStore { extract: 0x16, store: 0x3a };
/// `i16x8.extract_lane_u` and `i32.store16`.
const LANE_16: LaneStore = LaneStore { extract: 0x19, store: 0x3b };

/// What a function refers to: the types of the module, and the type of each function.
#[derive(Clone, Copy)]
pub(crate) struct Signatures<'a> {
    pub(crate) types: &'a [FunctionType],
    pub(crate) functions: &'a [u32],
}

impl Signatures<'_> {
    /// Of what does not exist, nothing: validation refuses it.
    fn of_type(self, index: u32) -> FunctionType {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    fn of_function(self, index: u32) -> FunctionType {
        self.functions.get(index as usize).map(|&ty| self.of_type(ty)).unwrap_or_default()
    }
}

impl BodyRewrite {
    /// Adds the function of this index.
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

    /// The content of the code section, edited.
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

/// What an instruction is known to have left on top of the stack.
#[derive(Clone, Copy)]
enum Pushed {
    Local(u32),
    /// Nobody else's value.
    New,
    /// A condition that is no comparison of 32 bits.
    Condition,
    Unknown,
}

/// A look at each instruction of a function. By visits, for to make a value of each takes longer than all of this.
struct Scan<'s> {
    rewrite: &'s mut BodyRewrite,
    signatures: Signatures<'s>,
    /// The most values that a block or branch of this function was seen to take.
    widest: u64,
    /// Values that calls, blocks and branches take, each branch as if it were the widest so far.
    values: u64,
    /// The most values that a block takes when it begins.
    block_values: u64,
    /// By the last two instructions.
    pushed: [Pushed; 2],
    /// What is to stand before the instruction, and in place of it.
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

    /// A store, before which something may have to stand.
    fn store(&mut self, memarg: MemArg, renewal: [u8; 6]) {
        if memarg.offset > SHORT_OFFSET_MAX && !are_apart(self.pushed) {
            self.inserted = Some(renewal);
        }
        self.push(Pushed::Unknown);
    }

    /// A choice, whose condition may have to be a new value.
    ///
    /// The engine drops a comparison of 32 bits with zero in front of a choice, to decide by the compared value itself, and then looks for
    /// that in its register, where it is only if it was not a local or on the stack. Otherwise what happens to be there decides.
    fn select(&mut self) {
        if matches!(self.pushed[1], Pushed::Unknown) {
            self.inserted = Some(RENEW_32);
        }
        self.push(Pushed::Unknown);
    }

    /// A store of a lane, which may have to be two instructions.
    fn store_lane(&mut self, memarg: MemArg, lane: u8, instead: LaneStore) {
        self.push(Pushed::Unknown);
        // What is not valid is for the engine to see.
        let Ok(offset) = u32::try_from(memarg.offset) else { return };
        if memarg.offset <= SHORT_OFFSET_MAX || memarg.memory != 0 {
            return;
        }
        let mut bytes = alloc::vec![VECTOR_PREFIX, instead.extract, lane, instead.store, memarg.align];
        write_leb128(&mut bytes, offset);
        self.replacement = Some(bytes.into_iter().collect());
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

/// A vector is in no register that a pointer is in.
impl VisitSimdOperator<'_> for Scan<'_> {
    for_each_visit_simd_operator!(visits);
}

/// Whether the two values on top, as the last two instructions left them, cannot be one.
fn are_apart([below, top]: [Pushed; 2]) -> bool {
    match (below, top) {
        (_, Pushed::New) | (Pushed::New, Pushed::Local(_)) => true,
        (Pushed::Local(below), Pushed::Local(top)) => below != top,
        (_, Pushed::Unknown | Pushed::Condition) | (Pushed::Unknown | Pushed::Condition, _) => false,
    }
}

/// How many values a function takes and gives.
#[derive(Clone, Copy, Default)]
pub(crate) struct FunctionType {
    pub(crate) params: u64,
    pub(crate) results: u64,
}
