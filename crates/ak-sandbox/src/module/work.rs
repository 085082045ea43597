//! What it takes to load a module, and to make an instance of it, counted before it is done.

use crate::limits::{BYTES_PER_FUEL, NAME_BYTES_PER_FUEL};

/// Most work of loading a module. A unit is about a nanosecond on a machine of 2020 that is not busy: so less than half of the
/// second that loading may take.
pub const LOAD_WORK_MAX: u64 = 400_000_000;

/// What an instance costs is fuel only beyond this: what compilers write is not worth counting.
pub(crate) const INSTANCE_FUEL_FREE: u64 = 20_000;

/// What a module consists of, as far as loading takes time for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModulePart {
    /// Its bytes.
    Bytes,
    /// Sections, custom ones above all.
    Sections,
    /// Types of functions.
    Types,
    /// Parameters and results of these types.
    TypeValues,
    /// Imports.
    Imports,
    /// Functions.
    Functions,
    /// Groups of locals.
    LocalGroups,
    /// Instructions.
    Instructions,
    /// Values that calls, blocks and branches take and give.
    Values,
    /// Tables.
    Tables,
    /// Globals.
    Globals,
    /// Exports.
    Exports,
    /// Segments of elements of tables.
    ElementSegments,
    /// Elements in these segments.
    Elements,
    /// Elements that are given as expressions.
    ElementExpressions,
    /// Instructions of constant expressions, beyond the one and the end that each has.
    ConstantInstructions,
    /// Segments of data, as they stand in the module.
    DataSegments,
    /// Segments of data that cannot be put together with the one before.
    SeparateDataSegments,
}

impl ModulePart {
    const ALL: [Self; 18] = [
        Self::Bytes,
        Self::Sections,
        Self::Types,
        Self::TypeValues,
        Self::Imports,
        Self::Functions,
        Self::LocalGroups,
        Self::Instructions,
        Self::Values,
        Self::Tables,
        Self::Globals,
        Self::Exports,
        Self::ElementSegments,
        Self::Elements,
        Self::ElementExpressions,
        Self::ConstantInstructions,
        Self::DataSegments,
        Self::SeparateDataSegments,
    ];

    /// How it is called in an error.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Sections => "sections",
            Self::Types => "types",
            Self::TypeValues => "parameters and results of types",
            Self::Imports => "imports",
            Self::Functions => "functions",
            Self::LocalGroups => "groups of locals",
            Self::Instructions => "instructions",
            Self::Values => "values that calls, blocks and branches take",
            Self::Tables => "tables",
            Self::Globals => "globals",
            Self::Exports => "exports",
            Self::ElementSegments => "element segments",
            Self::Elements => "elements of tables",
            Self::ElementExpressions => "elements of tables, given as expressions",
            Self::ConstantInstructions => "instructions of constant expressions",
            Self::DataSegments => "data segments",
            Self::SeparateDataSegments => "data segments that cannot be merged",
        }
    }

    /// Units of work for one. By measurement: `tests/load_cost.rs` holds a module of each kind against the second.
    const fn cost(self) -> u64 {
        match self {
            Self::Bytes => 4,
            Self::Sections => 50,
            Self::Types => 1_000,
            Self::TypeValues => 60,
            Self::Imports => 500,
            Self::Functions => 400,
            Self::LocalGroups => 150,
            Self::Instructions => 20,
            Self::Values => 10,
            Self::Tables => 5_000,
            Self::Globals => 200,
            Self::Exports => 500,
            Self::ElementSegments => 200,
            Self::Elements => 60,
            Self::ElementExpressions => 400,
            Self::ConstantInstructions => 100,
            Self::DataSegments => 60,
            Self::SeparateDataSegments => 200,
        }
    }
}

/// There is more than [`LOAD_WORK_MAX`].
pub(crate) struct TooMuchWork;

/// Work counted so far, part by part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadWork {
    counts: [u64; ModulePart::ALL.len()],
    total: u64,
}

impl LoadWork {
    /// Adds so many parts.
    pub(crate) fn add(&mut self, part: ModulePart, count: u64) -> Result<(), TooMuchWork> {
        if let Some(sum) = self.counts.get_mut(part as usize) {
            *sum = sum.saturating_add(count);
        }
        self.total = self.total.saturating_add(count.saturating_mul(part.cost()));
        if self.total <= LOAD_WORK_MAX { Ok(()) } else { Err(TooMuchWork) }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn count(&self, part: ModulePart) -> u64 {
        self.counts.get(part as usize).copied().unwrap_or_default()
    }

    /// The part that takes most, and how many there are.
    pub(crate) fn largest(&self) -> (ModulePart, u64) {
        let counts = ModulePart::ALL.into_iter().map(|part| (part, self.count(part)));
        counts.max_by_key(|(part, count)| count.saturating_mul(part.cost())).unwrap_or((ModulePart::Bytes, 0))
    }

    /// Fuel for an instance with so many bytes of exports and of data: making it takes time that the engine's meter does not see.
    pub(crate) fn instance_fuel(&self, export_bytes: u64, data_bytes: u64) -> u64 {
        let parts = [
            (ModulePart::Imports, 100),
            (ModulePart::Functions, 1),
            (ModulePart::Globals, 3),
            (ModulePart::Exports, 10),
            (ModulePart::ElementSegments, 5),
            (ModulePart::Elements, 1),
            (ModulePart::ElementExpressions, 1),
            (ModulePart::ConstantInstructions, 1),
            (ModulePart::SeparateDataSegments, 20),
        ];
        let parts = parts.into_iter().map(|(part, fuel)| self.count(part).saturating_mul(fuel));
        let names = export_bytes / u64::from(NAME_BYTES_PER_FUEL);
        let bytes = data_bytes / u64::from(BYTES_PER_FUEL);
        let fuel = parts.chain([names, bytes]).fold(0, u64::saturating_add);
        fuel.saturating_sub(INSTANCE_FUEL_FREE)
    }
}
