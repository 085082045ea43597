//! Budgets: integers that are reserved before the work, settled after it, and never exceeded in between.

mod dimension;
mod ledger;
mod tree;

pub use dimension::{Dimension, Flow};
pub use ledger::{BudgetExceeded, Ledger, Reservation, Status};
pub use tree::{BudgetError, BudgetTree, TreeReservation};
