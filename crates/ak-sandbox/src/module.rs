//! What is read from a module before it is compiled, and the exports that are added to it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{DataKind, ElementKind, Parser, Payload, TypeRef};

use crate::code::{Code, FunctionType};

/// Export under which a module's start function is found again. No compiler writes such a name, and a module
/// that has it is refused as a duplicate export.
pub(crate) const START_EXPORT: &str = "\0ak start";

const KIND_FUNCTION: u8 = 0;
const KIND_TABLE: u8 = 1;
const KIND_GLOBAL: u8 = 3;

const HEADER_BYTES: usize = 8;
const SECTION_CUSTOM: u8 = 0;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
const SECTION_CODE: u8 = 10;
/// Sections that stand before the export section: types to memories, tags (13), globals.
const SECTIONS_BEFORE_EXPORT: [u8; 7] = [1, 2, 3, 4, 5, 13, 6];

/// Export under which a mutable global of the module is found again.
pub(crate) fn global_export(index: u32) -> String {
    alloc::format!("\0ak global {index}")
}

/// Export under which a table of the module is found again.
pub(crate) fn table_export(index: u32) -> String {
    alloc::format!("\0ak table {index}")
}

/// What a module's instances can change, besides their memory, and so what has to be put back before the next
/// call.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Indices of the mutable globals.
    pub(crate) globals: Vec<u32>,
    /// How many tables there are.
    pub(crate) tables: u32,
    /// A passive segment can be dropped, which nothing undoes.
    pub(crate) drops: bool,
}

/// A module as it is compiled.
pub(crate) struct Prepared<'a> {
    pub(crate) module: Cow<'a, [u8]>,
    /// None for a module that could not be read; compiling it says why.
    pub(crate) state: Option<State>,
    pub(crate) code: Code,
    /// It has a start function, under [`START_EXPORT`].
    pub(crate) starts: bool,
}

/// Adds exports: the start function in place of the start section, so that it runs under fuel slices and may make
/// host calls like any other; every mutable global and every table, so that they can be put back. And helps the engine
/// over stores that it cannot translate: see [`Code`].
///
/// A malformed module is returned as it is, and validation then refuses it.
pub(crate) fn prepare(module: &[u8]) -> Prepared<'_> {
    let mut plan = Plan::default();
    match plan.read(module) {
        None => Prepared { module: Cow::Borrowed(module), state: None, code: plan.code, starts: false },
        Some(()) => Prepared {
            module: plan.rewrite(module).map_or(Cow::Borrowed(module), Cow::Owned),
            state: Some(plan.state),
            code: plan.code,
            starts: plan.start.is_some(),
        },
    }
}

/// What is to be written where.
#[derive(Default)]
struct Plan {
    sections: Vec<(u8, Range<usize>)>,
    /// How many exports the module has, and their bytes.
    exports: Option<(u32, Range<usize>)>,
    start: Option<u32>,
    state: State,
    types: Vec<FunctionType>,
    /// The type of each function, imports included.
    functions: Vec<u32>,
    /// How many function bodies were read.
    bodies: usize,
    code: Code,
}

impl Plan {
    /// None for a module that is malformed; the engine stops where this does, and says why.
    fn read(&mut self, module: &[u8]) -> Option<()> {
        let plan = self;
        let mut global = 0;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.ok()?;
            if let Some((id, range)) = payload.as_section() {
                let known = plan.sections.iter().any(|(other, _)| *other == id && id != SECTION_CUSTOM);
                if known {
                    return None;
                }
                plan.sections.push((id, range));
            }
            match payload {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        let ty = ty.ok()?;
                        let (params, results) = (ty.params().len() as u64, ty.results().len() as u64);
                        plan.types.push(FunctionType { params, results });
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        // Nothing else can be imported, and a module that tries is refused once it is validated.
                        if let TypeRef::Func(ty) = import.ok()?.ty {
                            plan.functions.push(ty);
                            plan.bodies += 1;
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        plan.functions.push(ty.ok()?);
                    }
                }
                Payload::TableSection(tables) => plan.state.tables = tables.count(),
                Payload::GlobalSection(globals) => {
                    for item in globals {
                        if item.ok()?.ty.mutable {
                            plan.state.globals.push(global);
                        }
                        global += 1;
                    }
                }
                Payload::ExportSection(exports) => {
                    let (end, count) = (exports.range().end, exports.count());
                    plan.exports = Some((count, exports.original_position()..end));
                }
                Payload::StartSection { func, .. } => plan.start = Some(func),
                Payload::ElementSection(segments) => {
                    for segment in segments {
                        plan.state.drops |= matches!(segment.ok()?.kind, ElementKind::Passive);
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        plan.state.drops |= matches!(segment.ok()?.kind, DataKind::Passive);
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    let index = plan.bodies;
                    plan.bodies += 1;
                    let ty = plan.functions.get(index).and_then(|&ty| plan.types.get(ty as usize));
                    let results = ty.map_or(0, |ty| ty.results);
                    plan.code.add(u32::try_from(index).ok()?, &body, &plan.types, results)?;
                }
                _ => {}
            }
        }
        Some(())
    }

    fn rewrite(&self, module: &[u8]) -> Option<Vec<u8>> {
        let exports = self.export_section(module)?;
        let mut out = Vec::with_capacity(module.len().saturating_add(exports.len()));
        out.extend_from_slice(module.get(..HEADER_BYTES)?);
        let mut pending = Some(exports);
        for (id, range) in &self.sections {
            // Custom sections may stand anywhere and do not tell where we are.
            let here = *id != SECTION_CUSTOM && !SECTIONS_BEFORE_EXPORT.contains(id);
            if let Some(exports) = pending.take_if(|_| here) {
                write_section(&mut out, SECTION_EXPORT, &exports)?;
            }
            if *id == SECTION_CODE {
                write_section(&mut out, *id, &self.code.section(module)?)?;
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

/// An unsigned number in WebAssembly's variable-length form.
pub(crate) fn write_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
