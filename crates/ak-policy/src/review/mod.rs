//! Reviewing policies: findings, differences, expected decisions, explanations, recorded needs.

mod diff;
mod expect;
mod explain;
mod lint;
mod recorder;

pub use diff::{Change, Direction};
pub use expect::{CaseFailure, TestReport};
pub use explain::{Explanation, OtherRule};
pub use lint::{Lint, LintKind};
pub use recorder::Recorder;
