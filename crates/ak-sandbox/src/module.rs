//! What is read from a module before it is compiled, and the exports that are added to it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use wasmparser::{DataKind, ElementKind, Parser, Payload, TypeRef};

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
    /// The longest function body, in bytes.
    pub(crate) function_bytes: usize,
}

/// Adds exports: the start function in place of the start section, so that it runs under fuel slices and may make
/// host calls like any other; every mutable global and every table, so that they can be put back.
///
/// A malformed module is returned as it is, and validation then refuses it.
pub(crate) fn prepare(module: &[u8]) -> Prepared<'_> {
    match Plan::read(module) {
        None => Prepared { module: Cow::Borrowed(module), state: None, function_bytes: 0 },
        Some(plan) => Prepared {
            module: plan.rewrite(module).map_or(Cow::Borrowed(module), Cow::Owned),
            state: Some(plan.state),
            function_bytes: plan.function_bytes,
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
    function_bytes: usize,
}

impl Plan {
    fn read(module: &[u8]) -> Option<Self> {
        let mut plan = Self::default();
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
                Payload::ImportSection(imports) => {
                    for import in imports {
                        // Nothing else can be imported; the engine's answer is as good as ours.
                        let TypeRef::Func(_) = import.ok()?.ty else { return None };
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
                    plan.function_bytes = plan.function_bytes.max(body.range().len());
                }
                _ => {}
            }
        }
        Some(plan)
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
            if *id != SECTION_EXPORT && *id != SECTION_START {
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
fn write_leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
