//! Whether one pattern matches everything that another matches; `false` in doubt.

use super::{EndpointPattern, Glob, HostPattern, Pattern};
use crate::action::Action;

impl Pattern {
    /// Whether this pattern matches every target that `other` matches; `false` when that cannot be decided.
    pub(crate) fn covers(&self, other: &Pattern) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (Self::Any, Self::Endpoint(EndpointPattern::Net(..))) => false,
            (Self::Any, _) | (Self::UrlAny, Self::Url(_)) | (Self::HeapAny, Self::Heap(_)) => true,
            (Self::Path(own), Self::Path(other)) | (Self::Agent(own), Self::Agent(other)) => {
                own.covers(other)
            }
            (Self::Url(own), Self::Url(other)) => own.covers(other),
            (Self::Host(own), Self::Host(other)) => own.covers(other),
            (
                Self::Endpoint(EndpointPattern::Host(own, own_ports)),
                Self::Endpoint(EndpointPattern::Host(other, ports)),
            ) => own.covers(other) && own_ports.covers(*ports),
            (
                Self::Endpoint(EndpointPattern::Net(own, own_ports)),
                Self::Endpoint(EndpointPattern::Net(other, ports)),
            ) => own.covers(*other) && own_ports.covers(*ports),
            (Self::Tool(own, None), Self::Tool(other, _)) => own.covers(other),
            (Self::Model(own), Self::Model(other))
            | (Self::Type(own), Self::Type(other))
            | (Self::Audit(own), Self::Audit(other)) => own.covers(other),
            (_, Self::Literal(literal)) => {
                // The narrow reading covers the least.
                let action = Action::ALL.iter().find(|action| action.kind() == literal.0.kind());
                action.is_some_and(|action| self.matches(*action, &literal.0, super::Reading::Narrow))
            }
            (_, _) => false,
        }
    }
}

impl Glob {
    /// Whether this pattern matches every text that `other` matches; `false` when that cannot be decided.
    pub(crate) fn covers(&self, other: &Glob) -> bool {
        match other.as_literal() {
            Some(text) => self.matches(text),
            None => {
                let begins = other.head().starts_with(self.head()) && *self == Glob::beginning(self.head());
                begins || self == other
            }
        }
    }
}

impl HostPattern {
    pub(super) fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (own, Self::Exactly(host)) => own.matches(host),
            (Self::Below(_), Self::Below(parent)) => self == other || self.matches(parent),
            (Self::Exactly(_) | Self::Below(_), Self::Any) | (Self::Exactly(_), Self::Below(_)) => false,
        }
    }
}
