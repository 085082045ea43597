//! An entry as JSON: in our own form, and in that of the Open Cybersecurity Schema Framework.

use alloc::string::String;

use ak_json::{Array, Integrity, Value, object};

use crate::{
    entry::{Decision, Entry, Kind},
    hash::{Hash, ZERO_HASH},
};

impl Kind {
    /// The kind's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Step => "step",
            Kind::Outcome => "outcome",
            Kind::Notice => "notice",
        }
    }
}

impl Decision {
    /// The decision's name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Decision::Permit => "permit",
            Decision::Ask => "ask",
            Decision::Forbid => "forbid",
            Decision::DefaultDeny => "default_deny",
            Decision::Refused => "refused",
        }
    }
}

/// A hash in hexadecimal; null for [`ZERO_HASH`].
fn hash(hash: &Hash) -> Value {
    if *hash == ZERO_HASH { Value::Null } else { Value::from(hex::encode(hash)) }
}

impl Entry<'_> {
    /// All fields of the entry, under the names in the format's table; printed, it is one line of NDJSON. `operation`
    /// is the caller's name of the operation, `leaf` the entry's leaf hash.
    #[must_use]
    pub fn to_json(&self, operation: &str, leaf: &Hash) -> Value {
        object! {
            "seq": self.seq,
            "time_us": self.time_us,
            "run": hex::encode(self.run),
            "agent": self.agent,
            "operation": operation,
            "kind": self.kind.name(),
            "decision": self.decision.name(),
            "rule": self.rule,
            "code": self.code,
            "cause": self.cause,
            "integrity": self.integrity_name(),
            "secrecy": self.secrecy_array(),
            "policy": hash(&self.policy),
            "target": hash(&self.target),
            "request": hash(&self.request),
            "reply": hash(&self.reply),
            "previous": hash(&self.previous),
            "leaf": hex::encode(leaf),
        }
    }

    /// The entry as an OCSF 1.3 event of class *API Activity* (6003) with the profile `security_control`. Fields that
    /// OCSF has no place for are in `unmapped`.
    #[must_use]
    pub fn to_ocsf(&self, operation: &str, leaf: &Hash) -> Value {
        let permitted = match self.decision {
            Decision::Permit => true,
            Decision::Ask | Decision::Forbid | Decision::DefaultDeny | Decision::Refused => false,
        };
        let (action, action_id) = if permitted { ("Allowed", 1) } else { ("Denied", 2) };
        let (status, status_id) = if self.code == 0 { ("Success", 1) } else { ("Failure", 2) };
        let (severity, severity_id) = if permitted { ("Informational", 1) } else { ("Medium", 3) };
        object! {
            "activity_id": 99,
            "activity_name": operation,
            "category_name": "Application Activity",
            "category_uid": 6,
            "class_name": "API Activity",
            "class_uid": 6003,
            "type_name": "API Activity: Other",
            "type_uid": 600_399,
            "time": self.time_us / 1000,
            "severity": severity,
            "severity_id": severity_id,
            "action": action,
            "action_id": action_id,
            "status": status,
            "status_id": status_id,
            "status_code": alloc::format!("{}", self.code),
            "actor": object! { "user": object! { "name": self.agent, "type": "Other", "type_id": 99 } },
            "src_endpoint": object! { "name": self.agent, "type": "Other", "type_id": 99 },
            "api": object! { "operation": operation, "service": object! { "name": "authority-kernel" } },
            "policy": object! { "uid": hex::encode(self.policy) },
            "firewall_rule": object! { "uid": self.rule, "type": self.decision.name() },
            "metadata": object! {
                "version": "1.3.0",
                "profiles": Array::from_iter([Value::from("security_control")]),
                "product": object! { "name": "Authority Kernel", "vendor_name": "Authority Kernel" },
                "sequence": self.seq,
                "uid": hex::encode(leaf),
                "correlation_uid": alloc::format!("{}:{}", hex::encode(self.run), self.cause),
            },
            "unmapped": object! {
                "kind": self.kind.name(),
                "integrity": self.integrity_name(),
                "secrecy": self.secrecy_array(),
                "target": hash(&self.target),
                "request": hash(&self.request),
                "reply": hash(&self.reply),
                "previous": hash(&self.previous),
            },
        }
    }

    fn integrity_name(&self) -> &'static str {
        match self.integrity {
            Integrity::Trusted => "trusted",
            Integrity::Untrusted => "untrusted",
        }
    }

    fn secrecy_array(&self) -> Array {
        self.secrecy.iter().map(|label| Value::from(String::from(*label))).collect()
    }
}
