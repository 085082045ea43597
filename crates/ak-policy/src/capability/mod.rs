//! Capabilities: authority that agents pass on, and that can only shrink on the way.
//!
//! A capability is stored in the kernel's [`CapTable`]; it is passed on as a token that names it and can restrict
//! it further. A capability allows what all of its [`Caveat`]s allow. So the intersection of two authorities is the
//! union of their caveats, and no operation removes a caveat.
//!
//! ```
//! use ak_policy::capability::{CapTable, Caveat, TokenKeys, attenuate};
//! use ak_policy::{Action, Elapsed, Query, Target};
//!
//! let mut table = CapTable::default();
//! let root = table.root()?;
//! let reader = table.derive(root, Caveat::grant("fs", "/data/**", &["read"])?, Elapsed::default())?;
//!
//! let keys = TokenKeys::new([7; 32], &[(1, [42; 32])]).unwrap();
//! let token = keys.issue(reader, &Default::default())?;
//! let short = attenuate(&token, &[Caveat::ExpiresAt(1_000)].into_iter().collect())?;
//!
//! let verified = keys.verify(&short)?;
//! let (target, run) = (Target::path("/data/x")?, [0; 16]);
//! let query = Query { now_us: 999, ..Query::new("worker", Action::FsRead, &target) };
//! assert!(verified.authority.covers(&query, &run));
//! assert!(table.check(verified.capability, &query, &run, &[]).is_ok());
//! assert!(!verified.authority.covers(&Query { now_us: 1_000, ..query }, &run));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod caveat;
mod encode;
mod node;
mod signed;
mod table;
mod token;

pub use block::{BLOCKS_MAX, KeyId, TOKEN_BYTES_MAX, TokenError, VerifiedToken};
pub use caveat::{
    AgentPattern, Authority, CAVEAT_BYTES_MAX, CAVEATS_MAX, Caveat, CaveatError, TargetPattern,
    TargetPatterns,
};
pub use signed::{HolderProof, Issuers, KeyPair, PublicKey};
pub use table::{CAPABILITIES_MAX, CapDenial, CapId, CapReservation, CapTable, DEPTH_MAX, DeriveError};
pub use token::{TokenKeys, attenuate};
