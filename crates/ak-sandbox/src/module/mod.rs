//! Checks a module before it is compiled, bounds the work of loading it, and rewrites it.

pub(crate) mod binary;
pub(crate) mod body_rewrite;
pub(crate) mod data;
pub(crate) mod error;
pub(crate) mod work;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{
    ConstExpr, DataKind, DataSectionReader, ElementItems, ElementKind, Operator, Parser, Payload, TypeRef,
};

use self::binary::{ReadStop, write_leb128};
use self::body_rewrite::{BodyRewrite, FunctionType, MOVED_VALUES_MAX, Signatures};
use self::data::Data;
use self::error::ToolError;
use self::work::{LOAD_WORK_MAX, LoadWork, ModulePart};
use crate::limits::SandboxConfig;

/// Name of the export that `prepare` adds for a module's start function. No compiler writes such a name, and a module
/// that uses it is rejected for a duplicate export.
pub(crate) const START_EXPORT: &str = "\0ak start";

const KIND_FUNCTION: u8 = 0;
const KIND_TABLE: u8 = 1;
const KIND_GLOBAL: u8 = 3;

const HEADER_BYTES: usize = 8;
const PAGE_BYTES: u64 = 64 << 10;
const SECTION_CUSTOM: u8 = 0;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
const SECTION_CODE: u8 = 10;
const SECTION_DATA: u8 = 11;
const SECTION_DATA_COUNT: u8 = 12;
/// Most instructions of a constant expression: the engine evaluates one by recursion. Linkers write three at most.
const CONSTANT_INSTRUCTIONS_MAX: u64 = 100;

/// Sections that come before the export section: types to memories, tags (13), globals.
const SECTIONS_BEFORE_EXPORT: [u8; 7] = [1, 2, 3, 4, 5, 13, 6];

/// Name of the export that `prepare` adds for a mutable global.
pub(crate) fn global_export(index: u32) -> String {
    alloc::format!("\0ak global {index}")
}

/// Name of the export that `prepare` adds for a table.
pub(crate) fn table_export(index: u32) -> String {
    alloc::format!("\0ak table {index}")
}

/// The state of an instance, besides its memory, that a call can change and that must be reset before the next call.
#[derive(Debug, Default)]
pub(crate) struct ChangeableState {
    /// Indices of the mutable globals.
    pub(crate) globals: Vec<u32>,
    /// Number of tables.
    pub(crate) tables: u32,
    /// The module has passive segments: a guest can drop one, and that cannot be undone.
    pub(crate) drops: bool,
}

/// A module ready to be compiled.
pub(crate) struct Prepared<'a> {
    pub(crate) module: Cow<'a, [u8]>,
    /// `None` for a malformed module; compiling it gives the reason.
    pub(crate) state: Option<ChangeableState>,
    /// The module has a start function, exported as [`START_EXPORT`].
    pub(crate) starts: bool,
    pub(crate) work: LoadWork,
    /// Fuel that each call costs for its instance.
    pub(crate) instance_fuel: u64,
}

/// Checks a module and rewrites it. Adds exports: the start function, in place of the start section, so that it runs
/// in slices of fuel and may make host calls like any other function; and every mutable global and table, so that
/// they can be reset. Replaces instructions that the engine cannot translate correctly (see [`BodyRewrite`]), and
/// merges data segments (see [`Data`]).
///
/// Returns a malformed module unchanged; validation then rejects it.
///
/// # Errors
/// When the module would take too long to load, or could harm the host.
pub(crate) fn prepare<'a>(module: &'a [u8], config: &SandboxConfig) -> Result<Prepared<'a>, ToolError> {
    let mut plan = Plan { function_bytes_max: config.function_bytes_max, ..Plan::default() };
    match plan.read(module) {
        Err(ReadStop::Refused(error)) => Err(error),
        Err(ReadStop::TooMuchWork) => {
            let (part, count) = plan.work.largest();
            Err(ToolError::TooMuchWork { part, count, work: plan.work.total(), work_max: LOAD_WORK_MAX })
        }
        Err(ReadStop::Malformed) => Ok(Prepared {
            module: Cow::Borrowed(module),
            state: None,
            starts: false,
            work: plan.work,
            instance_fuel: 0,
        }),
        Ok(()) => Ok(Prepared {
            module: plan.rewrite(module).map_or(Cow::Borrowed(module), Cow::Owned),
            instance_fuel: plan.instance_fuel(),
            starts: plan.start.is_some(),
            state: Some(plan.state),
            work: plan.work,
        }),
    }
}

/// The results of reading a module, and the changes to make.
#[derive(Default)]
struct Plan {
    function_bytes_max: usize,
    sections: Vec<(u8, Range<usize>)>,
    /// Number of exports of the module, and their bytes.
    exports: Option<(u32, Range<usize>)>,
    start: Option<u32>,
    state: ChangeableState,
    types: Vec<FunctionType>,
    /// The type of each function, imports included.
    functions: Vec<u32>,
    /// Number of function bodies read, imported functions included.
    bodies: usize,
    body_rewrite: BodyRewrite,
    /// Initial bytes of the module's memory; `None` if it has no memory of its own.
    memory_bytes: Option<u64>,
    data_count: Option<u32>,
    /// The merged data segments; `None` if the segments stay unchanged.
    data: Option<Data>,
    /// Bytes of data written into each instance.
    data_bytes: u64,
    work: LoadWork,
}

impl Plan {
    fn read(&mut self, module: &[u8]) -> Result<(), ReadStop> {
        self.work.add(ModulePart::Bytes, module.len() as u64)?;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section() {
                self.work.add(ModulePart::Sections, 1)?;
                // There may be any number of custom sections, and the module does not need them, so they are left
                // out.
                if id != SECTION_CUSTOM {
                    if self.sections.iter().any(|(other, _)| *other == id) {
                        return Err(ReadStop::Malformed);
                    }
                    self.sections.push((id, range));
                }
            }
            self.payload(payload)?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), ReadStop> {
        match payload {
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    let ty = ty?;
                    let (params, results) = (ty.params().len() as u64, ty.results().len() as u64);
                    self.work.add(ModulePart::Types, 1)?;
                    self.work.add(ModulePart::TypeValues, params + results)?;
                    if results > MOVED_VALUES_MAX {
                        let (values, values_max) = (results, MOVED_VALUES_MAX);
                        return Err(
                            ToolError::TooWide { what: "a function gives", values, values_max }.into()
                        );
                    }
                    self.types.push(FunctionType { params, results });
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports {
                    self.work.add(ModulePart::Imports, 1)?;
                    // Other imports are rejected by validation.
                    if let TypeRef::Func(ty) = import?.ty {
                        self.functions.push(ty);
                        self.bodies += 1;
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.work.add(ModulePart::Functions, 1)?;
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(tables) => {
                self.work.add(ModulePart::Tables, tables.count().into())?;
                self.state.tables = tables.count();
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                    self.memory_bytes.get_or_insert(bytes);
                }
            }
            Payload::GlobalSection(globals) => {
                for (index, global) in (0..).zip(globals) {
                    self.work.add(ModulePart::Globals, 1)?;
                    let global = global?;
                    self.constant(&global.init_expr)?;
                    if global.ty.mutable {
                        // `rewrite` adds an export for it.
                        self.work.add(ModulePart::Exports, 1)?;
                        self.state.globals.push(index);
                    }
                }
            }
            Payload::ExportSection(exports) => {
                self.work.add(ModulePart::Exports, exports.count().into())?;
                let (end, count) = (exports.range().end, exports.count());
                self.exports = Some((count, exports.original_position()..end));
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(segments) => {
                for segment in segments {
                    self.work.add(ModulePart::ElementSegments, 1)?;
                    let segment = segment?;
                    match segment.kind {
                        ElementKind::Passive => self.state.drops = true,
                        ElementKind::Active { offset_expr, .. } => {
                            self.constant(&offset_expr)?;
                        }
                        ElementKind::Declared => {}
                    }
                    match segment.items {
                        ElementItems::Functions(items) => {
                            self.work.add(ModulePart::Elements, items.count().into())?;
                        }
                        ElementItems::Expressions(_, items) => {
                            for item in items {
                                self.work.add(ModulePart::ElementExpressions, 1)?;
                                self.constant(&item?)?;
                            }
                        }
                    }
                }
            }
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::DataSection(segments) => self.data(segments)?,
            Payload::CodeSectionEntry(body) => {
                let index = u32::try_from(self.bodies).map_err(|_| ReadStop::Malformed)?;
                self.bodies += 1;
                let signatures = Signatures { types: &self.types, functions: &self.functions };
                self.body_rewrite.add(index, &body, signatures, self.function_bytes_max, &mut self.work)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks the length of a constant expression. Returns its value if it is a single 32-bit constant.
    fn constant(&mut self, expression: &ConstExpr<'_>) -> Result<Option<u32>, ReadStop> {
        let (mut instructions, mut value) = (0, None);
        let mut reader = expression.get_operators_reader();
        while !reader.eof() {
            instructions += 1;
            if instructions > CONSTANT_INSTRUCTIONS_MAX {
                let instructions_max = CONSTANT_INSTRUCTIONS_MAX;
                return Err(ToolError::ConstantTooLong { instructions_max }.into());
            }
            match reader.read()? {
                Operator::I32Const { value: constant } if instructions == 1 => {
                    value = Some(constant.cast_unsigned());
                }
                Operator::End => {}
                _ => value = None,
            }
        }
        self.work.add(ModulePart::ConstantInstructions, instructions.saturating_sub(2))?;
        Ok(value)
    }

    fn data(&mut self, segments: DataSectionReader<'_>) -> Result<(), ReadStop> {
        let count = segments.count();
        // Instructions name segments by number, so these must not change then. A wrong data count is left for the
        // engine to reject.
        let counted = self.data_count.is_none_or(|counted| counted == count);
        let mut merged =
            self.memory_bytes.filter(|_| counted && !self.body_rewrite.names_data).map(Data::new);
        let mut bytes = 0;
        for segment in segments {
            self.work.add(ModulePart::DataSegments, 1)?;
            let segment = segment?;
            bytes += segment.data.len() as u64;
            let at = match segment.kind {
                DataKind::Passive => {
                    self.state.drops = true;
                    None
                }
                DataKind::Active { memory_index, offset_expr } => {
                    self.constant(&offset_expr)?.filter(|_| memory_index == 0)
                }
            };
            match (&mut merged, at) {
                (Some(data), Some(at)) => {
                    if data.add(at, segment.data) {
                        self.work.add(ModulePart::SeparateDataSegments, 1)?;
                    }
                }
                _ => merged = None,
            }
        }
        match &merged {
            Some(data) => bytes = data.bytes(),
            None => self.work.add(ModulePart::SeparateDataSegments, count.into())?,
        }
        (self.data, self.data_bytes) = (merged, bytes);
        Ok(())
    }

    /// Fuel that each call costs for its instance.
    fn instance_fuel(&self) -> u64 {
        let names = self.exports.as_ref().map_or(0, |(_, range)| range.len() as u64);
        self.work.instance_fuel(names, self.data_bytes)
    }

    fn rewrite(&self, module: &[u8]) -> Option<Vec<u8>> {
        let exports = self.export_section(module)?;
        let mut out = Vec::with_capacity(module.len().saturating_add(exports.len()));
        out.extend_from_slice(module.get(..HEADER_BYTES)?);
        let mut pending = Some(exports);
        for (id, range) in &self.sections {
            // Custom sections may be anywhere, so they do not tell the position.
            let here = *id != SECTION_CUSTOM && !SECTIONS_BEFORE_EXPORT.contains(id);
            if let Some(exports) = pending.take_if(|_| here) {
                write_section(&mut out, SECTION_EXPORT, &exports)?;
            }
            if *id == SECTION_CODE {
                write_section(&mut out, *id, &self.body_rewrite.section(module)?)?;
            } else if let (SECTION_DATA, Some(data)) = (*id, &self.data) {
                write_section(&mut out, *id, &data.section()?)?;
            } else if *id == SECTION_DATA_COUNT && self.data.is_some() {
                // The count is wrong after merging, and no instruction needs it.
            } else if *id != SECTION_EXPORT && *id != SECTION_START {
                write_section(&mut out, *id, module.get(range.clone())?)?;
            }
        }
        if let Some(exports) = pending {
            write_section(&mut out, SECTION_EXPORT, &exports)?;
        }
        Some(out)
    }

    fn export_section(&self, module: &[u8]) -> Option<Vec<u8>> {
        let start = self.start.map(|index| (String::from(START_EXPORT), KIND_FUNCTION, index));
        let globals = self.state.globals.iter().map(|&index| (global_export(index), KIND_GLOBAL, index));
        let tables = (0..self.state.tables).map(|index| (table_export(index), KIND_TABLE, index));
        let added: Vec<_> = start.into_iter().chain(globals).chain(tables).collect();

        let (count, old) = self.exports.clone().unwrap_or_default();
        let mut payload = Vec::new();
        write_leb128(&mut payload, count.checked_add(u32::try_from(added.len()).ok()?)?);
        payload.extend_from_slice(module.get(old)?);
        for (name, kind, index) in added {
            write_leb128(&mut payload, u32::try_from(name.len()).ok()?);
            payload.extend_from_slice(name.as_bytes());
            payload.push(kind);
            write_leb128(&mut payload, index);
        }
        Some(payload)
    }
}

fn write_section(out: &mut Vec<u8>, id: u8, payload: &[u8]) -> Option<()> {
    out.push(id);
    write_leb128(out, u32::try_from(payload.len()).ok()?);
    out.extend_from_slice(payload);
    Some(())
}
