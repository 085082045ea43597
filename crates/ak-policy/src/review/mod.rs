//! Reviews policies: lints, differences, expected decisions, explanations, and policies drafted from recorded
//! requests.

mod diff;
mod expect;
mod explain;
mod lint;
mod recorder;

pub use diff::{Change, Direction};
pub use expect::{CaseFailure, TestReport};
pub use explain::{Explanation, OtherRule};
pub use lint::{LINT_COMPARED_RULES_MAX, Lint, LintKind};
pub use recorder::Recorder;
