//! The usage of grants and of cumulative limits.

mod grants;
mod legacy_limits;
mod limits;

pub use grants::GrantTable;
pub use limits::{LimitReservation, LimitTable};
