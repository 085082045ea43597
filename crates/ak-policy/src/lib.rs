#![no_std]
#![forbid(unsafe_code)]
//! A policy language for AI agents, with canonical targets, capabilities and budgets.
//!
//! The crate answers one question, [`Policy::decide`], about a [`Query`]: may this agent perform this [`Action`] on
//! this [`Target`] with these arguments? It opens no file, reads no clock and holds no mutable state: what changes
//! over time is in tables that the caller keeps and passes in.
//!
//! - **Doubt never widens authority.** `forbid > ask > permit > default deny`. Where a pattern or condition can be
//!   read in several ways, the narrowest reading counts for a rule that gives authority and the widest for a rule
//!   that takes it away.
//! - **One canonical form.** A [`Target`] can only be made by canonicalising a text, and a text that programs read
//!   differently is refused. So the target that was checked is, by type, the target that is used.
//! - **Authority never grows.** An agent's ancestors must be permitted the same request; a [capability] is a set of
//!   caveats, and no operation removes a caveat.
//! - **Compiled once.** An index finds patterns by their literal parts: a thousand rules decide as fast as ten, and
//!   matching a pattern takes at most linear time. A permit by plain patterns allocates nothing.
//! - **Explained.** Errors carry line, column and a suggestion; a denial comes with the rule that would permit the
//!   request.
//!
//! ```
//! use ak_policy::{Policy, PolicyDecision, Query, Target};
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
//! # Modules
//!
//! **Decisions.** [`Policy`] (`policy`) is the compiled policy. `query` holds [`Query`], the question; `decide`
//! holds the answer, [`Evaluation`] and [`PolicyDecision`]; `steps` bounds the work of all decisions on one
//! request.
//!
//! **Reading policies.** `language` reads TOML and JSON texts into the `model`: rules, grants, limits, labels,
//! settings. `index` finds the rules whose patterns may match a target. `canonical` sorts JSON whose order has no
//! meaning; `toml_text` quotes TOML strings.
//!
//! **What requests are about.** `action` lists the operations; `target` holds the canonical targets; `agent` holds
//! the names of agents. `pattern` matches targets, `condition` tests arguments, labels and provenance.
//!
//! **State that the caller keeps.** `tables` holds [`GrantTable`] and [`LimitTable`]; [`budget`] holds the ledger
//! of one account; [`capability`] holds capabilities and tokens. They rest on `counters`: [`Elapsed`] time, usage,
//! token buckets, and reading a table's state back (`from_value` of each table; `migrate` or `adopt` for the state
//! of an earlier version; [`TableError`]).
//!
//! **Labels.** [`Policy::labels_of`] and [`Origin`] give the labels of sources; `declassify` lowers labels
//! ([`Declassification`]).
//!
//! **Reviewing policies.** `review`: [`Policy::lint`], [`Policy::diff`], [`Policy::test`], [`Policy::explain`], [`Recorder`].
//!
//! # Directions
//!
//! Imports: `review → decide → policy → {index, language, query} → model → condition → pattern → target → action`
//! Imports: `tables → policy`
//! Imports: `{capability, declassify} → query`
//! Imports: `model → budget → counters`
//! Imports: `model → agent`
//! Imports: `condition → canonical`
//! Imports: `pattern → steps`
//! Imports: `review → toml_text`

extern crate alloc;

pub mod budget;
pub mod capability;

mod action;
mod agent;
mod canonical;
mod condition;
mod counters;
mod decide;
mod declassify;
mod index;
mod language;
mod model;
mod pattern;
mod policy;
mod query;
mod review;
mod steps;
mod tables;
mod target;
mod toml_text;

pub use action::{Action, Actions, TargetKind};
pub use agent::GUEST;
pub use condition::Origin;
pub use counters::elapsed::Elapsed;
pub use counters::rate::{Rate, RateError};
pub use counters::state::TableError;
pub use decide::{Evaluation, PolicyDecision};
pub use declassify::{
    DECLASSIFICATION_NAME_BYTES_MAX, Declassification, DeclassificationError, Declassified,
};
pub use language::{Included, Loader, POLICY_BYTES_MAX, PolicyError, RULES_MAX, did_you_mean, profile_path};
pub use model::amount::Amount;
pub use model::grant::{FreshGrants, Grant, GrantClock, GrantId, GrantState};
pub use model::label::SourceLabels;
pub use model::limit::{Charge, LimitError, LimitId};
pub use model::rule::Effect;
pub use policy::Policy;
pub use query::Query;
pub use review::{
    CaseFailure, Change, Direction, Explanation, LINT_COMPARED_RULES_MAX, Lint, LintKind, OtherRule,
    Recorder, TestReport,
};
pub use steps::Steps;
pub use tables::{GrantTable, LimitReservation, LimitTable};
pub use target::{
    CanonicalHost, CanonicalIp, CanonicalName, CanonicalPath, CanonicalTool, CanonicalUrl, HostOrIp,
    NAME_BYTES_MAX, PATH_BYTES_MAX, Scheme, Target, TargetError, URL_BYTES_MAX,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
