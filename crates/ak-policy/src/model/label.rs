//! Labels that a policy gives to results by their source: `[[label]]`.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ak_json::{Integrity, Labels, Object, Pointer, Text, Value};

use crate::action::Action;
use crate::canonical;
use crate::pattern::{Pattern, Reading};
use crate::target::Target;

/// A compiled `[[label]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelRule {
    pub(crate) source: Pattern,
    pub(crate) pointer: Pointer,
    /// `None` leaves the integrity unchanged.
    pub(crate) integrity: Option<Integrity>,
    pub(crate) secrecy: BTreeSet<Text>,
}

/// The labels that a policy gives to data from one source, for the whole and for parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLabels {
    /// The labels of the whole.
    pub whole: Labels,
    /// Parts with labels of their own, outermost first; the labels hold for everything at and below the pointer.
    pub parts: Vec<(Pointer, Labels)>,
}

impl LabelRule {
    pub(crate) fn to_value(&self) -> Value {
        let mut label = Object::new();
        if let Some(integrity) = self.integrity {
            label.insert(
                "integrity",
                match integrity {
                    Integrity::Trusted => "trusted",
                    Integrity::Untrusted => "untrusted",
                },
            );
        }
        label.insert("pointer", alloc::format!("{}", self.pointer));
        if !self.secrecy.is_empty() {
            label.insert("secrecy", canonical::set(&self.secrecy));
        }
        let prefix = match &self.source {
            Pattern::Path(_) => "fs:",
            Pattern::Url(_) | Pattern::UrlAny => "http:",
            Pattern::Any
            | Pattern::Host(_)
            | Pattern::Endpoint(_)
            | Pattern::Tool(..)
            | Pattern::Model(_)
            | Pattern::Agent(_)
            | Pattern::Heap(_)
            | Pattern::HeapAny
            | Pattern::Type(_)
            | Pattern::Audit(_)
            | Pattern::Literal(_) => "",
        };
        label.insert("source", alloc::format!("{prefix}{}", self.source));
        Value::Object(label)
    }
}

/// The labels of data from `source`, combined from every `[[label]]` that matches it.
///
/// Unless a matching label says otherwise, data from tools, models and URLs is untrusted. Where several labels are
/// for the same part, untrusted wins and secrets add up.
pub(crate) fn labels_of(rules: &[LabelRule], source: &Target) -> SourceLabels {
    let default = match source {
        Target::Tool(_) | Target::Url(_) | Target::Model(_) => Labels::untrusted(),
        Target::Path(_)
        | Target::Host(_)
        | Target::HostPort(..)
        | Target::Addr(..)
        | Target::Agent(_)
        | Target::Heap(_)
        | Target::Type(_)
        | Target::Audit(_) => Labels::default(),
    };
    // Doubt about a match must not raise trust: labels that restrict are read widely, labels that trust narrowly.
    let speaks = |rule: &&LabelRule| {
        let reading = match rule.integrity {
            Some(Integrity::Trusted) => Reading::Narrow,
            Some(Integrity::Untrusted) | None => Reading::Wide,
        };
        rule.source.matches(Action::FsRead, source, reading)
    };
    let mut speaking: Vec<_> = rules.iter().filter(speaks).collect();
    speaking.sort_by_key(|rule| rule.pointer.tokens().len());
    let mut labels = SourceLabels { whole: default, parts: Vec::new() };
    let mut pointers: Vec<&Pointer> = speaking.iter().map(|rule| &rule.pointer).collect();
    pointers.dedup();
    pointers.sort_by_key(|pointer| (pointer.tokens().len(), pointer.tokens()));
    pointers.dedup();
    for pointer in pointers {
        let around = labels.at(pointer).clone();
        let own: Vec<_> = speaking.iter().filter(|rule| rule.pointer == *pointer).collect();
        let integrity = own.iter().filter_map(|rule| rule.integrity).max().unwrap_or(around.integrity);
        let secrecy = own.iter().flat_map(|rule| &rule.secrecy).chain(&around.secrecy).cloned().collect();
        let label = Labels { integrity, secrecy };
        if pointer.is_root() {
            labels.whole = label;
        } else {
            labels.parts.push((pointer.clone(), label));
        }
    }
    labels
}

impl SourceLabels {
    /// The labels of the part that the pointer names.
    pub fn at(&self, pointer: &Pointer) -> &Labels {
        let around = self.parts.iter().rev().find(|(part, _)| pointer.starts_with(part));
        around.map_or(&self.whole, |(_, labels)| labels)
    }
}
