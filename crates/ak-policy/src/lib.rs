#![no_std]
#![forbid(unsafe_code)]
//! May this happen? Policies, canonical targets, capabilities and budgets.

extern crate alloc;

pub mod budget;
pub mod capability;

mod action;
mod baseline;
mod canonical;
mod condition;
mod decide;
mod explain;
mod grant;
mod index;
mod label;
mod language;
mod limit;
mod model;
mod pattern;
mod policy;
mod query;
mod rate;
mod rule;
mod settings;
mod target;
mod time;
mod toml_text;

pub use action::{Action, Actions, TargetKind};
pub use condition::Origin;
pub use decide::{Decision, Verdict};
pub use explain::{Explanation, Other};
pub use grant::{Grant, GrantClock, GrantId, GrantState, GrantTable, Unspent};
pub use label::SourceLabels;
pub use language::{Included, Loader, POLICY_BYTES_MAX, PolicyError, RULES_MAX};
pub use limit::{Amount, Charge, LimitError, LimitId, LimitReservation, LimitTable};
pub use policy::Policy;
pub use query::Query;
pub use rate::Rate;
pub use rule::Effect;
pub use target::{
    CanonicalHost, CanonicalIp, CanonicalName, CanonicalPath, CanonicalTool, CanonicalUrl, HostOrIp,
    NAME_BYTES_MAX, PATH_BYTES_MAX, Scheme, Target, TargetError, URL_BYTES_MAX,
};
