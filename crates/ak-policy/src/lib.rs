#![no_std]
#![forbid(unsafe_code)]
//! May this happen? A policy language for AI agents, canonical targets, capabilities and budgets.
//!
//! The crate answers one question, [`Policy::decide`], about one thing, a [`Query`]: an agent, an [`Action`],
//! a [`Target`], and the arguments. It opens nothing, knows no clock, and keeps no state but what it hands
//! out to be kept.
//!
//! - **Doubt never widens.** `forbid > ask > permit > default deny`. A pattern or condition that leaves
//!   something open is read narrowly where it gives authority and widely where it takes authority away.
//! - **One form, or none.** A [`Target`] can only be made by canonicalising, and what programs disagree about
//!   is refused. So what was checked is, by type, what is used.
//! - **Authority never grows.** An agent's ancestors must be permitted too; a [capability] is the set of its
//!   caveats, and nothing takes one away.
//! - **Compiled once.** Patterns are found by what is literal in them: a thousand rules decide as fast as
//!   ten, and no pattern costs more than linear time. A permit allocates nothing.
//! - **For people.** Errors have line, column and a guess; a denial comes with the rule that would permit it.
//!
//! ```
//! use ak_policy::{Policy, Query, Target, PolicyDecision};
//!
//! let policy = Policy::parse(
//!     r#"
//!     [http]
//!     allow = ["GET https://api.github.com/**"]
//!     deny = ["https://api.github.com/admin/**"]
//!     "#,
//!     None,
//! )?;
//! let decision = |target| {
//!     let (action, target) = Target::resolve("http", target)?;
//!     Ok::<_, ak_policy::TargetError>(policy.decide(&Query::new("main", action, &target)).decision)
//! };
//! assert_eq!(decision("https://API.github.com:443/user/./repos")?, PolicyDecision::Permit);
//! assert_eq!(decision("https://api.github.com//admin/users")?, PolicyDecision::Forbid);
//! assert_eq!(decision("https://api.github.com.evil.net/")?, PolicyDecision::DefaultDeny);
//! assert!(decision("https://user@api.github.com/").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | decide, and tell why | [`Policy`], [`Query`], [`Evaluation`], [`Explanation`] |
//! | name what is done to what | [`Action`], [`Target`] |
//! | keep clocks and rates of grants | [`GrantTable`] |
//! | keep cumulative limits | [`LimitTable`] |
//! | keep budgets | [`budget`] |
//! | say what time has passed | [`Elapsed`] |
//! | bring the state of a table back | `from_value` of each, `migrate` or `adopt` for one of an earlier version, [`TableError`] |
//! | hand authority on | [`capability`] |
//! | label what sources give | [`Policy::labels_of`], [`Origin`] |
//! | lower labels | [`Declassification`] |
//! | review policies | [`Policy::lint`], [`Policy::diff`], [`Policy::test`], [`Recorder`] |

extern crate alloc;

pub mod budget;
pub mod capability;

mod action;
mod baseline;
mod canonical;
mod condition;
mod decide;
mod declassify;
mod diff;
mod elapsed;
mod expect;
mod explain;
mod family;
mod grant;
mod index;
mod label;
mod language;
mod limit;
mod lint;
mod model;
mod pattern;
mod policy;
mod query;
mod rate;
mod record;
mod rule;
mod settings;
mod state;
mod steps;
mod target;
mod time;
mod toml_text;
mod usage;

pub use action::{Action, Actions, TargetKind};
pub use condition::Origin;
pub use decide::{Evaluation, PolicyDecision};
pub use declassify::{
    DECLASSIFICATION_NAME_BYTES_MAX, Declassification, DeclassificationError, Declassified,
};
pub use diff::{Change, Direction};
pub use elapsed::Elapsed;
pub use expect::{CaseFailure, TestReport};
pub use explain::{Explanation, OtherRule};
pub use grant::{FreshGrants, Grant, GrantClock, GrantId, GrantState, GrantTable};
pub use label::SourceLabels;
pub use language::{Included, Loader, POLICY_BYTES_MAX, PolicyError, RULES_MAX, profile_path};
pub use limit::{Amount, Charge, LimitError, LimitId, LimitReservation, LimitTable};
pub use lint::{Lint, LintKind};
pub use model::GUEST;
pub use policy::Policy;
pub use query::Query;
pub use rate::{Rate, RateError};
pub use record::Recorder;
pub use rule::Effect;
pub use state::TableError;
pub use steps::Steps;
pub use target::{
    CanonicalHost, CanonicalIp, CanonicalName, CanonicalPath, CanonicalTool, CanonicalUrl, HostOrIp,
    NAME_BYTES_MAX, PATH_BYTES_MAX, Scheme, Target, TargetError, URL_BYTES_MAX,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
