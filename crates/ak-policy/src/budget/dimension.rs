//! What can be budgeted.

use core::fmt;

macro_rules! dimensions {
    ($($variant:ident $name:literal $kind:ident $doc:literal)*) => {
        /// One kind of budget. To add one is to add one line here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension { $(#[doc = $doc] $variant,)* }

        impl Dimension {
            /// Every dimension, in the order of the language.
            pub const ALL: [Dimension; [$($name),*].len()] = [$(Dimension::$variant,)*];

            /// The name in policies and in `set_budget`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Dimension::$variant => $name,)* }
            }

            /// How its usage moves.
            pub const fn flow(self) -> Flow {
                match self { $(Dimension::$variant => Flow::$kind,)* }
            }
        }
    };
}

/// How the usage of a dimension moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It only grows: what is spent is gone.
    Meter,
    /// It grows and shrinks: what is freed comes back.
    Gauge,
}

dimensions! {
    Memory "memory" Gauge "Bytes of heap."
    Compute "compute" Meter "Operations, denied ones included."
    Tokens "tokens" Meter "Model tokens, prompt and completion."
    ToolCalls "tool_calls" Meter "Tool calls."
    WallTimeMs "wall_time_ms" Meter "Milliseconds since the agent began."
    Cpu "cpu" Meter "Fuel of WASM tools."
    Bytes "bytes" Meter "Bytes read from and written to files and the network."
    HeapObjects "heap_objects" Gauge "Heap objects."
    CostMicroUsd "cost_micro_usd" Meter "Millionths of a US dollar."
}

impl Dimension {
    /// Whether a limit on it can be for a period: what is consumed comes back with time; what is held, and how
    /// long an agent may live, does not.
    pub const fn takes_period(self) -> bool {
        match self {
            Self::Compute | Self::Tokens | Self::ToolCalls | Self::Cpu | Self::Bytes | Self::CostMicroUsd => {
                true
            }
            Self::Memory | Self::HeapObjects | Self::WallTimeMs => false,
        }
    }

    /// The dimension of this name.
    pub fn from_name(name: &str) -> Option<Dimension> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for every dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByDimension<T>([T; Dimension::ALL.len()]);

impl<T> ByDimension<T> {
    #[expect(clippy::indexing_slicing, reason = "a dimension's number is below the number of dimensions")]
    pub(crate) fn of(&self, dimension: Dimension) -> &T {
        &self.0[dimension as usize]
    }

    #[expect(clippy::indexing_slicing, reason = "a dimension's number is below the number of dimensions")]
    pub(crate) fn of_mut(&mut self, dimension: Dimension) -> &mut T {
        &mut self.0[dimension as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Dimension, &T)> {
        Dimension::ALL.into_iter().zip(&self.0)
    }
}
