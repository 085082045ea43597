//! Actions: the operations of the policy language, which rules permit or forbid.

use core::fmt;

macro_rules! actions {
    ($($variant:ident $name:literal $kind:ident $doc:literal)*) => {
        /// An operation of the policy language, such as `fs.read` or `http.get`. It is the verb of a
        /// [`Query`](crate::Query).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Action { $(#[doc = $doc] $variant,)* }

        impl Action {
            /// Every action, in the order in which the language lists them.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)*];

            /// The canonical text: `fs.read`, `http.get`, `execute`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $name,)* }
            }

            /// The kind of target that the action acts on.
            pub const fn kind(self) -> TargetKind {
                match self { $(Action::$variant => TargetKind::$kind,)* }
            }
        }
    };
}

/// The kind of [`Target`](crate::Target) that an action acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A file or directory.
    Path,
    /// A URL.
    Url,
    /// A host name.
    Host,
    /// A host name or an address, with a port.
    Endpoint,
    /// A tool.
    Tool,
    /// A model.
    Model,
    /// An agent.
    Agent,
    /// A heap object.
    Heap,
    /// A type of heap objects.
    Type,
    /// A kind of audit entry, or the agent whose entries are read.
    Audit,
}

actions! {
    FsRead "fs.read" Path "Read a file. In a rule it covers list and stat."
    FsList "fs.list" Path "List a directory."
    FsStat "fs.stat" Path "Describe a file or directory."
    FsWrite "fs.write" Path "Write a file. In a rule it covers delete."
    FsDelete "fs.delete" Path "Delete a file or directory."
    HeapRead "heap.read" Heap "Read or describe a heap object."
    HeapWrite "heap.write" Heap "Patch a heap object."
    HeapAlloc "heap.alloc" Type "Create a heap object of a type."
    HeapDelete "heap.delete" Heap "Delete a heap object."
    HeapQuery "heap.query" Type "Search the heap objects of a type."
    HttpGet "http.get" Url "Send a GET request."
    HttpHead "http.head" Url "Send a HEAD request."
    HttpPost "http.post" Url "Send a POST request."
    HttpPut "http.put" Url "Send a PUT request."
    HttpPatch "http.patch" Url "Send a PATCH request."
    HttpDelete "http.delete" Url "Send a DELETE request."
    HttpOptions "http.options" Url "Send an OPTIONS request."
    Dns "dns" Host "Resolve a host name."
    Connect "connect" Endpoint "Open a connection."
    Bind "bind" Endpoint "Bind a local address."
    Listen "listen" Endpoint "Accept connections on a local address."
    Execute "execute" Tool "Call a tool."
    Infer "infer" Model "Ask a model."
    Spawn "spawn" Agent "Start an agent."
    Send "send" Agent "Send a message to an agent."
    AuditLog "audit.log" Audit "Write an audit entry of one's own."
    AuditRead "audit.read" Audit "Read an agent's audit entries."
}

impl Action {
    /// The action with this canonical text; `None` for any other text.
    pub fn from_name(name: &str) -> Option<Action> {
        Self::ALL.iter().copied().find(|action| action.as_str() == name)
    }

    /// The text by which a rule's `operation` names this action without the actions that it covers: `fs.write!` and
    /// `fs.read!`, otherwise the canonical text.
    pub const fn exact_name(self) -> &'static str {
        match self {
            Self::FsRead => "fs.read!",
            Self::FsWrite => "fs.write!",
            other => other.as_str(),
        }
    }

    /// The HTTP action of a method in upper case (methods are case-sensitive, RFC 9110 §9); `None` for any other
    /// text.
    pub fn from_method(method: &str) -> Option<Action> {
        Self::ALL.iter().copied().find(|action| action.method() == Some(method))
    }

    /// The method of an HTTP action, in upper case; `None` for other actions.
    pub const fn method(self) -> Option<&'static str> {
        match self {
            Self::HttpGet => Some("GET"),
            Self::HttpHead => Some("HEAD"),
            Self::HttpPost => Some("POST"),
            Self::HttpPut => Some("PUT"),
            Self::HttpPatch => Some("PATCH"),
            Self::HttpDelete => Some("DELETE"),
            Self::HttpOptions => Some("OPTIONS"),
            Self::FsRead
            | Self::FsList
            | Self::FsStat
            | Self::FsWrite
            | Self::FsDelete
            | Self::HeapRead
            | Self::HeapWrite
            | Self::HeapAlloc
            | Self::HeapDelete
            | Self::HeapQuery
            | Self::Dns
            | Self::Connect
            | Self::Bind
            | Self::Listen
            | Self::Execute
            | Self::Infer
            | Self::Spawn
            | Self::Send
            | Self::AuditLog
            | Self::AuditRead => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions, as named by the `operation` of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actions(u32);

const _: () = assert!(Action::ALL.len() < 32, "a set of actions is 32 bits");

impl Actions {
    /// The empty set.
    pub const NONE: Actions = Actions(0);

    /// The set of one action.
    pub const fn of(action: Action) -> Actions {
        Actions(1 << action as u8)
    }

    /// The actions that one text in a rule's `operation` stands for: an action with the actions it covers, an
    /// action without them (`fs.write!`, `fs.read!`), `*` for all, or a family such as `http.*`. `None` when the
    /// text names no action.
    pub fn parse(text: &str) -> Option<Actions> {
        if text.ends_with('!') {
            return Action::ALL.iter().copied().find(|action| action.exact_name() == text).map(Self::of);
        }
        let family = text.strip_suffix('*').filter(|rest| rest.is_empty() || rest.ends_with('.'));
        let actions = match family {
            Some(family) => Self::from_iter(
                Action::ALL.iter().copied().filter(|action| action.as_str().starts_with(family)),
            ),
            None => Self::of(Action::from_name(text)?).covering(),
        };
        (actions != Self::NONE).then_some(actions)
    }

    /// The operations of all families that a verb names, and what they cover: `read` is `fs.read`, `heap.read` and
    /// `audit.read`; `GET` is `http.get`.
    pub(crate) fn of_verb(verb: &str) -> Option<Actions> {
        let named = |action: &Action| {
            let is_last = action.as_str().split_once('.').is_some_and(|(_, last)| last == verb);
            is_last || action.method() == Some(verb)
        };
        let actions = Action::ALL.iter().copied().filter(named).collect::<Actions>().covering();
        (actions != Self::NONE).then_some(actions)
    }

    /// Adds the actions that actions of this set cover: `fs.read` covers list and stat, `fs.write` covers delete.
    const fn covering(self) -> Actions {
        let mut bits = self.0;
        if self.contains(Action::FsRead) {
            bits |= Self::of(Action::FsList).0 | Self::of(Action::FsStat).0;
        }
        if self.contains(Action::FsWrite) {
            bits |= Self::of(Action::FsDelete).0;
        }
        Actions(bits)
    }

    /// The fewest texts that together stand for this set, in the order of the language: `fs.write` where the set
    /// contains delete, `fs.write!` where it does not. [`parse`](Self::parse) reads each of them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.names_with(true)
    }

    /// Like [`names`](Self::names), but also names the actions that another action of the set covers.
    pub(crate) fn all_names(self) -> impl Iterator<Item = &'static str> {
        self.names_with(false)
    }

    fn names_with(self, fewest: bool) -> impl Iterator<Item = &'static str> {
        let whole = move |action: Action| {
            let covered = Self::of(action).covering();
            covered.intersection(self) == covered
        };
        let is_covered = move |action: Action| {
            let covers = |wider: Action| wider != action && Self::of(wider).covering().contains(action);
            self.iter().any(|wider| covers(wider) && whole(wider))
        };
        let name = move |action: Action| if whole(action) { action.as_str() } else { action.exact_name() };
        self.iter().filter(move |action| !(fewest && is_covered(*action))).map(name)
    }

    /// The set as bits, one for each action in the order of the language. New actions are added at the end, so bits
    /// keep their meaning.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The set of these bits; `None` when a bit belongs to no action.
    pub const fn from_bits(bits: u32) -> Option<Actions> {
        if bits >> Action::ALL.len() == 0 { Some(Actions(bits)) } else { None }
    }

    /// Whether the set contains the action.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & Self::of(action).0 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions in either set.
    #[must_use]
    pub const fn union(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }

    /// The actions in both sets.
    #[must_use]
    pub const fn intersection(self, other: Actions) -> Actions {
        Actions(self.0 & other.0)
    }

    /// The actions, in the order of the language.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, |set, action| set.union(Self::of(action)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_survives_its_name() {
        for &action in Action::ALL {
            assert_eq!(Action::from_name(action.as_str()), Some(action));
            assert_eq!(action.method().and_then(Action::from_method), action.method().map(|_| action));
        }
    }

    #[test]
    fn bits_stand_in_tokens_and_keep_their_meaning() {
        assert_eq!(Actions::of(Action::FsRead).to_bits(), 1);
        assert_eq!(Actions::of(Action::HttpGet).to_bits(), 1 << 10);
        assert_eq!(Actions::of(Action::Execute).to_bits(), 1 << 21);
        assert_eq!(Actions::of(Action::AuditRead).to_bits(), 1 << 26);
        let all: Actions = Action::ALL.iter().copied().collect();
        assert_eq!(Actions::from_bits(all.to_bits()), Some(all));
        assert_eq!(Actions::from_bits(1 << Action::ALL.len()), None);
    }

    #[test]
    fn operations_cover_what_the_language_says() {
        let check = |text: &str, expected: &[Action]| {
            assert_eq!(Actions::parse(text), Some(expected.iter().copied().collect()), "{text}");
        };
        check("fs.read", &[Action::FsRead, Action::FsList, Action::FsStat]);
        check("fs.write", &[Action::FsWrite, Action::FsDelete]);
        check("fs.list", &[Action::FsList]);
        check("audit.*", &[Action::AuditLog, Action::AuditRead]);
        check("*", Action::ALL);
        for refused in ["", "fs", "fs*", "fs.*.*", "fs.reed", "FS.READ", "nothing.*"] {
            assert_eq!(Actions::parse(refused), None, "{refused}");
        }
    }
}
