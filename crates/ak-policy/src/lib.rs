#![no_std]
#![forbid(unsafe_code)]
//! May this happen? Policies, canonical targets, capabilities and budgets.

extern crate alloc;

pub mod budget;

mod action;
mod target;

pub use action::{Action, Actions, TargetKind};
pub use target::{
    CanonicalHost, CanonicalIp, CanonicalName, CanonicalPath, CanonicalTool, CanonicalUrl, HostOrIp, NAME_BYTES_MAX,
    PATH_BYTES_MAX, Scheme, Target, TargetError, URL_BYTES_MAX,
};
