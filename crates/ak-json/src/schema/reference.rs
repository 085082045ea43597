//! Resolves references.

use alloc::string::String;
use alloc::vec::Vec;

use super::compile::{Compiler, Compiling};
use super::dialect::Dialect;
use super::error::{SchemaError, SchemaReason};
use super::keywords::{Id, Node, Rule};
use super::uri;
use crate::pointer::Pointer;
use crate::value::Value;
use crate::value::object::Object;
use crate::value::text::Text;
use crate::work;

/// A part of the document with its own URI.
#[derive(Default)]
pub(super) struct Resource {
    uri: String,
    at: Pointer,
}

/// A reference that is not resolved yet.
#[derive(Clone)]
pub(super) struct Reference {
    from: Id,
    keyword: Text,
    to: Text,
}

impl Compiler<'_> {
    /// Whether only the `$ref` of the object counts.
    pub(super) fn is_reference(&self, object: &Object) -> bool {
        self.scope.dialect.hides_siblings() && object.contains_key("$ref")
    }

    /// Reads the keywords that determine how the schema with this number, and the schemas within it, are read.
    pub(super) fn enter_scope(&mut self, id: Id, object: &Object) -> Compiling<()> {
        if let Some(dialect) = object.get("$schema") {
            let named = self.string(&"$schema".into(), dialect)?;
            match Dialect::named(named) {
                Some(dialect) => self.scope.dialect = dialect,
                None => return self.stop(SchemaReason::Dialect(named.into())),
            }
        }
        let Some(own) = object.get("$id") else { return Ok(()) };
        // The root's `$id` is the URI of the document and counts even beside a `$ref`.
        if self.is_reference(object) && !self.at.is_root() {
            return Ok(());
        }
        let keyword = "$id".into();
        let own = self.string(&keyword, own)?;
        let (document, anchor) = own.split_once('#').unwrap_or((own, ""));
        let is_anchor = !anchor.is_empty();
        self.demand(&keyword, !is_anchor || document.is_empty() && self.scope.dialect.has_anchors_in_ids())?;
        if is_anchor { self.anchor(id, anchor) } else { self.resource(document) }
    }

    /// Opens a resource at the current place.
    fn resource(&mut self, document: &str) -> Compiling<()> {
        if document.is_empty() {
            return Ok(());
        }
        let uri = self.uri(document)?;
        self.spend(self.place_work(self.at.tokens().len(), self.at_bytes))?;
        if let Some(other) = self.uris.get(&uri).and_then(|number| self.resources.get(*number)) {
            // A copy of the same schema is not a conflict.
            let (first, second) = (self.source.pointer(&other.at), self.source.pointer(&self.at));
            let (Some(first), Some(second)) = (first, second) else { return Ok(()) };
            if !self.are_equal(first, second)? {
                return self.stop(SchemaReason::Duplicate(uri.as_str().into()));
            }
        }
        self.scope.resource = self.resources.len();
        self.uris.insert(uri.clone(), self.scope.resource);
        self.resources.push(Resource { uri, at: self.at.clone() });
        Ok(())
    }

    /// Gives a schema a name within its resource.
    pub(super) fn anchor(&mut self, id: Id, name: &str) -> Compiling<()> {
        self.spend(20 + 2 * work::log2(self.anchors.len()) * (1 + work::bytes(name.len())))?;
        match self.anchors.insert((self.scope.resource, name.into()), id) {
            Some(other) if other != id => self.stop(SchemaReason::Duplicate(name.into())),
            _ => Ok(()),
        }
    }

    /// Reads keywords that name schemas or refer to them. Returns whether `name` is one.
    pub(super) fn identifier(&mut self, id: Id, name: &Text, value: &Value) -> Compiling<bool> {
        match name.as_str() {
            "$schema" | "$id" => {}
            "$anchor" | "$dynamicAnchor" => {
                let anchor = self.string(name, value)?;
                let is_first = |first: char| first.is_ascii_alphabetic() || first == '_';
                let is_more = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                self.demand(name, anchor.starts_with(is_first) && anchor.bytes().all(is_more))?;
                self.anchor(id, anchor)?;
                if name == "$dynamicAnchor" {
                    *self.dynamic_anchors.entry(anchor.into()).or_default() += 1;
                }
            }
            "$recursiveAnchor" => {
                self.demand(name, value.as_bool().is_some())?;
                *self.dynamic_anchors.entry(Text::default()).or_default() +=
                    usize::from(*value == Value::Bool(true));
            }
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                let to = self.string(name, value)?;
                self.demand(name, name != "$recursiveRef" || to == "#")?;
                self.references.push(Reference { from: id, keyword: name.clone(), to: to.into() });
            }
            "$defs" | "definitions" => drop(self.named_schemas(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Resolves all references, and adds the rule for each to its node.
    pub(super) fn resolve(&mut self) -> Compiling<()> {
        let mut next = 0;
        // Compiling a target can add further references.
        while let Some(reference) = self.references.get(next).cloned() {
            next += 1;
            let Some(node) = self.nodes.get(reference.from) else { continue };
            (self.at, self.scope) = (node.at.clone(), node.scope);
            let target = self.target(&reference.to)?;
            if let Some(node) = self.nodes.get_mut(reference.from) {
                node.rules.insert(0, Rule::Ref(target));
            }
        }
        // With a single anchor of the name, the dynamic scope makes no difference.
        for Reference { from, keyword, to } in &self.references {
            let name = unescape_percent(to.split_once('#').map_or("", |(_, fragment)| fragment));
            let anchors = name.and_then(|name| self.dynamic_anchors.get(&*name)).copied().unwrap_or_default();
            if keyword != "$ref" && anchors > 1 {
                let at = self.nodes.get(*from).map(|node| node.at.clone()).unwrap_or_default();
                return Err(SchemaError { reason: SchemaReason::Keyword(keyword.clone()), at });
            }
        }
        Ok(())
    }

    /// The node that a reference at the current place leads to, by JSON Pointer or anchor.
    fn target(&mut self, to: &Text) -> Compiling<Id> {
        let (document, fragment) = to.split_once('#').unwrap_or((to, ""));
        let mut resource = self.scope.resource;
        if !document.is_empty() {
            let uri = self.uri(document)?;
            match self.uris.get(&uri) {
                Some(found) => resource = *found,
                None => return self.stop(SchemaReason::Remote(to.clone())),
            }
        }
        // The fragment is decoded, parsed as a pointer and looked up among the places of schemas.
        let start = self.resources.get(resource).map(|resource| resource.at.clone()).unwrap_or_default();
        let tokens = fragment.matches('/').count() as u64 + start.tokens().len() as u64;
        self.spend(20 + fragment.len() as u64 / 2 + 8 * tokens)?;
        let nowhere = SchemaReason::Reference(to.clone());
        let Some(fragment) = unescape_percent(fragment) else { return self.stop(nowhere) };
        let target = if fragment.is_empty() || fragment.starts_with('/') {
            match Pointer::parse(&fragment) {
                Ok(pointer) => self.place(start, &pointer)?,
                Err(_) => None,
            }
        } else {
            self.spend(2 * work::log2(self.anchors.len()) * (1 + work::bytes(fragment.len())))?;
            self.anchors.get(&(resource, fragment.into())).copied()
        };
        target.map_or_else(|| self.stop(nowhere), Ok)
    }

    /// The node at a place in the document. A schema within an annotation is compiled when something refers to it.
    fn place(&mut self, mut at: Pointer, rest: &Pointer) -> Compiling<Option<Id>> {
        for token in rest.tokens() {
            at.push(token);
        }
        let at_bytes = at.tokens().iter().map(|token| token.len()).sum();
        let find_work = self.place_work(at.tokens().len(), at_bytes);
        self.spend(2 * find_work)?;
        if let Some(id) = self.places.get(&at) {
            return Ok(Some(*id));
        }
        let Some(value @ (Value::Object(_) | Value::Bool(_))) = self.source.pointer(&at) else {
            return Ok(None);
        };
        let mut around = at.clone();
        while let Some(keyword) = around.pop() {
            self.spend(find_work)?;
            let Some(node) = self.places.get(&around).and_then(|id| self.nodes.get(*id)) else { continue };
            if node.scope.dialect.has(&keyword) {
                // A part of a keyword's value that is not a schema cannot be a target.
                return Ok(None);
            }
            self.scope = node.scope;
            (self.at, self.at_bytes) = (at, at_bytes);
            return self.schema(value).map(Some);
        }
        Ok(None)
    }

    /// Resolves a URI without fragment against the current resource.
    fn uri(&mut self, uri: &str) -> Compiling<String> {
        let base = self.resources.get(self.scope.resource).map_or(0, |resource| resource.uri.len());
        let bytes = base + uri.len();
        self.spend(40 + 2 * bytes as u64 + 2 * work::log2(self.uris.len()) * (1 + work::bytes(bytes)))?;
        let base = self.resources.get(self.scope.resource).map_or("", |resource| &resource.uri);
        Ok(uri::resolve(base, uri))
    }
}

/// Decodes the percent escapes of RFC 3986; `None` when they are malformed or give invalid UTF-8.
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

/// A node on a cycle of schemas applied to the same value, or one that such a cycle leads to; `None` without a
/// cycle.
pub(super) fn cycle(nodes: &[Node]) -> Option<&Node> {
    let next = |node: &Node| node.rules.iter().flat_map(Rule::in_place).collect::<Vec<_>>();
    let mut incoming = alloc::vec![0usize; nodes.len()];
    for id in nodes.iter().flat_map(next) {
        if let Some(count) = incoming.get_mut(id) {
            *count += 1;
        }
    }
    // Remove all nodes that nothing leads to; the nodes of a cycle stay.
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
