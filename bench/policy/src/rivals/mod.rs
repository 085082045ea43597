//! The rivals of `ak-policy`.

mod biscuit;
mod casbin;
mod cedar;
mod hand;
mod rego;

pub use biscuit::{Biscuit, BiscuitToken};
pub use casbin::Casbin;
pub use cedar::Cedar;
pub use hand::{Hand, HandTen};
pub use rego::{Form, Rego};
