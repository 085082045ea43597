//! The table of operations: one row for each, by family.

use core::fmt;

use ak_policy::Action;

macro_rules! operations {
    ($($family:ident($rows:ident) {
        $($number:literal $variant:ident $name:literal $event:literal $who:ident $reply:ident $doc:literal)*
    })*) => {
        /// An operation that a session requests, or that the kernel records by itself. Its number is used on the
        /// wire and in leaves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Operation { $($(#[doc = $doc] $variant = $number,)*)* }

        impl Operation {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [Operation] = &[$($(Operation::$variant,)*)*];

            /// The number on the wire, in C and in leaves.
            pub const fn number(self) -> u16 { self as u16 }

            /// The operation with this number.
            pub const fn from_number(number: u16) -> Option<Operation> {
                match number { $($($number => Some(Operation::$variant),)*)* _ => None }
            }

            /// The name in upper case, as on the wire.
            pub const fn name(self) -> &'static str {
                match self { $($(Operation::$variant => $name,)*)* }
            }

            /// The event name in audit entries: the name in lower case.
            pub const fn event(self) -> &'static str {
                match self { $($(Operation::$variant => $event,)*)* }
            }

            /// Who may request the operation at all, whatever the policy permits.
            pub const fn who(self) -> AllowedCaller {
                match self { $($(Operation::$variant => AllowedCaller::$who,)*)* }
            }

            /// The form of its reply.
            pub(crate) const fn reply(self) -> ReplyForm {
                match self { $($(Operation::$variant => ReplyForm::$reply,)*)* }
            }

            /// The family of the operation, and its row there.
            pub(crate) const fn family(self) -> OperationFamily {
                match self { $($(Operation::$variant => OperationFamily::$family($rows::$variant),)*)* }
            }
        }

        /// An operation as a row of its family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum OperationFamily { $($family($rows),)* }

        $(
            /// The operations of one family.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[allow(clippy::enum_variant_names, reason = "a row has the name of the operation")]
            pub(crate) enum $rows { $($variant,)* }

            impl From<$rows> for Operation {
                fn from(row: $rows) -> Operation {
                    match row { $($rows::$variant => Operation::$variant,)* }
                }
            }
        )*
    };
}

/// Who may request an operation at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedCaller {
    /// Every session; the policy decides.
    Anyone,
    /// Owner sessions only.
    Owner,
    /// No session: the kernel writes such entries itself.
    Kernel,
}

/// The form of the reply to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyForm {
    /// An empty object.
    Done,
    /// An empty object, or an object if the host has results to add.
    DoneOrValue,
    /// The handle of an object.
    Handle,
    /// The version of an object.
    Version,
    /// The content of an object.
    Content,
    /// The bytes of a file.
    Bytes,
    /// An HTTP response.
    Http,
    /// A session.
    Session,
    /// A JSON value.
    Value,
}

operations! {
    Heap(HeapOperation) {
        1024 Read "READ" "read" Anyone Content "Read a heap object."
        1025 Alloc "ALLOC" "alloc" Anyone Handle "Create a heap object."
        1026 Write "WRITE" "write" Anyone Version "Patch a heap object (RFC 6902)."
        1027 Delete "DELETE" "delete" Anyone Done "Delete a heap object."
        1028 Query "QUERY" "query" Anyone Value "Search the heap; a session finds what it may read."
        1029 Batch "BATCH" "batch" Anyone Value "Several operations on the heap, all of them or none."
        1049 Stat "STAT" "stat" Anyone Value "Describe a heap object."
        1110 TypeRegister "TYPE_REGISTER" "type_register" Anyone Value "Give a type of heap objects a schema."
        1111 TypeUnregister "TYPE_UNREGISTER" "type_unregister" Anyone Done "Take back a type that one registered."
    }
    File(FileOperation) {
        1050 FsRead "FS_READ" "fs_read" Anyone Bytes "Read a file."
        1051 FsWrite "FS_WRITE" "fs_write" Anyone Done "Write a file."
        1052 FsList "FS_LIST" "fs_list" Anyone Value "List a directory."
        1053 FsStat "FS_STAT" "fs_stat" Anyone Value "Describe a file."
        1054 FsDelete "FS_DELETE" "fs_delete" Anyone Done "Delete a file."
        1055 FsMkdir "FS_MKDIR" "fs_mkdir" Anyone Done "Create a directory."
        1056 FsAppend "FS_APPEND" "fs_append" Anyone Done "Append to a file."
        1057 FsRename "FS_RENAME" "fs_rename" Anyone Done "Rename a file, replacing what stands at the new path."
        1058 FsGlob "FS_GLOB" "fs_glob" Anyone Value "Find the paths that match a pattern."
    }
    Http(HttpOperation) {
        1060 Http "HTTP" "http" Anyone Http "Send an HTTP request."
    }
    Infer(InferOperation) {
        1037 Inference "INFERENCE" "inference" Anyone Value "Ask a model."
    }
    Tools(ToolsOperation) {
        1031 Call "CALL" "call" Anyone Value "Call a tool."
        1120 ToolRegister "TOOL_REGISTER" "tool_register" Owner Value "Register a tool."
        1121 ToolList "TOOL_LIST" "tool_list" Anyone Value "List the registered tools."
    }
    Agent(AgentOperation) {
        1080 BudgetSet "BUDGET_SET" "budget_set" Anyone Done "Set a budget; an agent session only lowers its own."
        1081 BudgetStatus "BUDGET_STATUS" "budget_status" Anyone Value "Limits and usage of the session's agent."
        1090 CapGrant "CAP_GRANT" "cap_grant" Owner Value "Give an agent a capability."
        1091 CapAttenuate "CAP_ATTENUATE" "cap_attenuate" Anyone Value "Derive a narrower capability from one's own."
        1092 CapRevoke "CAP_REVOKE" "cap_revoke" Anyone Value "Take a capability back, with all that was derived from it."
        1093 CapToken "CAP_TOKEN" "cap_token" Anyone Value "A capability as a bearer token."
        1130 SessionOpen "SESSION_OPEN" "session_open" Owner Session "Open a session for an agent."
        1131 SessionClose "SESSION_CLOSE" "session_close" Anyone Done "End the session that asks."
    }
    Audit(AuditOperation) {
        1030 Commit "COMMIT" "commit" Anyone Value "Sign a checkpoint of the log as it stands."
        1100 AuditLog "AUDIT_LOG" "audit_log" Anyone Done "Write an entry of one's own."
        1101 AuditQuery "AUDIT_QUERY" "audit_query" Anyone Value "Read entries; an agent session sees its own."
        1102 AuditVerify "AUDIT_VERIFY" "audit_verify" Owner Value "Verify the whole log and re-execute it."
        1103 AuditProof "AUDIT_PROOF" "audit_proof" Anyone Value "Prove that an entry stands in the log."
        1104 AuditErase "AUDIT_ERASE" "audit_erase" Owner Value "Erase all that is recorded about a subject."
    }
    Admin(AdminOperation) {
        1040 LastError "LAST_ERROR" "last_error" Anyone Value "The session's last denial."
        1048 Authorize "AUTHORIZE" "authorize" Anyone Value "Ask whether a request would pass."
        1070 PolicyLoad "POLICY_LOAD" "policy_load" Owner DoneOrValue "Replace the policy."
    }
    Kernel(KernelOperation) {
        1140 Genesis "GENESIS" "genesis" Kernel Done "The first entry: format, semantics and configuration."
        1141 Tick "TICK" "tick" Kernel Done "A deadline passed."
        1142 Snapshot "SNAPSHOT" "snapshot" Kernel Done "The digest of the state, for snapshots of it."
        1143 Throttled "THROTTLED" "throttled" Kernel Done "How many requests were turned away unheard, by agent."
        1144 Upgrade "UPGRADE" "upgrade" Kernel Done "A journal of an earlier version goes on under this one."
        1145 ClockStep "CLOCK_STEP" "clock_step" Kernel Done "The wall clock stepped."
    }
}

impl Operation {
    /// The operation with this upper-case name.
    pub fn from_name(name: &str) -> Option<Operation> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// The operation that a word names: a name of the table in any case (`FS_READ`, `fs_read`), or an operation of the policy
    /// language (`fs.read`, `execute`). The methods of HTTP are one operation.
    pub fn from_word(word: &str) -> Option<Operation> {
        let named = Self::from_name(&word.to_ascii_uppercase().replace('.', "_"));
        named.or_else(|| match Action::from_name(word)? {
            Action::HeapRead => Some(Operation::Read),
            Action::HeapWrite => Some(Operation::Write),
            Action::HeapAlloc => Some(Operation::Alloc),
            Action::HeapDelete => Some(Operation::Delete),
            Action::HeapQuery => Some(Operation::Query),
            Action::HttpGet
            | Action::HttpHead
            | Action::HttpPost
            | Action::HttpPut
            | Action::HttpPatch
            | Action::HttpDelete
            | Action::HttpOptions => Some(Operation::Http),
            Action::Execute => Some(Operation::Call),
            Action::Infer => Some(Operation::Inference),
            Action::Spawn => Some(Operation::SessionOpen),
            Action::AuditRead => Some(Operation::AuditQuery),
            // These are named alike in the table, or no request of their own.
            Action::FsRead
            | Action::FsList
            | Action::FsStat
            | Action::FsWrite
            | Action::FsDelete
            | Action::AuditLog
            | Action::Dns
            | Action::Connect
            | Action::Bind
            | Action::Listen
            | Action::Send => None,
        })
    }

    /// Whether agents may not use this text as an event type, because it is the event name of an operation.
    pub fn is_reserved_event(event: &str) -> bool {
        Self::ALL.iter().any(|operation| operation.event() == event)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_survives_number_name_and_event() {
        for &operation in Operation::ALL {
            assert_eq!(Operation::from_number(operation.number()), Some(operation));
            assert_eq!(Operation::from_name(operation.name()), Some(operation));
            assert_eq!(operation.event(), operation.name().to_lowercase());
            assert!(Operation::is_reserved_event(operation.event()));
        }
    }
}
