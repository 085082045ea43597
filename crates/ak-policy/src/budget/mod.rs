//! Budgets: integer amounts that are reserved before the work and settled after it, so that limits hold in between.

mod account;
mod dimension;
mod ledger;
mod limit;

pub use dimension::{Dimension, Flow};
pub use ledger::{BudgetExceeded, Ledger, Reservation, Status};
pub use limit::{BudgetLimit, LimitedBy, PERIODS_MAX, Spender};
