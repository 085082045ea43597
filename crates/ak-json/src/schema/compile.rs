//! Compiles a value into a schema.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::compiled::Compiled;
use super::dialect::Dialect;
use super::error::{SCHEMA_DEPTH_MAX, SchemaError, SchemaReason, Unjudged};
use super::keywords::{Conditional, Contains, Id, Items, Node, Properties, Rule, Scope, Types};
use super::pattern::{self, Pattern};
use super::reference::{Reference, Resource, cycle};
use crate::pointer::Pointer;
use crate::value::Value;
use crate::value::array::Array;
use crate::value::number::Number;
use crate::value::object::Object;
use crate::value::text::Text;
use crate::work::{self, OutOfWork, Work};

pub(super) fn compile(source: &Value, work: &mut Work) -> Result<Compiled, SchemaError> {
    if source.depth() > SCHEMA_DEPTH_MAX {
        return Err(SchemaError { reason: SchemaReason::Depth, at: Pointer::root() });
    }
    let mut compiler = Compiler {
        source,
        at: Pointer::root(),
        at_bytes: 0,
        scope: Scope { resource: 0, dialect: Dialect::Unnamed },
        nodes: Vec::new(),
        places: BTreeMap::new(),
        resources: [Resource::default()].into(),
        uris: BTreeMap::new(),
        anchors: BTreeMap::new(),
        dynamic_anchors: BTreeMap::new(),
        references: Vec::new(),
        automata: 0,
        pattern_bytes: 0,
        unjudged: Vec::new(),
        work,
    };
    compiler.schema(source)?;
    compiler.resolve()?;
    if let Some(node) = cycle(&compiler.nodes) {
        return Err(SchemaError { reason: SchemaReason::Cycle, at: node.at.clone() });
    }
    let Compiler { nodes, automata, pattern_bytes, unjudged, .. } = compiler;
    let bytes = (nodes.len() + unjudged.len()).saturating_mul(NODE_BYTES);
    let bytes = source.json_len().saturating_add(bytes).saturating_add(pattern_bytes);
    Ok(Compiled { source: source.clone(), nodes, automata, unjudged, bytes })
}

/// The approximate bytes of memory that a node takes.
const NODE_BYTES: usize = 128;

pub(super) struct Compiler<'a> {
    pub(super) source: &'a Value,
    /// The current place in the document.
    pub(super) at: Pointer,
    /// The bytes of the tokens of `at`.
    pub(super) at_bytes: usize,
    /// How the schema at `at` is read.
    pub(super) scope: Scope,
    pub(super) nodes: Vec<Node>,
    pub(super) places: BTreeMap<Pointer, Id>,
    /// The document itself, and each schema in it with an `$id`.
    pub(super) resources: Vec<Resource>,
    pub(super) uris: BTreeMap<String, usize>,
    /// Anchors by resource and name.
    pub(super) anchors: BTreeMap<(usize, Text), Id>,
    /// The number of dynamic anchors of each name.
    pub(super) dynamic_anchors: BTreeMap<Text, usize>,
    pub(super) references: Vec<Reference>,
    automata: usize,
    /// The bytes of memory that all patterns take.
    pattern_bytes: usize,
    unjudged: Vec<Unjudged>,
    work: &'a mut Work,
}

pub(super) type Compiling<T> = Result<T, SchemaError>;

/// Keywords that work together, as far as they have been read.
#[derive(Default)]
struct Groups {
    prefix_items: Option<Vec<Id>>,
    item_list: Option<Vec<Id>>,
    items: Option<Id>,
    additional_items: Option<Id>,
    contains: Option<Id>,
    contains_min: Option<u64>,
    contains_max: Option<u64>,
    properties: Option<Properties>,
    test: Option<Id>,
    then: Option<Id>,
    otherwise: Option<Id>,
    /// Rules that must come after all others.
    unevaluated: Vec<Rule>,
}

impl Compiler<'_> {
    pub(super) fn stop<T>(&self, reason: SchemaReason) -> Compiling<T> {
        Err(SchemaError { reason, at: self.at.clone() })
    }

    pub(super) fn spend(&mut self, units: u64) -> Compiling<()> {
        self.work.spend(units).or_else(|OutOfWork| self.stop(SchemaReason::Work))
    }

    pub(super) fn are_equal(&mut self, a: &Value, b: &Value) -> Compiling<bool> {
        a.equals(b, self.work).or_else(|OutOfWork| self.stop(SchemaReason::Work))
    }

    /// Units of work for looking up or adding a place in a map by places.
    pub(super) fn place_work(&self, tokens: usize, bytes: usize) -> u64 {
        (8 + 2 * tokens as u64 + work::bytes(bytes)) * (4 + work::log2(self.places.len()) / 2)
    }

    fn enter(&mut self, step: &Text) {
        self.at_bytes = self.at_bytes.saturating_add(step.len());
        self.at.push(step);
    }

    fn enter_index(&mut self, index: usize) {
        self.at.push_index(index);
        self.at_bytes = self.at_bytes.saturating_add(self.at.last().map_or(0, |step| step.len()));
    }

    fn leave(&mut self) {
        let step = self.at.pop();
        self.at_bytes = self.at_bytes.saturating_sub(step.map_or(0, |step| step.len()));
    }

    /// Compiles the schema at the current place.
    pub(super) fn schema(&mut self, value: &Value) -> Compiling<Id> {
        self.spend(self.place_work(self.at.tokens().len(), self.at_bytes))?;
        let id = self.nodes.len();
        let outer = self.scope;
        if let Value::Object(object) = value {
            self.enter_scope(id, object)?;
        }
        self.nodes.push(Node { at: self.at.clone(), scope: self.scope, rules: Vec::new() });
        self.places.insert(self.at.clone(), id);
        let rules = match value {
            Value::Bool(true) => Vec::new(),
            Value::Bool(false) => [Rule::Never].into(),
            Value::Object(object) => self.rules(id, object)?,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return self.stop(SchemaReason::Shape);
            }
        };
        if let Some(node) = self.nodes.get_mut(id) {
            node.rules = rules;
        }
        self.scope = outer;
        Ok(id)
    }

    fn rules(&mut self, id: Id, object: &Object) -> Compiling<Vec<Rule>> {
        let mut rules = Vec::new();
        let mut groups = Groups::default();
        let is_reference = self.is_reference(object);
        for (name, value) in object {
            self.spend(20 + work::bytes(name.len()))?;
            let is_hidden = is_reference && !matches!(name.as_str(), "$ref" | "$defs" | "definitions");
            if is_hidden || !self.scope.dialect.has(name) {
                continue;
            }
            let is_known = self.identifier(id, name, value)?
                || self.assertion(name, value, &mut rules)?
                || self.applicator(name, value, &mut rules)?
                || self.grouped(name, value, &mut groups)?;
            debug_assert!(is_known, "{name:?} is a keyword that nothing reads");
        }
        rules.extend(self.items(&mut groups)?.map(Rule::Items));
        if let Some(item) = groups.contains {
            let min = groups.contains_min.unwrap_or(1);
            let evaluates = self.scope.dialect.evaluates_contained();
            rules.push(Rule::Contains(Contains { item, min, max: groups.contains_max, evaluates }));
        }
        rules.extend(groups.properties.map(Rule::Properties));
        if let Some(test) = groups.test {
            rules.push(Rule::If(Conditional { test, then: groups.then, otherwise: groups.otherwise }));
        }
        rules.append(&mut groups.unevaluated);
        Ok(rules)
    }

    /// The keywords for items, in either of their two forms.
    fn items(&self, groups: &mut Groups) -> Compiling<Option<Items>> {
        Ok(match (groups.item_list.take(), groups.prefix_items.take()) {
            (Some(_), Some(_)) => return self.stop(SchemaReason::KeywordValue("items".into())),
            (Some(first), None) => {
                Some(Items { first, rest: groups.additional_items, keywords: ["items", "additionalItems"] })
            }
            (None, None) if groups.items.is_none() => None,
            (None, first) => {
                let first = first.unwrap_or_default();
                Some(Items { first, rest: groups.items, keywords: ["prefixItems", "items"] })
            }
        })
    }

    /// Reads keywords that are about the value itself. Returns whether `name` is one.
    fn assertion(&mut self, name: &Text, value: &Value, rules: &mut Vec<Rule>) -> Compiling<bool> {
        let rule = match name.as_str() {
            "type" => Rule::Type(self.types(name, value)?),
            "enum" => {
                let values = self.array(name, value)?;
                self.spend(2 * values.len() as u64)?;
                Rule::Enum(values.iter().cloned().collect())
            }
            "const" => Rule::Const(value.clone()),
            "multipleOf" => {
                let divisor = self.number(name, value)?;
                self.demand(name, divisor > Number::from(0u64))?;
                Rule::MultipleOf(divisor)
            }
            "maximum" => Rule::Maximum(self.number(name, value)?),
            "exclusiveMaximum" => Rule::ExclusiveMaximum(self.number(name, value)?),
            "minimum" => Rule::Minimum(self.number(name, value)?),
            "exclusiveMinimum" => Rule::ExclusiveMinimum(self.number(name, value)?),
            "maxLength" => Rule::MaxLength(self.natural(name, value)?),
            "minLength" => Rule::MinLength(self.natural(name, value)?),
            "pattern" => {
                let source = self.expect(name, value.as_text())?;
                self.enter(name);
                let pattern = self.pattern(source)?;
                self.leave();
                Rule::Pattern(pattern)
            }
            "maxItems" => Rule::MaxItems(self.natural(name, value)?),
            "minItems" => Rule::MinItems(self.natural(name, value)?),
            "uniqueItems" => match value.as_bool() {
                Some(true) => Rule::UniqueItems,
                Some(false) => return Ok(true),
                None => return self.stop(SchemaReason::KeywordValue(name.clone())),
            },
            "maxProperties" => Rule::MaxProperties(self.natural(name, value)?),
            "minProperties" => Rule::MinProperties(self.natural(name, value)?),
            "required" => Rule::Required(self.names(name, value)?),
            "dependentRequired" => {
                let mut rule = Vec::new();
                for (member, names) in self.object(name, value)? {
                    rule.push((member.clone(), self.names(name, names)?));
                }
                Rule::DependentRequired("dependentRequired", rule)
            }
            _ => return Ok(false),
        };
        rules.push(rule);
        Ok(true)
    }

    /// Reads keywords that contain schemas and are independent of others. Returns whether `name` is one.
    fn applicator(&mut self, name: &Text, value: &Value, rules: &mut Vec<Rule>) -> Compiling<bool> {
        let rule = match name.as_str() {
            "allOf" => Rule::AllOf(self.schemas(name, value)?),
            "anyOf" => Rule::AnyOf(self.schemas(name, value)?),
            "oneOf" => Rule::OneOf(self.schemas(name, value)?),
            "not" => Rule::Not(self.within(name, value)?),
            "propertyNames" => Rule::PropertyNames(self.within(name, value)?),
            "dependentSchemas" => {
                Rule::DependentSchemas("dependentSchemas", self.named_schemas(name, value)?)
            }
            "dependencies" => {
                let (mut required, mut schemas) = (Vec::new(), Vec::new());
                let dependencies = self.object(name, value)?;
                self.enter(name);
                for (member, dependency) in dependencies {
                    match dependency {
                        Value::Array(_) => required.push((member.clone(), self.names(name, dependency)?)),
                        _ => schemas.push((member.clone(), self.within(member, dependency)?)),
                    }
                }
                self.leave();
                rules.push(Rule::DependentRequired("dependencies", required));
                Rule::DependentSchemas("dependencies", schemas)
            }
            _ => return Ok(false),
        };
        rules.push(rule);
        Ok(true)
    }

    /// Reads keywords whose meaning depends on neighbouring keywords. Returns whether `name` is one.
    fn grouped(&mut self, name: &Text, value: &Value, groups: &mut Groups) -> Compiling<bool> {
        match name.as_str() {
            "prefixItems" => groups.prefix_items = Some(self.schemas(name, value)?),
            "items" => match value {
                Value::Array(list) if self.scope.dialect.has_item_lists() => {
                    let is_empty = list.is_empty();
                    groups.item_list = Some(if is_empty { Vec::new() } else { self.schemas(name, value)? });
                }
                _ => groups.items = Some(self.within(name, value)?),
            },
            "additionalItems" => groups.additional_items = Some(self.within(name, value)?),
            "contains" => groups.contains = Some(self.within(name, value)?),
            "minContains" => groups.contains_min = Some(self.natural(name, value)?),
            "maxContains" => groups.contains_max = Some(self.natural(name, value)?),
            "properties" => {
                let named = self.named_schemas(name, value)?;
                for (name, _) in &named {
                    self.spend(8 + 2 * work::log2(named.len()) * (1 + work::bytes(name.len())))?;
                }
                groups.properties.get_or_insert_default().named = named.into_iter().collect();
            }
            "patternProperties" => {
                let mut patterns = Vec::new();
                let named = self.named_schemas(name, value)?;
                self.enter(name);
                for (source, id) in named {
                    self.enter(&source);
                    patterns.push((self.pattern(&source)?, id));
                    self.leave();
                }
                self.leave();
                groups.properties.get_or_insert_default().patterns = patterns;
            }
            "additionalProperties" => {
                groups.properties.get_or_insert_default().rest = Some(self.within(name, value)?);
            }
            "if" => groups.test = Some(self.within(name, value)?),
            "then" => groups.then = Some(self.within(name, value)?),
            "else" => groups.otherwise = Some(self.within(name, value)?),
            "unevaluatedItems" => {
                let rest = self.within(name, value)?;
                groups.unevaluated.push(Rule::UnevaluatedItems(rest));
            }
            "unevaluatedProperties" => {
                let rest = self.within(name, value)?;
                groups.unevaluated.push(Rule::UnevaluatedProperties(rest));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Compiles the schema one step below the current place.
    fn within(&mut self, step: &Text, value: &Value) -> Compiling<Id> {
        self.enter(step);
        let id = self.schema(value)?;
        self.leave();
        Ok(id)
    }

    fn schemas(&mut self, name: &Text, value: &Value) -> Compiling<Vec<Id>> {
        let array = self.array(name, value)?;
        self.demand(name, !array.is_empty())?;
        self.enter(name);
        let mut ids = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            self.enter_index(index);
            ids.push(self.schema(value)?);
            self.leave();
        }
        self.leave();
        Ok(ids)
    }

    pub(super) fn named_schemas(&mut self, name: &Text, value: &Value) -> Compiling<Vec<(Text, Id)>> {
        let object = self.object(name, value)?;
        self.enter(name);
        let step = |(name, value): (&Text, &Value)| Ok((name.clone(), self.within(name, value)?));
        let ids = object.iter().map(step).collect::<Compiling<_>>()?;
        self.leave();
        Ok(ids)
    }

    /// Compiles the pattern at the current place; `None` when it cannot be judged.
    fn pattern(&mut self, source: &Text) -> Compiling<Option<Pattern>> {
        let pattern = match Pattern::parse(source, self.automata, self.work) {
            Ok(pattern) => pattern,
            Err(reason) => return self.stop(reason),
        };
        let fits = |pattern: &Pattern| self.pattern_bytes + pattern.bytes() <= pattern::ALL_BYTES_MAX;
        let pattern = pattern.filter(fits);
        match &pattern {
            Some(pattern) => {
                self.automata += pattern.automata();
                self.pattern_bytes += pattern.bytes();
            }
            None => {
                // A report of this entry writes both out.
                self.spend(20 + self.at_bytes as u64 + source.len() as u64)?;
                self.unjudged.push(Unjudged { at: self.at.clone(), pattern: source.clone() });
            }
        }
        Ok(pattern)
    }

    pub(super) fn demand(&self, name: &Text, holds: bool) -> Compiling<()> {
        if holds { Ok(()) } else { self.stop(SchemaReason::KeywordValue(name.clone())) }
    }

    fn expect<T>(&self, name: &Text, value: Option<T>) -> Compiling<T> {
        value.map_or_else(|| self.stop(SchemaReason::KeywordValue(name.clone())), Ok)
    }

    pub(super) fn string<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v str> {
        self.expect(name, value.as_str())
    }

    fn array<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v Array> {
        self.expect(name, value.as_array())
    }

    fn object<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v Object> {
        self.expect(name, value.as_object())
    }

    fn number(&self, name: &Text, value: &Value) -> Compiling<Number> {
        self.expect(name, value.as_number().copied())
    }

    /// A non-negative integer, possibly written with a fraction of zero. Above 64 bits it is `u64::MAX`, which no
    /// length or count exceeds.
    fn natural(&self, name: &Text, value: &Value) -> Compiling<u64> {
        let number = self.number(name, value)?;
        self.demand(name, number.is_integer() && number >= Number::from(0u64))?;
        Ok(number.canonical().as_u64().unwrap_or(u64::MAX))
    }

    fn types(&self, name: &Text, value: &Value) -> Compiling<Types> {
        let mut types = Types::default();
        let added = match value {
            Value::String(one) => types.add(one),
            Value::Array(many) if !many.is_empty() => {
                many.iter().try_for_each(|one| types.add(one.as_str()?))
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        self.expect(name, added.map(|()| types))
    }

    /// Strings without duplicates.
    fn names(&mut self, name: &Text, value: &Value) -> Compiling<Vec<Text>> {
        let listed = self.array(name, value)?;
        for name in listed {
            let bytes = name.as_str().map_or(0, str::len);
            self.spend(4 + 3 * work::log2(listed.len()) * (1 + work::bytes(bytes)))?;
        }
        let names = listed.iter().map(|name| name.as_text().cloned());
        let names: Vec<Text> = self.expect(name, names.collect())?;
        let mut sorted: Vec<&Text> = names.iter().collect();
        sorted.sort();
        self.demand(name, sorted.is_sorted_by(|a, b| a < b))?;
        Ok(names)
    }
}
