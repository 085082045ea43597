//! Where references lead.

use alloc::string::String;
use alloc::vec::Vec;

use super::compile::{Compiler, Compiling};
use super::keywords::{Id, Node, Rule};
use super::{SchemaError, SchemaReason};
use crate::pointer::Pointer;

impl Compiler<'_> {
    /// Gives each node that refers the rule for it.
    pub(super) fn resolve(&mut self) -> Compiling<()> {
        for (id, reference) in core::mem::take(&mut self.references) {
            // Decoded, read as a pointer and looked up among the places of schemas.
            let tokens = reference.matches('/').count();
            self.spend(
                reference.len() as u64 / 2 + 8 * tokens as u64 + self.place_work(tokens, reference.len()),
            )?;
            let target = self.target(&reference);
            let Some(node) = self.nodes.get_mut(id) else { continue };
            match target {
                Some(target) => node.rules.insert(0, Rule::Ref(target)),
                None => {
                    let reason = SchemaReason::Reference(reference);
                    return Err(SchemaError { reason, at: node.at.clone() });
                }
            }
        }
        Ok(())
    }

    /// The node that a reference leads to, by JSON Pointer or anchor.
    fn target(&self, reference: &str) -> Option<Id> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !document.is_empty() && Some(document) != self.base {
            return None;
        }
        let fragment = unescape_percent(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.places.get(&Pointer::parse(&fragment).ok()?).copied();
        }
        self.anchors.get(fragment.as_str()).copied()
    }
}

/// Decodes the percent escapes of RFC 3986.
fn unescape_percent(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = Vec::from(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok().filter(|_| !code.starts_with('+'))?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// A node from which schemas applied to one and the same value lead in a circle.
pub(super) fn cycle(nodes: &[Node]) -> Option<&Node> {
    let next = |node: &Node| node.rules.iter().flat_map(Rule::in_place).collect::<Vec<_>>();
    let mut incoming = alloc::vec![0usize; nodes.len()];
    for id in nodes.iter().flat_map(next) {
        if let Some(count) = incoming.get_mut(id) {
            *count += 1;
        }
    }
    // Take away whatever nothing leads to; a circle stays.
    let mut free: Vec<Id> = (0..nodes.len()).filter(|id| incoming.get(*id) == Some(&0)).collect();
    while let Some(id) = free.pop() {
        for id in nodes.get(id).map(next).unwrap_or_default() {
            if let Some(count) = incoming.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    free.push(id);
                }
            }
        }
    }
    incoming.iter().position(|count| *count > 0).and_then(|id| nodes.get(id))
}
