//! Budgets: integers that are reserved before the work, settled after it, and never exceeded in between.

mod account;
mod dimension;
mod ledger;
mod limit;

pub use dimension::{Dimension, Flow};
pub use ledger::{BudgetExceeded, Ledger, Reservation, Status};
pub use limit::{BudgetLimit, LimitedBy, PERIODS_MAX, Spender};
