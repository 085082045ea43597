//! Rule ids for decisions that no rule of a policy makes. The kernel records its own decisions under these ids.

use ak_json::Text;

macro_rules! kernel_rules {
    ($($variant:ident $id:literal $doc:literal)*) => {
        /// A rule of the kernel itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum KernelRule { $(#[doc = $doc] $variant,)* }

        impl KernelRule {
            /// The id, as entries contain it.
            pub(crate) const fn id(self) -> &'static str {
                match self { $(KernelRule::$variant => $id,)* }
            }
        }
    };
}

kernel_rules! {
    OwnerOnly "owner-only" "An operation that is the owner's alone."
    Budget "budget" "A budget, or a limit on tokens."
    Limit "limit" "A limit of the kernel itself."
    Batch "batch" "Each part was decided on by itself."
    Capability "capability" "The capabilities that the request rests on."
    Session "session" "An operation that only tells a session about itself."
    Canonical "canonical" "A target has no canonical form."
    ProviderTools "infer.provider_tools" "What a model's provider may do beside answering."
    ProviderState "infer.stateful" "What a model's provider may keep."
    Hostcalls "wasm.hostcalls" "The host calls that the policy opens to tools."
    Needs "needs" "What a tool's manifest says that it needs."
    HostCall "host-call" "A host call that may not be made at all."
    Aborted "aborted" "The effect was told to stop before."
    Step "step" "A step that does not belong to its effect."
    Address "address" "The addresses that a connection may go to."
    Link "link" "A link that leads out of its root."
    Path "path" "A path that does not belong to its effect."
    Completion "completion" "A completion that does not belong to its effect."
    StaleTicket "stale-ticket" "A ticket that names no pending effect."
}

impl From<KernelRule> for Text {
    fn from(rule: KernelRule) -> Text {
        Text::from(rule.id())
    }
}
