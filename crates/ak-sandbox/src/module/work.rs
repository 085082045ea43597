//! The work of loading a module and of making an instance of it, computed before it is done.

use crate::limits::{BYTES_PER_FUEL, NAME_BYTES_PER_FUEL};

/// Most units of work that loading a module may take. A unit is about a nanosecond on an idle machine of 2020, so
/// this is less than half of the second that loading may take.
pub const LOAD_WORK_MAX: u64 = 400_000_000;

/// Fuel that an instance may cost for free; a module as compilers write it costs less.
pub(crate) const INSTANCE_FUEL_FREE: u64 = 20_000;

/// The parts of a module for which loading takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModulePart {
    /// Bytes of the module.
    Bytes,
    /// Sections, including custom ones.
    Sections,
    /// Types of functions.
    Types,
    /// Parameters and results of these types.
    TypeValues,
    /// Imports.
    Imports,
    /// Functions of the module itself.
    Functions,
    /// Groups of locals of equal type.
    LocalGroups,
    /// Instructions of function bodies.
    Instructions,
    /// Values that calls, blocks and branches take and return.
    Values,
    /// Tables.
    Tables,
    /// Globals.
    Globals,
    /// Exports.
    Exports,
    /// Element segments of tables.
    ElementSegments,
    /// Elements in these segments, given as function indices.
    Elements,
    /// Elements in these segments, given as expressions.
    ElementExpressions,
    /// Instructions of constant expressions, except one and the end in each.
    ConstantInstructions,
    /// Data segments in the module.
    DataSegments,
    /// Data segments that cannot be merged with the segment before.
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

    /// The part's name in an error, in the plural.
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

    /// Units of work for one such part, as measured; `tests/load_cost.rs` loads a module full of each kind within the
    /// second.
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

/// The work exceeds [`LOAD_WORK_MAX`].
pub(crate) struct TooMuchWork;

/// The work counted so far, by part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadWork {
    counts: [u64; ModulePart::ALL.len()],
    total: u64,
}

impl LoadWork {
    /// Adds the work of `count` parts; fails once the total exceeds the limit.
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

    /// The part that takes most of the work, and the number of such parts.
    pub(crate) fn largest(&self) -> (ModulePart, u64) {
        let counts = ModulePart::ALL.into_iter().map(|part| (part, self.count(part)));
        counts.max_by_key(|(part, count)| count.saturating_mul(part.cost())).unwrap_or((ModulePart::Bytes, 0))
    }

    /// Fuel for an instance with this many bytes of exports and of data: the engine's meter does not count making it.
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
