//! The dimensions of budgets.

use core::fmt;

macro_rules! dimensions {
    ($($variant:ident $name:literal $kind:ident $doc:literal)*) => {
        /// One kind of budget, such as tokens or bytes. A new one needs only a line in the table below.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dimension { $(#[doc = $doc] $variant,)* }

        impl Dimension {
            /// Every dimension, in the order of the language.
            pub const ALL: [Dimension; [$($name),*].len()] = [$(Dimension::$variant,)*];

            /// The dimension's name in policies and in `set_budget`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Dimension::$variant => $name,)* }
            }

            /// Whether usage of the dimension can shrink.
            pub const fn flow(self) -> Flow {
                match self { $(Dimension::$variant => Flow::$kind,)* }
            }
        }
    };
}

/// Whether usage of a dimension is a meter, which only grows, or a gauge, which also shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Usage only grows: what is spent is gone.
    Meter,
    /// Usage grows and shrinks: what is freed is available again.
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
    /// Whether a limit on the dimension can have a period. It can for what is consumed; not for what is occupied at
    /// a time (memory, heap objects), and not for an agent's lifetime.
    pub const fn takes_period(self) -> bool {
        match self {
            Self::Compute | Self::Tokens | Self::ToolCalls | Self::Cpu | Self::Bytes | Self::CostMicroUsd => {
                true
            }
            Self::Memory | Self::HeapObjects | Self::WallTimeMs => false,
        }
    }

    /// The dimension of this name; `None` when there is none.
    pub fn from_name(name: &str) -> Option<Dimension> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One value for each dimension.
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
